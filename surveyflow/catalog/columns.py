"""The columns of the catalog: their meaning, and when they are null.

The list is public: users' scripts rely on names, types and meanings. Adding a column is a minor change, anything else a major
one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import pyarrow as pa

from surveyflow.stats.posterior import HISTOGRAM_BINS
from surveyflow.tasks.registry import TASKS
from surveyflow.tasks.task import Task
from surveyflow.values.codes import WeightsOrigin
from surveyflow.values.sources import SOURCE_COLUMNS, SourceColumn


class Null(Enum):
    """The rule that says when a column is null."""

    NEVER = "never"
    UNLESS_OK = "if and only if status is not ok"
    UNLESS_MEASURED = "if status is not ok, or the source was not measured"
    ONE_MEMBER = "if status is not ok, or the merger model is a single one"
    NO_DOMAIN = "if status is not ok, or the merger model's card names no feature domain"
    NO_CALIBRATION = "if status is not ok, or the merger model's card holds no calibration"
    NO_PREVALENCE = "if p_pm_calibrated is null, or the workflow states no [science] prevalence"
    NOT_LISTED = "if the source list does not give it"
    NO_P_Z = "if the source list gives no p(z), or most of it is in no range of [routing]"
    NO_DUPLICATE = "unless an earlier source list has the same galaxy"
    NUMBERED = "if the ids of the source list are numbers"
    NO_INSTRUMENT = "if no range of [routing] holds the source"
    NO_MOSAIC = "if the source was not looked for on a mosaic, or lies on none of several"
    NO_CUTOUT = "if no cutout was made"
    NO_LIGHT = "if no cutout was made, or its sky noise or the light at the position cannot be measured"
    NO_NOISE = "if no cutout was made, or its sky noise cannot be measured"
    NO_BORDER = "if no cutout was made, its sky noise cannot be measured, or its border holds no data"
    NO_WEIGHT = "if no cutout was made, or the mosaic has no weight map"
    NO_UNIT = "if the source's work unit failed"


@dataclass(frozen=True, slots=True)
class CatalogColumn:
    """One column of the catalog.

    Parameters
    ----------
    name
        The column's name.
    type
        Its Arrow type.
    ucd
        Its UCD1+, the kind of quantity.
    description
        Its meaning.
    null
        When it is null.
    unit
        Its unit in VOUnit notation; ``""`` for a dimensionless quantity, None for names, counts and codes.
    task
        The task that fills it; None for other columns.
    mosaic_unit
        The unit of mosaics without which it is null; None if it does not depend on the mosaic's unit.
    joined
        Whether it joins the rows only when a revision is built, so that no unit's key depends on it; in units it is null.
    """

    name: str
    type: pa.DataType
    ucd: str
    description: str
    null: Null = Null.NEVER
    unit: str | None = None
    task: Task | None = None
    mosaic_unit: str | None = None
    joined: bool = False

    @property
    def when_null(self) -> str:
        """When it is null, in words."""
        words = self.null.value if self.task is None or self.null is Null.ONE_MEMBER else self.task.null
        return words if self.mosaic_unit is None else f"{words}; or the mosaic's unit is not {self.mosaic_unit}"

    @property
    def null_rule(self) -> str:
        """Name of the rule that says when it is null."""
        if self.task is None or self.null is not Null.UNLESS_MEASURED:
            return self.null.name
        measured = f"UNLESS_{self.task.name.upper()}"
        return measured if self.mosaic_unit is None else f"{measured}_IN_{self.mosaic_unit}"

    @property
    def field(self) -> pa.Field:
        """The column as a field of an Arrow schema."""
        return pa.field(self.name, self.type, nullable=self.null is not Null.NEVER)


INT, LONG, FLOAT, DOUBLE, STRING = pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.string()
HISTOGRAM = pa.list_(pa.field("element", pa.uint16()), HISTOGRAM_BINS)
"""The item has the name that Parquet uses, so that the type survives a round trip through a file."""
_ORIGINS = ", ".join(origin for origin in WeightsOrigin if origin is not WeightsOrigin.UNTRAINED)


def _listed(column: SourceColumn) -> CatalogColumn:
    """A column that is copied from the source list."""
    kind, null = pa.from_numpy_dtype(column.dtype), Null.NEVER if column.required else Null.NOT_LISTED
    return CatalogColumn(column.catalog_name, kind, column.ucd, column.description, null, column.unit)


_SOURCE = (
    CatalogColumn("_healpix_29", LONG, "pos.healpix", "HEALPix cell of order 29, nested scheme, ICRS. Rows are sorted by it."),
    CatalogColumn("field", STRING, "meta.id.part", "Name of the field, as in the workflow."),
    *map(_listed, SOURCE_COLUMNS.values()),
    CatalogColumn("source_name", STRING, "meta.id", "Name of the source, the text from which source_id is made.", Null.NUMBERED),
    CatalogColumn("instrument", STRING, "meta.id;instr", "Instrument that [routing] chooses for the source.", Null.NO_INSTRUMENT),
    CatalogColumn(
        "p_range",
        FLOAT,
        "stat.probability",
        "Share of p(z) in the redshift range that chose the instrument.",
        Null.NO_P_Z,
        "",
    ),
    CatalogColumn(
        "duplicate_of",
        STRING,
        "meta.id.cross",
        "FIELD/ID of the row for the same galaxy in an earlier source list.",
        Null.NO_DUPLICATE,
        joined=True,
    ),
    CatalogColumn("status", STRING, "meta.code.status", "What became of the source: ok, or why there is no result."),
    CatalogColumn("flags", INT, "meta.code.qual", "Bit mask of what to know before the row is used."),
)

_CUTOUT = (
    CatalogColumn(
        "mosaic",
        STRING,
        "meta.id;meta.file",
        "File name of the mosaic on which the source was looked for, the best of those that hold its centre.",
        Null.NO_MOSAIC,
        joined=True,
    ),
    CatalogColumn(
        "x_pix",
        DOUBLE,
        "pos.cartesian.x;instr.det",
        "Column in the mosaic; 0 is the first pixel's centre.",
        Null.NO_MOSAIC,
        "pixel",
    ),
    CatalogColumn(
        "y_pix", DOUBLE, "pos.cartesian.y;instr.det", "Row in the mosaic; 0 is the first pixel's centre.", Null.NO_MOSAIC, "pixel"
    ),
    CatalogColumn("valid_fraction", FLOAT, "stat.filling", "Fraction of the cutout's pixels that hold data.", Null.NO_CUTOUT, ""),
    CatalogColumn(
        "weight_median",
        FLOAT,
        "stat.weight;stat.median",
        "Median weight over the cutout's valid pixels: inverse variance (s2/electron2), or as the map has it (exposure).",
        Null.NO_WEIGHT,
        "",
    ),
    CatalogColumn(
        "offset_arcsec",
        FLOAT,
        "pos.angDistance",
        "Distance of the light's centroid, in a Gaussian window of 0.1 arcsec, from the position, up to 0.4.",
        Null.NO_LIGHT,
        "arcsec",
    ),
    CatalogColumn(
        "sky_sigma",
        FLOAT,
        "instr.background;stat.median",
        "Level of the cutout's sky, the clipped median of its pixels, in units of the rms of its noise.",
        Null.NO_NOISE,
        "",
    ),
    CatalogColumn(
        "window_snr",
        FLOAT,
        "stat.snr;phot.flux",
        "Light in a Gaussian window of 0.1 arcsec about the position, in units of its noise as if that were uncorrelated.",
        Null.NO_NOISE,
        "",
    ),
    CatalogColumn(
        "edge_light_fraction",
        FLOAT,
        "stat.filling;phot.flux",
        "Share of the pixels within 8 pixels of the cutout's border that are more than 3 times the noise's rms above the sky.",
        Null.NO_BORDER,
        "",
    ),
    CatalogColumn(
        "noise_correlation",
        FLOAT,
        "stat.correlation",
        "Correlation of the noise of neighbouring pixels of the cutout's sky, 0 for white noise.",
        Null.NO_NOISE,
        "",
    ),
)

_MODEL = (
    CatalogColumn(
        "model_id",
        STRING,
        "meta.id;meta.modelled",
        "Merger model: task/field/instrument@first 12 digits of the SHA-256 of its weights, or of its members' digests.",
        Null.UNLESS_OK,
    ),
    CatalogColumn(
        "weights_origin",
        STRING,
        "meta.note;meta.modelled",
        f"Where the weights came from: {_ORIGINS}, or {WeightsOrigin.UNTRAINED} (the results then mean nothing).",
        Null.UNLESS_OK,
    ),
    CatalogColumn(
        "feature_distance",
        FLOAT,
        "stat.rank;meta.modelled",
        "Percent of held-out images of the merger model's training set that lie nearer to its centre: 100 beyond all of them.",
        Null.NO_DOMAIN,
        "%",
    ),
    CatalogColumn("n_draws", INT, "meta.number", "Number of Monte Carlo dropout draws.", Null.UNLESS_OK),
    CatalogColumn("n_members", INT, "meta.number;meta.modelled", "Number of models in the merger jury, or 1.", Null.UNLESS_OK),
    CatalogColumn("seed", LONG, "stat.param", "Seed of the draws.", Null.UNLESS_OK),
)


_PROBABILITY = (
    CatalogColumn(
        "p_pm_calibrated",
        FLOAT,
        "stat.probability;src.morph.type",
        "Probability of a post-merger: p_pm_mean, calibrated on images of which the share that the model's card states are "
        "post-mergers.",
        Null.NO_CALIBRATION,
        "",
    ),
    CatalogColumn(
        "p_pm_at_prevalence",
        FLOAT,
        "stat.probability;src.morph.type",
        "Probability of a post-merger: p_pm_calibrated, converted to the share of post-mergers that [science] prevalence states.",
        Null.NO_PREVALENCE,
        "",
    ),
)


def _of_task(task: Task) -> Iterator[CatalogColumn]:
    """The columns that a task fills; a task beside the leading one also names its model."""
    rule = Null.UNLESS_OK if task.leads else Null.UNLESS_MEASURED
    for column in task.columns:
        kind = HISTOGRAM if column.is_histogram else FLOAT
        own = Null.ONE_MEMBER if column.needs_members else rule
        yield CatalogColumn(column.name, kind, column.ucd, column.description, own, column.unit, task, column.mosaic_unit)
    if not task.leads:
        yield CatalogColumn(
            f"{task.name}_model_id",
            STRING,
            "meta.id;meta.modelled",
            f"{task.name.capitalize()} model: task/field/instrument@first 12 digits of the SHA-256 of its weights.",
            rule,
            task=task,
        )


_UNIT_KEY = CatalogColumn("unit_key", STRING, "meta.id;meta.dataset", "Key of the work unit that made the row.", Null.NO_UNIT)

_RESULTS = tuple(column for task in TASKS.values() for column in _of_task(task))

COLUMNS: tuple[CatalogColumn, ...] = (*_SOURCE, *_CUTOUT, *_MODEL, *_PROBABILITY, *_RESULTS, _UNIT_KEY)
"""Every column, in the catalog's order."""
