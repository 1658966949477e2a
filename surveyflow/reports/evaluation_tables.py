"""Which tables tell how good a model is, in words and rounded numbers; made from an evaluation's document alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

STRESS_WORDS = {
    "hot_pixel": "one hot pixel of 5 e-/s",
    "wrong_unit": "unit wrong by 1000",
    "other_depth": "noise 3.6 times as strong",
    "zero_strip": "a strip of 20 pixels empty",
}
QUANTITY_WORDS = {"magnitude_ab": "magnitude", "redshift": "redshift", "coverage_pct": "true coverage"}
_NOTHING = "\u2013"


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it is read.

    Parameters
    ----------
    title
        What it shows.
    note
        How it is to be read.
    columns
        Their headings.
    rows
        Texts, as many a row as there are columns.
    """

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def are_words(self) -> tuple[bool, ...]:
        """Whether each column holds words and no numbers."""
        return tuple(is_text(cells) for cells in zip(*self.rows, strict=True))


def evaluation_tables(evaluation: Mapping[str, Any]) -> list[Table]:
    """Put the numbers of an evaluation in tables.

    Parameters
    ----------
    evaluation
        The document that ``evaluation.json`` holds.
    """
    return [table for make in _TABLES[evaluation["task"]] for table in [make(evaluation[evaluation["task"]])] if table.rows]


def as_text(table: Table) -> str:
    """Write a table for a terminal, its columns aligned."""
    columns = [_aligned(column) for column in zip(table.columns, *table.rows, strict=True)]
    return "\n".join([table.title, *("  " + "  ".join(line).rstrip() for line in zip(*columns, strict=True))])


def percent(value: float | None, decimals: int = 1) -> str:
    """A fraction in percent; a dash where there is none."""
    return _NOTHING if value is None else f"{100 * value:.{decimals}f}"


def number(value: float | None, decimals: int = 3) -> str:
    """A number; a dash where there is none."""
    return _NOTHING if value is None else f"{value:.{decimals}f}"


def is_text(cells: Sequence[str]) -> bool:
    """Whether a column, its heading left out, holds words, which are read from their left."""
    return any(character.isalpha() for cell in cells for character in cell)


def _aligned(column: Sequence[str]) -> list[str]:
    width = max(map(len, column))
    return [cell.ljust(width) if is_text(column[1:]) else cell.rjust(width) for cell in column]


def samples(merger: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name and scores of each test sample: every field, all of them, and the clean stamps."""
    fields = merger["fields"]
    if len(fields) > 1:
        yield from fields.items()
    yield ("all fields" if len(fields) > 1 else next(iter(fields), "all")), merger["pooled"]
    if merger["clean"] is not None:
        yield "no neighbours", merger["clean"]


def _scores(merger: Mapping[str, Any]) -> Table:
    rows = [(name, who, *_class_scores(judged[who])) for name, judged in samples(merger) for who in ("network", "baseline")]
    return Table(
        "Accuracy",
        "Percent, with the binomial standard error of the accuracy. Upsilon is the smaller completeness. Completeness is recall; "
        "purity is precision in the mixture tested. The baseline: boosted trees on annulus statistics of the same stamps.",
        ("sample", "by", "stamps", "accuracy", "error", "Upsilon", *_CLASS_COLUMNS),
        tuple(rows),
    )


_CLASS_COLUMNS = ("completeness PM", "completeness SF", "purity PM", "purity SF")


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
    names = {"mean": "mean of p_pm", "votes": "f_pm, the share of votes", "baseline": "the baseline's probability"}
    of = {words: merger[f"calibration_of_{name}"] for name, words in names.items()}
    rows = [(words, number(one["error"]), number(one["perfect"])) for words, one in of.items()]
    return Table(
        "Calibration",
        "Expected calibration error in ten bins, and what right probabilities would show by chance. f_pm is no probability.",
        ("as the probability of a post-merger", "error", "by chance"),
        tuple(rows),
    )


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
            STRESS_WORDS[one["name"]],
            percent(one["network"]["accuracy"]),
            percent(one["accuracy_lost"]),
            percent(one["flagged"]),
            percent(one["flagged_before"]),
            percent(one["baseline"]["accuracy"]),
        )
        for one in merger["stresses"]
    ]
    columns = ("stamps with", "accuracy", "lost", "flagged", "flagged before", "baseline's accuracy")
    return Table(
        "Stress", "Percent; flagged are the stamps that the card's domain excludes (OUT_OF_DOMAIN).", columns, tuple(rows)
    )


def _areas(contamination: Mapping[str, Any]) -> Table:
    words = {
        "contaminated": "a neighbour on the galaxy (coverage over 0)",
        "neighbours": "a neighbour on the stamp (flux_pp over 0)",
        "heavy": "coverage over 20 %",
    }
    scores = contamination["scores"]
    rows = [(text, number(scores["areas"][name]), number(scores["baseline_areas"][name])) for name, text in words.items()]
    note = f"Area under the ROC curve; 0.5 is chance. {scores['n']:,} stamps."
    return Table("Is anything there?", note, ("presence of", "network", "baseline"), tuple(rows))


def _area_bins(contamination: Mapping[str, Any]) -> Table:
    rows = [
        (f"{QUANTITY_WORDS[one['quantity']]} {one['label']}", f"{one['n']:,}", number(one["network"]), number(one["baseline"]))
        for one in contamination["bins"]
    ]
    note = "Area under the ROC curve of a neighbour on the galaxy; by coverage, of those of the bin against those without any."
    return Table("Where is it told?", note, ("galaxies of", "stamps", "network", "baseline"), tuple(rows))


_REGRESSION_WORDS = {
    "coverage": "log1p(coverage) of contaminated galaxies",
    "flux_pp": "arcsinh(flux_pp / sky) of contaminated galaxies",
    "flux_pp_of_neighbours": "arcsinh(flux_pp / sky), any neighbour on the stamp",
}


def _regressions(contamination: Mapping[str, Any]) -> Table:
    rows = [
        (words, who, f"{one['n']:,}", number(one["r2"]), number(one["bias"]), number(one["scatter"]))
        for name, words in _REGRESSION_WORDS.items()
        for who, key in (("network", "regressions"), ("baseline", "baseline_regressions"))
        for one in [contamination["scores"][key][name]]
    ]
    note = "R\u00b2, mean and standard deviation of estimate minus truth, where there is something to measure."
    return Table("How much is there?", note, ("quantity", "by", "stamps", "R\u00b2", "bias", "scatter"), tuple(rows))


def _intervals(contamination: Mapping[str, Any]) -> Table:
    words = {
        "coverage": "coverage of contaminated galaxies, given that there is some",
        "flux_pp": "flux_pp of stamps with a neighbour, given that there is one",
        "coverage_of_all": "coverage of all stamps, as in the catalog",
        "flux_pp_of_all": "flux_pp of all stamps, as in the catalog",
    }
    rows = [(text, percent(contamination["scores"]["intervals"][name])) for name, text in words.items()]
    note = "Percent of truths between q16 and q84; 68 is right. Where 0 has a probability of its own, intervals hold more."
    return Table("Do the intervals hold?", note, ("interval of", "truths inside"), tuple(rows))


def _changes(contamination: Mapping[str, Any]) -> Table:
    of = {name: contamination[f"change_of_{name}"] for name in ("coverage", "flux_pp")}
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


def _contamination_stresses(contamination: Mapping[str, Any]) -> Table:
    rows = [
        (
            STRESS_WORDS[one["name"]],
            number(one["scores"]["areas"]["contaminated"]),
            number(one["scores"]["areas"]["heavy"]),
            number(one["scores"]["regressions"]["coverage"]["r2"]),
            number(one["scores"]["regressions"]["flux_pp"]["r2"]),
            percent(one["flagged"]),
            percent(one["flagged_before"]),
        )
        for one in contamination["stresses"]
    ]
    columns = ("stamps with", "AUC any", "AUC over 20 %", "R\u00b2 coverage", "R\u00b2 flux_pp", "flagged", "flagged before")
    return Table("Stress", "Flagged, in percent, are the stamps that the card's domain excludes.", columns, tuple(rows))


_TABLES: Mapping[str, Sequence[Any]] = {
    "merger": (_scores, _confusion, _calibration, _bins, _cuts, _stresses),
    "contamination": (_areas, _area_bins, _regressions, _intervals, _changes, _cut, _contamination_stresses),
}
