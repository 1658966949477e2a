"""How good is a model? One HTML page, made from an evaluation's document alone, that needs no other file and no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from surveyflow.files.durable import write_over
from surveyflow.reports import evaluation_figures, figures
from surveyflow.reports.evaluation_tables import evaluation_facts, evaluation_tables
from surveyflow.reports.merger_tables import samples
from surveyflow.reports.page import Panel, origin_words, package_text, page_template, toml_text
from surveyflow.reports.tables import QUANTITY_WORDS, number, percent
from surveyflow.tasks.contamination.parts import AMOUNTS, REGRESSIONS
from surveyflow.tasks.contamination.task import CONTAMINATION
from surveyflow.tasks.merger import MERGER
from surveyflow.tasks.registry import entry_of
from surveyflow.values.codes import warnings_about

_QUANTITY_LABELS = QUANTITY_WORDS | {"magnitude_ab": "magnitude (AB)", "coverage_pct": "true coverage by neighbours"}


def write_evaluation_page(evaluation: Mapping[str, Any], output: Path) -> None:
    """Write an evaluation as one self-contained HTML file; the same document gives the same bytes.

    Parameters
    ----------
    evaluation
        The document that ``evaluation.json`` holds.
    output
        The file to write, replaced as a whole if it exists.

    Raises
    ------
    ModelError
        If evaluations of this task cannot be drawn.
    OutputError
        If the page cannot be written.
    """
    with figures.house_style():
        page = page_template("evaluation.html.j2").render(_contents(evaluation))
    write_over(output, page.encode())


def _contents(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    origin, task = evaluation["model"]["origin"], evaluation["task"]
    return {
        "style": Markup(package_text("page.css")),  # noqa: S704 -- the package's own file
        "evaluation": evaluation,
        "warnings": warnings_about({origin}),
        "origin_words": origin_words(origin),
        "facts": evaluation_facts(evaluation),
        "verdict": evaluation[task].get("verdict", ()),
        "tables": evaluation_tables(evaluation),
        "panels": list(entry_of(task, PANELS, "drawn")(evaluation[task], origin)),
        "settings": toml_text({name: evaluation[name] for name in ("model", "sampling", "records")}),
    }


def _merger_panels(merger: Mapping[str, Any], origin: str) -> Iterator[Panel]:
    for index, (name, judged) in enumerate(samples(merger)):
        scores = judged["network"]
        caption = f"{scores['n']:,} stamps, accuracy {percent(scores['accuracy'])} %, Upsilon {percent(scores['upsilon'])} %."
        figure = evaluation_figures.confusion_figure(scores["confusion"], origin)
        yield _panel(figure, f"confusion-{index}", f"Confusion matrix: {name}", f"Rows are the truth. {caption}")
    yield _roc_panel(merger, origin)
    yield _reliability_panel(merger, origin)
    for quantity, bins in groupby(merger["bins"], key=lambda one: one["quantity"]):
        figure = evaluation_figures.bins_figure(list(bins), _QUANTITY_LABELS[quantity], origin)
        caption = "Error bars are binomial standard errors."
        yield _panel(figure, f"bins-{quantity}", f"By {QUANTITY_WORDS[quantity]}", caption)
    if merger["cuts"]:
        yield _cuts_panel(merger, origin)


def _roc_panel(merger: Mapping[str, Any], origin: str) -> Panel:
    figure = evaluation_figures.roc_figure({"network": merger["roc"], "baseline": merger["roc_of_baseline"]}, origin)
    areas = f"network {merger['roc']['area']:.3f}, baseline {merger['roc_of_baseline']['area']:.3f}"
    return _panel(figure, "roc", "ROC", f"Areas: {areas}. Dashed: chance.")


def _reliability_panel(merger: Mapping[str, Any], origin: str) -> Panel:
    names = {"mean of p_pm, raw": "mean", "calibrated": "calibrated", "f_pm": "votes", "baseline": "baseline"}
    calibrations = {label: merger[f"calibration_of_{name}"] for label, name in names.items()}
    figure = evaluation_figures.reliability_figure({label: one for label, one in calibrations.items() if one}, origin)
    caption = f"Dashed: right. Chance alone gives the mean of p_pm an error of {merger['calibration_of_mean']['perfect']:.3f}."
    return _panel(figure, "reliability", "Reliability", caption)


def _cuts_panel(merger: Mapping[str, Any], origin: str) -> Panel:
    cuts = {by: list(of_order) for by, of_order in groupby(merger["cuts"], key=lambda cut: cut["by"])}
    clean = merger["clean"] and merger["clean"]["network"]["accuracy"]
    figure = evaluation_figures.cuts_figure(cuts, clean, origin)
    caption = (
        "Accuracy of the galaxies that a cut keeps, ordered by true coverage and, with a contamination model, by what it says."
    )
    return _panel(figure, "cuts", "A cut in contamination", caption)


def _contamination_panels(contamination: Mapping[str, Any], origin: str) -> Iterator[Panel]:
    regressions = contamination["scores"]["regressions"]
    for part, amount in AMOUNTS:
        figure = evaluation_figures.truth_figure(contamination[f"{amount.figure}_points"], amount.words, origin)
        scores = next(regressions[name] for name, asked in REGRESSIONS.items() if asked == (amount, part))
        caption = f"{part.whose.capitalize()}, {scores['n']:,} in all, R\u00b2 {number(scores['r2'], 2)}. Dashed: right."
        yield _panel(figure, amount.figure, f"Estimated over true {amount.words}", caption)


PANELS = {MERGER.name: _merger_panels, CONTAMINATION.name: _contamination_panels}
"""What draws the figures of each task."""


def _panel(figure: Figure, name: str, title: str, caption: str) -> Panel:
    svg = Markup(figures.as_svg(figure, name))  # noqa: S704 -- drawn here
    return Panel(svg=svg, title=title, caption=caption, alt=f"{title}. {caption}")
