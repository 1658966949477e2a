"""Surveys that are run as batch jobs on a Slurm of our own, with stubs in the place of the models."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import psutil

from stubs import check_stubbed
from surveyflow.releases.publish import read_catalog
from surveyflow.runs.preflight import open_survey
from surveyflow.runs.render_jobs import render_jobs
from surveyflow.runs.run import run_survey
from surveyflow.settings.workflow import load_workflow
from surveyflow.sites.serial.profile import SerialProfile
from surveyflow.sites.slurm import jobs
from surveyflow.sites.slurm.submit import submit
from waiting import wait_until

TESTS = Path(__file__).parent

PROFILE = """\
kind = "slurm"
interface = "lo"
worker_wait_s = 600
routing = "{routing}"

[directories]
shared = "{shared}"

[environment]
prologue = [
    "export PYTHONPATH={site}:{tests}:{root}:$PYTHONPATH",
    "export SURVEYFLOW_TEST_PACE={pace} SURVEYFLOW_TEST_HOLD={hold}",
]
python = "{python}"

[head]
memory = "1 GiB"
walltime = "00:20:00"

[pools.cpu]
jobs = 1
memory = "1 GiB"
walltime = "00:10:00"
lifetime = "{lifetime}"

[pools.gpu]
jobs = 2
gres = "gpu:hst:1"
memory = "1 GiB"
walltime = "00:10:00"
lifetime = "{lifetime}"
"""


def table(survey) -> pd.DataFrame:
    """The published catalog, which no network may have computed."""
    check_stubbed(survey.folder / "catalog")
    return read_catalog(survey.folder / "catalog").sort_values(["field", "source_id"]).reset_index(drop=True)


def undisturbed(survey) -> pd.DataFrame:
    """The catalog that a serial run of a survey publishes."""
    with open_survey(load_workflow(survey.workflow)) as opened:
        run_survey(opened, SerialProfile(), factory="stubs:StubWorker")
    return table(survey)


class Batch:
    """One survey that is run as batch jobs."""

    def __init__(self, slurm, survey, folder, *, pace_s=0.0, lifetime="00:08:00", routing="any"):
        self.slurm, self.survey = slurm, survey
        self.hold = folder / "hold"
        profile = folder / "slurm.toml"
        profile.write_text(
            PROFILE.format(
                shared=folder / "shared",
                site=TESTS / "slurm_site",
                tests=TESTS,
                root=TESTS.parent,
                pace=pace_s,
                hold=self.hold,
                python=sys.executable,
                lifetime=lifetime,
                routing=routing,
            )
        )
        with patch.object(jobs, "_LONGEST_PAUSE_S", 2):  # this Slurm may be asked often, and the test waits for the answers
            self.submission = render_jobs(survey.workflow, profile, "slurm")

    def submit(self):
        """Submit as from a fresh shell: jobs inherit what the local clusters of other tests set in this process."""
        theirs = [name for name in os.environ if name.startswith(("DASK_", "__DASK", "SURVEYFLOW_"))]
        with patch.dict(os.environ):
            for name in theirs:
                del os.environ[name]
            self.jobs = submit(self.submission)

    @property
    def folder(self):
        return self.submission.folder

    def finished(self):
        """The keys of the units that have receipts."""
        return {path.stem for path in (self.survey.folder / "catalog/units").glob("*/*.json")}

    def process(self, *words):
        """The one process of this submission whose command line holds these words."""
        found = [process for process in psutil.process_iter() if self.is_ours(process, words)]
        assert len(found) == 1, found
        return found[0]

    def is_ours(self, process, words=()):
        """Whether the command line of a process names this submission's folder and holds these words."""
        try:
            line = process.cmdline()
        except psutil.Error:
            return False
        return all(word in line for word in words) and any(str(self.folder) in part for part in line)

    def listening_addresses(self):
        """Where the scheduler, the workers, their nannies and dashboards listen."""
        ours = [process for process in psutil.process_iter() if self.is_ours(process, ["dask"])]
        family = {each for process in ours for each in [process, *process.children(recursive=True)]}
        connections = [at for process in family for at in process.net_connections("inet")]
        return {at.laddr.ip for at in connections if at.status == psutil.CONN_LISTEN}

    def wait_for(self, condition, what):
        try:
            wait_until(condition, what, patience_s=600)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.slurm.jobs()}\n{self.logs()}") from None

    def wait_for_units(self, number):
        self.wait_for(lambda: len(self.finished()) >= number, f"{number} units are done")

    def log_of(self, pool):
        """The log of a pool that is one job."""
        (log,) = (self.folder / "logs").glob(f"{pool}-*.log")
        return log.read_text()

    def wait_for_end(self):
        self.wait_for((self.folder / "finished").exists, "the driver has ended")
        self.wait_for(lambda: not self.slurm.jobs(), "the queue is empty")
        assert (self.folder / "finished").read_text() == "0\n", self.logs()

    def logs(self):
        return "\n".join(f"==> {path.name}\n{path.read_text()[-3000:]}" for path in sorted((self.folder / "logs").iterdir()))

    def run_log(self):
        return "".join(path.read_text() for path in (self.survey.folder / "catalog/runs").glob("*/log.jsonl"))

    def result(self):
        return json.loads((self.folder / "result.json").read_text())
