"""What flows between the parts: values that cannot be constructed wrong, and the Protocols that the parts ask of one another.

Images are ``[y, x]``, 0-based, with integer coordinates at pixel centres; boxes are half-open. FITS's 1-based, x-first
world ends in ``surveyflow.inputs.mosaics``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import IntFlag, StrEnum
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]
UInt64Array = NDArray[np.uint64]
BoolArray = NDArray[np.bool_]

MERGER_TASK = "merger"
CONTAMINATION_TASK = "contamination"
POST_MERGER = "post_merger"
STAR_FORMING = "star_forming"
CONTAMINATION_OUTPUTS = ("contaminated", "coverage", "coverage_scatter", "neighbours", "flux_pp", "flux_pp_scatter")
"""Outputs of a contamination network, in the order of `surveyflow.stats.contamination`."""
CONTAMINATION_TRUTHS = ("sky_sigma", "self_sigma")
"""How the truth of contamination was found: masks at 2 sigma of the sky, or of each image itself."""
PRECISIONS = ("float32", "tf32", "bf16")


class Status(StrEnum):
    """What became of a source. Results are null unless it is ``ok``."""

    OK = "ok"
    NO_REDSHIFT = "no_redshift"
    NO_MODEL = "no_model"
    OFF_MOSAIC = "off_mosaic"
    NO_COVERAGE = "no_coverage"
    BAD_PIXELS = "bad_pixels"
    FAILED = "failed"


class Flag(IntFlag):
    """Named bits of the ``flags`` column: what to know about a row before it is used."""

    EDGE = 1
    """The cutout reaches beyond the mosaic's edge; what is missing was filled with 0."""
    PARTIAL_COVERAGE = 2
    """Some pixels of the cutout hold no data, beyond the mosaic's edge or inside it."""
    OUT_OF_DOMAIN = 4
    """At least one of the ``*_DOMAIN`` bits below is set: the model was not trained on images like this one."""
    UNIT_DOMAIN = 8
    """The mosaic's unit is not that of the training images, or neither its BUNIT nor the workflow says what it is."""
    NOISE_DOMAIN = 16
    """The cutout's sky rms lies outside the range of the training images."""
    REDSHIFT_DOMAIN = 32
    """The redshift lies outside the model card's range."""
    CONSTANT_IMAGE = 64
    """The prepared image is all 0: its valid pixels are equal, or lie below a logarithm's softening."""
    BAND_DOMAIN = 256
    """The mosaic's FILTER is not that of the training images."""
    NO_MOSAIC = 128
    """The workflow names no mosaic of this instrument in this field (status ``off_mosaic``)."""


class Stretch(StrEnum):
    """How a cutout's pixels are brought to the range that a network was trained on."""

    ASINH_MINMAX = "asinh_minmax"
    MINMAX = "minmax"
    LINEAR = "linear"
    LOG_MINMAX = "log_minmax"
    ASINH_NOISE = "asinh_noise"


class WeightsOrigin(StrEnum):
    """Where a model's weights came from. Only ``ferreira2022`` may be called Ferreira+22."""

    FERREIRA2022 = "ferreira2022"
    """The authors' released weights."""
    SIMULATED = "simulated"
    """Trained on surveyflow's own simulations."""
    USER = "user"
    """Trained by the user, on the user's data."""
    UNTRAINED = "untrained"
    """Fixed random numbers: the outputs mean nothing."""


@dataclass(frozen=True, slots=True, order=True)
class Box:
    """A half-open rectangle of pixels: rows ``y0 <= y < y1``, columns ``x0 <= x < x1``. It may reach outside an image."""

    y0: int
    y1: int
    x0: int
    x1: int

    def __post_init__(self) -> None:
        if self.y1 < self.y0 or self.x1 < self.x0:
            raise ValueError(f"a box must not be inside out: {self}")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.y1 - self.y0, self.x1 - self.x0

    def grown(self, margin: int) -> Box:
        """The box with ``margin`` more pixels on each side."""
        return Box(self.y0 - margin, self.y1 + margin, self.x0 - margin, self.x1 + margin)

    def clipped(self, shape: tuple[int, int]) -> Box:
        """The part inside an image of this shape; empty where there is none."""
        y0, x0 = min(max(self.y0, 0), shape[0]), min(max(self.x0, 0), shape[1])
        y1, x1 = max(min(self.y1, shape[0]), y0), max(min(self.x1, shape[1]), x0)
        return Box(y0, y1, x0, x1)


@dataclass(frozen=True, slots=True)
class Tile:
    """One core of a mosaic's grid, with the window that holds every cutout centred in it.

    Parameters
    ----------
    row, column
        Place in the grid.
    core
        The pixels whose sources this tile owns; the cores of a mosaic partition it.
    window
        The core and half a cutout around it, clipped to the mosaic.
    """

    row: int
    column: int
    core: Box
    window: Box

    @property
    def name(self) -> str:
        """``y003x014``."""
        return f"y{self.row:03d}x{self.column:03d}"


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of a mosaic, in memory.

    Parameters
    ----------
    pixels
        (height, width) float32, native byte order, exactly as in the file (e-/s in CANDELS); NaN and 0 included.
    valid
        (height, width) bool. True where the pixel holds data: finite and, with a weight map, of finite positive weight;
        without one, not exactly 0.
    weight
        (height, width) float32, or None where the mosaic has no weight map.
    origin_yx
        Row and column of ``pixels[0, 0]`` in the mosaic.
    mosaic_shape
        Rows and columns of the whole mosaic.
    """

    pixels: Float32Array
    valid: BoolArray
    weight: Float32Array | None
    origin_yx: tuple[int, int]
    mosaic_shape: tuple[int, int]

    def __post_init__(self) -> None:
        if self.pixels.ndim != 2 or self.pixels.dtype != np.float32 or not self.pixels.dtype.isnative:
            raise ValueError(f"pixels must be 2-D native float32, not {self.pixels.ndim}-D {self.pixels.dtype}")
        for name, other in (("valid", self.valid), ("weight", self.weight)):
            if other is not None and other.shape != self.pixels.shape:
                raise ValueError(f"{name} has shape {other.shape}, pixels {self.pixels.shape}")

    @property
    def box(self) -> Box:
        """Where the window lies in the mosaic."""
        y0, x0 = self.origin_yx
        return Box(y0, y0 + self.pixels.shape[0], x0, x0 + self.pixels.shape[1])


@dataclass(frozen=True, slots=True)
class CutoutStack:
    """Square cutouts around sources, at their true offsets.

    Parameters
    ----------
    pixels
        (n, size, size) float32 in the mosaic's unit; 0 where there is no data.
    valid
        (n, size, size) bool; True where the pixel holds data.
    weight_median
        (n,) float32: median weight over the valid pixels; NaN without a weight map or without valid pixels.
    centre_valid
        (n,) bool: whether the pixel that holds the source's centre holds data.
    beyond_edge
        (n,) bool: whether the cutout reaches beyond the mosaic.
    """

    pixels: Float32Array
    valid: BoolArray
    weight_median: Float32Array
    centre_valid: BoolArray
    beyond_edge: BoolArray

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[1] != self.pixels.shape[2]:
            raise ValueError(f"pixels must have shape (n, size, size), not {self.pixels.shape}")
        if self.valid.shape != self.pixels.shape:
            raise ValueError(f"valid has shape {self.valid.shape}, pixels {self.pixels.shape}")
        for name in ("weight_median", "centre_valid", "beyond_edge"):
            if getattr(self, name).shape != (len(self.pixels),):
                raise ValueError(f"{name} must have shape ({len(self.pixels)},), not {getattr(self, name).shape}")

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, rows: Int64Array | BoolArray) -> CutoutStack:
        """The chosen cutouts, in that order."""
        return CutoutStack(
            pixels=self.pixels[rows],
            valid=self.valid[rows],
            weight_median=self.weight_median[rows],
            centre_valid=self.centre_valid[rows],
            beyond_edge=self.beyond_edge[rows],
        )

    @property
    def valid_fraction(self) -> Float32Array:
        """(n,) float32 in [0, 1]."""
        fraction: Float32Array = np.mean(self.valid, axis=(1, 2), dtype=np.float32)
        return fraction


@dataclass(frozen=True, slots=True)
class SourceList:
    """The sources of one field, one row each, in the file's order.

    Parameters
    ----------
    field
        Name of the field: ``EGS``.
    source_id
        (n,) int64, unique within the field.
    ra_deg, dec_deg
        (n,) float64, ICRS degrees, finite; 0 <= ra < 360, -90 <= dec <= 90.
    redshift
        (n,) float64, at least -0.01 (stars and near galaxies approach us); NaN where unknown.
    """

    field: str
    source_id: Int64Array
    ra_deg: Float64Array
    dec_deg: Float64Array
    redshift: Float64Array

    def __post_init__(self) -> None:
        for name in ("source_id", "ra_deg", "dec_deg", "redshift"):
            if getattr(self, name).shape != (len(self.source_id),):
                raise ValueError(f"{name} must have shape ({len(self.source_id)},), not {getattr(self, name).shape}")
        if len(np.unique(self.source_id)) != len(self.source_id):
            raise ValueError(f"source ids of {self.field} are not unique")

    def __len__(self) -> int:
        return len(self.source_id)


@dataclass(frozen=True, slots=True)
class UnitSources:
    """The sources of one work unit, sorted by id.

    Parameters
    ----------
    field, instrument
        Whose they are; instrument is ``""`` where no instrument was chosen for the row.
    source_id, ra_deg, dec_deg, redshift
        As in `SourceList`.
    x_pix, y_pix
        (n,) float64, 0-based position in the mosaic; NaN where there is none.
    status
        (n,) str: the status of rows that are settled without looking at pixels; ``""`` for rows to be measured.
    flags
        (n,) int32 of `Flag` bits known so far.
    """

    field: str
    instrument: NDArray[np.str_]
    source_id: Int64Array
    ra_deg: Float64Array
    dec_deg: Float64Array
    redshift: Float64Array
    x_pix: Float64Array
    y_pix: Float64Array
    status: NDArray[np.str_]
    flags: Int32Array

    def __post_init__(self) -> None:
        columns = ("instrument", "source_id", "ra_deg", "dec_deg", "redshift", "x_pix", "y_pix", "status", "flags")
        shapes = {getattr(self, name).shape for name in columns}
        if shapes != {(len(self.source_id),)}:
            raise ValueError(f"every column of a unit's sources must have one length, not {shapes}")

    def __len__(self) -> int:
        return len(self.source_id)

    def take(self, rows: Int64Array | BoolArray) -> UnitSources:
        """The chosen rows, in that order."""
        return UnitSources(
            field=self.field,
            instrument=self.instrument[rows],
            source_id=self.source_id[rows],
            ra_deg=self.ra_deg[rows],
            dec_deg=self.dec_deg[rows],
            redshift=self.redshift[rows],
            x_pix=self.x_pix[rows],
            y_pix=self.y_pix[rows],
            status=self.status[rows],
            flags=self.flags[rows],
        )


@dataclass(frozen=True, slots=True, order=True)
class ModelKey:
    """Which model: ``merger/EGS/F814W``."""

    task: str
    field: str
    instrument: str

    def __str__(self) -> str:
        return f"{self.task}/{self.field}/{self.instrument}"


@dataclass(frozen=True, slots=True)
class Architecture:
    """The family of networks of Ferreira et al. 2022: blocks of two convolutions, then dense layers with Monte Carlo dropout.

    The defaults are the published network, as serialised in the authors' files.

    Parameters
    ----------
    input_size
        Side of the square input, pixels.
    crop
        Side of the square in the input's middle that is looked at, pixels; None for all of it.
    binning
        Side of the squares of pixels that are averaged in front of the first convolution; 1 for none.
    asymmetry
        Whether the network sees, as a second channel, the image minus itself turned by 180 degrees: the residual of which
        the asymmetry of Conselice et al. (2000, section 3) is the sum.
    filters, kernel_sizes
        One entry a block: channels and odd kernel side of both of its convolutions (no padding). Blocks are separated by
        2x2 max-pooling.
    dense
        Units of the hidden dense layers.
    dropout
        Rate of the Monte Carlo dropout after each hidden dense layer, in [0, 1).
    n_outputs
        Number of independent sigmoid outputs.
    batch_norm_epsilon
        Added to the variance by batch normalisation.
    """

    input_size: int = 128
    filters: tuple[int, ...] = (32, 64, 128)
    kernel_sizes: tuple[int, ...] = (11, 9, 7)
    dense: tuple[int, ...] = (128, 128)
    dropout: float = 0.5
    n_outputs: int = 2
    batch_norm_epsilon: float = 1e-3
    crop: int | None = None
    binning: int = 1
    asymmetry: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.seen_size <= self.input_size or (self.input_size - self.seen_size) % 2:
            raise ValueError(f"crop must leave as much on either side of an input of {self.input_size}, unlike {self.crop}")
        if self.binning < 1 or self.seen_size % self.binning:
            raise ValueError(f"binning must divide the {self.seen_size} pixels that are looked at, unlike {self.binning}")
        if not self.filters or len(self.filters) != len(self.kernel_sizes):
            raise ValueError(f"filters {self.filters} and kernel_sizes {self.kernel_sizes} must have one entry for each block")
        if min(self.filters) < 1 or not self.dense or min(self.dense) < 1 or self.n_outputs < 1:
            raise ValueError("filters, dense and n_outputs must be positive, and there must be a dense layer")
        if any(size < 1 or size % 2 == 0 for size in self.kernel_sizes):
            raise ValueError(f"kernel sizes must be odd and positive, not {self.kernel_sizes}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must lie in [0, 1), not {self.dropout}")
        if self.map_sizes[-1] < 1:
            raise ValueError(
                f"an input of {self.input_size} pixels is too small for kernels {self.kernel_sizes}: maps {self.map_sizes}"
            )

    @property
    def seen_size(self) -> int:
        """Side of the part of the input that is looked at, pixels."""
        return self.input_size if self.crop is None else self.crop

    @property
    def n_channels(self) -> int:
        """Channels that the first convolution sees."""
        return 2 if self.asymmetry else 1

    @property
    def map_sizes(self) -> tuple[int, ...]:
        """Side of the first convolution's map, then of the map after each convolution and pooling."""
        sizes = [self.seen_size // self.binning]
        for block, kernel_size in enumerate(self.kernel_sizes):
            if block:
                sizes.append(sizes[-1] // 2)
            for _ in range(2):
                sizes.append(sizes[-1] - kernel_size + 1)
        return tuple(sizes)


@dataclass(frozen=True, slots=True)
class Domain:
    """What the training images were like; None where unknown, which is then not checked.

    Parameters
    ----------
    unit
        BUNIT of the training images, as FITS spells it: ``electron/s``.
    sky_rms
        Lowest and highest sky rms of a cutout, in ``unit``, that the model may be trusted with.
    """

    unit: str | None = None
    sky_rms: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.sky_rms is not None and not 0 <= self.sky_rms[0] < self.sky_rms[1]:
            raise ValueError(f"sky_rms must be a range (low, high) with 0 <= low < high, not {self.sky_rms}")


@dataclass(frozen=True, slots=True)
class ContaminationScale:
    """How the outputs of a contamination network become percent, and flux in the cutout's unit.

    Parameters
    ----------
    truth
        Which truth it was trained on, one of `CONTAMINATION_TRUTHS`.
    flux_range
        The arcsinh of the flux per pixel, in units of the cutout's sky rms, that an output of 1 stands for; in (0, 50].
    scatter_limit
        Standard deviation, of an output's location, that a scatter output of 1 stands for; in (0, 1].
    interval_scale_coverage, interval_scale_flux_pp
        By what the standard deviations are multiplied, so that intervals hold as many held-out truths as they claim; above 0.
    """

    truth: str
    flux_range: float
    scatter_limit: float = 0.5
    interval_scale_coverage: float = 1.0
    interval_scale_flux_pp: float = 1.0

    def __post_init__(self) -> None:
        if self.truth not in CONTAMINATION_TRUTHS:
            raise ValueError(f"truth must be one of {', '.join(CONTAMINATION_TRUTHS)}, not {self.truth!r}")
        if not 0 < self.flux_range <= 50:
            raise ValueError(f"flux_range must lie in (0, 50], not {self.flux_range}")
        if not 0 < self.scatter_limit <= 1:
            raise ValueError(f"scatter_limit must lie in (0, 1], not {self.scatter_limit}")
        for name in ("interval_scale_coverage", "interval_scale_flux_pp"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What must be known of a model before its numbers may be used.

    Parameters
    ----------
    key
        Task, field and instrument.
    class_names
        Meaning of the network's outputs, in column order; ``("post_merger", "star_forming")`` for the mergers task,
        `CONTAMINATION_OUTPUTS` for contamination.
    pixel_scale_arcsec
        Pixel scale of the training images.
    band
        Filter of the training images: ``F814W``.
    redshift_range
        Half-open range [low, high) of the training galaxies.
    stretch, softening
        Preparation of a cutout; softening in the images' unit, above 0.
    architecture
        Shape of the network.
    origin
        Where the weights came from.
    citation
        What to cite for them.
    weights_digest
        SHA-256 of the weights file, hexadecimal.
    domain
        What the training images were like.
    notes
        Anything else a reader must know.
    also_for
        Other fields whose cutouts this model may be used on.
    contamination
        What a contamination model's outputs stand for; None for other tasks.
    """

    key: ModelKey
    class_names: tuple[str, ...]
    pixel_scale_arcsec: float
    band: str
    redshift_range: tuple[float, float]
    stretch: Stretch
    softening: float
    architecture: Architecture
    origin: WeightsOrigin
    citation: str
    weights_digest: str
    domain: Domain = field(default_factory=Domain)
    notes: str = ""
    also_for: tuple[str, ...] = ()
    contamination: ContaminationScale | None = None

    def __post_init__(self) -> None:
        if len(self.class_names) != self.architecture.n_outputs or len(set(self.class_names)) != len(self.class_names):
            raise ValueError(f"class_names {self.class_names} must name each of the {self.architecture.n_outputs} outputs once")
        if not (np.isfinite(self.pixel_scale_arcsec) and self.pixel_scale_arcsec > 0):
            raise ValueError(f"pixel_scale_arcsec must be positive, not {self.pixel_scale_arcsec}")
        if not self.redshift_range[0] < self.redshift_range[1]:
            raise ValueError(f"redshift_range must be [low, high) with low < high, not {self.redshift_range}")
        if not (np.isfinite(self.softening) and self.softening > 0):
            raise ValueError(f"softening must be positive, not {self.softening}")

    @property
    def digest(self) -> str:
        """SHA-256, hexadecimal, over all that can change a result: everything but citation, notes and the fields lent to."""
        told = {name: value for name, value in asdict(self).items() if name not in ("citation", "notes", "also_for")}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    @property
    def model_id(self) -> str:
        """The model's name in catalogs: key and the first 12 digits of its weights' digest."""
        return f"{self.key}@{self.weights_digest[:12]}"

    @property
    def model_word(self) -> int:
        """The model's half of the key of its random numbers: the first 32 bits of its weights' digest."""
        return int(self.weights_digest[:8], 16)


class WindowReader(Protocol):
    """A mosaic that can be read by rectangles."""

    @property
    def shape(self) -> tuple[int, int]: ...

    def read(self, box: Box) -> Window:
        """Read the part of ``box`` that lies on the mosaic."""
        ...


@runtime_checkable
class Model(Protocol):
    """A network that is sampled: one deterministic trunk pass, then any number of draws of its head."""

    @property
    def card(self) -> ModelCard: ...

    @property
    def engine(self) -> str:
        """Name of the engine: ``keras`` or ``fft``."""
        ...

    def features(self, cutouts: Float32Array) -> Float32Array:
        """(n, size, size) prepared cutouts -> (n, width) float32: the output of the first dense layer, before any dropout."""
        ...

    def draw(self, features: Float32Array, source_keys: UInt64Array, n_draws: int, seed: int) -> Float32Array:
        """(n, width) features -> (n, n_draws, n_outputs) float32 in [0, 1]."""
        ...


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """How each galaxy's distribution is drawn.

    Parameters
    ----------
    n_draws
        Monte Carlo dropout draws a source, 1 to 65535 (a histogram bin counts in 16 bits).
    seed
        0 to 2**32 - 1.
    keep_draws
        Whether every draw of p_pm is written, too.
    """

    n_draws: int
    seed: int
    keep_draws: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.n_draws <= 65_535:
            raise ValueError(f"draws must lie between 1 and 65535, not {self.n_draws}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must lie between 0 and 2**32 - 1, not {self.seed}")


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """How models are computed.

    Parameters
    ----------
    name
        ``keras``, ``fft``, or ``auto`` for the fastest engine that is installed where the work is done. Engines agree within
        1e-5, so the choice does not change a unit's key.
    precision
        Of the trunk: ``float32``, ``tf32`` or ``bf16``. It changes the key.
    """

    name: str = "auto"
    precision: str = "float32"

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, not {self.precision!r}")


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that a unit's rows are on disk.

    Parameters
    ----------
    key
        The unit's key: SHA-256 over everything that can change its rows.
    name
        ``EGS/F814W/y000x001``.
    parts
        The digests that the key was made of, by name, so that a later plan can say what changed.
    n_rows
        Rows in the unit's file.
    status_counts
        Rows by status.
    digest
        SHA-256 of the unit's Parquet file.
    seconds
        Wall time of the work.
    worker
        Host and process that did it.
    draws_digest
        SHA-256 of the Parquet file of its draws; None unless they are kept.
    engine
        Name of the engine that computed it; empty if no model was needed, or if an earlier version wrote the receipt.
    """

    key: str
    name: str
    parts: Mapping[str, str]
    n_rows: int
    status_counts: Mapping[str, int]
    digest: str
    seconds: float
    worker: str
    draws_digest: str | None = None
    engine: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """What an executor carries to a worker: a verb of the worker and a small payload. Never pixels, models or catalogs.

    Parameters
    ----------
    name
        What it is called.
    verb, payload
        What the worker is to do, and with what: JSON's plain values.
    place
        Field and instrument whose models it needs, ``EGS/F814W``; empty if it needs none.
    n_sources
        How much work it is beside others.
    """

    name: str
    verb: str
    payload: Mapping[str, Any]
    place: str = ""
    n_sources: int = 1


@dataclass(frozen=True, slots=True)
class JobResult:
    """How a job ended.

    Parameters
    ----------
    job
        The job.
    value
        What the worker returned; None after a failure.
    error
        What went wrong, in words; None after success.
    fatal
        Whether the error stops the whole run (a full disk), not only this job.
    """

    job: Job
    value: Any = None
    error: str | None = None
    fatal: bool = False


class Worker(Protocol):
    """Does jobs, and keeps models and open mosaics between them.

    Two threads may ask at a time, so that one job reads or writes while another computes; the worker sees to it that no two
    compute.
    """

    def do(self, job: Job) -> Any: ...

    def close(self) -> None: ...


class Executor(Protocol):
    """Runs jobs somewhere: in this process, or on a cluster."""

    @property
    def dashboard(self) -> str | None:
        """Address of the page that shows what runs where; None where there is none."""
        ...

    def run(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        """Yield a result for each job, as they end."""
        ...

    def close(self) -> None: ...
