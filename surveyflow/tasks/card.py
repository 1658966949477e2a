"""The card of a model: its key, the shape of its network, its training domain and the scale of its outputs."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import pairwise
from typing import Annotated, Any, Protocol, runtime_checkable

import numpy as np
from pydantic import Field, StringConstraints

from surveyflow.sky.stretch import Stretch
from surveyflow.tasks.calibration import Calibration, calibration_of
from surveyflow.tasks.domains import FeatureDomain, JuryDomain
from surveyflow.values.arrays import Float32Array, UInt64Array
from surveyflow.values.codes import WeightsOrigin
from surveyflow.values.notebooks import notebook_table

CONTAMINATION_TRUTHS = ("sky_sigma", "self_sigma")
"""How the true contamination was measured: with masks at 2 sigma of the sky, or at 2 sigma of each image itself."""
_INTERVAL_SCALE = "interval_scale_"
_LARGEST = {"input_size": 8192, "filters": 65_536, "kernel_sizes": 8191, "dense": 65_536, "n_outputs": 65_536}
_MOST_LAYERS = 16
_MOST_WEIGHTS = 2**28
_BATCH_NORM_EPSILON = (1e-12, 1.0)
_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
_SOFTENING = (float(np.finfo(np.float32).tiny), _LARGEST_FLOAT32)
_PIXEL_SCALE_ARCSEC = (1e-5, 1e5)
_INTERVAL_SCALES = (1e-3, 1e3)


def _check_between(name: str, number: float, limits: tuple[float, float]) -> None:
    """Refuse a number outside its limits, ends included, or NaN."""
    if not limits[0] <= number <= limits[1]:
        raise ValueError(f"{name} must lie between {limits[0]:.3g} and {limits[1]:.3g}, not {number}")


def _check_sizes(name: str, sizes: int | tuple[int, ...], largest: int) -> None:
    """Refuse sizes, or numbers of layers, that no network has."""
    each = sizes if isinstance(sizes, tuple) else (sizes,)
    if len(each) > _MOST_LAYERS or max(each, default=0) > largest:
        raise ValueError(f"{name} may be up to {largest}, in up to {_MOST_LAYERS} layers, unlike {str(sizes)[:60]}")


@dataclass(frozen=True, slots=True)
class ContaminationScale:
    """How the outputs of a contamination network are converted to percent, and to flux in the cutout's unit.

    Parameters
    ----------
    truth
        The truth that the network was trained on, one of `CONTAMINATION_TRUTHS`.
    flux_range
        The arcsinh of the flux per pixel, in units of the cutout's sky rms, that an output of 1 stands for; in (0, 50].
    scatter_limit
        The standard deviation of an output's location that a scatter output of 1 stands for; in (0, 1].
    interval_scale_coverage, interval_scale_flux_pp
        Factors on the standard deviations, so that intervals hold as many held-out truths as they claim; above 0.
        There is one for each amount, named after its output.
    """

    truth: Annotated[str, Field(examples=list(CONTAMINATION_TRUTHS))]
    flux_range: Annotated[float, Field(examples=[8.0])]
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
        for name in (one.name for one in fields(self) if one.name.startswith(_INTERVAL_SCALE)):
            _check_between(name, getattr(self, name), _INTERVAL_SCALES)

    def range_of(self, amount: str) -> float:
        """The divisor of an amount's target: the amount that an output of 1 stands for."""
        return {"flux_pp": self.flux_range}.get(amount, 1.0)

    def interval_scale(self, amount: str) -> float:
        """The factor on the standard deviation of an amount."""
        return float(getattr(self, f"{_INTERVAL_SCALE}{amount}"))

    def with_interval_scales(self, by_amount: Mapping[str, float]) -> ContaminationScale:
        """The same scale with other factors on the standard deviations of the amounts."""
        changes: dict[str, Any] = {f"{_INTERVAL_SCALE}{amount}": factor for amount, factor in by_amount.items()}
        return replace(self, **changes)


@dataclass(frozen=True, slots=True, order=True)
class ModelKey:
    """The key of a model: ``merger/EGS/F814W``."""

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
        Side of the square in the middle of the input that the network uses, pixels; None for all of it.
    binning
        Side of the squares of pixels that are averaged before the first convolution; 1 for none.
    asymmetry
        Whether the network gets, as a second channel, the image minus itself rotated by 180 degrees: the residual whose sum is
        the asymmetry of Conselice et al. (2000, section 3).
    about_galaxy
        Whether crop and rotation are about the centre of the galaxy, as `surveyflow.models.framing.galaxy_centres` finds it in
        the image, instead of about the middle of the input. The crop must leave more than `search_radius` pixels on each side.
    filters, kernel_sizes
        One entry for each block: channels and odd kernel side of both of its convolutions (no padding). Blocks are separated by
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
    about_galaxy: bool = False

    def __post_init__(self) -> None:
        for name, largest in _LARGEST.items():
            _check_sizes(name, getattr(self, name), largest)
        _check_between("batch_norm_epsilon", self.batch_norm_epsilon, _BATCH_NORM_EPSILON)
        if not 1 <= self.seen_size <= self.input_size or (self.input_size - self.seen_size) % 2:
            raise ValueError(f"crop must leave as many pixels on each side of an input of {self.input_size}, unlike {self.crop}")
        if self.about_galaxy and not 1 <= self.search_radius < (self.input_size - self.seen_size) // 2:
            raise ValueError(
                "about_galaxy needs a crop to 8 pixels or more that leaves more than an eighth of itself on each side of an "
                f"input of {self.input_size}, unlike {self.crop}"
            )
        if self.binning < 1 or self.seen_size % self.binning:
            raise ValueError(f"binning must divide the {self.seen_size} pixels that the network uses, unlike {self.binning}")
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
        if self._n_weights > _MOST_WEIGHTS:
            raise ValueError(f"a network may have up to {_MOST_WEIGHTS:,} weights, not {self._n_weights:,}")

    @property
    def _n_weights(self) -> int:
        """Number of weights of the kernels, which are most of all weights."""
        inputs = (self.n_channels, *self.filters)
        blocks = zip(inputs, self.filters, self.kernel_sizes, strict=False)
        dense = pairwise((self.filters[-1], *self.dense, self.n_outputs))
        return sum(side**2 * (before + after) * after for before, after, side in blocks) + sum(a * b for a, b in dense)

    @property
    def seen_size(self) -> int:
        """Side of the part of the input that the network uses, pixels."""
        return self.input_size if self.crop is None else self.crop

    @property
    def search_radius(self) -> int:
        """How far from the middle, along each axis, a galaxy's centre is searched, in pixels: an eighth of what is seen."""
        return self.seen_size // 8

    @property
    def n_channels(self) -> int:
        """Channels of the first convolution's input."""
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
    """Properties of the training images; None where one is unknown, and then it is not checked.

    Parameters
    ----------
    unit
        BUNIT of the training images, as FITS spells it: ``electron/s``.
    sky_rms
        Lowest and highest rms of a cutout's noise, in ``unit``, for which the model is valid.
    sky_sigma
        Lowest and highest level of a cutout's sky, in units of its noise's rms, for which the model is valid.
    offset_arcsec
        Largest distance of the light's centroid from the position for which the model is valid, arcsec; above 0.
    feature_percentile
        Largest percentile of the feature distance for which the model is valid, in (0, 100).
    features_digest
        SHA-256 of the file with the model's `surveyflow.tasks.domains.FeatureDomain`, hexadecimal.
    noise_correlation
        Lowest and highest correlation of neighbouring pixels' noise for which the model is valid, -1 to 1.
    psf_fwhm_arcsec
        Smallest and largest FWHM of a star for which the model is valid, arcsec, above 0.
    window_snr
        Lowest and highest ratio of the light about a position to its noise for which the model is valid.
    edge_light_fraction
        Largest share of a cutout's border that is brighter than noise for which the model is valid, between 0 and 1.
    """

    unit: str | None = None
    sky_rms: tuple[float, float] | None = None
    sky_sigma: tuple[float, float] | None = None
    offset_arcsec: float | None = None
    feature_percentile: float | None = None
    features_digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    noise_correlation: tuple[float, float] | None = None
    psf_fwhm_arcsec: tuple[float, float] | None = None
    window_snr: tuple[float, float] | None = None
    edge_light_fraction: float | None = None

    def __post_init__(self) -> None:
        if self.sky_rms is not None and not 0 <= self.sky_rms[0] < self.sky_rms[1] <= _LARGEST_FLOAT32:
            raise ValueError(f"sky_rms must be a range (low, high) with 0 <= low < high, not {self.sky_rms}")
        if self.noise_correlation is not None and not -1 <= self.noise_correlation[0] < self.noise_correlation[1] <= 1:
            raise ValueError(f"noise_correlation must be a range (low, high) within -1 to 1, not {self.noise_correlation}")
        if self.psf_fwhm_arcsec is not None and not 0 < self.psf_fwhm_arcsec[0] <= self.psf_fwhm_arcsec[1] <= _LARGEST_FLOAT32:
            raise ValueError(f"psf_fwhm_arcsec must be a range (low, high) with 0 < low <= high, not {self.psf_fwhm_arcsec}")
        if self.window_snr is not None and not -_LARGEST_FLOAT32 <= self.window_snr[0] < self.window_snr[1] <= _LARGEST_FLOAT32:
            raise ValueError(f"window_snr must be a range (low, high) with low < high, not {self.window_snr}")
        if self.sky_sigma is not None and not -_LARGEST_FLOAT32 <= self.sky_sigma[0] < self.sky_sigma[1] <= _LARGEST_FLOAT32:
            raise ValueError(f"sky_sigma must be a range (low, high) with low < high, not {self.sky_sigma}")
        if self.offset_arcsec is not None and not 0 < self.offset_arcsec <= _LARGEST_FLOAT32:
            raise ValueError(f"offset_arcsec must be a number above 0, not {self.offset_arcsec}")
        if self.edge_light_fraction is not None and not 0 < self.edge_light_fraction < 1:
            raise ValueError(f"edge_light_fraction must lie between 0 and 1, not {self.edge_light_fraction}")
        if self.feature_percentile is not None and not 0 < self.feature_percentile < 100:
            raise ValueError(f"feature_percentile must lie between 0 and 100, not {self.feature_percentile}")
        if (self.feature_percentile is None) != (self.features_digest is None):
            raise ValueError("feature_percentile and features_digest must be stated together, or neither of them")


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """What a model was trained on, and how it did on images that it was not trained on.

    Parameters
    ----------
    records, validation_records
        Digests of the sets of records, hexadecimal.
    n_images, n_validation
        Number of images in them.
    positive, validation_positive
        How many of them are positive in the task's first target: post-mergers, or galaxies with a neighbour on them.
    score
        Name of the score: ``accuracy`` or ``auc``.
    reached, constant
        The score on the validation images, and that of the best constant answer.
    error
        Standard error of the score of a network that knows nothing.
    """

    records: tuple[str, ...]
    validation_records: tuple[str, ...]
    n_images: int
    n_validation: int
    positive: int
    validation_positive: int
    score: str
    reached: float
    constant: float
    error: float

    def __post_init__(self) -> None:
        if not 0 < self.positive < self.n_images:
            raise ValueError(f"positive must lie between 0 and n_images, both excluded, not {self.positive} of {self.n_images}")
        if not 0 <= self.validation_positive <= self.n_validation:
            raise ValueError(
                f"validation_positive must lie between 0 and n_validation, not {self.validation_positive} of {self.n_validation}"
            )


@dataclass(frozen=True, slots=True)
class EvaluationFacts:
    """How a model did in its evaluation, on images that it was not trained on.

    Parameters
    ----------
    model
        The ``model_id`` of what was evaluated: the model itself, or a jury of which it was a member then.
    records
        Digests of the sets of records, hexadecimal.
    n_images
        Number of images in them.
    score
        Name of the score, as in `TrainingFacts`.
    reached, error
        The score, and its standard error; the error is None where it is unknown.
    other_reached, other_error
        The same on images of another simulation; None if there were none.
    """

    model: str
    records: tuple[str, ...]
    n_images: int
    score: str
    reached: float
    error: float | None = None
    other_reached: float | None = None
    other_error: float | None = None


@dataclass(frozen=True, slots=True)
class NuisanceLimits:
    """How far a nuisance may go before it changes a model's answers.

    Parameters
    ----------
    name
        One of `surveyflow.training.evaluation.nuisances.NUISANCES`.
    levels
        The levels that were tested.
    lost
        Loss of the score at each of them.
    flagged
        Share of the stamps spoilt by each that a catalog would flag; 1 where none is spoilt.
    held
        Whether each costs at most 2 points, or what it spoils is flagged.
    quantity
        The key of ``[domain]`` that limits the nuisance; None if none does, or the evaluation narrowed no limits.
    limits
        The limits that follow for it, lowest and highest value; those of the domain are as narrow or narrower.
    """

    name: str
    levels: tuple[float, ...]
    lost: tuple[float, ...]
    flagged: tuple[float, ...]
    held: tuple[bool, ...]
    quantity: str | None = None
    limits: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        sizes = {len(each) for each in (self.levels, self.lost, self.flagged, self.held)}
        if len(sizes) > 1 or not self.levels:
            raise ValueError(f"levels, lost, flagged and held of nuisance {self.name} must have one entry for each level")
        if not all(map(math.isfinite, self.levels)):
            raise ValueError(f"levels of nuisance {self.name} must be finite, not {self.levels}")
        if (self.quantity is None) != (self.limits is None):
            raise ValueError(f"quantity and limits of nuisance {self.name} must be stated together, or neither of them")
        if self.limits is not None and not -math.inf < self.limits[0] <= self.limits[1] < math.inf:
            raise ValueError(f"limits of nuisance {self.name} must be a range (low, high) with low <= high, not {self.limits}")


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Everything that must be known about a model before its numbers may be used.

    Parameters
    ----------
    key
        Task, field and instrument.
    class_names
        Meaning of the network's outputs, in column order; those of a known task are its `surveyflow.tasks.task.Task.outputs`.
    pixel_scale_arcsec
        Pixel scale of the training images.
    band
        Filter of the training images: ``F814W``.
    redshift_range
        Half-open range [low, high) of the training galaxies.
    stretch, softening
        Preparation of a cutout, see `surveyflow.sky.stretch.Stretch`; the softening is above 0.
    architecture
        Shape of the network.
    origin
        Where the weights came from.
    citation
        What to cite for the weights.
    weights_digest
        SHA-256 of the weights file, hexadecimal.
    domain
        Properties of the training images.
    notes
        Anything else that a reader must know.
    also_for
        Other fields for whose cutouts this model may be used.
    contamination
        What a contamination model's outputs stand for; None for other tasks.
    training
        What the model was trained on; None if that is not known.
    calibrations
        Maps from the mean output to a probability: for this model alone, and for juries of which it is a member.
    evaluation
        How the model did in its evaluation, or the jury of which it is a member; None if that is not known.
    nuisances
        What must not change an answer, and how far that was found to be true.
    members
        The members of a jury, in order of name; empty for a model that is alone. See `surveyflow.models.cards`.
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
    training: TrainingFacts | None = None
    calibrations: tuple[Calibration, ...] = ()
    evaluation: EvaluationFacts | None = None
    nuisances: tuple[NuisanceLimits, ...] = ()
    members: tuple[Member, ...] = ()

    def __post_init__(self) -> None:
        if len(self.class_names) != self.architecture.n_outputs or len(set(self.class_names)) != len(self.class_names):
            raise ValueError(f"class_names {self.class_names} must name each of the {self.architecture.n_outputs} outputs once")
        _check_between("pixel_scale_arcsec", self.pixel_scale_arcsec, _PIXEL_SCALE_ARCSEC)
        if not -math.inf < self.redshift_range[0] < self.redshift_range[1] < math.inf:
            raise ValueError(f"redshift_range must be [low, high) with low < high, not {self.redshift_range}")
        _check_between("softening", self.softening, _SOFTENING)

    @property
    def digest(self) -> str:
        """SHA-256, hexadecimal, over all that can change a result.

        Citation, notes, `also_for`, `training`, `evaluation` and `nuisances` cannot.
        That of a jury is also over its members' digests, in order of name. The digest of a jury of one is that of its member.
        """
        left_out = ("citation", "notes", "also_for", "training", "evaluation", "nuisances", "members")
        told = {name: value for name, value in asdict(self).items() if name not in left_out}
        if self.n_members > 1:
            told["members"] = [card.digest for card in self.each]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    @property
    def model_id(self) -> str:
        """The model's name in catalogs: key and the first 12 digits of its weights' digest."""
        return f"{self.key}@{self.weights_digest[:12]}"

    @property
    def each(self) -> tuple[ModelCard, ...]:
        """The cards of a jury's members, in order of name; the card itself if the model is alone."""
        return tuple(member.card for member in self.members) or (self,)

    @property
    def n_members(self) -> int:
        """Number of networks: 1 for a model that is alone."""
        return len(self.each)

    @property
    def calibration(self) -> Calibration | None:
        """The map for this model, or for this jury as a whole; None if its cards hold none. See `calibration_of`."""
        return calibration_of(self.each)

    @property
    def model_word(self) -> int:
        """The model's part of the key of its random numbers: the first 32 bits of its weights' digest."""
        return int(self.weights_digest[:8], 16)

    def _repr_html_(self) -> str:
        left_out = {"members", "calibrations"}
        stated = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in left_out}
        return notebook_table({"model_id": self.model_id, **stated, "members": [member.name for member in self.members]})


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a jury.

    Parameters
    ----------
    name
        Name of its folder.
    card
        Its card.
    """

    name: str
    card: ModelCard


@runtime_checkable
class Model(Protocol):
    """A network that can be sampled: one deterministic pass of the trunk, then any number of draws of the head."""

    @property
    def card(self) -> ModelCard: ...

    @property
    def engine(self) -> str:
        """Name of the engine, see `surveyflow.values.codes.EngineName`."""
        ...

    @property
    def domain(self) -> FeatureDomain | JuryDomain | None:
        """The images that it was trained on; None if its folder does not tell."""
        ...

    def features(self, cutouts: Float32Array) -> Float32Array:
        """(n, size, size) prepared cutouts -> (n, width) float32: the output of the first dense layer, before any dropout."""
        ...

    def draw(self, features: Float32Array, source_keys: UInt64Array, n_draws: int, seed: int) -> Float32Array:
        """(n, width) features -> (n, n_draws, n_outputs) float32 in [0, 1]."""
        ...
