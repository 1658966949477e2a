"""Functions on published catalogs: open, read, report, fractions, compare, export; and cutouts of a mosaic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from surveyflow.comparisons.compared import compare_with_labels
from surveyflow.comparisons.question import Classes, LabelQuestion
from surveyflow.errors import InputError
from surveyflow.exports.export import Exported, export_selection
from surveyflow.exports.selected import select
from surveyflow.exports.shown import Shown, show_galaxy
from surveyflow.files.durable import explained, file_digest, free_name, named_output, streamed
from surveyflow.files.paths import at_home
from surveyflow.inputs.labels import LabelColumns
from surveyflow.inputs.mosaics import open_mosaic
from surveyflow.inputs.positions import Positions, positions_in_degrees
from surveyflow.merger_fractions.cosmic_variance import read_cosmic_variance
from surveyflow.merger_fractions.matrices import matrices_file, read_matrices
from surveyflow.merger_fractions.measured import Population, measure_population
from surveyflow.merger_fractions.questions import Completeness, Question, read_answer
from surveyflow.models.engines.native_library import stamp_copier
from surveyflow.releases.alternatives import open_alternatives, read_alternatives
from surveyflow.releases.draws import open_draws, read_draws
from surveyflow.releases.revisions import find, legible, open_catalog, read_catalog
from surveyflow.sky.scattered import cut_from_mosaic
from surveyflow.values.codes import ClassRule, ExportFormat, Match
from surveyflow.values.images import CutoutStack

if TYPE_CHECKING:
    from surveyflow.comparisons.writing import Comparison

__all__ = ["compare", "cutouts", "export", "fractions", "open_alternatives", "open_catalog", "open_draws"]
__all__ += ["read_alternatives", "read_catalog", "read_draws", "repeat_fractions", "report", "show"]


def report(root: str | Path, *, release: str = "latest", output: str | Path | None = None) -> Path:
    """Write the report page of a published revision again.

    Parameters
    ----------
    root
        The output folder.
    release
        ``latest``, a release or a revision.
    output
        The page's path; ``ROOT/reports/<revision>.html`` if left out. Only an ordinary file is replaced.

    Returns
    -------
    The page's path.

    Raises
    ------
    CatalogNotFound, CatalogError
        If there is no such revision, or it cannot be read.
    OutputError
        If the page cannot be written.
    """
    from surveyflow.reports.page import write_report

    named = None if output is None else named_output(Path(output))
    revision = find(Path(root), release)
    page = named or Path(root) / "reports" / f"{revision.name}.html"
    with explained(page):
        page.parent.mkdir(parents=True, exist_ok=True)
    with legible(root):
        write_report(revision.path, page)
    return page


def export(
    root: str | Path,
    *,
    format: str,  # noqa: A002 - the name of the option
    output: str | Path,
    where: str | pc.Expression | None = None,
    columns: Sequence[str] | None = None,
    size: int | None = None,
    release: str = "latest",
    overwrite: bool = False,
) -> Exported:
    """Write a selection of galaxies as a table, as regions of the sky, as cutouts or as a page.

    However many galaxies are selected, a few thousand rows are in memory at a time (a page is in memory as a whole).

    Parameters
    ----------
    root
        The output folder.
    format
        See `surveyflow.values.codes.ExportFormat`: ``fits``, ``votable``, ``csv``, ``parquet``, ``ds9``, ``moc``, ``cutouts`` or
        ``html``.
    output
        The file, or the folder of cutouts.
    where
        Which galaxies: an expression as in `fractions`; all of them, with or without a result, if left out.
    columns
        Columns of tables, as in `read_catalog`; all that are stored if left out. ``field``, ``source_id`` and ``weights_origin``
        are always among them.
    size
        Side of cutouts, pixels; that of the network's images if left out.
    release
        ``latest``, a release or a revision.
    overwrite
        Whether an existing file is replaced; of a folder of cutouts, only files of equal names are.

    Raises
    ------
    CatalogNotFound, CatalogError
        If there is no such revision, or it cannot be read.
    InputError
        If format, selection, columns or size cannot be used, or no galaxy is selected.
    OutputError
        If the file exists already, or cannot be written.

    Examples
    --------
    >>> export("catalogs/candels", format="votable", output="mergers.vot", where="p_pm_mean > 0.8")  # doctest: +SKIP
    """
    form, revision = ExportFormat(format), find(Path(root), release)
    selected = select(Path(root), revision, where, columns)
    return export_selection(selected, form, Path(output), selected.cutout_size if size is None else size, overwrite=overwrite)


def show(
    root: str | Path,
    field: str,
    source_id: int | str,
    *,
    release: str = "latest",
    output: str | Path | None = None,
    overwrite: bool = False,
) -> Shown:
    """Show one galaxy: its cutout in several stretches, the distribution of its draws, and its row.

    Parameters
    ----------
    root
        The output folder.
    field
        The galaxy's field.
    source_id
        Its number, or its name in the source list.
    release
        ``latest``, a release or a revision.
    output
        Where to write the PNG; nothing is written if left out.
    overwrite
        Whether an existing file is replaced.

    Returns
    -------
    The galaxy; a notebook shows its picture and its table.

    Raises
    ------
    CatalogNotFound, CatalogError
        If there is no such revision or galaxy, or the catalog cannot be read.
    OutputError
        If the file exists already, or cannot be written.

    Examples
    --------
    >>> show("catalogs/candels", "EGS", 12345).facts["p_pm_mean"]  # doctest: +SKIP
    '0.871'
    """
    target = None if output is None else free_name(Path(output), replace=overwrite)
    shown = show_galaxy(Path(root), find(Path(root), release), field, source_id)
    if target is None:
        return shown
    with streamed(target, replace=overwrite) as stream:
        stream.write(shown.png)
    return replace(shown, path=Path(str(output)))


def fractions(
    root: str | Path,
    *,
    edges: Sequence[float],
    bins: str = "redshift",
    where: str | pc.Expression | None = None,
    rule: str = ClassRule.MEAN_OUTPUT,
    matrix: str | Path | None = None,
    max_coverage_pct: float | None = None,
    max_flux_pp: float | None = None,
    max_p_contaminated: float | None = None,
    exclude_flags: Sequence[str] = (),
    magnitude: str | None = None,
    any_magnitude: bool = False,
    weight: str | None = None,
    over_redshifts: bool = False,
    complete: str | None = None,
    time_scale_gyr: float | None = None,
    cosmic_variance: str | Path | None = None,
    confidence: float = 0.6827,
    release: str = "latest",
) -> Population:
    """Measure the fraction of galaxies called post-merger, in bins.

    The number is not the fraction of mergers. The networks know post-mergers and star-forming galaxies only: ellipticals, stars
    and pairs are counted as one of the two. The published rates are for asymmetric galaxies, so a fraction of all catalogued
    sources is not the quantity of Ferreira et al. (2022): select galaxies with ``where``. Tests are balanced; where post-mergers
    are rare, most galaxies that are called post-merger are not, so give a matrix. Results of weights of another origin than
    ``ferreira2022`` are not those of the paper, and those of ``untrained`` weights mean nothing. The notes of the result say
    which of this applies.

    Parameters
    ----------
    root
        The output folder.
    edges
        Edges of the bins, increasing; bins are half-open, [low, high).
    bins
        The numeric column that is binned; ``z`` stands for ``redshift``.
    where
        Which galaxies to count: an expression such as ``"field == 'EGS' and flags & OUT_OF_DOMAIN == 0"``, or a
        `pyarrow.compute.Expression`. Only rows with a result are counted.
    rule
        When a galaxy counts as post-merger: see `surveyflow.values.codes.ClassRule`.
    matrix
        Confusion matrices for the correction: a TOML file, or ``ferreira2022`` for the published ones; none if left out. A file
        that ``surveyflow evaluate`` wrote says of which galaxies each matrix holds, and is refused for others.
    max_coverage_pct, max_flux_pp, max_p_contaminated
        Contamination cuts: the largest ``coverage_pct_mean`` (percent), ``flux_pp_mean`` (e-/s/pixel) and
        ``p_contaminated_mean`` of galaxies that are counted.
    exclude_flags
        Names of flags; galaxies that have any of them are not counted.
    magnitude
        The catalog's column of AB magnitudes, by which a matrix is chosen for each galaxy.
    any_magnitude
        Whether matrices for all magnitudes of the test together are accepted.
    weight
        Numeric column by which galaxies are weighted, such as the inverse of a sample's completeness; not negative.
    over_redshifts
        Whether the alternatives (`surveyflow.read_alternatives`) count, too, each row with ``p_range``, its share of p(z).
    complete
        The limit to which each bin is complete, one number for each bin: ``"log_mass >= 9.2,9.5"`` or ``"mag <= 24.5,24"``.
    time_scale_gyr
        The time during which a post-merger is recognised, Gyr: rates are corrected fractions divided by it. They need a matrix.
    cosmic_variance
        A TOML file as in `surveyflow.settings.cosmic_variance`: a formula for the cosmic variance of merger fractions, the areas
        of the fields, and the cosmology; no such error if left out.
    confidence
        Probability that an interval holds the truth, in (0, 1); the default is one standard deviation of a normal.
    release
        ``latest``, a release or a revision.

    Raises
    ------
    CatalogNotFound
        If there is no such revision.
    InputError
        If bins, selection, cuts, matrix or formula cannot be used with this catalog; matrices of other weights are refused.

    Examples
    --------
    >>> found = fractions("catalogs/candels", edges=[0.5, 1, 1.5, 2, 3], matrix="ferreira2022")  # doctest: +SKIP
    >>> [(item.low, item.corrected) for item in found.bins]  # doctest: +SKIP
    """
    cuts = {"coverage_pct_mean": max_coverage_pct, "flux_pp_mean": max_flux_pp, "p_contaminated_mean": max_p_contaminated}
    limits = {column: limit for column, limit in cuts.items() if limit is not None}
    question = Question(
        edges,
        bins,
        where,
        ClassRule(rule),
        limits,
        confidence,
        tuple(exclude_flags),
        magnitude,
        any_magnitude,
        weight,
        over_redshifts,
        None if complete is None else Completeness.parsed(complete),
        time_scale_gyr,
        None if cosmic_variance is None else read_cosmic_variance(cosmic_variance),
    )
    tests = read_matrices(matrix) if matrix is not None else None
    revision = find(Path(root), release)
    with legible(root):
        further = open_alternatives(root, revision.name) if over_redshifts else None
        found = measure_population(open_catalog(root, revision.name), revision.name, question, tests, further)
    asked = {
        "edges": [float(edge) for edge in edges],
        "bins": bins,
        "where": where if where is None or isinstance(where, str) else str(where),
        "rule": question.rule.value,
        "matrix": None if matrix is None else str(matrix),
        "max_coverage_pct": max_coverage_pct,
        "max_flux_pp": max_flux_pp,
        "max_p_contaminated": max_p_contaminated,
        "exclude_flags": list(exclude_flags),
        "magnitude": magnitude,
        "any_magnitude": any_magnitude,
        "weight": weight,
        "over_redshifts": over_redshifts,
        "complete": complete,
        "time_scale_gyr": time_scale_gyr,
        "cosmic_variance": None if cosmic_variance is None else str(cosmic_variance),
        "confidence": confidence,
        "release": revision.name,
    }
    return replace(
        found,
        question=asked,
        matrices_sha256=None if matrix is None else file_digest(matrices_file(matrix)),
        cosmic_variance_sha256=None if cosmic_variance is None else file_digest(at_home(cosmic_variance).absolute()),
    )


def repeat_fractions(root: str | Path, answer: str | Path) -> Population:
    """Ask the question of an earlier answer again, of the revision and the matrices that it was asked of.

    Parameters
    ----------
    root
        The output folder.
    answer
        A JSON file that ``surveyflow fractions --json`` printed.

    Raises
    ------
    CatalogNotFound
        If there is no such revision any more.
    InputError
        If the file holds no such question, or the file of matrices, or that on cosmic variance, is another one now.

    Examples
    --------
    >>> repeat_fractions("catalogs/candels", "fractions.json").bins  # doctest: +SKIP
    """
    before = read_answer(Path(answer))
    found, asked = fractions(root, **before.question.model_dump()), before.question
    _check_unchanged("matrices", asked.matrix, before.matrices_sha256, found.matrices_sha256, answer)
    _check_unchanged("numbers", asked.cosmic_variance, before.cosmic_variance_sha256, found.cosmic_variance_sha256, answer)
    return found


def _check_unchanged(what: str, file: str | None, before: str | None, now: str | None, answer: str | Path) -> None:
    if now != before:
        raise InputError(
            f"{file}: its SHA-256 is {now}, but {answer} was made with {before}: the {what} are others now. Restore that file, "
            "or ask anew."
        )


def compare(
    root: str | Path,
    labels: str | Path,
    *,
    match: str,
    label: str,
    positive: Sequence[str],
    negative: Sequence[str] = (),
    ignored: Sequence[str] = (),
    id: str | None = None,  # noqa: A002 - the name that workflows have for the column
    id_prefix: str = "",
    field: str | None = None,
    field_column: str | None = None,
    ra: str | None = None,
    dec: str | None = None,
    max_separation_arcsec: float = 0.5,
    where: str | None = None,
    score: str = "p_pm_mean",
    rule: str = ClassRule.MEAN_OUTPUT,
    label_magnitude: str | None = None,
    magnitude: str | None = None,
    redshift_edges: Sequence[float] = (),
    magnitude_edges: Sequence[float] = (),
    n_samples: int = 1000,
    seed: int = 1,
    confidence: float = 0.6827,
    release: str = "latest",
    output: str | Path | None = None,
) -> Comparison:
    """Compare a published catalog with labels that others gave to its galaxies, such as visual classes.

    Parameters
    ----------
    root
        The output folder.
    labels
        A table with one row for each galaxy, of any format that source lists may have.
    match
        How labels find their galaxies: ``id`` (needs ``id``, and ``field`` or ``field_column`` if the catalog has several
        fields) or ``sky`` (needs ``ra`` and ``dec``).
    label
        The column of labels.
    positive, negative, ignored
        Labels that stand for post-mergers, for other galaxies, and for neither. Without ``negative``, all others are negative.
    id, id_prefix
        The column of ids, and what precedes the number in ids that are text: ``egs`` of ``egs10142``.
    field, field_column
        The field of all labels, or their column of fields.
    ra, dec
        The columns of positions, ICRS degrees. With ``match="id"`` they are used to check the pairs.
    max_separation_arcsec
        Largest separation of a label and its galaxy, arcsec.
    where
        Which galaxies to compare: an expression as in `fractions`.
    score
        The catalog's column that orders galaxies; larger for post-mergers.
    rule
        When a galaxy is called post-merger: see `surveyflow.values.codes.ClassRule`.
    label_magnitude, magnitude
        The magnitudes to bin by: a column of the table of labels, or a column of the catalog.
    redshift_edges, magnitude_edges
        Edges of half-open bins; four bins with about equally many galaxies if left out.
    n_samples, seed, confidence
        Bootstrap samples, their seed, and the probability that an interval holds the truth.
    release
        ``latest``, a release or a revision.
    output
        The folder of ``comparison.json`` and ``comparison.html``; ``ROOT/comparisons/<revision>-<labels>`` if left out.

    Returns
    -------
    The document, and the paths of both files.

    Raises
    ------
    CatalogNotFound, CatalogError
        If there is no such revision, or it cannot be read.
    SourceListError
        If the table of labels cannot be used.
    InputError
        If labels, columns, selection or numbers do not fit, or too few galaxies are compared.
    OutputError
        If the files cannot be written.

    Examples
    --------
    >>> found = compare(  # doctest: +SKIP
    ...     "catalogs/candels", "visual.csv", match="sky", ra="RA", dec="DEC", label="class", positive=["peculiar"]
    ... )
    >>> found.document["scores"]["roc_area"]  # doctest: +SKIP
    {'value': 0.71, 'low': 0.69, 'high': 0.73}
    """
    from surveyflow.comparisons.writing import write_comparison

    columns = LabelColumns(label=label, id=id, field=field_column, ra=ra, dec=dec, magnitude=label_magnitude)
    question = LabelQuestion(
        table=Path(labels),
        columns=columns,
        classes=Classes(tuple(positive), tuple(negative), tuple(ignored)),
        match=Match(match),
        field=field,
        id_prefix=id_prefix,
        max_separation_arcsec=max_separation_arcsec,
        where=where,
        score=score,
        rule=ClassRule(rule),
        magnitude=magnitude,
        redshift_edges=tuple(redshift_edges),
        magnitude_edges=tuple(magnitude_edges),
        n_samples=n_samples,
        seed=seed,
        confidence=confidence,
    )
    revision = find(Path(root), release)
    folder = Path(output or Path(root) / "comparisons" / f"{revision.name}-{Path(labels).stem}")
    with legible(root):
        document = compare_with_labels(open_catalog(root, revision.name), revision.name, question)
    return write_comparison(document, revision.path, folder)


def cutouts(
    mosaic: str | Path,
    ra_deg: Positions,
    dec_deg: Positions | None = None,
    size: int = 128,
    *,
    weight: str | Path | None = None,
) -> CutoutStack:
    """Cut out squares around positions in a mosaic.

    Parameters
    ----------
    mosaic
        FITS image, with the extension in brackets if it is not the only one: ``image.fits[SCI]``. From an ``https://``, ``s3://``
        or ``gs://`` address, only the pixels of the cutouts are fetched.
    ra_deg, dec_deg
        (n,) positions. Numbers are degrees in the mosaic's own frame; what has a unit (`~astropy.coordinates.Longitude`,
        `~astropy.units.Quantity`, a column of a table) is converted. Or a `~astropy.coordinates.SkyCoord` of any frame as
        ``ra_deg``, without ``dec_deg``. A position that is masked or NaN gets an empty cutout.
    size
        Side of the cutouts, pixels.
    weight
        Weight map; without one, pixels that are 0 or NaN count as empty.

    Returns
    -------
    Cutouts in native pixel orientation, at their true offsets: pixels beyond the mosaic are 0 and not valid.

    Raises
    ------
    MosaicError
        If the image cannot be used.
    InputError
        If positions are not angles, out of range, or not as many right ascensions as declinations.

    Examples
    --------
    >>> stack = cutouts("egs_f814w_sci.fits", [214.82, 214.83], [52.78, 52.79])  # doctest: +SKIP
    >>> stack.pixels.shape  # doctest: +SKIP
    (2, 128, 128)
    """
    with open_mosaic(mosaic, weight) as opened:
        x_pix, y_pix = opened.to_pixels(*positions_in_degrees(ra_deg, dec_deg, opened.frame))
        copier = stamp_copier()
        copy = None if copier is None else partial(opened.copy_stamps, copier)
        return cut_from_mosaic(opened, x_pix, y_pix, size, copy)
