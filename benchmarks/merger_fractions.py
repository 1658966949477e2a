"""Simulated surveys whose fractions of post-mergers are known: how often do the intervals of ``surveyflow fractions`` hold them?

    python benchmarks/merger_fractions.py [--surveys N] [--seed N] [--from N]

A classifier recognises fewer faint galaxies than bright ones, a cut in contamination removes more post-mergers than discs, and
the survey's magnitudes are distributed in another way than the test's. With p(z), each galaxy counts with the probability that it
lies in the bin; those outside have the same fraction. Each survey of each case is measured as a catalog is: with matrices by
magnitude, after the same cut as in the test, and at 68.27 and 95 %. One line of a table for each case holds the number of
intervals, the shares of them that hold the truth, the mean error of the fraction, and the mean error of the fraction that one
matrix for all galaxies gives, in the last of the bins. ``--from N`` begins with the case of this number.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from surveyflow.errors import InputError
from surveyflow.merger_fractions.measured import measure_population
from surveyflow.merger_fractions.questions import Question
from surveyflow.settings.matrices import ClassifierTests, SelectedTest
from surveyflow.stats.fractions import ConfusionMatrix
from surveyflow.values.codes import ClassRule, WeightsOrigin

MAGNITUDES = ((20.0, 21.0), (21.0, 22.0), (22.0, 23.0), (23.0, 24.0))
COMPLETENESS = (0.95, 0.92, 0.88, 0.80)
FALSE_POSITIVE_RATE = (0.05, 0.08, 0.12, 0.20)
KEPT = {True: 0.55, False: 0.84}
"""Share of post-mergers and of others that the cut keeps."""
CUT_HARDENS = 0.9
"""Completeness after the cut, in units of that before it: among what is kept, asymmetric post-mergers are rarer."""
MODEL, BESIDE = "merger/COSMOS/F814W@70673e6cde7f", "contamination/COSMOS/F814W@59c46f3f09d6"
CUT = {"p_contaminated_mean": 0.5}


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of survey.

    Parameters
    ----------
    fraction
        True fraction of post-mergers, at every magnitude.
    n
        Number of galaxies.
    cut
        Whether the contaminated ones are left out.
    bins
        Column and edges of the bins.
    p_z
        Whether galaxies lie in the bins' range of redshifts with a probability each, and count with it.
    n_tested
        Number of galaxies of the test.
    """

    fraction: float
    n: int
    cut: bool
    bins: tuple[str, tuple[float, ...]]
    p_z: bool = False
    n_tested: int = 4000


ALL, BY_MAGNITUDE = ("redshift", (0.0, 9.0)), ("mag", (20.0, 21.0, 22.0, 23.0, 24.0))
CASES = [
    Case(fraction, n, cut, bins)
    for fraction in (0.05, 0.1, 0.3)
    for n in (300, 2000)
    for cut in (False, True)
    for bins in (ALL, BY_MAGNITUDE)
]
CASES += [Case(fraction, n, cut=False, bins=ALL, p_z=True) for fraction in (0.05, 0.1, 0.3) for n in (300, 2000)]


def galaxies(rng: np.random.Generator, n: int, fraction: float, magnitude_slope: float) -> dict[str, Any]:
    """Galaxies with their truth, and what the networks say of them."""
    weights = np.exp(magnitude_slope * np.arange(len(MAGNITUDES)))
    place = rng.choice(len(MAGNITUDES), n, p=weights / weights.sum())
    truth = rng.random(n) < fraction
    kept = rng.random(n) < np.where(truth, KEPT[True], KEPT[False])
    found = np.array(COMPLETENESS)[place] * np.where(kept, CUT_HARDENS, 1.1)
    called = rng.random(n) < np.where(truth, np.minimum(found, 0.99), np.array(FALSE_POSITIVE_RATE)[place])
    return {
        "truth": truth,
        "called": called,
        "mag": 20.0 + place + rng.random(n),
        "p_contaminated_mean": np.where(kept, 0.2, 0.8),
        "p_range": rng.uniform(0.05, 1.0, n),
    }


def tests_of(known: dict[str, Any]) -> ClassifierTests:
    """Matrices of a test, with the cut and without, by magnitude and together."""
    found = []
    for limits in ({}, CUT):
        for magnitude in (None, *MAGNITUDES):
            rows = known["p_contaminated_mean"] <= limits.get("p_contaminated_mean", 1)
            if magnitude:
                rows &= (known["mag"] >= magnitude[0]) & (known["mag"] < magnitude[1])
            truth, called = known["truth"][rows], known["called"][rows]
            counts = [[int((called & kind).sum()), int((~called & kind).sum())] for kind in (truth, ~truth)]
            beside = BESIDE if limits else None
            found.append(SelectedTest("COSMOS", "F814W", MODEL, ConfusionMatrix(np.array(counts)), magnitude, (), limits, beside))
    return ClassifierTests(WeightsOrigin.SIMULATED, ClassRule.MEAN_OUTPUT, "a simulated test", tests=tuple(found))


def catalog(seen: dict[str, Any]) -> ds.Dataset:
    """The galaxies as rows of a catalog, with what is needed of its columns."""
    n = len(seen["mag"])
    same = {"field": "COSMOS", "instrument": "F814W", "status": "ok", "model_id": MODEL, "contamination_model_id": BESIDE}
    columns = {name: pa.array([value] * n) for name, value in (same | {"weights_origin": "simulated"}).items()}
    columns |= {"flags": pa.array(np.zeros(n, np.int32)), "redshift": pa.array(np.ones(n))}
    columns |= {"p_pm_mean": pa.array(np.where(seen["called"], 0.9, 0.1)), "p_sf_mean": pa.array(np.full(n, 0.5))}
    columns |= {"f_pm": pa.array(seen["called"].astype(float)), "offset_arcsec": pa.array(np.full(n, 0.1))}
    columns |= {name: pa.array(seen[name]) for name in ("mag", "p_contaminated_mean", "p_range")}
    return ds.dataset(pa.table(columns))


def surveys(case: Case, n_surveys: int, seed: int) -> Iterator[tuple[dict[float, list[Any]], float, list[float]]]:
    """For each survey: bins at each confidence, the fraction by one matrix for all galaxies, and the truth after the cut."""
    rng = np.random.default_rng([seed, CASES.index(case)])
    kept = case.fraction * KEPT[True], (1 - case.fraction) * KEPT[False]
    truth = kept[0] / sum(kept) if case.cut else case.fraction
    for _ in range(n_surveys):
        tests = tests_of(galaxies(rng, case.n_tested, 0.5, 0.0))
        seen = catalog(galaxies(rng, case.n, case.fraction, 0.7))
        limits = CUT if case.cut else {}
        bins = {}
        for confidence in (0.6827, 0.95):
            question = Question(
                case.bins[1],
                case.bins[0],
                None,
                ClassRule.MEAN_OUTPUT,
                limits,
                confidence,
                magnitude="mag",
                over_redshifts=case.p_z,
            )
            bins[confidence] = list(measure_population(seen, "r1", question, tests).bins)
        yield bins, _pooled(seen, case, tests), truth


def _pooled(seen: ds.Dataset, case: Case, tests: ClassifierTests) -> float:
    """The fraction that the uncut matrix of all magnitudes gives: the mistake that is refused."""
    (uncut,) = [test for test in tests.tests if not test.limits and test.magnitude is None]
    limits = CUT if case.cut else {}
    question = Question(case.bins[1][-2:], case.bins[0], None, ClassRule.MEAN_OUTPUT, limits, 0.6827)
    old = ClassifierTests(tests.weights_origin, tests.class_rule, tests.source, matrices={"COSMOS": uncut.counts})
    return measure_population(seen, "r1", question, old).bins[0].corrected


def held(case: Case, n_surveys: int, seed: int) -> dict[str, float]:
    """Shares of intervals that hold the truth, and the biases."""
    counts = {0.6827: [], 0.95: []}
    errors, pooled = [], []
    for bins, by_one, truth in surveys(case, n_surveys, seed):
        pooled.append(by_one - truth)
        for confidence, found in bins.items():
            stated = [item for item in found if np.isfinite(item.corrected)]
            counts[confidence] += [item.corrected_low <= truth <= item.corrected_high for item in stated]
            errors += [item.corrected - truth for item in stated] if confidence == 0.95 else []
    shares = {f"{confidence:g}": float(np.mean(found)) for confidence, found in counts.items()}
    return shares | {"stated": len(counts[0.95]), "bias": float(np.mean(errors)), "one matrix": float(np.nanmean(pooled))}


def refusals(seed: int) -> list[str]:
    """What a question with another selection than the test's is told."""
    rng = np.random.default_rng(seed)
    tests, seen = tests_of(galaxies(rng, 4000, 0.5, 0.0)), catalog(galaxies(rng, 500, 0.1, 0.7))
    told = []
    for changes in ({"limits": {"p_contaminated_mean": 0.4}}, {"exclude_flags": ("OUT_OF_DOMAIN",)}, {"magnitude": None}):
        asked = {"edges": (0, 9), "bins": "redshift", "where": None, "rule": ClassRule.MEAN_OUTPUT, "limits": {}}
        try:
            measure_population(seen, "r1", Question(**(asked | {"confidence": 0.95, "magnitude": "mag"} | changes)), tests)
        except InputError as error:
            told.append(str(error))
    return told


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--surveys", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--from", type=int, default=0, dest="first")
    asked = parser.parse_args(arguments)
    heading = ["true fraction", "galaxies", "cut", "p(z)", "bins", "intervals", "held at 68.27 %", "at 95 %", "bias"]
    heading += ["bias of one uncut matrix"]
    print(f"| {' | '.join(heading)} |")
    print("|---" * len(heading) + "|")
    for case in CASES[asked.first :]:
        found = held(case, asked.surveys, asked.seed)
        kind = f"| {case.fraction} | {case.n} | {_told(case.cut)} | {_told(case.p_z)} | {case.bins[0]} | {found['stated']} "
        shares = f"| {100 * found['0.6827']:.1f} | {100 * found['0.95']:.1f} "
        print(f"{kind}{shares}| {found['bias']:+.4f} | {found['one matrix']:+.4f} |", flush=True)


def _told(answer: bool) -> str:
    return "yes" if answer else "no"


if __name__ == "__main__":
    main()
