"""The report of a run: one HTML page, made from a published revision alone, that needs no other file and no network.

Its figures and pictures take megabytes. A revision whose figures, pictures and models are those of the revision before shares
that revision's page: it has a second name in the folder of the new one, whose own page shows the rest.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import tomlkit
from markupsafe import Markup

from surveyflow.files.durable import link_or_copy, write_over
from surveyflow.files.json_state import read_ordinary_file
from surveyflow.inputs.remote_images import KEPT_PIXELS
from surveyflow.releases.publish import read_manifest
from surveyflow.releases.revisions import ALTERNATIVES
from surveyflow.reports import charts, summary
from surveyflow.reports.gallery import MORE_PROBABLE_THAN_NOT, gallery_entry
from surveyflow.reports.pictures import cut_pictures
from surveyflow.sky.weight_kind import WeightCheck
from surveyflow.tasks.contamination.task import CONTAMINATION
from surveyflow.tasks.registry import cutout_size, origins_of, warnings_of
from surveyflow.values import remedies
from surveyflow.values.codes import Status, WeightKind, WeightsOrigin

REPORT = "report.html"
"""Name of a revision's page in its folder."""
SHARED = "report-of-{}.html"
"""Name of the page that a revision shares with an earlier one."""
_FIGURES = ('<section id="flags">', '<section id="inputs">')
"""Where the part of a page that may be shared begins, and what follows it."""
_MOST_BYTES = 2**26

MAX_FAILED_UNITS = 100
"""The greatest number of failed units that are listed; the manifest lists all of them."""
WIDELY_COVERED_PCT = 20
MAX_PANELS = 20
"""The greatest number of maps, or of distributions, so that the page stays below 10 MB."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot with its caption and its alternative text."""

    svg: Markup
    title: str
    caption: str
    alt: str


@dataclass(frozen=True, slots=True)
class Share:
    """One status in one row of the table of counts."""

    status: str
    n_rows: int
    percent: float


@dataclass(frozen=True, slots=True)
class StatusRow:
    """The sources of one field and instrument, by status."""

    field: str
    instrument: str
    n_rows: int
    shares: Sequence[Share]


def write_report(revision_folder: Path, output: Path, before: Path | None = None) -> None:
    """Write a revision's report as one self-contained HTML file; the same revision gives the same bytes.

    Parameters
    ----------
    revision_folder
        Folder with ``manifest.json`` and ``dataset/``. Pictures are cut from the mosaics that the manifest names, if they are
        available; the page names those that are not.
    output
        The file to write, replaced atomically if it exists.
    before
        Folder of the revision whose page may be shared: if flags, figures, pictures and models of both are the same, that page
        gets a second name beside the output, and the output has a link to it in their place.

    Raises
    ------
    CatalogNotFound
        If the folder holds no manifest.
    CatalogError
        If the folder holds no dataset.
    OutputError
        If the page cannot be written.
    """
    manifest = read_manifest(revision_folder)
    kept = revision_folder.absolute().parent.parent / KEPT_PIXELS
    contents = _contents(manifest, summary.open_dataset(revision_folder), kept)
    contents["further_rows"] = _further_rows(manifest, revision_folder)
    page = page_template("page.html.j2").render(contents)
    earlier = None if before is None else _whole_page(before)
    if earlier is not None and earlier.figures == _figures_of(page):
        link_or_copy(earlier.path, output.with_name(SHARED.format(earlier.revision)))
        page = page_template("page.html.j2").render(contents | {"shared": earlier.revision})
    write_over(output, page.encode())


@dataclass(frozen=True, slots=True)
class _WholePage:
    """A page with all its figures, and the revision that it was written for."""

    path: Path
    revision: str
    figures: str


def _whole_page(folder: Path) -> _WholePage | None:
    """The page of a revision, or the one that it shares with an earlier one; None if it has none that can be read."""
    prefix, suffix = SHARED.split("{}")
    path = next(iter(sorted(folder.glob(SHARED.format("*")))), folder / REPORT)
    revision = folder.name if path.name == REPORT else path.name.removeprefix(prefix).removesuffix(suffix)
    try:
        figures = _figures_of(read_ordinary_file(path, _MOST_BYTES).decode())
    except (OSError, ValueError):
        return None
    return _WholePage(path, revision, figures)


def _figures_of(page: str) -> str:
    begin, end = _FIGURES
    return page.partition(begin)[2].partition(end)[0]


def _further_rows(manifest: Mapping[str, Any], folder: Path) -> list[summary.FurtherRows]:
    """What further instruments say of sources whose p(z) reaches into several ranges; empty if there are none."""
    if not manifest.get("alternatives"):
        return []
    return summary.further_rows(folder, folder / ALTERNATIVES)


def page_template(name: str) -> jinja2.Template:
    """Compile one of the templates beside this module."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(package_text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "bytes": readable_bytes,
        "date": readable_date,
        "file_name": lambda path: Path(path).name,
        "number": "{:,}".format,
    }
    return environment.get_template(name)


def package_text(name: str) -> str:
    """Read a file beside this module."""
    return resources.files("surveyflow.reports").joinpath(name).read_text(encoding="utf-8")


def _contents(manifest: Mapping[str, Any], dataset: ds.Dataset, kept: Path) -> dict[str, Any]:
    """Gather everything that the template shows."""
    sources = summary.read_sources(dataset)
    groups = summary.choose_galaxies(dataset, sources)
    size_pix = cutout_size(manifest["models"])
    pictures = cut_pictures([row for group in groups for row in group.rows], manifest["inputs"], size_pix, kept)
    return {
        "style": Markup(package_text("page.css")),  # noqa: S704 -- the package's own file
        "title": " ".join(dict.fromkeys([manifest["survey"], manifest["release"]])),
        "manifest": manifest,
        "run_again": remedies.run_again("manifest.json", "FOLDER"),
        "look": remedies.show("ROOT", "FIELD", "ID"),
        "browse": lambda galaxy: remedies.browse("ROOT", f"{galaxy.field} {galaxy.source_id}"),
        "warnings": warnings_of(manifest["models"], sources.weights_origins),
        "weight_cautions": [caution for entry in manifest["inputs"] if (caution := weight_caution(entry))],
        "n_ok": sources.n_ok,
        "n_drawn": len(sources.rows) if sources.are_drawn else None,
        "n_sources": sources.n_rows,
        "n_calibrated": summary.n_calibrated(dataset),
        "prevalence": manifest["workflow"].get("science", {}).get("prevalence"),
        "status_rows": status_rows(sources),
        "status_meanings": {status.value: status.meaning for status in Status},
        "flags": sources.flags,
        "failed_units": manifest["failed_units"][:MAX_FAILED_UNITS],
        "downloads": downloads(sources, groups, manifest["inputs"]),
        "posterior_panels": posterior_panels(dataset, sources),
        "votes_panel": votes_panel(sources),
        "contamination_panels": contamination_panels(sources),
        "contamination_origins": sorted(map(origin_words, origins_of(manifest["models"], CONTAMINATION))),
        "sky_panels": sky_panels(sources),
        "n_fields": len({field for field, *_ in sources.counts}),
        "max_points": charts.MOST_POINTS,
        "groups": [(group.title, group.note, [gallery_entry(row, pictures) for row in group.rows]) for group in groups],
        "picture_notes": pictures.notes,
        "cutout_pix": size_pix,
        "shared": None,
        "models": [dict(model, origin_words=origin_words(model["origin"])) for model in manifest["models"]],
        "workflow": toml_text(manifest["workflow"]),
    }


def downloads(sources: summary.Sources, groups: Sequence[summary.Group], inputs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The tables of the page as CSV, each as a ``data:`` URI that a browser saves, by name of the file.

    Parameters
    ----------
    sources
        The revision's sources, as `surveyflow.reports.summary.read_sources` gives them.
    groups
        The galaxies that the page shows.
    inputs
        The manifest's list of input files.
    """
    counts = [{"field": field, "instrument": name, **by_status} for field, name, by_status in summary.status_counts(sources)]
    flags = [asdict(one) | {"flag": one.flag.name, "bit": int(one.flag)} for one in sources.flags]
    galaxies = [{"group": group.title} | row | {"p_pm_hist": None} for group in groups for row in group.rows]
    files = [{key: entry.get(key) for key in ("field", "instrument", "kind", "path", "size", "digest")} for entry in inputs]
    tables = {"sources": counts, "flags": flags, "galaxies": galaxies, "inputs": files}
    return {
        f"{name}.csv": _csv_uri(pd.DataFrame(rows).dropna(axis="columns", how="all")) for name, rows in tables.items() if rows
    }


def _csv_uri(table: pd.DataFrame) -> str:
    return "data:text/csv;charset=utf-8;base64," + base64.b64encode(table.to_csv(index=False).encode()).decode("ascii")


def weight_caution(entry: Mapping[str, Any]) -> str:
    """What a reader of ``weight_median`` must know about a weight map; empty for an inverse variance, and if that is unknown."""
    noise = entry.get("noise")
    if not noise:
        return ""
    kind, stated = (WeightKind(word) if word in set(WeightKind) else None for word in (noise["kind"], noise.get("stated")))
    caution = WeightCheck(kind, noise["times_pixel_variance"], noise["times_variance"], noise["n_boxes"], stated).caution
    return caution and f"{entry['field']} {entry['instrument']}: {Path(entry['path']).name} {caution}."


def status_rows(sources: summary.Sources) -> list[StatusRow]:
    """Count sources by field, instrument and status, with every status that occurs in every row."""
    return [_status_row(*entry) for entry in summary.status_counts(sources)]


def _status_row(field: str, instrument: str, counts: Mapping[str, int]) -> StatusRow:
    total = sum(counts.values())
    return StatusRow(field, instrument, total, [Share(status, n, 100 * n / total) for status, n in counts.items()])


def posterior_panels(dataset: ds.Dataset, sources: summary.Sources) -> list[Panel]:
    """Plot the distribution of probabilities of each field and instrument, at most `MAX_PANELS`."""
    groups = sources.rows[summary.is_ok(sources.rows)].groupby(["field", "instrument"], observed=True)["p_pm_mean"]
    means = {key: values.to_numpy() for key, values in groups}
    stacked = [(key, counts) for key, counts in summary.stacked_posteriors(dataset).items() if key in means][:MAX_PANELS]
    return [_posterior_panel(*key, counts, means[key], _drawn_words(sources)) for key, counts in stacked]


def _drawn_words(sources: summary.Sources) -> str:
    """What captions add to a number of sources that were drawn by chance."""
    return " drawn by chance" if sources.are_drawn else ""


def _posterior_panel(field: str, instrument: str, counts: np.ndarray, means: np.ndarray, drawn: str) -> Panel:
    low, median, high = np.quantile(means, [0.16, 0.5, 0.84])
    numbers = f"median of the means {median:.2f}, central 68\u00a0% {low:.2f} to {high:.2f}"
    caption = f"{_count_of(len(means), 'source')}{drawn}; {numbers}."
    return Panel(
        svg=charts.posterior_chart(counts, means),
        title=f"{field} {instrument}",
        caption=caption,
        alt=f"Histograms of the post-merger output for {field} {instrument}: all draws of all sources, and means. {caption}",
    )


def votes_panel(sources: summary.Sources) -> Panel:
    """Plot the fraction of draws that vote post-merger against the mean output."""
    ok = sources.rows[summary.is_ok(sources.rows)]
    chart = charts.votes_chart(ok["p_pm_mean"].to_numpy(), ok["f_pm"].to_numpy(), _names(ok))
    caption = f"{_count_of(len(ok), 'source')}{_drawn_words(sources)}. Dashed line: equality."
    return Panel(
        svg=chart,
        title="All fields and instruments",
        caption=caption,
        alt=f"Fraction of draws voting post-merger, f_pm, against the mean output, p_pm_mean. {caption}",
    )


def contamination_panels(sources: summary.Sources) -> list[Panel]:
    """Plot the contamination of each field and instrument, at most `MAX_PANELS`; no panels without a contamination model."""
    measured = sources.rows[sources.rows["p_contaminated_mean"].notna()]
    groups = measured.groupby(["field", "instrument"], observed=True)
    rows_by_name = {f"{field} {instrument}": rows for (field, instrument), rows in groups}
    chosen = sorted(rows_by_name)[:MAX_PANELS]
    return [_contamination_panel(title, rows_by_name[title], _drawn_words(sources)) for title in chosen]


def _contamination_panel(title: str, rows: pd.DataFrame, drawn: str) -> Panel:
    probability, coverage_pct = rows["p_contaminated_mean"].to_numpy(), rows["coverage_pct_mean"].to_numpy()
    caption = (
        f"{_count_of(len(rows), 'source')}{drawn}; {100 * np.mean(probability > MORE_PROBABLE_THAN_NOT):.0f}\u00a0% are more "
        f"likely contaminated than not, {100 * np.mean(coverage_pct > WIDELY_COVERED_PCT):.0f}\u00a0% have a mean coverage above "
        f"{WIDELY_COVERED_PCT}\u00a0%; median of the mean flux {np.median(rows['flux_pp_mean']):.2g} e-/s per pixel."
    )
    return Panel(
        svg=charts.share_chart(probability, 1.0, "p_contaminated_mean")
        + charts.share_chart(coverage_pct, 100.0, "coverage_pct_mean (%)"),
        title=title,
        caption=caption,
        alt=f"Histograms of mean probability of contamination and of mean coverage for {title}. {caption}",
    )


def sky_panels(sources: summary.Sources) -> list[Panel]:
    """Map each field, at most `MAX_PANELS`."""
    rows, drawn = sources.rows, _drawn_words(sources)
    fields = sorted(rows["field"].unique())[:MAX_PANELS]
    return [_sky_panel(field, rows[rows["field"] == field], drawn) for field in fields]


def _sky_panel(field: str, rows: pd.DataFrame, drawn: str) -> Panel:
    uncovered = rows["status"].isin([Status.NO_COVERAGE.value, Status.OFF_MOSAIC.value]).to_numpy()
    means = rows["p_pm_mean"].where(rows["status"] == Status.OK.value).to_numpy()
    mapped = charts.Mapped(rows["ra"].to_numpy(), rows["dec"].to_numpy(), means, uncovered, _names(rows))
    n_ok = int(np.isfinite(means).sum())
    caption = f"{_count_of(len(rows), 'source')}{drawn}, {n_ok:,} with a result, {int(uncovered.sum()):,} outside the footprint."
    return Panel(
        svg=charts.sky_chart(mapped),
        title=field,
        caption=caption,
        alt=f"Map of {field} in right ascension and declination, coloured by mean post-merger output. {caption}",
    )


def _names(rows: pd.DataFrame) -> list[str]:
    """What sources are called in a chart; empty where there are too many to be drawn one by one."""
    if len(rows) > charts.MOST_POINTS:
        return []
    return [f"{field} {number}" for field, number in zip(rows["field"], rows["source_id"], strict=True)]


def origin_words(origin: str) -> str:
    """Describe the origin of weights in words; an origin that this version does not know is returned unchanged."""
    return WeightsOrigin(origin).meaning if origin in set(WeightsOrigin) else origin


def toml_text(table: Mapping[str, Any]) -> str:
    """Write a nested table as TOML; values that are None are left out."""
    return tomlkit.dumps(_without_none(table)).strip()


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value


def readable_bytes(size: int) -> str:
    """Write a number of bytes with a suitable unit: ``8.1 GB``."""
    for power, unit in ((9, "GB"), (6, "MB"), (3, "kB")):
        if size >= 10**power:
            return f"{size / 10**power:.1f} {unit}"
    return f"{size} bytes"


def readable_date(iso: str) -> str:
    """Write an ISO 8601 time in words: ``22 November 2026, 13:05 UTC``."""
    time = datetime.fromisoformat(iso)
    return f"{time.day} {time:%B %Y, %H:%M} {time.tzname() or 'UTC'}"


def _count_of(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
