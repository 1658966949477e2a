"""How a submission gets into the queue, with stand-ins for Slurm's programs."""

from __future__ import annotations

import os
import stat
from dataclasses import replace

import pytest

from surveyflow.errors import ClusterError, LockHeld
from surveyflow.sites.slurm.jobs import Submission
from surveyflow.sites.slurm.submit import submit

SBATCH = """\
#!/bin/sh
echo "sbatch $*" >>{asked}
case "$*" in *{refused}*) echo "sbatch: error: invalid partition" >&2; exit 1 ;; esac
n=$(grep -c ^sbatch {asked})
echo "1$n;cluster"
"""


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """What Slurm was asked, line by line."""
    return Slurm(tmp_path, monkeypatch)


class Slurm:
    def __init__(self, folder, monkeypatch):
        self.folder, self.notes = folder, folder / "asked"
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        for name in ("scontrol", "scancel"):
            self.write(name, f'#!/bin/sh\necho "{name} $*" >>{self.notes}\n')
        self.refuse("nothing-at-all")
        self.queue("")

    def refuse(self, word):
        self.write("sbatch", SBATCH.format(asked=self.notes, refused=word))

    def queue(self, jobs):
        self.write("squeue", f"#!/bin/sh\nprintf '{jobs}'\n")

    def write(self, name, text):
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    def lines(self):
        return self.notes.read_text().splitlines() if self.notes.exists() else []


@pytest.fixture
def submission(tmp_path):
    folder = tmp_path / "shared/candels-v1-01234567"
    files = {"head.sh": "head\n", "pool-a.sh": "a\n", "pool-b.sh": "b\n", "driver.toml": "kind\n"}
    return Submission(folder, "head.sh", {"a": "pool-a.sh", "b": "pool-b.sh"}, files, folder / "certificates")


def test_the_head_is_held_until_all_pools_are_in_the_queue(asked, submission):
    jobs = submit(submission)

    folder = submission.folder
    assert (jobs.head, jobs.pools) == ("11", {"a": "12", "b": "13"})
    assert asked.lines() == [
        f"sbatch --parsable --hold {folder}/head.sh",
        f"sbatch --parsable --dependency=after:11 {folder}/pool-a.sh",
        f"sbatch --parsable --dependency=after:11 {folder}/pool-b.sh",
        "scontrol release 11",
    ]
    assert (folder / "head.id").read_text() == "11\n"
    assert (folder / "pools.id").read_text() == "12\n13\n"


def test_jobs_that_are_submitted_from_a_job_do_not_take_its_variables_for_theirs(asked, submission, monkeypatch, tmp_path):
    for name, value in {"CONF": "/etc/slurm.conf", "JOB_ID": "7", "RESTART_COUNT": "3", "MEM_PER_CPU": "100"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    asked.write("sbatch", f"#!/bin/sh\nenv | grep ^SLURM_ >{tmp_path}/given; echo 11\n")

    submit(submission)

    assert (tmp_path / "given").read_text() == "SLURM_CONF=/etc/slurm.conf\n"


def test_nobody_else_can_look_into_the_folder(asked, submission):
    submit(submission)

    assert stat.S_IMODE(submission.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((submission.folder / "certificates/key.pem").stat().st_mode) == 0o600


def test_what_is_rendered_is_what_is_submitted(asked, submission):
    submit(submission)

    assert {name: (submission.folder / name).read_text() for name in submission.files} == submission.files


def test_a_pool_that_slurm_refuses_takes_the_others_back(asked, submission):
    asked.refuse("pool-b.sh")

    with pytest.raises(ClusterError, match="invalid partition"):
        submit(submission)

    assert asked.lines()[-1] == "scancel --quiet 11 12"


def test_a_second_submission_takes_away_what_the_first_left(asked, submission):
    submit(submission)
    key = (submission.folder / "certificates/key.pem").read_text()
    (submission.folder / "finished").write_text("0\n")
    (submission.folder / "scheduler.json").write_text("{}")

    submit(submission)

    assert not (submission.folder / "finished").exists()
    assert not (submission.folder / "scheduler.json").exists()
    assert (submission.folder / "certificates/key.pem").read_text() != key


def test_a_submission_whose_jobs_are_in_the_queue_is_left_alone(asked, submission):
    submit(submission)
    before = asked.lines(), (submission.folder / "certificates/key.pem").read_text()
    asked.queue("9\\n13\\n13\\n")

    for release in (submission, replace(submission, folder=submission.folder.with_name("candels-v2-01234567"))):
        with pytest.raises(LockHeld, match=r"candels-v1-01234567 has jobs in the queue: 13\. .*scancel 13; then submit again"):
            submit(release)

    assert (asked.lines(), (submission.folder / "certificates/key.pem").read_text()) == before


def test_old_logs_and_old_folders_of_other_releases_are_removed(asked, submission):
    old = {
        "candels-v0-01234567": "result.json",
        "candels-v1-01234567": "logs/head-1.log",
        "candels-v3-01234567": "logs/head-2.log",
        "other-v0-89abcdef": "result.json",
    }
    shared = submission.folder.parent
    for folder, name in old.items():
        path = shared / folder / name
        path.parent.mkdir(parents=True)
        path.write_text("")
        for each in (path, path.parent, shared / folder):
            os.utime(each, (1e9, 1e9))
    (shared / "candels-v3-01234567" / "result.json").write_text("new")
    (submission.folder / "logs" / "head-9.log").write_text("new")

    submit(submission)

    assert sorted(path.name for path in shared.iterdir()) == ["candels-v1-01234567", "candels-v3-01234567", "other-v0-89abcdef"]
    assert [path.name for path in shared.glob("*/logs/*")] == ["head-9.log"]


def test_jobs_of_others_do_not_matter(asked, submission):
    submit(submission)
    asked.queue("111\\n1\\n")

    assert submit(submission).head == "14"
