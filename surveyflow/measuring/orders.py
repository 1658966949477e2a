"""The orders that a survey's worker carries out, and the settings that it is made with.

They travel from the driver to its workers, so they hold names, numbers and digests. Dask's scheduler imports this module, too,
so it needs neither astropy nor a network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from surveyflow.errors import UnitError
from surveyflow.files.addresses import Address
from surveyflow.files.paths import FileState, file_state
from surveyflow.values.images import Box, Stated, Tile
from surveyflow.values.jobs import EngineChoice, Receipt, SamplingSettings

if TYPE_CHECKING:
    from surveyflow.inputs.mosaics import Mosaic


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The settings that a survey's worker is made with.

    Parameters
    ----------
    root
        The output folder.
    engine
        The engine that computes the models.
    models_in_memory
        Number of models that the worker keeps in memory, at least 1; each member of a jury counts as one.
    """

    root: str
    engine: EngineChoice
    models_in_memory: int

    def __post_init__(self) -> None:
        if not self.root:
            raise ValueError("a worker must know its output folder")
        if self.models_in_memory < 1:
            raise ValueError(f"a worker keeps at least 1 model in memory, not {self.models_in_memory}")


@dataclass(frozen=True, slots=True)
class PlannedMosaic:
    """A mosaic by name, with the state of its files when the work was planned.

    Parameters
    ----------
    science, weight
        The images as they were named, with the extension if one was; ``weight`` is None if there is no weight map.
    stated
        What the workflow states about it beside its headers.
    files
        The state of its files, science first; one entry where both images are in one file.
    """

    science: str | Address
    weight: str | Address | None
    stated: Stated
    files: tuple[FileState, ...]

    def __post_init__(self) -> None:
        if not self.files:
            raise ValueError(f"{self.science}: the state of at least one file must be known")

    @classmethod
    def of(cls, mosaic: Mosaic) -> Self:
        """Describe an open mosaic, so that a worker can open it and notice a change."""
        return cls(*mosaic.places, mosaic.stated, mosaic.files)

    @property
    def name(self) -> tuple[str | Address, str | Address | None, Stated]:
        """Everything that distinguishes the mosaic from others, whatever the state of its files."""
        return self.science, self.weight, self.stated

    def check_unchanged(self) -> None:
        """Refuse what was read if a file is no longer in the state for which the work was planned.

        Raises
        ------
        UnitError
            If a file has changed; the error names it.
        """
        for planned in self.files:
            now = file_state(planned.path)
            if now != planned:
                raise UnitError(
                    f"{planned.path} changed while this run was reading it (size {planned.size} then, {now and now.size} now). "
                    f"Wait until the file is complete, then run again."
                )


@dataclass(frozen=True, slots=True)
class PlannedModel:
    """A model by its folder, with the digest of its card when the work was planned.

    Parameters
    ----------
    folder
        The model's folder.
    card_digest
        SHA-256 of its card and weights, hexadecimal; that of its card alone for a jury.
    members
        The members of a jury, whose folders bear their names, in order of name; empty for a model that is alone.
    """

    folder: str
    card_digest: str
    members: tuple[PlannedModel, ...] = ()

    def __post_init__(self) -> None:
        if not (self.folder and self.card_digest):
            raise ValueError(f"a model is named by its folder and its card's digest, not {self}")

    @property
    def each(self) -> tuple[PlannedModel, ...]:
        """The members of a jury; the model itself if it is alone."""
        return self.members or (self,)


@dataclass(frozen=True, slots=True)
class DigestWindow:
    """An order to digest a window's pixels. The reply holds their digests: ``science`` and ``weight``.

    Parameters
    ----------
    mosaic
        The mosaic.
    box
        The window.
    """

    verb: ClassVar[str] = "digest"

    mosaic: PlannedMosaic
    box: Box


@dataclass(frozen=True, slots=True)
class TileMeasurement:
    """Everything that a worker needs to measure the sources of one tile.

    Parameters
    ----------
    mosaic
        The mosaic.
    tile
        The tile whose core holds the sources.
    cutout_size
        Side of the cutouts that its models take, pixels.
    models
        The merger model, and those of other tasks beside it.
    sampling
        How each galaxy's distribution is drawn.
    min_valid_fraction
        A cutout with a smaller share of valid pixels, 0 to 1, has the status ``bad_pixels``.
    prevalence
        Share of post-mergers at which probabilities are stated, too; None for none.
    """

    mosaic: PlannedMosaic
    tile: Tile
    cutout_size: int
    models: tuple[PlannedModel, ...]
    sampling: SamplingSettings
    min_valid_fraction: float
    prevalence: float | None = None

    def __post_init__(self) -> None:
        if not self.models:
            raise ValueError("a tile is measured with at least one model")
        if self.cutout_size < 1:
            raise ValueError(f"cutouts have at least 1 pixel on a side, not {self.cutout_size}")
        if not 0 <= self.min_valid_fraction <= 1:
            raise ValueError(f"min_valid_fraction must lie between 0 and 1, not {self.min_valid_fraction}")


@dataclass(frozen=True, slots=True)
class MeasureUnit:
    """An order to make the rows of a work unit and to write them.

    The reply is a `surveyflow.values.jobs.Receipt`; if the unit has no key yet, a `KeyedUnit`.

    Parameters
    ----------
    key
        The unit's key. It is empty if nobody has read the unit's pixels: the worker digests those that it measures.
    parts
        The digests that the key was made from, by name; without a key, those of everything but the pixels.
    worklist
        The file with the sources of some units, as its path in the output folder.
    number
        The unit's number in this work list, from 0.
    measurement
        How the unit's sources are measured; None if they need no pixels, because their status is known already.
    """

    verb: ClassVar[str] = "unit"

    key: str
    parts: Mapping[str, str]
    worklist: str
    number: int
    measurement: TileMeasurement | None

    def __post_init__(self) -> None:
        if not (self.worklist and (self.key or self.measurement)):
            raise ValueError(f"a unit must have a key and a work list, not {self.key!r} and {self.worklist!r}")
        if self.number < 0:
            raise ValueError(f"a unit's number in the work list must be at least 0, not {self.number}")


@dataclass(frozen=True, slots=True)
class KeyedUnit:
    """The reply to an order to make the rows of a unit that had no key: its pixels were digested by whoever measured them.

    Parameters
    ----------
    receipt
        The unit's receipt, which has its key.
    was_done
        Whether its result was on disk before, so that nothing was measured.
    damage
        What was wrong with an earlier result on disk, in words; empty if nothing was, or there was none.
    """

    receipt: Receipt
    was_done: bool = False
    damage: str = ""
