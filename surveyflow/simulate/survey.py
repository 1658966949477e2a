"""How is a whole survey written that looks like CANDELS, with known truth? Mosaics, weight maps, source lists, a workflow.

``surveyflow demo`` and the tests run on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from astropy.io import fits
from astropy.table import Table

from surveyflow.simulate.footprints import footprint
from surveyflow.simulate.headers import FIELDS, INSTRUMENTS, LAYOUTS, mosaic_header, mosaic_wcs, wcs_header
from surveyflow.simulate.observe import PSF_SIZE_PIX, blur, shot_noise, sky_noise
from surveyflow.simulate.outcomes import ROUTING, expected_outcome
from surveyflow.simulate.scenes import paint
from surveyflow.simulate.sources import FieldSources, ListedSource, draw_field, random_stream
from surveyflow.simulate.traps import ZERO_WEIGHT_TRAP
from surveyflow.types import BoolArray, Float32Array

SMALLEST_SHAPE = (800, 700)
MISSING = -99.0

_MARGIN_PIX = PSF_SIZE_PIX // 2
_SAMPLING_SEED = 20220523


@dataclass(frozen=True, slots=True)
class SurveySpec:
    """What to simulate. The defaults are the demo's.

    Parameters
    ----------
    fields
        Any of COSMOS and EGS. What a field holds does not depend on the others.
    n_sources
        Ordinary sources a field; some 27 traps come on top.
    shape_f814w
        Rows and columns of the F814W mosaics, even; the F160W ones have half of both.
    seed
        What everything is drawn from, at least 0.
    release, draws, core_size
        For the workflow: release's name, Monte Carlo draws a source, side of a tile's core.
    """

    fields: tuple[str, ...] = ("COSMOS", "EGS")
    n_sources: int = 150
    shape_f814w: tuple[int, int] = (3000, 2600)
    seed: int = 1
    release: str = "demo"
    draws: int = 1000
    core_size: int = 1024

    def __post_init__(self) -> None:
        unknown = set(self.fields) - set(FIELDS)
        if unknown or not self.fields or len(set(self.fields)) != len(self.fields):
            raise ValueError(f"fields must be different ones of {tuple(FIELDS)}, not {self.fields}")
        if any(length % 2 or length < least for length, least in zip(self.shape_f814w, SMALLEST_SHAPE, strict=True)):
            raise ValueError(f"shape_f814w must be even and at least {SMALLEST_SHAPE}, not {self.shape_f814w}")
        if self.n_sources < 0 or self.seed < 0:
            raise ValueError(f"n_sources and seed must be at least 0, not {self.n_sources} and {self.seed}")

    def shape(self, instrument: str) -> tuple[int, int]:
        """Rows and columns of an instrument's mosaics."""
        ratio = round(INSTRUMENTS[instrument].pixel_scale_arcsec / INSTRUMENTS["F814W"].pixel_scale_arcsec)
        return self.shape_f814w[0] // ratio, self.shape_f814w[1] // ratio


@dataclass(frozen=True, slots=True)
class SimulatedSurvey:
    """A survey on disk.

    Parameters
    ----------
    folder
        Holds all of it.
    spec
        What it was made from.
    truth
        One row a source, in the order of the lists: ``field source_id ra_deg dec_deg redshift`` (NaN where unknown)
        ``kind trap`` (empty for ordinary sources) ``mag_f814w mag_f160w radius_arcsec x_f814w y_f814w x_f160w y_f160w``
        (pixels, 0-based) and what the flow must make of it: ``instrument`` (None where no routing range holds the redshift),
        ``status``, ``flags`` (EDGE and PARTIAL_COVERAGE only; 0 where no cutout is made) and ``valid_fraction`` (NaN there).
        Also in ``truth.parquet``.
    """

    folder: Path
    spec: SurveySpec
    truth: pd.DataFrame

    @property
    def workflow(self) -> Path:
        """The workflow file."""
        return self.folder / "workflow.toml"

    def science(self, field: str, instrument: str) -> Path:
        """A science mosaic."""
        return self.folder / f"{field}_{instrument}_sci.fits".lower()

    def weight(self, field: str, instrument: str) -> Path:
        """Its weight map."""
        return self.folder / f"{field}_{instrument}_wht.fits".lower()

    def source_list(self, field: str) -> Path:
        """A field's catalog."""
        return self.folder / _SOURCE_LISTS[field].name


@dataclass(frozen=True, slots=True)
class _ListFormat:
    """Name and columns of a field's source list."""

    name: str
    columns: dict[str, str]


_SOURCE_LISTS = {
    "COSMOS": _ListFormat("cosmos_catalog.fits", {"id": "ID", "ra": "RA", "dec": "DEC", "redshift": "zbest"}),
    "EGS": _ListFormat("egs_catalog.cat", {"id": "NUMBER", "ra": "ALPHA_J2000", "dec": "DELTA_J2000", "redshift": "z_best"}),
}


def write_survey(folder: Path, spec: SurveySpec) -> SimulatedSurvey:
    """Simulate a survey into a folder, which is made if need be; files of the same names are replaced.

    The same spec gives the same bytes.

    Parameters
    ----------
    folder
        Where to write mosaics, weight maps, source lists, ``workflow.toml`` and ``truth.parquet``. The model store
        ``models``, which the workflow names, is not written here.
    spec
        What to simulate.

    Raises
    ------
    InputError
        When galsim, the extra ``simulate``, is not installed.
    ValueError
        When so many sources have no room, or the mosaics are too small for a trap to work.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    survey = SimulatedSurvey(folder, spec, pd.DataFrame())
    truth = pd.concat([_write_field(survey, field) for field in spec.fields], ignore_index=True)
    truth.to_parquet(folder / "truth.parquet")
    survey.workflow.write_text(workflow_text(spec), encoding="utf-8")
    return replace(survey, truth=truth)


def workflow_text(spec: SurveySpec) -> str:
    """The survey's workflow file, as TOML."""
    head = f"""version = 1

[survey]
name = "demo"
release = {json.dumps(spec.release)}

[output]
root = "catalog"

[models]
store = "models"

[sampling]
draws = {spec.draws}
seed = {_SAMPLING_SEED}

[routing]
{_lines(f"{instrument} = [{low}, {high}]" for instrument, (low, high) in ROUTING.items())}

[quality]
min_valid_fraction = 0.5

[tiling]
core_size = {spec.core_size}
"""
    return head + "".join(_field_tables(field) for field in spec.fields)


def _field_tables(field: str) -> str:
    source_list = _SOURCE_LISTS[field]
    columns = ", ".join(f'{role} = "{name}"' for role, name in source_list.columns.items())
    tables = f'\n[fields.{field}.sources]\npath = "{source_list.name}"\ncolumns = {{ {columns} }}\n'
    for instrument in INSTRUMENTS:
        stem = f"{field}_{instrument}".lower()
        tables += f'\n[fields.{field}.{instrument}]\nscience = "{stem}_sci.fits"\nweight = "{stem}_wht.fits"\n'
    return tables


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)


def _write_field(survey: SimulatedSurvey, field: str) -> pd.DataFrame:
    spec = survey.spec
    coverage = {instrument: footprint(instrument, spec.shape(instrument)) for instrument in INSTRUMENTS}
    sources = draw_field(spec.seed, field, spec.n_sources, coverage, spec.core_size)
    valid = {instrument: _without_holes(coverage[instrument], instrument, sources) for instrument in INSTRUMENTS}
    for instrument in INSTRUMENTS:
        _write_mosaic(survey, field, instrument, sources, coverage[instrument])
        _write_weight(survey, field, instrument, valid[instrument])
    truth = pd.DataFrame(_truth_row(number, source, valid) for number, source in enumerate(sources.listed, start=1))
    truth.insert(0, "field", field)
    x_y = truth["x_f814w"].to_numpy(), truth["y_f814w"].to_numpy()
    ra_deg, dec_deg = mosaic_wcs(field, "F814W").all_pix2world(*x_y, 0)
    truth.insert(2, "ra_deg", ra_deg)
    truth.insert(3, "dec_deg", dec_deg)
    _LIST_WRITERS[field](survey.source_list(field), truth, [source.redshift for source in sources.listed])
    return truth


def _without_holes(covered: BoolArray, instrument: str, sources: FieldSources) -> BoolArray:
    """The footprint without the pixel at the centre of the trap that stands for a flagged cosmic ray."""
    valid = covered.copy()
    for source in sources.listed:
        if source.trap is not None and source.trap.name == ZERO_WEIGHT_TRAP:
            row, column = source.sky.pixel(INSTRUMENTS[instrument])
            valid[int(np.floor(row + 0.5)), int(np.floor(column + 0.5))] = False
    return valid


def _write_mosaic(survey: SimulatedSurvey, field: str, instrument: str, sources: FieldSources, covered: BoolArray) -> None:
    pixels = _observed(survey.spec, field, instrument, sources)
    layout = LAYOUTS[field, instrument]
    pixels[~covered] = layout.outside
    _write_image(survey.science(field, instrument), pixels, mosaic_header(field, instrument), layout.extension)


def _write_weight(survey: SimulatedSurvey, field: str, instrument: str, valid: BoolArray) -> None:
    inverse_variance = FIELDS[field].depths[instrument].sky_rms ** -2
    extension = LAYOUTS[field, instrument].extension and "WHT"
    weight = valid * np.float32(inverse_variance)
    _write_image(survey.weight(field, instrument), weight, wcs_header(field, instrument), extension)


def _observed(spec: SurveySpec, field: str, instrument: str, sources: FieldSources) -> Float32Array:
    """The sky of a field as an instrument sees it, all over the image: (rows, columns) float32, e-/s."""
    band, depth, shape = INSTRUMENTS[instrument], FIELDS[field].depths[instrument], spec.shape(instrument)
    shining = [*(source.sky for source in sources.listed), *sources.unlisted]
    sky = blur(paint(shining, band, shape, _MARGIN_PIX), band)[_MARGIN_PIX:-_MARGIN_PIX, _MARGIN_PIX:-_MARGIN_PIX]
    rng = random_stream(spec.seed, field, f"noise {instrument}")
    return sky + sky_noise(rng, shape, depth.sky_rms) + shot_noise(rng, sky, depth.exposure_s)


def _write_image(path: Path, pixels: Float32Array, header: fits.Header, extension: str | None) -> None:
    """Write big-endian float32, as FITS has it, in the primary HDU or behind an empty one."""
    if extension is None:
        hdus = fits.HDUList([fits.PrimaryHDU(pixels, header)])
    else:
        hdus = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(pixels, header, name=extension)])
    hdus.writeto(path, overwrite=True)


def _truth_row(number: int, source: ListedSource, valid: dict[str, BoolArray]) -> dict[str, object]:
    pixels = {instrument: source.sky.pixel(band) for instrument, band in INSTRUMENTS.items()}
    redshift = np.nan if source.redshift == MISSING else source.redshift
    outcome = expected_outcome(redshift, pixels, valid)
    if source.trap is not None and outcome.status != source.trap.status:
        raise ValueError(f"trap {source.trap.name} would end as {outcome.status}, not {source.trap.status}: take a larger shape")
    return {
        "source_id": number,
        "redshift": redshift,
        "kind": source.sky.galaxy.kind,
        "trap": source.trap.name if source.trap else "",
        "mag_f814w": source.sky.magnitudes["F814W"],
        "mag_f160w": source.sky.magnitudes["F160W"],
        "radius_arcsec": source.sky.galaxy.radius_arcsec,
        "x_f814w": pixels["F814W"][1],
        "y_f814w": pixels["F814W"][0],
        "x_f160w": pixels["F125W_F160W"][1],
        "y_f160w": pixels["F125W_F160W"][0],
        "instrument": outcome.instrument,
        "status": str(outcome.status),
        "flags": int(outcome.flags),
        "valid_fraction": outcome.valid_fraction,
    }


def _write_cosmos_list(path: Path, truth: pd.DataFrame, redshifts: list[float]) -> None:
    """A FITS table, as Nayyeri et al. 2017's: NaN, or the odd -99, where the redshift is unknown."""
    table = Table(
        {
            "ID": truth["source_id"].to_numpy(np.int32),
            "RA": truth["ra_deg"].to_numpy(),
            "DEC": truth["dec_deg"].to_numpy(),
            "zbest": np.array(redshifts),
            "ACS_F814W_FLUX": _microjansky(truth["mag_f814w"]).astype(np.float32),
            "WFC3_F160W_FLUX": _microjansky(truth["mag_f160w"]).astype(np.float32),
            "CLASS_STAR": (truth["kind"] == "star").to_numpy(np.float32),
        }
    )
    table["RA"].unit = table["DEC"].unit = "deg"
    table.write(path, format="fits", overwrite=True)


def _write_egs_list(path: Path, truth: pd.DataFrame, redshifts: list[float]) -> None:
    """ASCII with a SExtractor header, -99 where unknown, and a second pair of positions that is not for these mosaics."""
    names = ("NUMBER", "RA_Lotz2008", "DEC_Lotz2008", "ALPHA_J2000", "DELTA_J2000", "WFC3_F160W_FLUX", "CLASS_STAR", "z_best")
    columns = (
        truth["source_id"],
        (truth["ra_deg"] + 0.00025).round(6),
        (truth["dec_deg"] - 0.00012).round(6),
        truth["ra_deg"],
        truth["dec_deg"],
        _microjansky(truth["mag_f160w"]).round(4),
        (truth["kind"] == "star").astype(float),
        np.nan_to_num(redshifts, nan=MISSING),
    )
    head = [f"# {number} {name}" for number, name in enumerate(names, start=1)]
    # repr of a float gives its every digit, so that positions are read back exactly.
    rows = [
        " ".join(repr(value) for value in row) for row in zip(*(np.asarray(column).tolist() for column in columns), strict=True)
    ]
    path.write_text("\n".join([*head, *rows]) + "\n", encoding="ascii")


_LIST_WRITERS = {"COSMOS": _write_cosmos_list, "EGS": _write_egs_list}


def _microjansky(magnitude_ab: pd.Series) -> np.ndarray:
    return np.asarray(10 ** (-0.4 * (magnitude_ab.to_numpy(float) - 23.9)))
