"""Maps from a merger model's mean output to a probability, compared on stamps that none of them was fitted to.

    python benchmarks/calibration.py MODEL --fit RECORDS --test RECORDS [--clean RECORDS] [--n N ...] [--draws N]

MODEL is a model's folder; the records hold unseen stamps of its instrument, ``--clean`` without neighbours. Each map is fitted
to the first N stamps of ``--fit``. One line of a table for each N and map holds, for each set and share of post-mergers, the
expected calibration error and the mean negative logarithm of the probability of the true class.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression

from surveyflow.models.engines.choice import load_model
from surveyflow.stats.calibration import weighted_error
from surveyflow.tasks.calibration import at_prevalence, calibrated, fitted_calibration
from surveyflow.training.evaluation.calibrate import pooled_mean
from surveyflow.training.records.reading import read_stamps
from surveyflow.values.arrays import BoolArray, Float64Array
from surveyflow.values.jobs import SamplingSettings

SHARES = (0.5, 0.3, 0.1, 0.05)
NEAREST = 1e-6
Map = Callable[[Float64Array], Float64Array]


def raw(*_: Float64Array | BoolArray) -> Map:
    """No map."""
    return lambda p: p


def temperature(output: Float64Array, truth: BoolArray) -> Map:
    """One factor on the logarithm of the odds."""
    odds = logit(np.clip(output, NEAREST, 1 - NEAREST))
    loss = minimize_scalar(lambda k: np.logaddexp(0, np.where(truth, -k, k) * odds).mean(), bounds=(0.05, 20), method="bounded")
    return lambda p: expit(loss.x * logit(np.clip(p, NEAREST, 1 - NEAREST)))


def beta(output: Float64Array, truth: BoolArray) -> Map:
    """The map of a card."""
    found = fitted_calibration(output, truth)
    return lambda p: calibrated(p, *found)


def isotonic(output: Float64Array, truth: BoolArray) -> Map:
    """The best rising steps."""
    found = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(output, truth)
    return lambda p: np.asarray(found.predict(p), np.float64)


MAPS = (raw, temperature, beta, isotonic)


def scores(probability: Float64Array, fitted_at: float, truth: BoolArray, share: float) -> str:
    """Calibration error and loss at a share of post-mergers, of probabilities that hold at another one."""
    stated = at_prevalence(probability, share, fitted_at)
    weights = np.where(truth, share / truth.mean(), (1 - share) / (1 - truth.mean()))
    likely = np.clip(np.where(truth, stated, 1 - stated), NEAREST, 1)
    return f"{weighted_error(stated, truth, weights):.3f}, {np.average(-np.log(likely), weights=weights):.3f}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    for name in ("fit", "test"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--clean", type=Path)
    parser.add_argument("--n", type=int, nargs="+", default=[4000, 1000])
    parser.add_argument("--draws", type=int, default=100)
    asked = parser.parse_args(arguments)
    model, sampling = load_model(asked.model), SamplingSettings(asked.draws, 1)
    named = {name: getattr(asked, name) for name in ("fit", "test", "clean") if getattr(asked, name)}
    stamps = {name: read_stamps(folder, "sky_sigma") for name, folder in named.items()}
    said = {name: pooled_mean([model], [one], sampling).astype(np.float64) for name, one in stamps.items()}
    judged = [name for name in said if name != "fit"]
    print("| fitted to | map |", " | ".join(f"{name}, {share:.0%}" for name in judged for share in SHARES), "|")
    print("|---|---|" + "---|" * (len(judged) * len(SHARES)))
    for n in asked.n:
        for fit in MAPS:
            found = fit(said["fit"][:n], stamps["fit"].is_post_merger[:n])
            at = 0.5 if fit is raw else float(stamps["fit"].is_post_merger[:n].mean())
            cells = [scores(found(said[name]), at, stamps[name].is_post_merger, share) for name in judged for share in SHARES]
            print(f"| {n} | {fit.__name__} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
