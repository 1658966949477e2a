"""The codes that catalogs, cards and settings use, with their meanings."""

from __future__ import annotations

from enum import IntFlag, StrEnum

POST_MERGER = "post_merger"
STAR_FORMING = "star_forming"
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
