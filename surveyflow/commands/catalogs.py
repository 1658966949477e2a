"""The command line's verbs for published catalogs: report, fractions, compare, export."""

from __future__ import annotations

import os
import sys
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surveyflow.commands.options import JsonOption, OutputRoot, RevisionOption, print_json
from surveyflow.commands.printing import narrow_table, terminal, wrapped
from surveyflow.commands.terminal_pictures import picture_message
from surveyflow.errors import InputError
from surveyflow.values.codes import ClassRule, ExportFormat, Match

if TYPE_CHECKING:
    from surveyflow.comparisons.writing import Comparison
    from surveyflow.exports.shown import Shown
    from surveyflow.merger_fractions.measured import FractionBin, Population


def report(
    root: OutputRoot,
    release: RevisionOption = "latest",
    output: Annotated[Path | None, typer.Option(help="Path of the page.", show_default="ROOT/reports/REVISION.html")] = None,
) -> None:
    """Write the report page of a published revision."""
    from surveyflow import api

    typer.echo(api.report(root, release=release, output=output))


def export(
    root: OutputRoot,
    *,
    where: Annotated[
        str | None,
        typer.Option(help='Which galaxies, such as "p_pm_mean > 0.8 and flags == 0"; all if left out.', show_default=False),
    ] = None,
    file_format: Annotated[
        ExportFormat, typer.Option("--format", help=f"What to write. {ExportFormat.explained()}.", show_default=False)
    ],
    output: Annotated[Path, typer.Option(help="The file, or the folder of cutouts.", show_default=False)],
    columns: Annotated[
        str | None, typer.Option(help="Columns of tables, separated by commas.", show_default="all that are stored")
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Side of cutouts, pixels.", show_default="that of the network's images")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    release: RevisionOption = "latest",
    as_json: JsonOption = False,
) -> None:
    """Write a selection of galaxies as a table, regions, a MOC, cutouts or a page with pictures."""
    from surveyflow import api

    done = api.export(
        root,
        format=file_format,
        output=output,
        where=where,
        columns=None if columns is None else _words(columns),
        size=size,
        release=release,
        overwrite=overwrite,
    )
    if as_json:
        print_json(done.as_json())
        return
    typer.echo(f"{done.path}: {done.n_galaxies:,} galaxies of {done.revision}")
    for note in (*done.warnings, *done.notes):
        typer.echo(f"note: {note}")


def show(
    root: OutputRoot,
    field: Annotated[str, typer.Argument(help="The galaxy's field.", metavar="FIELD", show_default=False)],
    source_id: Annotated[str, typer.Argument(help="Its number, or its name in the list.", metavar="ID", show_default=False)],
    *,
    output: Annotated[
        Path | None, typer.Option(help="PNG to write; without it, a picture is drawn in the terminal.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    release: RevisionOption = "latest",
) -> None:
    """Show one galaxy: cutout, distribution of its draws, and what the catalog says of it."""
    from surveyflow import api

    shown = api.show(root, field, source_id, release=release, output=output, overwrite=overwrite)
    if shown.path is None:
        _draw(shown)
    for name, text in shown.facts.items():
        typer.echo(wrapped(f"{name:20}", text))
    for note in (*shown.warnings, *shown.notes):
        typer.echo(wrapped("note: ", note))
    if shown.path is not None:
        typer.echo(f"{'picture':20}{shown.path}")


_COLUMNS_OF_A_PICTURE = 64
_HALF_BLOCK = "\u2580"


def _draw(shown: Shown) -> None:
    """Draw a galaxy in a terminal: as a picture, or its cutout, two rows of it in a line.

    A stream that is no terminal, or has no colours, gets none.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(file=terminal(sys.stdout))
    message = picture_message(shown.png, os.environ) if console.is_terminal else None
    if message is not None:
        console.file.write(message + "\n")
        return
    greys = shown.small(min(_COLUMNS_OF_A_PICTURE, console.width)) if console.is_terminal else None
    if greys is None or console.color_system is None:
        return
    rows = [[int(255 * grey) for grey in row] for row in greys[::-1]]
    for upper, lower in zip(rows[::2], rows[1::2], strict=False):
        cells = ((_HALF_BLOCK, f"rgb({a},{a},{a}) on rgb({b},{b},{b})") for a, b in zip(upper, lower, strict=True))
        console.print(Text.assemble(*cells), no_wrap=True)


def fractions(
    root: OutputRoot,
    *,
    bins: Annotated[str, typer.Option(help="Column that is binned; z is the redshift.")] = "z",
    edges: Annotated[
        str, typer.Option(help="Edges of the bins, separated by commas; bins are half-open.", show_default=False)
    ] = "",
    where: Annotated[
        str | None,
        typer.Option(
            help="Which galaxies to count, such as \"field == 'EGS' and flags & OUT_OF_DOMAIN == 0\".", show_default=False
        ),
    ] = None,
    rule: Annotated[
        ClassRule, typer.Option(help=f"What counts as post-merger. {ClassRule.explained()}.")
    ] = ClassRule.MEAN_OUTPUT,
    matrix: Annotated[
        str | None, typer.Option(help="Confusion matrices: a TOML file, or ferreira2022.", show_default=False)
    ] = None,
    max_coverage_pct: Annotated[
        float | None, typer.Option(help="Largest coverage_pct_mean, percent.", show_default=False)
    ] = None,
    max_flux_pp: Annotated[float | None, typer.Option(help="Largest flux_pp_mean, e-/s/pixel.", show_default=False)] = None,
    max_p_contaminated: Annotated[float | None, typer.Option(help="Largest p_contaminated_mean.", show_default=False)] = None,
    exclude_flags: Annotated[
        str | None, typer.Option(help="Flags of galaxies that are not counted, separated by commas.", show_default=False)
    ] = None,
    magnitude: Annotated[
        str | None, typer.Option(help="Column of AB magnitudes, by which matrices are chosen.", show_default=False)
    ] = None,
    any_magnitude: Annotated[
        bool, typer.Option("--any-magnitude", help="Accept matrices for all magnitudes of the test together.")
    ] = False,
    weight: Annotated[
        str | None, typer.Option(help="Column by which galaxies are weighted; not negative.", show_default=False)
    ] = None,
    over_redshifts: Annotated[
        bool, typer.Option("--over-redshifts", help="Count the alternatives, too, and each row with its share of p(z).")
    ] = False,
    complete: Annotated[
        str | None,
        typer.Option(
            help="Limit to which each bin is complete, such as 'log_mass >= 9.2,9.5' or 'mag <= 24.5,24'.", show_default=False
        ),
    ] = None,
    time_scale_gyr: Annotated[
        float | None,
        typer.Option(help="Time during which a post-merger is recognised, Gyr, for rates.", show_default=False),
    ] = None,
    cosmic_variance: Annotated[
        Path | None,
        typer.Option(help="TOML file with a formula for cosmic variance, areas and cosmology.", show_default=False),
    ] = None,
    confidence: Annotated[float, typer.Option(help="Probability that an interval holds the truth.")] = 0.6827,
    release: RevisionOption = "latest",
    again: Annotated[
        Path | None,
        typer.Option(help="JSON of an earlier answer, whose whole question is asked again.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the fraction of galaxies called post-merger, in bins. This is not a merger fraction; the output says why."""
    from surveyflow import api

    if bool(edges) == (again is not None):
        raise InputError(
            "expected either --edges, such as --edges 0.5,1,1.5, or --again with the JSON of an earlier answer. Give one of them."
        )
    found = (
        api.repeat_fractions(root, again)
        if again is not None
        else api.fractions(
            root,
            edges=_numbers(edges, "--edges"),
            bins=bins,
            where=where,
            rule=rule,
            matrix=matrix,
            max_coverage_pct=max_coverage_pct,
            max_flux_pp=max_flux_pp,
            max_p_contaminated=max_p_contaminated,
            exclude_flags=[] if exclude_flags is None else [name.strip() for name in exclude_flags.split(",")],
            magnitude=magnitude,
            any_magnitude=any_magnitude,
            weight=weight,
            over_redshifts=over_redshifts,
            complete=complete,
            time_scale_gyr=time_scale_gyr,
            cosmic_variance=cosmic_variance,
            confidence=confidence,
            release=release,
        )
    )
    if as_json:
        print_json(found.as_json())
    else:
        _print_fractions(found)


def compare(
    root: OutputRoot,
    *,
    labels: Annotated[Path, typer.Option(help="Table of labels, one row a galaxy.", show_default=False)],
    match: Annotated[Match, typer.Option(help=f"How labels find their galaxies. {Match.explained()}.", show_default=False)],
    label: Annotated[str, typer.Option(help="Column of labels.", show_default=False)],
    positive: Annotated[str, typer.Option(help="Labels of post-mergers, separated by commas.", show_default=False)],
    negative: Annotated[str, typer.Option(help="Labels of other galaxies; all others if left out.", show_default=False)] = "",
    ignored: Annotated[str, typer.Option(help="Labels that are neither.", show_default=False)] = "",
    id_column: Annotated[str | None, typer.Option("--id", help="Column of ids.", show_default=False)] = None,
    id_prefix: Annotated[str, typer.Option(help="What precedes the number in ids: egs of egs10142.", show_default=False)] = "",
    field: Annotated[str | None, typer.Option(help="Field of all labels.", show_default=False)] = None,
    field_column: Annotated[str | None, typer.Option(help="Column of fields.", show_default=False)] = None,
    ra: Annotated[str | None, typer.Option(help="Column of right ascensions, ICRS degrees.", show_default=False)] = None,
    dec: Annotated[str | None, typer.Option(help="Column of declinations.", show_default=False)] = None,
    max_separation: Annotated[float, typer.Option(help="Largest separation of a label and its galaxy, arcsec.")] = 0.5,
    where: Annotated[
        str | None, typer.Option(help='Which galaxies to compare, such as "flags & OUT_OF_DOMAIN == 0".', show_default=False)
    ] = None,
    score: Annotated[str, typer.Option(help="Column of the catalog that is larger for post-mergers.")] = "p_pm_mean",
    rule: Annotated[
        ClassRule, typer.Option(help=f"What counts as post-merger. {ClassRule.explained()}.")
    ] = ClassRule.MEAN_OUTPUT,
    label_magnitude: Annotated[
        str | None, typer.Option(help="Column of magnitudes in the table of labels.", show_default=False)
    ] = None,
    magnitude: Annotated[str | None, typer.Option(help="Column of magnitudes in the catalog.", show_default=False)] = None,
    redshift_edges: Annotated[
        str, typer.Option(help="Edges of the redshift bins, separated by commas.", show_default="four bins of equal number")
    ] = "",
    magnitude_edges: Annotated[
        str, typer.Option(help="Edges of the magnitude bins.", show_default="four bins of equal number")
    ] = "",
    samples: Annotated[int, typer.Option(help="Bootstrap samples.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap samples.")] = 1,
    confidence: Annotated[float, typer.Option(help="Probability that an interval holds the truth.")] = 0.6827,
    release: RevisionOption = "latest",
    output: Annotated[
        Path | None, typer.Option(help="Folder of both files.", show_default="ROOT/comparisons/REVISION-LABELS")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare a catalog with labels that others gave to its galaxies; writes comparison.json and comparison.html."""
    from surveyflow import api

    found = api.compare(
        root,
        labels,
        match=match,
        label=label,
        positive=_words(positive),
        negative=_words(negative),
        ignored=_words(ignored),
        id=id_column,
        id_prefix=id_prefix,
        field=field,
        field_column=field_column,
        ra=ra,
        dec=dec,
        max_separation_arcsec=max_separation,
        where=where,
        score=score,
        rule=rule,
        label_magnitude=label_magnitude,
        magnitude=magnitude,
        redshift_edges=_numbers(redshift_edges, "--redshift-edges") if redshift_edges else (),
        magnitude_edges=_numbers(magnitude_edges, "--magnitude-edges") if magnitude_edges else (),
        n_samples=samples,
        seed=seed,
        confidence=confidence,
        release=release,
        output=output,
    )
    if as_json:
        print_json(found.document)
    else:
        _print_comparison(found)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _print_comparison(found: Comparison) -> None:
    from surveyflow.reports.comparison_page import comparison_tables
    from surveyflow.reports.tables import as_text

    for table in comparison_tables(found.document):
        typer.echo(as_text(table))
        typer.echo()
    for note in (*found.document["warnings"], *found.document["notes"]):
        typer.echo(f"note: {note}")
    typer.echo(f"page: {found.page}")


def _numbers(text: str, option: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError as error:
        raise InputError(f"{option}: expected numbers separated by commas, such as 0.5,1,1.5, not {text!r}.") from error


def _print_fractions(found: Population) -> None:
    typer.echo(
        f"revision   {found.revision}: {found.n_selected} selected of {found.n_measured} with a result, {found.n_rows} rows"
    )
    typer.echo(f"weights    {', '.join(found.weights_origin) or 'none'}")
    typer.echo(f"rule       {found.rule}; intervals hold {100 * found.confidence:g} %")
    header = (found.column, *_HEADINGS)
    for line in narrow_table([header, *(_fraction_cells(item) for item in found.bins)]):
        typer.echo(line)
    for note in found.notes:
        typer.echo(wrapped("note: ", note))


_HEADINGS = (
    *("galaxies", "effective", "called", "fraction", "monte carlo"),
    *("corrected", "purity", "rate per Gyr", "field to field", "cosmic"),
)


def _fraction_cells(item: FractionBin) -> tuple[str, ...]:
    return (
        f"[{item.low:g}, {item.high:g})",
        str(item.n_galaxies),
        f"{item.n_effective:.1f}" if item.n_effective < item.n_galaxies else "-",
        str(item.n_called),
        _interval(item.fraction, item.fraction_low, item.fraction_high),
        "-" if isnan(item.monte_carlo_mean) else f"{item.monte_carlo_mean:.3f} ± {item.monte_carlo_std:.3f}",
        _interval(item.corrected, item.corrected_low, item.corrected_high),
        "-" if isnan(item.purity) else f"{item.purity:.2f}",
        _interval(item.rate_per_gyr, item.rate_low, item.rate_high),
        "-" if isnan(item.field_to_field) else f"± {item.field_to_field:.3f}",
        _cosmic(item),
    )


def _cosmic(item: FractionBin) -> str:
    if isnan(item.cosmic_variance):
        return "-"
    error = "-" if isnan(item.cosmic_error) else f"± {item.cosmic_error:.3f}"
    return f"{error} ({100 * item.cosmic_variance:.0f} %)"


def _interval(value: float, low: float, high: float) -> str:
    return "-" if isnan(value) else f"{value:.3f} ({low:.3f} to {high:.3f})"
