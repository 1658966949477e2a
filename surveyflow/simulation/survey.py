"""A simulated survey like CANDELS with known truth: mosaics, weight maps, source lists and a workflow.

``surveyflow demo`` and the tests use it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from surveyflow.simulation.footprints import footprint
from surveyflow.simulation.headers import FIELDS, INSTRUMENTS
from surveyflow.simulation.lists import SOURCE_LISTS
from surveyflow.simulation.mosaics import observe_mosaic, without_holes, write_science, write_weight
from surveyflow.simulation.outcomes import LEAST_VALID_FRACTION, ROUTING
from surveyflow.simulation.sources import draw_field
from surveyflow.simulation.truth import truth_table

SMALLEST_SHAPE = (800, 700)
"""The smallest shape of an F814W mosaic for which every trap works."""

_SAMPLING_SEED = 20220523


@dataclass(frozen=True, slots=True)
class SurveySpec:
    """The parameters of a simulated survey. The defaults are those of the demo.

    Parameters
    ----------
    fields
        One or both of COSMOS and EGS. The contents of a field do not depend on the other.
    n_sources
        Ordinary sources per field; 26 traps are added (24 if a mosaic has only one tile).
    shape_f814w
        Rows and columns of the F814W mosaics, even; the F160W mosaics have half of both.
    seed
        Seed of all random numbers, at least 0.
    release, draws, core_size
        Values of the workflow: the release's name, Monte Carlo draws per source, and side of a tile's core.
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
            raise ValueError(f"fields must be one or more of {tuple(FIELDS)}, each once, not {self.fields}")
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
        Folder that holds all files.
    spec
        Parameters of the survey.
    truth
        Table with one row per source, in the order of the lists, from `truth_table`. ``truth.parquet`` holds it, too.
    """

    folder: Path
    spec: SurveySpec
    truth: pd.DataFrame

    @property
    def workflow(self) -> Path:
        """The workflow file."""
        return self.folder / "workflow.toml"

    def science(self, field: str, instrument: str) -> Path:
        """The file of a science mosaic."""
        return self.folder / f"{field}_{instrument}_sci.fits".lower()

    def weight(self, field: str, instrument: str) -> Path:
        """The file of its weight map."""
        return self.folder / f"{field}_{instrument}_wht.fits".lower()

    def source_list(self, field: str) -> Path:
        """The file of a field's source list."""
        return self.folder / SOURCE_LISTS[field].name


def write_survey(folder: Path, spec: SurveySpec) -> SimulatedSurvey:
    """Simulate a survey into a folder, which is created if necessary; files of the same names are replaced.

    The same spec gives the same bytes.

    Parameters
    ----------
    folder
        Folder for mosaics, weight maps, source lists, ``workflow.toml`` and ``truth.parquet``. The model store ``models``,
        which the workflow names, is not written.
    spec
        Parameters of the survey.

    Raises
    ------
    InputError
        If galsim, of the extra ``simulate``, is not installed.
    ValueError
        If there is no room for so many sources, or the mosaics are too small for a trap to work.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    survey = SimulatedSurvey(folder, spec, pd.DataFrame())
    truth = pd.concat([_write_field(survey, field) for field in spec.fields], ignore_index=True)
    truth.to_parquet(folder / "truth.parquet")
    survey.workflow.write_text(_workflow_text(spec), encoding="utf-8")
    return replace(survey, truth=truth)


def _workflow_text(spec: SurveySpec) -> str:
    """The survey's workflow file, as TOML."""
    ranges = "\n".join(f"{instrument} = [{low}, {high}]" for instrument, (low, high) in ROUTING.items())
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
{ranges}

[quality]
min_valid_fraction = {LEAST_VALID_FRACTION}

[tiling]
core_size = {spec.core_size}
"""
    return head + "".join(_field_tables(field) for field in spec.fields)


def _field_tables(field: str) -> str:
    source_list = SOURCE_LISTS[field]
    columns = ", ".join(f'{role} = "{name}"' for role, name in source_list.columns.items())
    tables = f'\n[fields.{field}.sources]\npath = "{source_list.name}"\ncolumns = {{ {columns} }}\n'
    for instrument in INSTRUMENTS:
        stem = f"{field}_{instrument}".lower()
        tables += f'\n[fields.{field}.{instrument}]\nscience = "{stem}_sci.fits"\nweight = "{stem}_wht.fits"\n'
    return tables


def _write_field(survey: SimulatedSurvey, field: str) -> pd.DataFrame:
    spec = survey.spec
    coverage = {instrument: footprint(instrument, spec.shape(instrument)) for instrument in INSTRUMENTS}
    sources = draw_field(spec.seed, field, spec.n_sources, coverage, spec.core_size)
    valid = {instrument: without_holes(coverage[instrument], instrument, sources.listed) for instrument in INSTRUMENTS}
    truth = truth_table(field, sources.listed, valid)
    for instrument in INSTRUMENTS:
        pixels = observe_mosaic(spec.seed, field, instrument, sources, spec.shape(instrument))
        write_science(survey.science(field, instrument), field, instrument, pixels, coverage[instrument])
        write_weight(survey.weight(field, instrument), field, instrument, valid[instrument])
    redshift = np.array([source.redshift for source in sources.listed])
    SOURCE_LISTS[field].write(survey.source_list(field), truth, redshift)
    return truth
