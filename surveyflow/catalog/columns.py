"""Which columns the catalog has, what they mean, and when they are null.

The list is public: people's scripts rely on names, types and meanings. Adding a column is a minor change, anything else a
major one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

import pyarrow as pa

from surveyflow.stats.posterior import HISTOGRAM_BINS, QUANTILES
from surveyflow.values.sources import SOURCE_COLUMNS, SourceColumn


class Null(Enum):
    """When a column is null."""

    NEVER = "never"
    UNLESS_OK = "if and only if status is not ok"
    UNLESS_CONTAMINATION = "if status is not ok, no contamination model was used, or the cutout has no measurable sky noise"
    NOT_LISTED = "if the source list gives none"
    NO_INSTRUMENT = "if no range of [routing] holds the source"
    NO_MOSAIC = "if the source was not looked for on a mosaic"
    NO_CUTOUT = "if no cutout was made"
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
        Its UCD1+: what kind of quantity it is.
    description
        Its meaning.
    null
        When it is null.
    unit
        Its unit as VOUnits spell it; ``""`` for a dimensionless quantity, None for names, counts and codes.
    """

    name: str
    type: pa.DataType
    ucd: str
    description: str
    null: Null = Null.NEVER
    unit: str | None = None

    @property
    def field(self) -> pa.Field:
        """The column as a field of an Arrow schema."""
        return pa.field(self.name, self.type, nullable=self.null is not Null.NEVER)


INT, LONG, FLOAT, DOUBLE, STRING = pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.string()
HISTOGRAM = pa.list_(pa.field("element", pa.uint16()), HISTOGRAM_BINS)
"""The item is called as Parquet calls it, so that the type survives a file."""

_STATISTICS = {
    "mean": ("mean", "stat.mean"),
    "std": ("standard deviation", "stat.stdev"),
    "q05": ("5 % quantile", "stat.percentile"),
    "q16": ("16 % quantile", "stat.percentile"),
    "q50": ("median", "stat.median"),
    "q84": ("84 % quantile", "stat.percentile"),
    "q95": ("95 % quantile", "stat.percentile"),
}


def _statistics(quantity: CatalogColumn, keys: Sequence[str]) -> tuple[CatalogColumn, ...]:
    """Columns that summarise the draws of one quantity."""
    return tuple(
        replace(
            quantity,
            name=f"{quantity.name}_{key}",
            ucd=f"{quantity.ucd};{_STATISTICS[key][1]}",
            description=f"{quantity.description}: {_STATISTICS[key][0]} over the draws.",
        )
        for key in keys
    )


def _listed(column: SourceColumn) -> CatalogColumn:
    """A column that is taken from the source list as it is."""
    kind, null = pa.from_numpy_dtype(column.dtype), Null.NEVER if column.required else Null.NOT_LISTED
    return CatalogColumn(column.catalog_name, kind, column.ucd, column.description, null, column.unit)


_SOURCE = (
    CatalogColumn("_healpix_29", LONG, "pos.healpix", "HEALPix cell of order 29, nested scheme, ICRS. Rows are sorted by it."),
    CatalogColumn("field", STRING, "meta.id.part", "Name of the field, as in the workflow."),
    *map(_listed, SOURCE_COLUMNS.values()),
    CatalogColumn("instrument", STRING, "meta.id;instr", "Instrument that [routing] chooses for the source.", Null.NO_INSTRUMENT),
    CatalogColumn("status", STRING, "meta.code.status", "What became of the source: ok, or why there is no result."),
    CatalogColumn("flags", INT, "meta.code.qual", "Bit mask of what to know before the row is used."),
)

_CUTOUT = (
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
        "Median weight over the cutout's valid pixels, in the weight map's unit (CANDELS: inverse variance, s2/electron2).",
        Null.NO_WEIGHT,
        "",
    ),
)

_MODEL = (
    CatalogColumn(
        "model_id",
        STRING,
        "meta.id;meta.modelled",
        "Merger model: task/field/instrument@first 12 digits of the SHA-256 of its weights.",
        Null.UNLESS_OK,
    ),
    CatalogColumn(
        "weights_origin",
        STRING,
        "meta.note;meta.modelled",
        "Where the weights came from: ferreira2022, simulated, user, or untrained (the results then mean nothing).",
        Null.UNLESS_OK,
    ),
    CatalogColumn("n_draws", INT, "meta.number", "Number of Monte Carlo dropout draws.", Null.UNLESS_OK),
    CatalogColumn("seed", LONG, "stat.param", "Seed of the draws.", Null.UNLESS_OK),
)

_P_PM = CatalogColumn("p_pm", FLOAT, "stat.probability;src.morph.type", "Post-merger output", Null.UNLESS_OK, "")
_P_SF = replace(_P_PM, name="p_sf", description="Star-forming output")
_POSTERIOR = (
    *_statistics(_P_PM, ("mean", "std", *QUANTILES)),
    *_statistics(_P_SF, ("mean", "std", *QUANTILES)),
    replace(
        _P_PM,
        name="f_pm",
        ucd="stat.value;src.morph.type",
        description="Fraction of draws with p_pm > p_sf: a count of votes, not a probability.",
    ),
    replace(
        _P_PM,
        name="vote_entropy",
        ucd="stat.param;src.morph.type",
        description="Entropy of (f_pm, 1 - f_pm) in nats: 0 where all draws agree, to 0.693.",
    ),
    CatalogColumn(
        "p_pm_hist",
        HISTOGRAM,
        "meta.number;stat.probability",
        "Draws of p_pm in each of 50 equal bins over [0, 1]; the last bin holds 1.",
        Null.UNLESS_OK,
    ),
)

_P_CONTAMINATED = CatalogColumn(
    "p_contaminated",
    FLOAT,
    "stat.probability;src.morph",
    "Probability that any neighbour lies on the galaxy",
    Null.UNLESS_CONTAMINATION,
    "",
)
_COVERAGE = replace(
    _P_CONTAMINATED,
    name="coverage_pct",
    ucd="stat.filling",
    description="Share of the galaxy under neighbours, 0 in draws where none lies on it",
    unit="%",
)
_FLUX = replace(
    _P_CONTAMINATED,
    name="flux_pp",
    ucd="phot.flux.sb",
    description="Neighbours' flux over their number of pixels, 0 in draws without any",
    unit="electron.s**-1.pixel**-1",
)
_CONTAMINATION = (
    *_statistics(_P_CONTAMINATED, ("mean", "std")),
    *_statistics(_COVERAGE, ("mean", "std", "q16", "q50", "q84")),
    *_statistics(_FLUX, ("mean", "std", "q16", "q50", "q84")),
    CatalogColumn(
        "contamination_model_id",
        STRING,
        "meta.id;meta.modelled",
        "Contamination model: task/field/instrument@first 12 digits of the SHA-256 of its weights.",
        Null.UNLESS_CONTAMINATION,
    ),
)

_UNIT_KEY = CatalogColumn("unit_key", STRING, "meta.id;meta.dataset", "Key of the work unit that made the row.", Null.NO_UNIT)

COLUMNS: tuple[CatalogColumn, ...] = (*_SOURCE, *_CUTOUT, *_MODEL, *_POSTERIOR, *_CONTAMINATION, _UNIT_KEY)
"""Every column, in the catalog's order."""
