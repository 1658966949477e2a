"""Tables that report how good a merger model is; made from an evaluation's document alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from surveyflow.reports.tables import NOTHING, QUANTITY_WORDS, Table, domain_limits, number, percent
from surveyflow.values import remedies


def samples(merger: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name and scores of each test sample: every field, all of them, the clean stamps, and those of another simulation."""
    fields = merger["fields"]
    if len(fields) > 1:
        yield from fields.items()
    yield ("all fields" if len(fields) > 1 else next(iter(fields), "all")), merger["pooled"]
    if merger["clean"] is not None:
        yield "no neighbours", merger["clean"]
    if merger.get("other") is not None:
        yield "another simulation", merger["other"]


def _scores(merger: Mapping[str, Any]) -> Table:
    rows = [
        (name, who, *_class_scores(judged[who]), _lead(judged["lead"]) if who == "network" else NOTHING)
        for name, judged in samples(merger)
        for who in ("network", "baseline")
    ]
    return Table(
        "Accuracy",
        "Percent, with the binomial standard error of the accuracy. Upsilon is the smaller completeness. Completeness is recall; "
        "purity is precision in the mixture tested. The baseline: boosted trees on annulus statistics of the same stamps. "
        "Ahead is the difference of the accuracies, with its error from the differences stamp by stamp.",
        ("sample", "by", "stamps", "accuracy", "error", "Upsilon", *_CLASS_COLUMNS, "ahead"),
        tuple(rows),
    )


_CLASS_COLUMNS = ("completeness PM", "completeness SF", "purity PM", "purity SF")


def _lead(lead: Mapping[str, Any]) -> str:
    return f"{percent(lead['accuracy'])} \u00b1 {percent(lead['error'])}"


def _class_scores(scores: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        f"{scores['n']:,}",
        percent(scores["accuracy"]),
        percent(scores["accuracy_error"]),
        percent(scores["upsilon"]),
        *map(percent, (*scores["completeness"], *scores["purity"])),
    )


def _confusion(merger: Mapping[str, Any]) -> Table:
    rows = [
        (name, who, *(f"{n:,}" for row in judged[who]["confusion"] for n in row))
        for name, judged in samples(merger)
        for who in ("network", "baseline")
    ]
    columns = ("sample", "by", "PM taken for PM", "PM for SF", "SF for PM", "SF for SF")
    return Table("Confusion", "Counts; PM post-merger, SF star-forming.", columns, tuple(rows))


def _calibration(merger: Mapping[str, Any]) -> Table:
    names = {
        "mean": "mean of p_pm, raw",
        "calibrated": "p_pm_calibrated",
        "votes": "f_pm, the share of votes",
        "baseline": "the baseline's probability",
    }
    of = {words: merger[f"calibration_of_{name}"] for name, words in names.items()}
    rows = [(words, number(one["error"]), number(one["perfect"])) for words, one in of.items() if one is not None]
    return Table(
        "Calibration",
        "Expected calibration error in ten bins, and what right probabilities would show by chance. f_pm and the raw mean are "
        f"not probabilities.{'' if merger['calibration_of_calibrated'] else _NO_MAP}",
        ("as the probability of a post-merger", "error", "by chance"),
        tuple(rows),
    )


_NO_MAP = f" The model's card holds no calibration. To fit one: `{remedies.calibrate_models()}`."


def _calibrations(merger: Mapping[str, Any]) -> Table:
    rows = [
        (
            one["sample"],
            f"{one['n']:,}",
            percent(one["prevalence"]),
            *(number(one[name]) for name in ("raw", "calibrated", "by_chance")),
        )
        for one in merger["calibrations"]
    ]
    note = (
        "Expected calibration error in ten bins of the mean of p_pm and of p_pm_calibrated, both converted to the stated share "
        "of post-mergers (Saerens et al. 2002); the galaxies are weighted by class to have it. By magnitude: with neighbours."
    )
    columns = ("sample", "stamps", "post-mergers, percent", "raw", "calibrated", "by chance")
    return Table("Calibration by sample and prevalence", note, columns, tuple(rows))


def _purities(merger: Mapping[str, Any]) -> Table:
    rows = [(percent(one["prevalence"], 0), percent(one["called"]), percent(one["above_80"])) for one in merger["purities"]]
    note = (
        "Percent of true post-mergers among the galaxies classified as such, if post-mergers have this share of all galaxies. "
        f"Area under the ROC curve: network {number(merger['roc']['area'])}, "
        f"baseline {number(merger['roc_of_baseline']['area'])}."
    )
    return Table("Purity by prevalence", note, ("post-mergers among all", "purity", "purity of p_pm above 0.8"), tuple(rows))


def _failures(merger: Mapping[str, Any]) -> Table:
    rows = [
        (
            f"{one['field']} {one['source_id']}",
            "post-merger" if one["is_post_merger"] else "star-forming",
            number(one["p_pm_mean"]),
            number(one["magnitude_ab"], 1),
            number(one["coverage_pct"], 0),
        )
        for one in merger["failures"]
    ]
    note = "The test stamps of which the network is wrong and most sure: look at them."
    return Table("Failures", note, ("stamp", "truth", "p_pm_mean", "magnitude", "true coverage, percent"), tuple(rows))


def _bins(merger: Mapping[str, Any]) -> Table:
    rows = [
        (
            f"{QUANTITY_WORDS[one['quantity']]} {one['label']}",
            f"{one['network']['n']:,}",
            percent(one["network"]["accuracy"]),
            *map(percent, (*one["network"]["completeness"], *one["network"]["purity"])),
            percent(one["baseline"]["accuracy"]),
        )
        for one in merger["bins"]
    ]
    columns = ("galaxies of", "stamps", "accuracy", *_CLASS_COLUMNS, "baseline's accuracy")
    return Table("By magnitude, redshift and contamination", "Percent.", columns, tuple(rows))


def _cuts(merger: Mapping[str, Any]) -> Table:
    rows = [
        (
            f"the cleanest {percent(cut['kept'], 0)} %",
            f"{cut['by']} coverage",
            f"{cut['network']['n']:,}",
            percent(cut["network"]["accuracy"]),
            percent(cut["network"]["accuracy_error"]),
            percent(cut["baseline"]["accuracy"]),
        )
        for cut in merger["cuts"]
    ]
    note = "What is left when the most contaminated are left out, by truth and by what the contamination model says. Percent."
    columns = ("kept", "by", "stamps", "accuracy", "error", "baseline's accuracy")
    return Table("After a cut in contamination", note, columns, tuple(rows))


def _stresses(merger: Mapping[str, Any]) -> Table:
    rows = [
        (
            one["words"],
            percent(one["network"]["accuracy"]),
            percent(one["accuracy_lost"]),
            *map(percent, one["network"]["completeness"]),
            percent(one["flagged"]),
            percent(one["flagged_before"]),
            percent(one["spoiled"]),
            percent(one["spoiled_flagged"]),
            percent(one["baseline"]["accuracy"]),
            "passed" if one["passed"] else "failed",
        )
        for one in merger["stresses"]
    ]
    completeness = ("completeness of post-mergers", "of star-forming galaxies")
    changed = ("flagged", "flagged before", "spoiled", "flagged of these")
    columns = ("stamps with", "accuracy", "lost", *completeness, *changed, "baseline's accuracy", "result")
    note = (
        "Percent. What must not change an answer is done to the stamps. Flagged are those that a catalog would flag: "
        "OUT_OF_DOMAIN, or PARTIAL_COVERAGE. Spoiled are those that the change makes wrong. A change passes if it costs 2 points "
        "or less, or if 80 % of the spoiled stamps are flagged and at most 10 % before. The first 2,000 stamps of each set are "
        "used."
    )
    return Table("Nuisances", note, columns, tuple(rows))


def _jury(merger: Mapping[str, Any]) -> Table:
    jury = merger["jury"]
    if jury is None:
        return Table("Jury", "", (), ())
    shown = [
        ("jury", jury["jury"]),
        *jury["members"].items(),
        ("mean of the members", jury["mean"]),
        ("scatter", jury["scatter"]),
    ]
    rows = [(name, percent(one["accuracy"]), percent(one["upsilon"]), number(one["calibration_error"], 4)) for name, one in shown]
    note = (
        "All test stamps, the same number of draws each. Scatter is the standard deviation between the members, which differ in "
        f"their seed. The jury is right {_lead(jury['gain'])} points more often than a member on average, and its calibration "
        f"error is smaller by {number(jury['calibration_gain'], 4)}."
    )
    return Table("Jury", note, ("judged", "accuracy, percent", "Upsilon, percent", "calibration error of p_pm_mean"), tuple(rows))


def _shifts(merger: Mapping[str, Any]) -> Table:
    columns, strongest = list(merger["shifts"]), {one["name"]: one for one in merger["stresses"]}
    rows = [(one["words"], *(number(one["areas"][name], 3) for name in columns)) for one in strongest.values()]
    together = [f"{number(one['area'], 3)} \u00b1 {number(one['error'], 3)}" for one in merger["shifts"].values()]
    note = (
        "Areas under the ROC curves with which a column tells stamps that a nuisance changed, at the last of its levels, from "
        "unchanged ones: 0.5 is chance, and below it the changed stamps look more certain."
    )
    return Table("Uncertainty of changed stamps", note, ("stamps with", *columns), (*rows, ("all of these together", *together)))


def facts(merger: Mapping[str, Any]) -> dict[str, str]:
    """The few numbers that head the page."""
    scores = {who: merger["pooled"][who] for who in ("network", "baseline")}
    return {
        "accuracy": f"{percent(scores['network']['accuracy'])} %",
        "the baseline's": f"{percent(scores['baseline']['accuracy'])} %",
        "Upsilon": f"{percent(scores['network']['upsilon'])} %",
        "test stamps": f"{scores['network']['n']:,}",
    }


TABLES = (
    _scores,
    _confusion,
    _purities,
    _calibration,
    _calibrations,
    _bins,
    _cuts,
    _stresses,
    domain_limits,
    _shifts,
    _jury,
    _failures,
)
"""What makes each table, in order."""
