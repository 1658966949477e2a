"""What is submitted to Slurm, letter by letter."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fakes import FakeSettings
from surveyflow.errors import ClusterError, ProfileError
from surveyflow.sites.address.profile import AddressProfile
from surveyflow.sites.kind import RunCommand
from surveyflow.sites.opening import open_executor
from surveyflow.sites.profiles import load_profile
from surveyflow.sites.slurm.jobs import render
from surveyflow.sites.slurm.pools import route_pools
from surveyflow.sites.slurm.profile import SlurmProfile
from surveyflow.sites.slurm.settings import WRITTEN

GOLDEN = Path(__file__).parent / "golden"
WORK = {"EGS/F814W": 6000, "UDS/F125W_F160W": 2000}
COMMAND = RunCommand(Path("/survey/workflow.toml"), "candels-v1.0")

SITE = """\
kind = "slurm"
interface = "ib0"
worker_wait_s = 7200
routing = "auto"

[directories]
shared = "/project/surveyflow"
node_local = "$TMPDIR"

[environment]
prologue = ["module load cuda/12.4", "source /project/venv/bin/activate"]
python = "/project/venv/bin/python"

[head]
partition = "long"
account = "astro"
cores = 2
memory = "8 GiB"
walltime = "2-00:00:00"

[pools.gpu]
partition = "gpu"
account = "astro"
qos = "preemptible"
gres = "gpu:a100:1"
jobs = 4
cores = 8
memory = "64 GiB"
walltime = "04:00:00"
lifetime = "03:30:00"
stagger = "00:20:00"
options = ["--constraint=a100-80", "--exclude=node[7-9]"]
"""


@pytest.fixture
def load(tmp_path):
    def load(text=SITE):
        path = tmp_path / "site.toml"
        path.write_text(text, encoding="utf-8")
        return load_profile(path)

    return load


def routed(profile):
    return route_pools(profile, WORK)[0]


@pytest.mark.parametrize("name", ["head.sh", "pool-gpu-EGS-F814W.sh", "pool-gpu-UDS-F125W_F160W.sh", "driver.toml"])
def test_what_is_submitted_is_known_letter_by_letter(load, name):
    """To accept a change: write the new text to tests/sites/slurm/golden, and read the difference."""
    submission = render(routed(load()), COMMAND)

    assert submission.folder == Path("/project/surveyflow/candels-v1.0-51ab6a80")
    assert submission.files[name] == (GOLDEN / name).read_text()


def test_rendering_shows_every_file_and_where_it_goes(load):
    submission = render(load(), COMMAND)

    for name, text in submission.files.items():
        assert f"# ==> {submission.folder / name}\n{text}" in str(submission)


def test_each_pool_is_one_array_of_jobs(load):
    pools = SITE[SITE.index("[pools.gpu]") :].replace("[pools.gpu]", "[pools.small]").replace("jobs = 4", "jobs = 9")

    submission = render(load(f"{SITE}\n{pools}"), COMMAND)

    assert submission.pools == {"gpu": "pool-gpu.sh", "small": "pool-small.sh"}
    assert "#SBATCH --array=1-9\n" in submission.files["pool-small.sh"]


def test_every_script_is_a_shell_script(load):
    for name, script in render(load(), COMMAND).files.items():
        if name.endswith(".sh"):
            subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_jobs_are_signalled_as_long_before_their_walltime_as_the_profile_says(load):
    later = SITE.replace('walltime = "2-00:00:00"', 'walltime = "2-00:00:00"\nsignal_before = "00:10:00"')

    submission = render(load(later.replace("jobs = 4", 'jobs = 4\nsignal_before = "00:02:30"')), COMMAND)

    assert "#SBATCH --signal=B:USR1@600\n" in submission.files["head.sh"]
    assert "#SBATCH --signal=B:USR1@150\n" in submission.files["pool-gpu.sh"]
    with pytest.raises(ProfileError, match="must be 172020 or less, 780 s under the head's walltime"):
        load(later.replace("worker_wait_s = 7200", "worker_wait_s = 172500"))


def test_workers_give_way_to_their_head_which_is_released_after_them(load):
    """With a queue by age, a head that lost its node would otherwise wait behind workers that wait for it."""
    submission = render(load(SITE.replace('options = ["', 'options = ["--nice=100", "')), COMMAND)

    assert "--nice" not in submission.files["head.sh"]
    assert re.findall("--nice=([0-9]+)", submission.files["pool-gpu.sh"]) == ["2", "100"]  # sbatch takes the last


def test_jobs_without_encryption_are_refused(load):
    with pytest.raises(ProfileError, match=r"tls: found false: without encryption, .* Remove the key"):
        load(SITE.replace('"ib0"', '"ib0"\ntls = false'))


def test_the_driver_runs_with_a_profile_that_loads(load, tmp_path):
    path = tmp_path / "driver.toml"
    path.write_text(render(load(), COMMAND).files["driver.toml"])

    driver = load_profile(path)

    assert isinstance(driver, AddressProfile)
    assert driver.scheduler_file == Path("/project/surveyflow/candels-v1.0-51ab6a80/scheduler.json")
    assert driver.certificates == driver.scheduler_file.with_name("certificates")
    assert driver.worker_wait_s == 7200


def test_names_and_paths_cannot_break_out_of_a_script(load):
    nasty = RunCommand(Path("/survey/$(touch gone); 'x' \n.toml"), "; rm -rf ~\n#SBATCH --x", ("--precision", "`id`"))
    script = render(load(), nasty).files["head.sh"]
    arguments = script.rpartition(" -m surveyflow ")[2].partition(' >"$folder/')[0]

    spoken = subprocess.run(["bash", "-c", f"printf '%s\\0' {arguments}"], capture_output=True, text=True, check=True)

    assert spoken.stdout.split("\0")[1] == str(nasty.workflow)
    assert spoken.stdout.split("\0")[-3:-1] == ["--precision", "`id`"]
    assert "\n#SBATCH --x" not in script


def test_workflows_of_one_name_have_folders_of_their_own(load):
    other = replace(COMMAND, workflow=Path("/other/workflow.toml"))

    assert render(load(), COMMAND).folder != render(load(), other).folder


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('lifetime = "03:30:00"', 'lifetime = "03:45:00"', "make 14760 s, more than the walltime's 14400 s"),
        ('stagger = "00:20:00"', 'stagger = "03:29:59"', "more than the walltime"),
        ('lifetime = "03:30:00"', 'lifetime = "00:20:00"', "stagger must be shorter than lifetime"),
        ("worker_wait_s = 7200", "worker_wait_s = 172800", "must be 172500 or less, 300 s under the head's walltime"),
        ('lifetime = "03:30:00"', "", "[pools.gpu] lifetime: is missing. Add `lifetime = "),
        (
            'walltime = "04:00:00"',
            'walltime = "4h"',
            "[pools.gpu] walltime: found the text '4h', expected a time as Slurm writes it.",
        ),
        ('walltime = "2-00:00:00"', 'walltime = "00:05:00"', "[head]: walltime must be 0:10:00 or more"),
        ('"gpu:a100:1"', '"gpu:a100:4"\nworkers = 2', "each job has 4 GPUs, one a worker, but workers = 2: remove workers"),
        ('"gpu:a100:1"', '"gpu:a100"\nworkers = 2', "each job has 1 GPUs, one a worker, but workers = 2: remove workers"),
        ('"gpu:a100:1"', '"gpu:a100:1"\ngpus_per_node = 4', "gres and gpus_per_node both ask for GPUs"),
        ('gres = "gpu:a100:1"', 'gpus_per_node = "a100:16"', "a job has 16 workers, but cores = 8: ask for one core a worker"),
        ('gres = "gpu:a100:1"', "gpus_per_node = 0", "[pools.gpu] gpus_per_node: found 0, expected a number of GPUs"),
        ('gres = "gpu:a100:1"', "gpus_per_node = true", "[pools.gpu] gpus_per_node: found true"),
        ('memory = "64 GiB"', "", "say in one way how much memory a job has"),
        ('memory = "64 GiB"', 'memory = "64 GiB"\nmemory_per_core = "1 GiB"', "say in one way how much memory"),
        ('memory = "64 GiB"', 'memory = "64 GiB"\nwhole_node = true', "say in one way how much memory"),
        (
            'gres = "gpu:a100:1"\njobs = 4\ncores = 8\nmemory = ',
            "jobs = 4\ncores = 8\nmemory_per_gpu = ",
            "memory_per_gpu needs gres or gpus_per_node",
        ),
        (
            '"--constraint=a100-80"',
            '"--mem=4G"',
            "found '--mem=4G', but surveyflow itself decides --mem. Remove it, and set `memory`",
        ),
        ('"--constraint=a100-80"', '"--parti=x"', "surveyflow itself decides --partition. Remove it, and set `partition`"),
        ('"--constraint=a100-80"', '"--no-requeue"', "surveyflow itself decides --no-requeue. Remove it."),
        ('"--constraint=a100-80"', '"--signal=TERM@9"', "surveyflow itself decides --signal. Remove it, and set `signal_before`"),
        (
            "jobs = 4",
            'jobs = 4\nsignal_before = "00:00:20"',
            "signal_before: found 0:00:20, expected a time from 0:00:30 to 18:12:15",
        ),
        (
            "jobs = 4",
            'jobs = 4\nsignal_before = "00:11:00"',
            "lifetime + stagger + the 660 s of signal_before make 14460 s, more than",
        ),
        (
            'walltime = "2-00:00:00"',
            'walltime = "01:00:00"\nsignal_before = "00:53:00"',
            "[head]: walltime must be 1:01:00 or more: the head is signalled 0:53:00 before its end",
        ),
        ('"--constraint=a100-80"', '"--comment=a\\nb"', "[pools.gpu] options: found the text '--comment=a\\nb'"),
        ('partition = "gpu"', 'partitoin = "gpu"', "[pools.gpu] partitoin: is not a key"),
        ('partition = "gpu"', 'partitoin = "gpu"', "Did you mean `partition`?"),
        (
            'partition = "gpu"',
            'partition = "gpu\\n#SBATCH --uid=0"',
            "[pools.gpu] partition: found the text 'gpu\\n#SBATCH",
        ),
        (
            '"module load cuda/12.4"',
            '"module load\\nrm x"',
            "[environment] prologue: found the text 'module load\\nrm x', expected text",
        ),
        ('"/project/surveyflow"', '"/project/my surveys"', "no spaces"),
        ('"$TMPDIR"', '"$(id)"', "[directories] node_local: found the text '$(id)', expected text that matches"),
        ('interface = "ib0"', "", "interface: is missing."),
        ("[pools.gpu]", "[pools.'a b']", "[pools.a b]"),
        (
            "jobs = 4",
            'jobs = 4\nmodels = ["EGS"]',
            "[pools.gpu] models: found the text 'EGS', expected a field",
        ),
        ("jobs = 4", 'jobs = 4\nmodel = ["EGS/F814W"]', "Did you mean `models`?"),
        (
            'routing = "auto"',
            'routing = "pined"',
            "routing: found the text 'pined', expected one of auto, pinned, any. Did you mean `pinned`?",
        ),
        (SITE[SITE.index("[pools.gpu]") :], "[pools]", "[pools]: found a table, expected 1 or more entries."),
    ],
)
def test_a_profile_that_cannot_work_is_refused(load, before, after, said):
    assert before in SITE

    with pytest.raises(ProfileError) as caught:
        load(SITE.replace(before, after))

    assert said in str(caught.value)


WHOLE_NODES = SITE.replace('gres = "gpu:a100:1"', "gpus_per_node = 4").replace('memory = "64 GiB"', "whole_node = true")


def directives(script):
    return re.findall(r"^#SBATCH (--.*)$", script, flags=re.MULTILINE)


def test_a_job_on_a_whole_node_has_a_worker_for_each_gpu(load):
    pool = render(load(WHOLE_NODES.replace("jobs = 4", "jobs = 8\nat_once = 3")), COMMAND).files["pool-gpu.sh"]

    assert {"--gpus-per-node=4", "--mem=0", "--exclusive", "--array=1-8%3"} <= set(directives(pool))
    assert "export OMP_NUM_THREADS=2\n" in pool
    assert "for number in 0 1 2 3; do CUDA_VISIBLE_DEVICES=" in pool


def test_workers_of_whole_nodes_and_not_jobs_are_counted_for_routing(load):
    profile = load(WHOLE_NODES.replace('routing = "auto"', 'routing = "pinned"').replace("jobs = 4", "jobs = 8\nat_once = 4"))
    parts = routed(profile).pools

    assert {name: (pool.jobs, pool.at_once, pool.n_workers) for name, pool in parts.items()} == {
        "gpu-EGS-F814W": (6, 3, 4),
        "gpu-UDS-F125W_F160W": (2, 1, 4),
    }


@pytest.mark.parametrize(
    ("stated", "option"),
    [('memory_per_core = "4 GiB"', "--mem-per-cpu=4096M"), ('memory_per_gpu = "64 GiB"', "--mem-per-gpu=65536M")],
)
def test_memory_is_asked_for_as_the_site_counts_it(load, stated, option):
    pool = render(load(SITE.replace('memory = "64 GiB"', stated)), COMMAND).files["pool-gpu.sh"]

    assert [line for line in directives(pool) if line.startswith("--mem")] == [option]


def test_jobs_get_the_environment_of_a_login_and_what_the_profile_names(load):
    stated = '[environment]\nvariables = { KERAS_BACKEND = "jax", NOTE = "a $b" }'
    for script in render(load(SITE.replace("[environment]", stated)), COMMAND).files.values():
        if script.startswith("#!"):
            assert script.startswith("#!/bin/bash -l\n#SBATCH --export=NONE\n")
            assert "export KERAS_BACKEND=jax\nexport NOTE='a $b'\n" in script


def test_jobs_may_inherit_the_environment_of_the_shell_that_submits(load):
    script = render(load(SITE.replace("[environment]", "[environment]\ninherit = true")), COMMAND).files["head.sh"]

    assert script.startswith("#!/bin/bash\n#SBATCH --job-name")


def test_a_pool_has_an_environment_of_its_own(load):
    own = '[pools.gpu.environment]\nprologue = ["module load rocm"]\npython = "python3.12"\n'
    files = render(load(SITE + own), COMMAND).files

    assert "module load rocm\n" in files["pool-gpu.sh"]
    assert "    python3.12 -m dask worker " in files["pool-gpu.sh"]
    assert "/project/venv" not in files["pool-gpu.sh"]
    assert "/project/venv/bin/python -m dask scheduler" in files["head.sh"]


def test_the_interpreter_is_the_one_that_submits_unless_the_profile_names_another(load):
    script = render(load(SITE.replace('python = "/project/venv/bin/python"', "")), COMMAND).files["head.sh"]

    assert f"{shlex.quote(sys.executable)} -m dask scheduler" in script


def test_options_with_blanks_and_quotes_stay_whole(load):
    options = '["--comment=for \\"EGS\\" #1", "--constraint=a100-80"'
    lines = directives(render(load(SITE.replace('["--constraint=a100-80"', options)), COMMAND).files["pool-gpu.sh"])

    assert r'--comment="for \"EGS\" #1"' in lines
    assert "--constraint=a100-80" in lines


def test_what_surveyflow_writes_is_refused_among_the_options(load):
    files = render(load(WHOLE_NODES), COMMAND).files
    written = {
        line.removeprefix("--").partition("=")[0] for name in ("head.sh", "pool-gpu.sh") for line in directives(files[name])
    }

    assert written - {"constraint", "exclude", "exclusive", "nice"} <= WRITTEN


def test_longest_lifetime_just_fits(load):
    profile = load(SITE.replace('lifetime = "03:30:00"', 'lifetime = "03:39:00"'))

    assert isinstance(profile, SlurmProfile)


def test_a_slurm_profile_is_not_for_running_here(load):
    with pytest.raises(ClusterError, match="surveyflow slurm submit"):
        open_executor(load(), "fakes:make_fake_worker", FakeSettings()).__enter__()
