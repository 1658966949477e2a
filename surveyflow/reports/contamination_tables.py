"""Tables that report how good a contamination model is; made from an evaluation's document alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from surveyflow.reports.tables import QUANTITY_WORDS, Table, domain_limits, number, percent
from surveyflow.tasks.contamination.parts import AMOUNTS, PARTS, REGRESSIONS


def _areas(contamination: Mapping[str, Any]) -> Table:
    words = {part.presence: part.words for part in PARTS} | {"heavy": "coverage over 20 %"}
    scores = contamination["scores"]
    rows = [
        (text, number(scores["areas"][name]), number(scores["baseline_areas"][name]))
        for name, text in words.items()
        if name in scores["areas"]
    ]
    note = f"Area under the ROC curve; 0.5 is chance. {scores['n']:,} stamps."
    return Table("Is anything there?", note, ("presence of", "network", "baseline"), tuple(rows))


def _area_bins(contamination: Mapping[str, Any]) -> Table:
    rows = [
        (f"{QUANTITY_WORDS[one['quantity']]} {one['label']}", f"{one['n']:,}", number(one["network"]), number(one["baseline"]))
        for one in contamination["bins"]
    ]
    note = "Area under the ROC curve of a neighbour on the galaxy; by coverage, of those of the bin against those without any."
    return Table("Detection by kind of galaxy", note, ("galaxies of", "stamps", "network", "baseline"), tuple(rows))


def _regressions(contamination: Mapping[str, Any]) -> Table:
    rows = [
        (f"{amount.words} of {part.whose}", who, f"{one['n']:,}", number(one["r2"]), number(one["bias"]), number(one["scatter"]))
        for name, (amount, part) in REGRESSIONS.items()
        for who, key in (("network", "regressions"), ("baseline", "baseline_regressions"))
        for one in [contamination["scores"][key][name]]
    ]
    note = "R\u00b2, mean and standard deviation of estimate minus truth, where there is something to measure."
    return Table("How much is there?", note, ("quantity", "by", "stamps", "R\u00b2", "bias", "scatter"), tuple(rows))


def _intervals(contamination: Mapping[str, Any]) -> Table:
    words = {amount.name: f"{amount.name} of {part.whose}, given that there is some" for part, amount in AMOUNTS}
    words |= {f"{amount.name}_of_all": f"{amount.name} of all stamps, as in the catalog" for _, amount in AMOUNTS}
    rows = [(text, percent(contamination["scores"]["intervals"][name])) for name, text in words.items()]
    note = "Percent of truths between q16 and q84; 68 is right. Where 0 has a probability of its own, intervals hold more."
    return Table("Do the intervals hold?", note, ("interval of", "truths inside"), tuple(rows))


def _statements(contamination: Mapping[str, Any]) -> Table:
    rows = [
        (
            f"{one['low']:g} to {one['high']:g} %",
            f"{one['n']:,}",
            number(one["stated"], 1),
            number(one["true"], 1),
            percent(one["inside"]),
        )
        for one in contamination["statements"]
    ]
    note = "Galaxies by the coverage_pct_mean that is stated for them: its mean, the mean of the truth, and truths in q16 to q84."
    return Table("Is what is stated true?", note, ("stated", "stamps", "mean stated", "mean true", "truths inside"), tuple(rows))


def _changes(contamination: Mapping[str, Any]) -> Table:
    of = {amount.name: contamination[f"change_of_{amount.name}"] for _, amount in AMOUNTS}
    rows = [(name, percent(one["median"], 3), percent(one["largest"], 3)) for name, one in of.items()]
    note = "By how much the mean moves when every pixel is multiplied by 3, in percent of its own spread."
    return Table("Another gain", note, ("quantity", "median", "largest"), tuple(rows))


def _cut(contamination: Mapping[str, Any]) -> Table:
    cut = contamination["cut"]
    judged = [] if cut is None else [("tuning stamps", cut["tuned"]), ("test stamps", cut["judged"])]
    rows = [
        (name, number(one["threshold"], 1), f"{one['n_chosen']:,}", percent(one["completeness"]), percent(one["purity"]))
        for name, one in judged
    ]
    note = "Galaxies chosen by coverage_pct_mean over a limit; completeness and purity (recall and precision), percent."
    columns = ("on", "limit", "chosen", "completeness", "purity")
    return Table("A cut that finds coverage over 20 %", note, columns, tuple(rows))


def _stresses(contamination: Mapping[str, Any]) -> Table:
    rows = [
        (
            one["words"],
            number(one["scores"]["areas"]["contaminated"]),
            number(one["area_lost"]),
            number(one["scores"]["areas"]["heavy"]),
            *(number(one["scores"]["regressions"][amount.name]["r2"]) for _, amount in AMOUNTS),
            percent(one["flagged"]),
            percent(one["flagged_before"]),
        )
        for one in contamination["stresses"]
    ]
    explained = (f"R\u00b2 {amount.name}" for _, amount in AMOUNTS)
    columns = ("stamps with", "AUC any", "lost", "AUC over 20 %", *explained, "flagged", "flagged before")
    return Table("Stress", "Flagged, in percent, are the stamps that the card's domain excludes.", columns, tuple(rows))


def facts(contamination: Mapping[str, Any]) -> dict[str, str]:
    """The few numbers that head the page."""
    scores = contamination["scores"]
    return {
        "AUC, any neighbour on the galaxy": number(scores["areas"]["contaminated"]),
        "the baseline's": number(scores["baseline_areas"]["contaminated"]),
        "R\u00b2 of flux_pp": number(scores["regressions"]["flux_pp"]["r2"], 2),
        "test stamps": f"{scores['n']:,}",
    }


TABLES = (_areas, _area_bins, _regressions, _intervals, _statements, _changes, _cut, _stresses, domain_limits)
"""What makes each table, in order."""
