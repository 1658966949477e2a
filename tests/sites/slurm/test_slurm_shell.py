"""The scripts of head and pools, with programs that do what a test wants in the place of Slurm's, Dask's and surveyflow's."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress

import pytest

from surveyflow import __version__
from surveyflow.sites.kind import RunCommand
from surveyflow.sites.profiles import load_profile
from surveyflow.sites.slurm.jobs import render

PROFILE = """\
kind = "slurm"
interface = "lo"
[directories]
shared = "shared"
[environment]
python = "{python}"
[head]
memory = "1 GiB"
walltime = "01:00:00"
[pools.cpu]
jobs = 2
memory = "1 GiB"
walltime = "01:00:00"
lifetime = "00:50:00"
"""

PYTHON = """\
#!/bin/bash
folder="{folder}"
case "$*" in
    *"surveyflow --version"*) {version} ;;
    *"dask scheduler"*) {scheduler} ;;
    *"dask worker"*) echo "gpu-${{CUDA_VISIBLE_DEVICES:-none}}" >>"$folder/workers"; {worker} ;;
    *"surveyflow run"*) echo x >>"$folder/tries"; try=$(wc -l <"$folder/tries"); {driver} ;;
esac
"""

NOTING = '#!/bin/bash\necho "$(basename "$0") $*" >>"{folder}/asked"\n'
LISTENING = 'echo x >"$folder/scheduler.json"; '
WAITING = f"{LISTENING} exec sleep 600"
DYING = f'{LISTENING} until [ -s "$folder/tries" ]; do sleep 0.05; done; exit 0'
"""A scheduler that ends when the driver has begun."""


@pytest.fixture
def submission(tmp_path):
    """Everything in place, as after ``sbatch``; the programs note what they are asked in ``asked``."""
    (tmp_path / "site.toml").write_text(PROFILE.format(python=tmp_path / "python"))
    made = render(load_profile(tmp_path / "site.toml"), RunCommand(tmp_path / "workflow.toml", "test"))
    made.folder.mkdir(parents=True)
    for name, text in {"head.id": "16\n", "pools.id": "17\n18\n", **made.files}.items():
        (made.folder / name).write_text(text)
    for name in ("scontrol", "scancel"):
        write_program(tmp_path / name, NOTING.format(folder=made.folder))
    return made


def run_script(submission, tmp_path, name, restarts=0, gpus="", **deeds):
    """Run a script with programs that do as told, and return its exit code."""
    usual = {"scheduler": WAITING, "worker": "exit 0", "driver": "exit 0", "version": f"echo surveyflow {__version__}"}
    deeds = usual | deeds
    write_program(tmp_path / "python", PYTHON.format(folder=submission.folder, **deeds))
    variables = {"SLURM_JOB_NAME": "test", "SLURM_JOB_ID": "16", "SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "2"}
    environment = os.environ | variables | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_RESTART_COUNT": str(restarts)}
    environment["CUDA_VISIBLE_DEVICES"] = gpus
    with subprocess.Popen(["bash", submission.folder / name], env=environment, start_new_session=True) as script:
        try:
            return script.wait()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(script.pid, signal.SIGKILL)  # what Slurm would end with the job


@pytest.fixture
def head(submission, tmp_path):
    """Run the head: its exit code, what ``finished`` says, tries of the driver, and what Slurm was asked."""

    def run(driver, scheduler=WAITING, restarts=0):
        code = run_script(submission, tmp_path, "head.sh", restarts, driver=driver, scheduler=scheduler)
        finished, tries, asked = (read(submission.folder / name) for name in ("finished", "tries", "asked"))
        return code, finished, len(tries.split()), asked

    return run


@pytest.fixture
def worker(submission, tmp_path):
    """Run a pool's job while these jobs are in the queue: its exit code, workers started, and what Slurm was asked."""

    def run(queue, worker="exit 0"):
        write_program(tmp_path / "squeue", f"#!/bin/bash\n{queue}\n")
        (submission.folder / "scheduler.json").write_text("x")
        code = run_script(submission, tmp_path, "pool-cpu.sh", worker=worker)
        return code, len(read(submission.folder / "workers").split()), read(submission.folder / "asked")

    return run


def write_program(path, text):
    path.write_text(text)
    path.chmod(0o755)


def read(path):
    return path.read_text() if path.exists() else ""


def test_a_driver_that_finds_the_lock_held_waits_until_it_must_have_expired(head, tmp_path):
    write_program(tmp_path / "sleep", NOTING.format(folder=tmp_path))

    assert head('[ "$try" = 3 ] && exit 0; exit 4', scheduler=WAITING.replace("sleep", "/bin/sleep")) == (
        0,
        "0\n",
        3,
        "scancel --quiet 17 18\n",
    )
    assert (tmp_path / "asked").read_text().splitlines().count("sleep 60") == 2


def test_a_driver_that_finds_the_lock_held_by_the_living_gives_up(head, tmp_path):
    write_program(tmp_path / "sleep", NOTING.format(folder=tmp_path))

    assert head("exit 4", scheduler=WAITING.replace("sleep", "/bin/sleep")) == (4, "4\n", 8, "scancel --quiet 17 18\n")


@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_a_driver_that_comes_to_an_end_ends_it_all(head, code):
    assert head(f"exit {code}") == (code, f"{code}\n", 1, "scancel --quiet 17 18\n")


def test_a_driver_that_is_killed_is_started_again_where_it_was(head):
    assert head('[ "$try" = 3 ] || kill -KILL $$') == (0, "0\n", 3, "scancel --quiet 17 18\n")


def test_a_driver_that_is_always_killed_is_given_up(head):
    assert head("kill -KILL $$") == (137, "137\n", 20, "scancel --quiet 17 18\n")


def test_a_scheduler_that_dies_sends_the_head_back_into_the_queue(head):
    assert head("exec sleep 600", scheduler=DYING) == (0, "", 1, "scontrol requeue 16\n")


def test_a_scheduler_that_dies_again_and_again_is_given_up(head):
    found = head("exec sleep 600", scheduler=DYING, restarts=20)

    assert found == (1, "1\n", 1, "scancel --quiet 17 18\n")


def test_a_scheduler_that_cannot_start_ends_the_head(head):
    code, finished, tries, _ = head("exit 0", scheduler="exit 1")

    assert (code, finished, tries) == (1, "", 0)


def test_walltime_sends_the_head_back_into_the_queue(head):
    assert head("kill -USR1 $PPID; exec sleep 600") == (0, "", 1, "scontrol requeue 16\n")


def rendered(tmp_path, before, after):
    """The submission of another profile, in the place of the first."""
    (tmp_path / "site.toml").write_text(PROFILE.format(python=tmp_path / "python").replace(before, after))
    made = render(load_profile(tmp_path / "site.toml"), RunCommand(tmp_path / "workflow.toml", "test"))
    for name, text in made.files.items():
        (made.folder / name).write_text(text)
    return made


@pytest.mark.parametrize(
    ("line", "failed"),
    [("module load nothing", "module load nothing"), ("source {}/activate", "false"), ("true && false", "false")],
)
def test_a_prologue_that_fails_ends_the_jobs_and_says_where(submission, tmp_path, capfd, line, failed):
    (tmp_path / "activate").write_text("false\n")
    rendered(tmp_path, "python =", f'prologue = ["true", "{line.format(tmp_path)}", "true"]\npython =')

    assert run_script(submission, tmp_path, "head.sh") == 1
    assert f"surveyflow: the prologue failed at: {failed}" in capfd.readouterr().err
    assert read(submission.folder / "finished") == "1\n"
    assert read(submission.folder / "asked") == "scancel --quiet 17 18\n"
    assert run_script(submission, tmp_path, "pool-cpu.sh") == 1
    assert read(submission.folder / "workers") == ""


def test_a_prologue_may_hold_conditions_functions_and_variables(submission, tmp_path):
    (tmp_path / "activate").write_text("deactivate() { false; true; }\ndeactivate\n[ -z x ] || true\nif false; then :; fi\n")
    rendered(tmp_path, "python =", f'prologue = ["source {tmp_path}/activate", "A=1"]\npython =')

    assert run_script(submission, tmp_path, "head.sh") == 0


@pytest.mark.parametrize(
    ("version", "said"),
    [("echo surveyflow 0.0.9", f"found surveyflow 0.0.9, expected {__version__}"), ("exit 1", "no surveyflow: see above")],
)
def test_another_version_of_surveyflow_ends_the_jobs(submission, tmp_path, capfd, version, said):
    assert run_script(submission, tmp_path, "pool-cpu.sh", version=version) == 1
    assert f"surveyflow: {said}" in capfd.readouterr().err
    assert read(submission.folder / "workers") == ""


def test_each_worker_of_a_job_has_a_gpu_of_its_own(submission, tmp_path, capfd):
    rendered(tmp_path, "jobs = 2", "jobs = 2\ngpus_per_node = 3\ncores = 3")
    write_program(tmp_path / "squeue", "#!/bin/bash\necho 16 RUNNING\n")
    (submission.folder / "scheduler.json").write_text("x")

    assert run_script(submission, tmp_path, "pool-cpu.sh", gpus="4,5,7", worker='[ "$CUDA_VISIBLE_DEVICES" != 5 ] || exit 3') == 3
    assert sorted(read(submission.folder / "workers").split()) == ["gpu-4", "gpu-5", "gpu-7"]
    assert run_script(submission, tmp_path, "pool-cpu.sh", gpus="4,5") == 1
    assert "expected 3 GPUs in CUDA_VISIBLE_DEVICES, found '4,5'" in capfd.readouterr().err


HEAD_IS_THERE = "echo 9 RUNNING; echo 16 RUNNING; echo 17 PENDING"
HEAD_IS_GONE = "echo 9 RUNNING; echo 161 RUNNING; echo 17 RUNNING"


@pytest.mark.parametrize("code", [0, 1, 137])
def test_a_worker_that_ends_goes_back_into_the_queue_while_the_head_is_there(worker, code):
    assert worker(HEAD_IS_THERE, f"exit {code}") == (code, 1, "scontrol requeue 17_2\n")


def test_a_worker_that_ends_at_once_again_and_again_is_given_up(submission, tmp_path):
    (submission.folder / "scheduler.json").write_text("{}")
    write_program(tmp_path / "squeue", "#!/bin/bash\necho 16 RUNNING\n")
    for restarts, asked in ((19, True), (20, False)):
        (submission.folder / "asked").unlink(missing_ok=True)
        assert run_script(submission, tmp_path, "pool-cpu.sh", restarts, worker="exit 3") == 3
        assert (submission.folder / "asked").exists() == asked


def test_a_worker_whose_head_has_gone_does_not_start(worker):
    assert worker(HEAD_IS_GONE) == (0, 0, "")


def test_a_worker_waits_while_its_head_is_in_the_queue_although_the_last_start_left_its_address(worker, submission, tmp_path):
    write_program(tmp_path / "sleep", "#!/bin/sh\n")
    starts = f'echo x >>"{submission.folder}/questions"; [ "$(wc -l <"{submission.folder}/questions")" -lt 5 ]'

    assert worker(f"{starts} && echo 16 PENDING || echo 16 RUNNING") == (0, 1, "scontrol requeue 17_2\n")
    assert len(read(submission.folder / "questions").split()) >= 5


def test_a_worker_that_ends_with_the_run_stays_away(worker, submission):
    assert worker(HEAD_IS_THERE, f'echo 0 >"{submission.folder}/finished"') == (0, 1, "")


def test_a_silent_slurm_is_not_taken_for_a_head_that_has_gone(worker):
    assert worker("exit 1") == (0, 1, "scontrol requeue 17_2\n")


GROWING = (
    'memory = "1 GiB"\nwalltime = "01:00:00"\nlifetime',
    'memory = "1 GiB"\nmemory_growth = 1.5\nmemory_max = "2 GiB"\nwalltime = "01:00:00"\nlifetime',
)
SAID = "memory-test-17_2_"


@pytest.fixture
def growing(submission, tmp_path):
    """A submission whose jobs grow."""
    made = rendered(tmp_path, *GROWING)
    (made.folder / "logs").mkdir()
    (made.folder / "scheduler.json").write_text("x")
    write_program(tmp_path / "squeue", '#!/bin/bash\necho "16 RUNNING"\n')
    return made


def test_a_job_whose_worker_was_killed_leaves_its_place_to_one_with_more_memory(growing, tmp_path):
    code = run_script(growing, tmp_path, "pool-cpu.sh", worker="kill -KILL $$")

    assert (code, read(growing.folder / "asked")) == (137, "")
    assert read(growing.folder / "logs" / SAID) == "pool-cpu.sh 1024 2048\n"


def test_a_job_that_can_grow_goes_back_into_the_queue_as_any_other_does(growing, tmp_path):
    assert run_script(growing, tmp_path, "pool-cpu.sh", worker="exit 1") == 1
    assert read(growing.folder / "asked") == "scontrol requeue 17_2\n"
    assert not list((growing.folder / "logs").glob("memory-*"))


OUT_OF_MEMORY = """#!/bin/bash
[ "$4" != --states=OUT_OF_MEMORY,FAILED ] && exit
printf "%s\\n" "OUT_OF_MEMORY surveyflow-test-cpu 17 2 1G" "FAILED surveyflow-test-cpu 17 3 1.50G" \
    "FAILED surveyflow-test-cpu 17 4 1G" "OUT_OF_MEMORY another 5 1 1G"
"""


def test_the_head_submits_jobs_that_were_out_of_memory_again_with_more_of_it(growing, tmp_path):
    write_program(tmp_path / "squeue", OUT_OF_MEMORY)
    write_program(tmp_path / "sleep", "#!/bin/bash\nexec /bin/sleep 0.05\n")
    noting = NOTING.format(folder=growing.folder) + 'echo "${SLURM_JOB_ID-of no job} $SLURM_CONF" >>"{0}/environment"; echo 99\n'
    write_program(tmp_path / "sbatch", noting.replace("{0}", str(growing.folder)))
    done = 'until [ "$(ls "$folder/logs" | grep -c seen)" = 2 ]; do /bin/sleep 0.05; done; exit 0'
    (growing.folder / "logs" / "cpu-17_3.log").write_text("slurmstepd-n1: error: StepId=2.batch exceeded memory limit (2 > 1)\n")
    (growing.folder / "logs" / "cpu-17_4.log").write_text("no worker lives here\n")

    code = run_script(growing, tmp_path, "head.sh", driver=done, scheduler=WAITING.replace("sleep", "/bin/sleep"))

    script = growing.folder / "pool-cpu.sh"
    assert code == 0
    assert read(growing.folder / "asked").splitlines() == [
        f"sbatch --parsable --array=1 --mem=1536M {script} 1536",
        f"sbatch --parsable --array=1 --mem=2048M {script} 2048",
        "scancel --quiet 17 18 99 99",
    ]
    assert read(growing.folder / "environment").startswith("of no job")
