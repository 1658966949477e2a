"""Runs as batch jobs on a Slurm of two nodes, of which a worker, a node or a pool's job is killed; every run must finish."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import psutil

from kills.children import Target
from slurm_batch import Batch, table, undisturbed
from slurm_machine import running_slurm
from stubs import TINY
from waiting import wait_until
from worlds import MiniSurvey, copied, write_untrained_models

PACE_S = 0.5
"""How long a unit takes at least, so that it can be disturbed."""


class SlurmNodes(Target):
    """Submissions that lose a worker, a node or a job each, and must finish by themselves.

    Parameters
    ----------
    folder
        An empty folder.
    seed
        Seed of the moments and the victims.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(seed)
        self._strikes = {"worker": self._kill_worker, "node": self._kill_node, "job": self._cancel_job}
        self._folder = folder
        self._survey = MiniSurvey(folder / "survey")
        write_untrained_models(folder / "survey/models", self._survey.spec.fields, TINY)
        local = copied(self._survey, folder / "local")
        self._expected = undisturbed(local)
        self._n_units = len(list((local.folder / "catalog/units").glob("*/*.json")))
        with ExitStack() as stack:
            self._slurm = stack.enter_context(running_slurm(folder / "slurm"))
            stack.enter_context(patch.dict(os.environ, self._slurm.environment))
            self._stack = stack.pop_all()

    def kill_once(self) -> None:
        """Submit, kill something after a random number of units, and compare what is published."""
        folder = self._folder / "batch"
        batch = Batch(self._slurm, copied(self._survey, folder / "survey"), folder, pace_s=PACE_S)
        batch.submit()
        victim, n_units = str(self.rng.choice(list(self._strikes))), self.rng.integers(self._n_units)
        batch.wait_for(lambda: self._workers(batch), "a worker lives")
        batch.wait_for_units(n_units)
        if not (batch.folder / "finished").exists() and self._strikes[victim](batch):
            self.tally.landed[victim] += 1
        else:
            self.tally.too_late += 1
        batch.wait_for_end()
        pd.testing.assert_frame_equal(table(batch.survey), self._expected)
        self.tally.completed += 1
        shutil.rmtree(folder)

    def close(self) -> None:
        """End Slurm and every job."""
        self._stack.close()

    def _kill_worker(self, batch: Batch) -> bool:
        """Kill a worker's process, or the nanny that looks after it."""
        workers = self._workers(batch)
        if not workers:
            return False
        worker = self.rng.choice(workers)
        try:
            self.rng.choice([worker, *worker.children()]).kill()
        except psutil.NoSuchProcess:
            return False
        return True

    def _kill_node(self, batch: Batch) -> bool:
        """Cut a node's power, and switch it on again when Slurm has noticed."""
        nodes = sorted(set(self._slurm.ask("squeue", "--noheader", "--states=RUNNING", "--format=%N").split()))
        if not nodes:
            return False
        node = str(self.rng.choice(nodes))
        self._slurm.fail_node(node)
        wait_until(lambda: self._slurm.states()[node].startswith("down"), f"Slurm has noticed that {node} is down")
        self._slurm.start_node(node)
        return True

    def _cancel_job(self, batch: Batch) -> bool:
        """Cancel one of the two jobs of a pool."""
        mine = f"{batch.jobs.pools['gpu']}_"
        running = [number for number, _, state in self._slurm.jobs() if number.startswith(mine) and state == "RUNNING"]
        if not running:
            return False
        self._slurm.ask("scancel", str(self.rng.choice(running)))
        return True

    def _workers(self, batch: Batch) -> list[psutil.Process]:
        found = [process for process in psutil.process_iter() if batch.is_ours(process, ["dask", "worker"])]
        return sorted(found, key=lambda process: process.pid)
