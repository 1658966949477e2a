"""Trainings of a small network, killed between and in epochs; they continue from their checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from kills.children import Child, Report, Target
from surveyflow.settings.training import load_training
from training_sets import write_training

EPOCHS = 8


class Trainings(Target):
    """A training that is killed and continued until it ends, again and again.

    Parameters
    ----------
    folder
        An empty folder.
    seed
        Seed of the moments.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(seed)
        self._folder = folder
        write_training(folder)
        file = folder / "train.toml"
        file.write_text(file.read_text().replace("epochs = 3", f"epochs = {EPOCHS}"))
        self._duration_s = self._start().finish()
        self._expected = self._weights()
        self._begin_anew()

    def kill_once(self) -> None:
        """Start or continue the training and kill it at a random moment, often soon after an epoch."""
        if self.rng.random() < 0.5:
            ended = self._start().kill(self.tally, self.rng.uniform(0, 0.2), f"epoch {self.rng.integers(1, 4)}")
        else:
            ended = self._start().kill(self.tally, self.rng.uniform(0, self._duration_s))
        if ended:
            self._check()

    def finish(self) -> None:
        """Train to the end, and compare."""
        self._start().finish()
        self._check()

    def _start(self) -> Child:
        return Child(train, self._folder / "train.toml")

    def _check(self) -> None:
        self.tally.completed += 1
        found = self._weights()
        assert found.keys() == self._expected.keys()
        for role, values in found.items():
            np.testing.assert_array_equal(values, self._expected[role], err_msg=role)
        self._begin_anew()

    def _weights(self) -> dict[str, np.ndarray]:
        (file,) = (self._folder / "models").rglob("weights.safetensors")
        return load_file(file)

    def _begin_anew(self) -> None:
        for name in ("models", "run"):
            shutil.rmtree(self._folder / name)


def train(report: Report, file: Path) -> None:
    """Train, and report every epoch."""
    report("import")
    from surveyflow.training.fitting import fit

    report("prepare")
    done = 0

    def listen(entry: object) -> None:
        nonlocal done
        done += 1
        report(f"epoch {done}")

    fit.train(load_training(file), listener=listen)
