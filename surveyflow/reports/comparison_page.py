"""How far do a catalog and labels agree? One HTML page that needs no other file and no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from surveyflow.files.durable import write_over
from surveyflow.reports import comparison_figures, figures
from surveyflow.reports.gallery import gallery_entry
from surveyflow.reports.page import Panel, package_text, page_template, toml_text
from surveyflow.reports.pictures import Pictures, cut_pictures
from surveyflow.reports.tables import NOTHING, Table, number, percent
from surveyflow.values.codes import Flag, Status


def write_comparison_page(
    comparison: Mapping[str, Any], inputs: Sequence[Mapping[str, Any]], size_pix: int, output: Path
) -> None:
    """Write a comparison as one self-contained HTML file; the same document and mosaics give the same bytes.

    Parameters
    ----------
    comparison
        The document that ``comparison.json`` holds.
    inputs
        The input files that the revision's manifest lists; pictures are cut from mosaics that are still there.
    size_pix
        Side of the pictures.
    output
        The file to write, replaced as a whole if it exists.

    Raises
    ------
    OutputError
        If the page cannot be written.
    """
    disagreements = comparison["disagreements"]
    pictures = cut_pictures([*disagreements["called"], *disagreements["missed"]], inputs, size_pix)
    with figures.house_style():
        page = page_template("comparison.html.j2").render(_contents(comparison, pictures, size_pix))
    write_over(output, page.encode())


def _contents(comparison: Mapping[str, Any], pictures: Pictures, size_pix: int) -> dict[str, Any]:
    scores, counts, question = comparison["scores"], comparison["counts"], comparison["question"]
    disagreements = comparison["disagreements"]
    return {
        "style": Markup(package_text("page.css")),  # noqa: S704 -- the package's own file
        "comparison": comparison,
        "table_name": Path(question["table"]).name,
        "positive": ", ".join(question["classes"]["positive"]),
        "facts": {
            "galaxies compared": f"{counts['compared']:,}",
            "labelled positive": f"{counts['positive']:,}",
            "ROC area": number(scores["roc_area"]["value"]),
            "completeness": f"{percent(scores['completeness']['value'])} %",
            "purity": f"{percent(scores['purity']['value'])} %",
        },
        "panels": list(_panels(comparison)),
        "tables": comparison_tables(comparison),
        "galleries": [
            (title, [gallery_entry(_catalog_row(row), pictures) for row in disagreements[kind]], _labels(disagreements[kind]))
            for kind, title in _GALLERIES.items()
        ],
        "picture_notes": pictures.notes,
        "cutout_pix": size_pix,
        "settings": toml_text({"revision": comparison["revision"], "question": question}),
    }


def _catalog_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the document as a row of the catalog: it writes flags by name, and holds galaxies with a result only."""
    return {**row, "status": Status.OK, "flags": sum(flag for flag in Flag if str(flag.name) in row["flags"].split("|"))}


def _labels(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], str]:
    return {(row["field"], row["source_id"]): f"labelled {row['label']}" for row in rows}


_GALLERIES = {
    "called": "Called post-merger, labelled negative: the highest scores",
    "missed": "Labelled positive, called star-forming: the lowest scores",
}


def _panels(comparison: Mapping[str, Any]) -> Iterator[Panel]:
    origin, scores = ", ".join(comparison["weights_origin"]), comparison["scores"]
    area, precision = _interval(scores["roc_area"], 3), _interval(scores["average_precision"], 3)
    figure = comparison_figures.roc_figure(comparison["roc"], origin)
    yield _panel(figure, "roc", "ROC", f"Area {area}. Band: bootstrap interval; dashed: chance.")
    share = scores["positive_share"]["value"]
    figure = comparison_figures.precision_figure(comparison["precision_recall"], share, origin)
    yield _panel(figure, "precision", "Purity and completeness", f"Average precision {precision}. Dashed: chance.")
    for quantity, bins in comparison["bins"].items():
        if bins:
            figure = comparison_figures.bins_figure(bins, quantity, origin)
            yield _panel(figure, f"bins-{quantity}", f"By {quantity}", "Error bars are Wilson's binomial intervals.")


def comparison_tables(comparison: Mapping[str, Any]) -> list[Table]:
    """Put the numbers of a comparison in tables.

    Parameters
    ----------
    comparison
        The document that ``comparison.json`` holds.
    """
    return [table for table in _tables(comparison) if table.rows]


def _tables(comparison: Mapping[str, Any]) -> Iterator[Table]:
    yield _score_table(comparison)
    yield _confusion_table(comparison)
    for quantity, bins in comparison["bins"].items():
        yield _bins_table(quantity, bins)
    yield _match_table(comparison)


_SCORE_WORDS = {
    "roc_area": ("area under the ROC curve", 1, 3),
    "average_precision": ("average precision", 1, 3),
    "completeness": ("completeness (recall), %", 100, 1),
    "purity": ("purity (precision), %", 100, 1),
    "false_positive_rate": ("false-positive rate, %", 100, 1),
    "accuracy": ("accuracy, %", 100, 1),
    "positive_share": ("labelled positive, %", 100, 1),
}


def _score_table(comparison: Mapping[str, Any]) -> Table:
    question = comparison["question"]
    rows = []
    for name, (words, factor, decimals) in _SCORE_WORDS.items():
        value, low, high = (_scaled(comparison["scores"][name][key], factor) for key in ("value", "low", "high"))
        rows.append((words, number(value, decimals), number(low, decimals), number(high, decimals)))
    note = (
        f"The curves order galaxies by {question['score']}; the other numbers use the rule {question['rule']}. Intervals hold "
        f"{100 * question['confidence']:g} %, from {question['n_samples']:,} bootstrap samples of the galaxies."
    )
    return Table("Agreement", note, ("score", "value", "low", "high"), tuple(rows))


def _confusion_table(comparison: Mapping[str, Any]) -> Table:
    rows = tuple(
        (
            one["label"],
            one["means"],
            f"{one['n']:,}",
            f"{one['post_merger']:,}",
            f"{one['star_forming']:,}",
            percent(one["share"]["value"]),
            f"{percent(one['share']['low'])} to {percent(one['share']['high'])}",
            number(one["median_score"]),
        )
        for one in comparison["confusion"]
    )
    note = "Rows are the labels, those that are ignored included. The share called post-merger is in percent, with its interval."
    columns = ("label", "means", "galaxies", "post-merger", "star-forming", "share", "interval", "median score")
    return Table("Confusion", note, columns, rows)


def _bins_table(quantity: str, bins: Sequence[Mapping[str, Any]]) -> Table:
    rows = tuple(
        (
            f"{one['low']:g} to {one['high']:g}",
            f"{one['n']:,}",
            f"{one['positive']:,}",
            f"{one['called']:,}",
            _interval(one["completeness"], 1, 100),
            _interval(one["purity"], 1, 100),
        )
        for one in bins
    )
    columns = (quantity, "galaxies", "positive", "called", "completeness, %", "purity, %")
    note = "Purity depends on the share of positives in the bin. Bins hold their low edge, but not the high one."
    return Table(f"By {quantity}", note, columns, rows)


def _match_table(comparison: Mapping[str, Any]) -> Table:
    counts, match = comparison["counts"], comparison["match"]
    words = {
        "labels in the table": counts["labels"],
        "rows without a label": counts["without_label"],
        "rows without a position": counts["without_position"],
        "labels that are ignored": counts["ignored"],
        "labels without a galaxy in the catalog": counts["labels_without_source"],
        "labels with a galaxy": counts["matched"],
        **{f"\u2026 of status {status}": n for status, n in counts["matched_by_status"].items()},
        "galaxies of the catalog without a label": counts["sources_without_label"],
        "ambiguous pairs": match["n_ambiguous"],
        "labels whose galaxy has a nearer label": match["n_shared"],
        "pairs by id beyond the largest separation": match["n_far"],
    }
    rows = [(what, f"{n:,}") for what, n in words.items() if n is not None]
    if match["median_separation_arcsec"] is not None:
        rows.append(("median separation, arcsec", number(match["median_separation_arcsec"])))
    note = "Only galaxies with a result and a label that is positive or negative are compared."
    return Table("What was matched", note, ("", "number"), tuple(rows))


def _interval(measured: Mapping[str, float | None], decimals: int, factor: float = 1) -> str:
    value, low, high = (_scaled(measured[key], factor) for key in ("value", "low", "high"))
    return NOTHING if value is None else f"{number(value, decimals)} ({number(low, decimals)} to {number(high, decimals)})"


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else factor * value


def _panel(figure: Any, name: str, title: str, caption: str) -> Panel:
    svg = Markup(figures.as_svg(figure, name))  # noqa: S704 -- drawn here
    return Panel(svg=svg, title=title, caption=caption, alt=f"{title}. {caption}")
