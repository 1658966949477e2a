"""What a jury's numbers are worth: beside its members, where few galaxies are post-mergers, and on stamps unlike its training.

    python benchmarks/juries.py JURY --test RECORDS [--shares RECORDS ...] [--large RECORDS ...] [--clean RECORDS]
        [--other RECORDS] [--stamps N]

JURY is the folder of a jury of any number of members, RECORDS a folder of stamps of its instrument that it has not seen.
``--shares`` names sets that were simulated with a ``post_merger_share``, ``--large`` sets that are large enough for bins of
magnitude. Four tables are printed:

1. accuracy and calibration of the jury and of each member, on ``--test``;
2. probabilities at the share of post-mergers with which each set of ``--shares`` was simulated;
3. the calibration error of ``p_pm_calibrated`` on each set of ``--large``, by magnitude;
4. how well four columns tell changed stamps from unchanged ones (changed discs from discs), on the first N stamps of ``--test``
   and the changes that ``benchmarks/domain.py`` makes of them. ``--clean`` and ``--other`` are sets without neighbours and of
   another instrument.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from domain import Case, cases

from surveyflow.models.engines.choice import Jury, load_model
from surveyflow.models.framing import feature_distances
from surveyflow.sky.stretch import prepare
from surveyflow.stats.calibration import calibration_error, perfect_error
from surveyflow.stats.posterior import summarise
from surveyflow.tasks.calibration import at_prevalence, calibration_of
from surveyflow.tasks.card import Model
from surveyflow.training.evaluation.juries import area_between
from surveyflow.training.evaluation.merger_scores import magnitude_bins
from surveyflow.training.evaluation.predict_mergers import predict_mergers
from surveyflow.training.records.labelled import LabelledStamps
from surveyflow.training.records.reading import read_stamps
from surveyflow.training.records.record_index import read_index
from surveyflow.values.arrays import BoolArray, Float32Array, Float64Array
from surveyflow.values.codes import POST_MERGER, STAR_FORMING
from surveyflow.values.jobs import SamplingSettings

TRUTH = "sky_sigma"
MEASURES = ("mutual_information", "p_pm_std", "p_pm_member_std", "feature_distance")
Table = Iterator[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of a network or a jury about the same stamps.

    Parameters
    ----------
    right
        (n,) bool: whether the class is correct.
    output, probability
        (n,) float64: ``p_pm_mean``, and ``p_pm_calibrated`` by the map for exactly this network or jury.
    """

    right: BoolArray
    output: Float64Array
    probability: Float64Array

    def losses(self, truth: BoolArray) -> Float64Array:
        """(n,) float64: minus the logarithm of the probability of the true class."""
        return -np.log(np.where(truth, self.probability, 1 - self.probability))


def answers(model: Model, stamps: LabelledStamps, sampling: SamplingSettings) -> Answers:
    """Ask a network or a jury."""
    said, found = predict_mergers(model, stamps, sampling), calibration_of(model.card.each)
    if found is None:
        raise SystemExit(f"{model.card.model_id} has no calibration: run surveyflow models calibrate first.")
    output = said.p_pm_mean.astype(np.float64)
    return Answers(said.called_post_merger == stamps.is_post_merger, output, found.probability(output))


def members_table(jury: Jury, stamps: LabelledStamps, sampling: SamplingSettings) -> Table:
    """The jury beside its members, each with the same number of draws, and the gain over the mean member."""
    yield "", "accuracy, %", "calibration error of p_pm_mean", "of p_pm_calibrated (by chance)", "mean loss, nats"
    truth, rng = stamps.is_post_merger, np.random.default_rng(sampling.seed)
    each = {name: answers(model, stamps, sampling) for name, model in jury.members.items()}
    whole = answers(jury, stamps, sampling)
    for name, one in {**each, "jury": whole}.items():
        yield (
            name,
            f"{100 * one.right.mean():.1f} +- {100 * error(one.right):.1f}",
            f"{calibration_error(one.output, truth):.3f}",
            f"{calibration_error(one.probability, truth):.3f} ({perfect_error(one.probability, rng):.3f})",
            f"{one.losses(truth).mean():.4f} +- {error(one.losses(truth)):.4f}",
        )
    right = whole.right - np.mean([one.right for one in each.values()], axis=0)
    loss = np.mean([one.losses(truth) for one in each.values()], axis=0) - whole.losses(truth)
    raw, mapped = (
        np.mean([calibration_error(getattr(one, name), truth) for one in each.values()])
        - calibration_error(getattr(whole, name), truth)
        for name in ("output", "probability")
    )
    gain, less = f"{100 * right.mean():.1f} +- {100 * error(right):.1f}", f"{loss.mean():.4f} +- {error(loss):.4f}"
    yield "gain over the mean member", gain, f"{raw:+.3f}", f"{mapped:+.3f}", less


def shares_table(jury: Jury, folders: list[Path], sampling: SamplingSettings) -> Table:
    """The probabilities at the share of post-mergers of each set."""
    yield (
        "simulated share",
        "stamps",
        "post-mergers, %",
        "mean p_pm_at_prevalence minus share",
        "calibration error (by chance)",
        "mean p_pm_mean minus share",
        "its calibration error",
    )
    found, rng = calibration_of(jury.card.each), np.random.default_rng(sampling.seed)
    if found is None:
        raise SystemExit("The jury has no calibration: run surveyflow models calibrate first.")
    for folder in folders:
        share, stamps = read_index(folder).settings["post_merger_share"], read_stamps(folder, TRUTH)
        one, truth = answers(jury, stamps, sampling), stamps.is_post_merger
        stated = at_prevalence(one.probability, share, found.share)
        yield (
            f"{share:g}",
            str(len(truth)),
            f"{100 * truth.mean():.1f}",
            f"{(stated - truth).mean():+.4f} +- {error(stated - truth):.4f}",
            f"{calibration_error(stated, truth):.3f} ({perfect_error(stated, rng):.3f})",
            f"{(one.output - truth).mean():+.3f}",
            f"{calibration_error(one.output, truth):.3f}",
        )


def large_table(jury: Jury, folders: list[Path], sampling: SamplingSettings) -> Table:
    """The calibration error of each set, whole and by magnitude, beside that of chance alone."""
    yield "set", "magnitude", "stamps", "calibration error (by chance)", "mean p_pm_calibrated minus share"
    rng = np.random.default_rng(sampling.seed)
    for folder in folders:
        stamps = read_stamps(folder, TRUTH)
        stated, truth = answers(jury, stamps, sampling).probability, stamps.is_post_merger
        for magnitude, rows in (("all", np.ones(len(truth), bool)), *magnitude_bins(stamps.magnitude_ab)):
            excess = stated[rows] - truth[rows]
            yield (
                folder.name,
                magnitude,
                str(rows.sum()),
                f"{calibration_error(stated[rows], truth[rows]):.4f} ({perfect_error(stated[rows], rng):.4f})",
                f"{excess.mean():+.4f} +- {error(excess):.4f}",
            )


def changes_table(jury: Jury, found: Iterator[Case], n_draws: int) -> Table:
    """Areas under the ROC curves that tell changed stamps from unchanged ones, and their mean over the changes."""
    yield "stamps", "n", *MEASURES
    unchanged = {case.name: measured(jury, case.pixels, n_draws) for case in islice(found, 3)}
    every, discs, _ = unchanged.values()
    areas = []
    for case in found:
        before, after = discs if case.name.startswith("discs") else every, measured(jury, case.pixels, n_draws)
        each = [area_between(before[name], after[name]) for name in MEASURES]
        areas.append([one.area for one in each])
        yield case.name, str(len(case.pixels)), *(f"{one.area:.3f} +- {one.error:.3f}" for one in each)
    yield f"mean of the {len(areas)} changes", "", *(f"{area:.3f}" for area in np.mean(areas, axis=0))


def measured(jury: Jury, pixels: Float32Array, n_draws: int) -> dict[str, Float32Array]:
    """The columns that might tell that stamps are unlike those of the training."""
    valid, card = np.isfinite(pixels) & (pixels != 0), jury.card
    prepared = prepare(pixels, valid, card.stretch, card.softening)
    features = jury.features(prepared)
    outputs = [card.class_names.index(name) for name in (POST_MERGER, STAR_FORMING)]
    drawn = jury.draw(features, np.arange(len(pixels), dtype=np.uint64), n_draws, 1)[..., outputs]
    summary, distances = summarise(drawn, card.n_members), feature_distances(jury, prepared, features)
    if distances is None:
        raise SystemExit("The jury's members have no feature domain.")
    spreads = {name: getattr(summary, name) for name in MEASURES[:-1]}
    return {**spreads, "feature_distance": distances}


def error(values: Float64Array | BoolArray) -> float:
    """Standard error of the mean."""
    return float(values.std() / np.sqrt(len(values)))


def show(title: str, rows: Table) -> None:
    """Print a table line by line, as it is made."""
    header = next(rows)
    print(f"\n{title}\n\n| {' | '.join(header)} |\n|{'---|' * len(header)}", flush=True)
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def main(words: list[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jury", type=Path)
    parser.add_argument("--test", type=Path, required=True)
    for name in ("--shares", "--large"):
        parser.add_argument(name, type=Path, nargs="*", default=[])
    for name in ("--clean", "--other", "--real"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--stamps", type=int, default=500)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--seed", type=int, default=5)
    asked = parser.parse_args(words)
    jury, sampling = load_model(asked.jury), SamplingSettings(asked.draws, asked.seed)
    if not isinstance(jury, Jury):
        raise SystemExit(f"{asked.jury} holds one network, not a jury.")
    show(f"Members, on {asked.test.name}", members_table(jury, read_stamps(asked.test, TRUTH), sampling))
    if asked.shares:
        show("Sets with few post-mergers", shares_table(jury, asked.shares, sampling))
    if asked.large:
        show("Large sets by magnitude", large_table(jury, asked.large, sampling))
    held_out = read_stamps(asked.test, TRUTH, asked.stamps)
    show("Changed stamps, told from unchanged ones", changes_table(jury, cases(asked, held_out), asked.draws))


if __name__ == "__main__":
    main()
