"""The codes that catalogs, cards, settings and the command line use, each with its meaning beside it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from enum import IntFlag, StrEnum
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from surveyflow.errors import InputError

POST_MERGER = "post_merger"
STAR_FORMING = "star_forming"


class Code(StrEnum):
    """A word of a fixed list, which is stored as it is, with its meaning for readers.

    Looking up a word that is not in the list raises an `InputError` that lists the valid words.

    Attributes
    ----------
    meaning
        What the word means, in plain text; a phrase that can follow a colon.
    """

    def __new__(cls, value: str, *_: object) -> Self:
        """Make a member from its word."""
        code = str.__new__(cls, value)
        code._value_ = value
        return code

    def __init__(self, value: str, meaning: str = "") -> None:  # noqa: ARG002 - taken by __new__
        self.meaning = meaning

    @classmethod
    def _missing_(cls, value: object) -> Self:
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", cls.__name__).lower().removesuffix(" name")
        raise InputError(f"there is no {kind} {value!r}. Choose one of {', '.join(cls)}.")

    @classmethod
    def explained(cls) -> str:
        """Return all words with their meanings, in one line."""
        return "; ".join(f"{code}: {code.meaning}" for code in cls)


class Event(Code):
    """What a run announces."""

    PUBLISHED = "published", "readers have a new revision"
    HELD = "held", "a new revision waits for a decision, and readers keep the one before"
    FAILED = "failed", "an error ended the run, or units of a new revision failed"
    SKIPPED = "skipped", "a newer release is broken and was not taken; it is announced again when other things are wrong with it"
    WAITING = "waiting", "workers are missing, and the run waits for them"


class ScheduleKind(Code):
    """Units that look for a new release every hour, and how each is installed."""

    CRON = "cron", "crontab -e, and insert these lines"
    SCRONTAB = "scrontab", "scrontab -e, and insert these lines (Slurm)"
    SBATCH = "sbatch", "sbatch FILE: each job queues the next (Slurm without scrontab)"
    SYSTEMD_SERVICE = "systemd-service", "/etc/systemd/system/surveyflow.service, beside the timer"
    SYSTEMD_TIMER = "systemd-timer", "/etc/systemd/system/surveyflow.timer, to be enabled by systemctl"
    KUBERNETES = "kubernetes", "kubectl apply -f FILE: a CronJob that runs surveys in its own pod"
    KUBERNETES_POOLS = "kubernetes-pools", "kubectl apply -f FILE: a CronJob that submits runs on pools of workers"


class Status(Code):
    """What became of a source. Results are null unless it is ``ok``."""

    OK = "ok", "measured; the only status with results"
    NO_REDSHIFT = "no_redshift", "the source list gives no redshift, so no model could be chosen"
    NO_MODEL = "no_model", "the redshift lies outside every range, or the store has no model of this field and instrument"
    OFF_MOSAIC = "off_mosaic", "the pixel that holds the centre lies outside the image"
    NO_COVERAGE = "no_coverage", "the pixel that holds the centre has weight 0; without a weight map, it is 0 or NaN"
    BAD_PIXELS = (
        "bad_pixels",
        "fewer pixels of the cutout hold data than [quality] min_valid_fraction asks for, or some are so large that the "
        "network's arithmetic overflows",
    )
    FAILED = "failed", "the work unit failed; failed_units in the manifest says why, and another run tries it again"


class Flag(IntFlag):
    """Named bits of the ``flags`` column: what to know about a row before it is used.

    Attributes
    ----------
    meaning
        What a set bit means, in plain text; a sentence.
    """

    def __new__(cls, value: int, *_: object) -> Self:
        """Make a member from its bit."""
        flag = int.__new__(cls, value)
        flag._value_ = value
        return flag

    def __init__(self, value: int, meaning: str = "") -> None:  # noqa: ARG002 - taken by __new__
        self.meaning = meaning

    __iter__ = None  # type: ignore[assignment]  # so that pandas takes a flag as a number, and not as a list of its bits

    EDGE = 1, "The cutout reaches beyond the mosaic's edge; what is missing was filled with 0."
    PARTIAL_COVERAGE = 2, "Some pixels of the cutout hold no data, beyond the mosaic's edge or inside it."
    OUT_OF_DOMAIN = (
        4,
        "OFF_CENTRE is set, or a bit whose name ends in _DOMAIN: the model was not trained on images like this one.",
    )
    UNIT_DOMAIN = (
        8,
        "The mosaic's unit is not that of the training images, or neither its BUNIT nor the workflow says what it is; columns "
        "with a flux are null then.",
    )
    NOISE_DOMAIN = (
        16,
        "The rms of the cutout's noise, or the correlation of neighbouring pixels' noise, lies outside the range of the training "
        "images.",
    )
    REDSHIFT_DOMAIN = 32, "The redshift lies outside the model card's range."
    CONSTANT_IMAGE = 64, "The prepared image is all 0: its valid pixels are equal, or lie below a logarithm's softening."
    BAND_DOMAIN = 256, "The mosaic's FILTER is not that of the training images."
    FILTER_UNKNOWN = 4096, "The mosaic's header names no filter, so nothing says whether it is that of the training images."
    OFF_CENTRE = 512, "The centroid of the light lies further from the catalog's position than in the training images."
    SKY_DOMAIN = 1024, "The level of the cutout's sky, in units of its noise, lies outside the range of the training images."
    FEATURE_DOMAIN = (
        2048,
        "The image, as the merger network sees it, lies further from the training images than the model card allows.",
    )
    CONVERTED_UNIT = (
        8192,
        "The mosaic's pixels were converted to the unit of the training images; the manifest says from which unit and how.",
    )
    RESAMPLED = (
        16384,
        "The mosaic was resampled to the pixel scale of the training images: its noise is correlated, and its PSF is its own.",
    )
    PSF_DOMAIN = 65536, "The PSF that the workflow states for the mosaic lies outside the range of the training images."
    DUPLICATE = 32768, "An earlier source list of the survey has the same galaxy: duplicate_of names it."
    SNR_DOMAIN = 262144, "The light about the position, in units of its noise, lies outside the range of the training images."
    EDGE_DOMAIN = (
        524288,
        "More of the cutout's border is brighter than its noise than in the training images: bright galaxies lie beside its own.",
    )
    MEMBERS_DISAGREE = (
        131072,
        "The members of the jury do not all see the class of the row: their means lie on both sides of a half.",
    )
    NO_MOSAIC = 128, "The workflow names no mosaic of this instrument in this field (status off_mosaic)."


def flags_text(flags: ArrayLike) -> NDArray[np.object_]:
    """Write out the names of the flags that are set.

    Parameters
    ----------
    flags
        Integers of any shape, such as the column ``flags``: sums of `Flag` bits.

    Returns
    -------
    Texts of the same shape, as objects: names joined with ``|`` in the order of their bits, and the sum of bits that have no
    name, if any; ``""`` for 0.

    Raises
    ------
    InputError
        If the flags are not integers.

    Examples
    --------
    >>> flags_text([0, 1, 6]).tolist()
    ['', 'EDGE', 'PARTIAL_COVERAGE|OUT_OF_DOMAIN']
    """
    values = np.asarray(flags)
    if values.size and values.dtype.kind not in "iu":
        raise InputError(f"flags are of the type {values.dtype}, expected integers. Give the column flags of a catalog.")
    different, places = np.unique(values.ravel(), return_inverse=True)
    words = np.array([_flag_names(int(value)) for value in different], object)
    return np.asarray(words[places].reshape(values.shape), object)


def _flag_names(value: int) -> str:
    names = [flag.name for flag in sorted(Flag) if value & flag and flag.name]
    unnamed = value & ~sum(Flag)
    return "|".join([*names, str(unnamed)] if unnamed else names)


class WeightsOrigin(Code):
    """Where a model's weights came from. Only ``ferreira2022`` may be called Ferreira+22.

    Attributes
    ----------
    caution
        A warning to readers of numbers from such weights; empty if the numbers may be quoted.
    """

    def __init__(self, value: str, meaning: str = "", caution: str = "") -> None:
        super().__init__(value, meaning)
        self.caution = caution

    FERREIRA2022 = (
        "ferreira2022",
        "the authors' weights (Ferreira+22), recognised by their files' digests, or declared so at import as the notes then say",
    )
    SIMULATED = (
        "simulated",
        "trained on surveyflow's own simulations",
        "weights trained on surveyflow's own simulations, not on the training set of a published paper: do not quote them as "
        "measurements of real galaxies",
    )
    USER = "user", "trained by the user, on the user's data"
    UNTRAINED = (
        "untrained",
        "fixed random numbers, so the results mean nothing",
        "untrained random weights: they mean nothing scientifically",
    )


def warnings_about(origins: Collection[str], beside: Mapping[str, Collection[str]] | None = None) -> list[str]:
    """List the warnings for readers of the numbers, the gravest first; empty if the numbers may be quoted.

    Parameters
    ----------
    origins
        Origins of the merger models' weights.
    beside
        Origins of the weights of other tasks' models, by task's name; a warning about the merger models is not repeated for them.
    """
    others = {f"The {task} columns": set(found) - set(origins) for task, found in (beside or {}).items()}
    subjects = {"These numbers": origins, **others}
    return [
        f"{subject} come from {origin.caution}."
        for subject, found in subjects.items()
        for origin in reversed(WeightsOrigin)
        if origin.caution and origin in found
    ]


class Match(Code):
    """How a label finds its galaxy."""

    ID = "id", "by field and id"
    SKY = "sky", "by position"


class ExportFormat(Code):
    """What a selection of galaxies is exported as."""

    FITS = "fits", "a binary table with units, UCDs and descriptions"
    VOTABLE = "votable", "an XML table with units, UCDs and descriptions, as TOPCAT and archives read it"
    CSV = "csv", "text with commas, without units"
    PARQUET = "parquet", "one Parquet file with the catalog's metadata"
    DS9 = "ds9", "regions in the format of SAOImage DS9, coloured by class"
    MOC = "moc", "the cells of the sky that hold the galaxies, as a FITS MOC"
    CUTOUTS = "cutouts", "a folder with a FITS image, with WCS, and a PNG of each galaxy"
    HTML = "html", "a page with a picture of each galaxy that needs no other file"


class WeightKind(Code):
    """What the numbers of a weight map are."""

    INVERSE_VARIANCE = "inverse variance", "1 / variance of a pixel, as in CANDELS"
    VARIANCE = "variance", "the variance of a pixel"
    RMS = "rms", "the standard deviation of a pixel"
    EXPOSURE = "exposure", "the exposure time of a pixel, or something else that is proportional to an inverse variance"


class EngineName(Code):
    """The programs that compute networks, and the word for an automatic choice."""

    AUTO = "auto", "the fastest on each worker"
    KERAS = "keras", "Keras with TensorFlow or JAX, on GPUs and CPUs"
    FFT = "fft", "native code with Fourier transforms, on CPUs, in float32, without a framework"


class Precision(Code):
    """The precision in which a network's trunk is computed. The head is always float32."""

    FLOAT32 = "float32", "24 bits of mantissa"
    TF32 = "tf32", "10 bits of mantissa in products, faster on NVIDIA GPUs since Ampere"
    BF16 = "bf16", "7 bits of mantissa, faster still"


class ClassRule(Code):
    """The rule by which a galaxy counts as post-merger."""

    MEAN_OUTPUT = (
        "mean_output",
        "the mean of the post-merger output over the draws exceeds that of the star-forming one, as in the authors' code",
    )
    MAJORITY_VOTE = "majority_vote", "the post-merger output exceeds the star-forming one in more than half of the draws"
