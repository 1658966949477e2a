"""The simulation file: instrument and depth, number of galaxies, their surroundings, and the folder to write to.

``load_simulation`` reads a simulation file and either returns frozen values with absolute paths or raises one ``WorkflowError``
that holds every problem found.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, model_validator

from surveyflow.errors import WorkflowError
from surveyflow.settings.reader import (
    AnyPath,
    FilePath,
    PresentPath,
    Range,
    SettingsFile,
    SettingsTable,
    of_version,
    refuse,
    within,
)
from surveyflow.simulation.galaxies import ContrastedRecipe
from surveyflow.simulation.headers import DEPTHS, INSTRUMENTS
from surveyflow.simulation.nuisances import Nuisances
from surveyflow.simulation.observe import PSF_SIZE_PIX, Band, Depth
from surveyflow.simulation.outcomes import ROUTING
from surveyflow.simulation.recipes import DEFAULT_GALAXIES, Galaxies, Recipe
from surveyflow.simulation.scenes import STAMP_MARGIN_PIX, TARGET_MAGNITUDES


class StampsTable(SettingsTable):
    """``[simulation.stamps]``: galaxies of the user's own, instead of drawn ones.

    Parameters
    ----------
    path
        Path of a folder of FITS images, or of an HDF5 file.
    pixel_scale_arcsec
        Pixel scale of the images, at the redshift at which they are to be seen; not coarser than the instrument's.
    unit
        Unit of the pixels: ``electron/s`` of the instrument, or AB fluxes (``Jy``, ``mJy``, ``uJy``, ``nJy``) per pixel, or
        ``MJy/sr``.
    label
        ``post_merger`` or ``star_forming``, if all galaxies are the same.
    labels
        Path of a table with a row for each FITS file.
    name_column, label_column, redshift_column, group_column
        Columns of that table: the file's name, the label, the redshift if it is known, and the galaxy that the image shows, if
        several images show one. For HDF5: names of data sets of n values.
    share
        The part of the galaxies of each label that this set takes: [0.0, 0.8] and [0.8, 1.0] have no galaxy in common.
    dataset
        In an HDF5 file: name of the data set of images, (n, rows, columns).
    """

    path: PresentPath = Field(examples=["tng/post-mergers"])
    pixel_scale_arcsec: Annotated[float, within(1e-4, 10)] = Field(examples=[0.01])
    unit: Literal["electron/s", "Jy", "mJy", "uJy", "nJy", "MJy/sr"] = Field(examples=["nJy"])
    label: Literal["post_merger", "star_forming"] | None = Field(default=None, examples=["post_merger"])
    labels: FilePath | None = Field(default=None, examples=["tng/labels.csv"])
    name_column: str = Field(default="file", examples=["file"])
    label_column: str = Field(default="label", examples=["label"])
    redshift_column: str | None = Field(default=None, examples=["redshift"])
    group_column: str | None = Field(default=None, examples=["subhalo"])
    share: Annotated[Range, within(0, 1)] = Field(default=(0.0, 1.0), examples=[[0.0, 0.8]])
    dataset: str = Field(default="images", examples=["images"])

    @model_validator(mode="after")
    def _check_labels(self) -> Self:
        if self.label is not None and self.labels is not None:
            raise refuse("found `label` and `labels`.", "State one of them.")
        if self.path.is_dir() and self.label is None and self.labels is None:
            raise refuse("found neither `label` nor `labels` for a folder of FITS files.", "State one of them.")
        named = [name for name in ("redshift_column", "group_column") if getattr(self, name) is not None]
        if self.path.is_dir() and self.labels is None and named:
            raise refuse(
                f"found {' and '.join(named)} without `labels` for a folder of FITS files.",
                "State the table that has the columns.",
            )
        if not self.path.is_dir() and self.labels is not None:
            raise refuse("found `labels` beside an HDF5 file.", "Name its data set of labels by `label_column`.")
        return self


class BackgroundTable(SettingsTable):
    """``[simulation.background]``: a real mosaic, from which patches replace simulated neighbours and sky noise.

    Parameters
    ----------
    science, weight
        The mosaic, and its weight map if it has one; ``mosaic.fits[SCI]`` names an extension.
    unit
        Unit of the science image, ``electron/s``, if its header does not state it.
    """

    science: FilePath = Field(examples=["cosmos_f814w_drz.fits"])
    weight: FilePath | None = Field(default=None, examples=["cosmos_f814w_wht.fits"])
    unit: str | None = Field(default=None, examples=["electron/s"])


SIMULATION_VERSION = 1
DEFAULT_SHARD_MB = 150.0
_OF_DRAWN_GALAXIES = {"galaxies", "magnitudes", "post_merger_share", "recipe"}
_OF_THE_MOSAIC = {"noise_correlation", "sky_pedestal"}
POSITION_SIGMA_ARCSEC = 0.1
"""Scatter of positions between catalogs, along each axis."""
SMALLEST_SIZE = PSF_SIZE_PIX - 2 * STAMP_MARGIN_PIX


class RecipeTable(SettingsTable):
    """``[simulation.recipe]``: how much post-mergers and discs differ, for ``contrasted`` galaxies.

    Parameters
    ----------
    merger_strength
        Range of the factor on every post-merger feature's flux and displacement.
    disc_lopsidedness
        Largest m = 1 amplitude of a star-forming disc.
    dust_lane_chance
        Chance that a post-merger, or a strongly inclined disc, has a dust lane.
    """

    merger_strength: Annotated[Range, within(0, 3)] = Field(default=(0.8, 1.5), examples=[[0.8, 1.5]])
    disc_lopsidedness: Annotated[float, within(0, 0.5)] = Field(default=0.08, examples=[0.08])
    dust_lane_chance: Annotated[float, within(0, 1)] = Field(default=0.2, examples=[0.2])

    def recipe(self) -> ContrastedRecipe:
        """The recipe in the form that the simulation takes."""
        return ContrastedRecipe(self.merger_strength, self.disc_lopsidedness, self.dust_lane_chance)


class NuisancesTable(SettingsTable):
    """``[simulation.nuisances]``: what differs from image to image, and must not change an answer.

    Parameters
    ----------
    position_sigma_arcsec
        Gaussian scatter of the galaxy's position, along each axis; if left out, 0.1, or 0 for ``contrasted`` galaxies.
    psf_fwhm
        Range of the factor on the FWHM of the PSF.
    psf_ellipticity
        Largest ellipticity (a - b) / (a + b) of the PSF.
    noise_correlation
        Range of the correlation of neighbouring pixels' noise; that of drizzled mosaics, 0.5, if left out.
    sky_pedestal
        Range of the level of the sky, in units of the sky's rms.
    """

    position_sigma_arcsec: Annotated[float, within(0, 1)] | None = Field(default=None, examples=[0.1])
    psf_fwhm: Annotated[Range, within(0.9, 2)] = Field(default=(1.0, 1.0), examples=[[0.95, 1.2]])
    psf_ellipticity: Annotated[float, within(0, 0.1)] = Field(default=0.0, examples=[0.05])
    noise_correlation: Annotated[Range, within(0.05, 0.9)] | None = Field(default=None, examples=[[0.3, 0.6]])
    sky_pedestal: Annotated[Range, within(-100, 100)] = Field(default=(0.0, 0.0), examples=[[-1.0, 5.0]])


class SimulationTable(SettingsTable):
    """``[simulation]``: one set of records.

    Parameters
    ----------
    output
        Folder of the records; it is made if it does not exist.
    field, instrument
        They determine the depth of the images; ``field`` is a name of the user's own if ``sky_rms`` and ``exposure_s`` are given.
    n, first
        Number of examples, and index of the first one. An example depends on seed and index, and never on the number of examples.
    seed
        Seed of everything that is drawn. A test set needs a seed of its own.
    size
        Side of a stamp, pixels.
    neighbours
        Whether neighbours are simulated; galaxies and sky noise are the same without them.
    post_merger_share
        Probability that a galaxy is a post-merger; a half if left out.
    magnitudes, redshifts
        Ranges to draw from; the range of redshifts is the instrument's if left out. For galaxies of the user's own whose
        redshifts are in no column, ``redshifts`` is required: the range for which they stand.
    depth_range
        Range of the factor on the sky rms.
    sky_rms, exposure_s
        Depth, e-/s and s, of a field that surveyflow does not know.
    shard_mb
        Size of a shard, 10^6 bytes.
    galaxies
        The recipe of the simulated galaxies.
    recipe
        How much post-mergers and discs differ, for ``contrasted`` galaxies.
    nuisances
        What differs from image to image, and must not change an answer.
    stamps
        Galaxies of the user's own, used instead of simulated ones.
    background
        A real mosaic, from which patches replace simulated neighbours and noise.
    """

    output: AnyPath = Field(examples=["records/merger-train"])
    field: str = Field(examples=["COSMOS"])
    instrument: Literal["F814W", "F125W_F160W"] = Field(examples=["F814W"])
    n: Annotated[int, within(1, 100_000_000)] = Field(examples=[60000])
    first: Annotated[int, within(0, 1_000_000_000_000)] = Field(default=0, examples=[0])
    seed: Annotated[int, within(0, 2**63 - 1)] = Field(examples=[20220523])
    size: Annotated[int, within(SMALLEST_SIZE, 1024)] = Field(default=128, examples=[128])
    neighbours: bool = Field(default=True, examples=[True])
    post_merger_share: Annotated[float, within(0, 1)] | None = Field(default=None, examples=[0.1])
    magnitudes: Annotated[Range, within(15, 30)] = Field(default=TARGET_MAGNITUDES, examples=[[20.0, 24.0]])
    redshifts: Annotated[Range, within(0.05, 10)] | None = Field(default=None, examples=[[0.5, 1.5]])
    depth_range: Annotated[Range, within(0.01, 100)] = Field(default=(1.0, 1.0), examples=[[0.8, 1.5]])
    sky_rms: Annotated[float, within(1e-9, 1e9)] | None = Field(default=None, examples=[0.000721])
    exposure_s: Annotated[float, within(1e-3, 1e9)] | None = Field(default=None, examples=[6900.0])
    shard_mb: Annotated[float, within(0.01, 10_000)] = Field(default=DEFAULT_SHARD_MB, examples=[150.0])
    galaxies: Galaxies = Field(default=DEFAULT_GALAXIES, examples=[str(Galaxies.MATCHED)])
    recipe: RecipeTable = RecipeTable()
    nuisances: NuisancesTable = NuisancesTable()
    stamps: StampsTable | None = None
    background: BackgroundTable | None = None

    @model_validator(mode="before")
    @classmethod
    def _take_the_galaxies_of_a_recipe(cls, table: Any) -> Any:
        """A table [simulation.recipe] without ``galaxies`` means the galaxies that it describes."""
        if isinstance(table, Mapping) and "recipe" in table and not {"galaxies", "stamps"} & set(table):
            return {**table, "galaxies": Galaxies.CONTRASTED.value}
        return table

    @model_validator(mode="after")
    def _check_depth(self) -> Self:
        if (self.sky_rms is None) != (self.exposure_s is None):
            raise refuse("found one of `sky_rms` and `exposure_s` without the other.", "State both or neither.")
        if self.sky_rms is None and self.field not in DEPTHS:
            known = ", ".join(DEPTHS)
            raise refuse(f"the depth of {self.field} is not known; known: {known}.", "State `sky_rms` and `exposure_s`.")
        return self

    @model_validator(mode="after")
    def _check_sources(self) -> Self:
        if self.background and (not self.neighbours or self.depth_range != (1.0, 1.0)):
            raise refuse("found `neighbours` or `depth_range` beside a background.", "Leave them out: the mosaic has its own.")
        if self.background and (of_mosaic := sorted(self.nuisances.model_fields_set & _OF_THE_MOSAIC)):
            raise refuse(f"found {', '.join(of_mosaic)} beside a background.", "Leave them out: the mosaic has its own.")
        if self.galaxies != Galaxies.CONTRASTED and "recipe" in self.model_fields_set:
            told = f"found [simulation.recipe] beside galaxies = {str(self.galaxies)!r}, which have no such settings."
            raise refuse(told, "Remove the table.")
        if self.stamps and (of_drawn := sorted(self.model_fields_set & _OF_DRAWN_GALAXIES)):
            raise refuse(f"found {', '.join(of_drawn)} beside stamps.", "Leave them out: they describe simulated galaxies.")
        if self.stamps and self.stamps.pixel_scale_arcsec > self.band.pixel_scale_arcsec * (1 + 1e-6):
            scales = (
                f"{self.stamps.pixel_scale_arcsec} arcsec, are coarser than {self.instrument}'s, {self.band.pixel_scale_arcsec}"
            )
            raise refuse(f"the stamps' pixels, {scales}.", "Use finer stamps.")
        return self

    @model_validator(mode="after")
    def _check_redshifts(self) -> Self:
        if self.stamps and (self.stamps.redshift_column is None) == (self.redshifts is None):
            both = "neither `redshifts` nor" if self.redshifts is None else "`redshifts` and"
            raise refuse(
                f"found {both} `[simulation.stamps] redshift_column`.",
                "State one of them: the models' cards say for which redshifts they are valid.",
            )
        return self

    @property
    def band(self) -> Band:
        """Filter, pixels and PSF."""
        return INSTRUMENTS[self.instrument]

    @property
    def depth(self) -> Depth:
        """Depth of the images."""
        if self.sky_rms is not None and self.exposure_s is not None:
            return Depth(self.sky_rms, self.exposure_s)
        return DEPTHS[self.field][self.instrument]

    @property
    def galaxy_recipe(self) -> Recipe:
        """The recipe of the simulated galaxies."""
        return self.recipe.recipe() if self.galaxies == Galaxies.CONTRASTED else self.galaxies.recipe

    @property
    def nuisance_ranges(self) -> Nuisances:
        """The ranges of the nuisances."""
        table = self.nuisances
        usual = 0.0 if self.galaxies == Galaxies.CONTRASTED else POSITION_SIGMA_ARCSEC
        sigma = usual if table.position_sigma_arcsec is None else table.position_sigma_arcsec
        return Nuisances(sigma, table.psf_fwhm, table.psf_ellipticity, table.noise_correlation, table.sky_pedestal)

    @property
    def redshift_range(self) -> tuple[float, float]:
        """Redshifts to draw from."""
        return self.redshifts or ROUTING[self.instrument]


class Simulation(SettingsTable):
    """A simulation file.

    Parameters
    ----------
    version
        Version of the file format, 1.
    simulation
        The simulation.
    """

    version: Annotated[int, of_version(SIMULATION_VERSION)] = Field(examples=[SIMULATION_VERSION])
    simulation: SimulationTable


_FILE = SettingsFile(TypeAdapter(Simulation), WorkflowError, "docs/reference/simulation.md")


def load_simulation(path: str | Path) -> SimulationTable:
    """Read a simulation file.

    Parameters
    ----------
    path
        A TOML file; paths in it are relative to the folder of the file.

    Returns
    -------
    Frozen, with absolute paths.

    Raises
    ------
    WorkflowError
        If anything is wrong; the error holds every problem found.
    """
    file = Path(path).absolute()
    return _FILE.load(file, file.name).simulation
