"""The tree of errors.

::

    SurveyflowError
    ├── InputError (ValueError)                 exit code 2: nothing was changed
    │   ├── WorkflowError                       a file of settings, or a file that it names; lists every problem found
    │   ├── MosaicError                         a FITS image that cannot be used
    │   │   └── PixelScaleMismatch              its pixels are not those the model was trained on
    │   ├── SourceListError                     a catalog of sources that cannot be used
    │   ├── InputsChanged                       files changed while a run was reading them
    │   ├── ModelError                          a model folder, card or weights that cannot be used
    │   ├── RecordError                         training records that cannot be used
    │   ├── ProfileError                        a site profile that cannot be used
    │   ├── ClusterError (ConnectionError)      the cluster cannot be reached, or its workers cannot start
    │   ├── CatalogNotFound (FileNotFoundError) a folder holds no catalog, or not the revision asked for
    │   └── OutputError (OSError)               the output folder cannot be written, or its disk is full
    ├── LockHeld (BlockingIOError)              exit code 4: another run works on the same output
    ├── CatalogError (RuntimeError)             exit code 1: a revision failed its own checks and was not published
    │   └── UnitDamaged                         a file of a work unit differs from its receipt; a run does the unit again
    ├── UnitError (RuntimeError)                one work unit failed; recorded, never fatal to the run
    └── DeviceMemoryError (MemoryError)         a device has no memory for even one cutout; its process is restarted

Every message says what is wrong, where, what was found, what was expected and what to do. Every class survives pickling,
because Dask moves exceptions between processes. For that, a base that is an `OSError` must come first: its instances have
another memory layout, and unpickling with tblib, which Dask installs, uses the first base's ``__new__``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self


class SurveyflowError(Exception):
    """Root of every error that surveyflow raises on purpose."""

    exit_code = 1


class InputError(SurveyflowError, ValueError):
    """Something that the user supplied cannot be used; nothing was changed."""

    exit_code = 2

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> Self:
        """The error that reports these problems, a line each."""
        return cls("\n".join(map(str, problems)))


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of the input.

    Parameters
    ----------
    where
        File, table and key, as the user would look for it: ``workflow.toml: [fields.EGS.sources] path``.
    what
        What was found and what was expected.
    remedy
        What to do about it.
    """

    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what} {self.remedy}".strip()


class WorkflowError(InputError):
    """A workflow, simulation or training file, or a file that it names, cannot be used.

    Parameters
    ----------
    problems
        Every problem found, in the order of the file; at least one. One that was found twice, as that of a model which serves
        two fields, is told once.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__(self.problems)

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> Self:
        """The error that holds these problems."""
        return cls(problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class MosaicError(InputError):
    """A FITS image cannot be used as a mosaic."""


class PixelScaleMismatch(MosaicError):
    """A mosaic's pixel scale is not the one a model was trained on."""


class SourceListError(InputError):
    """A catalog of sources cannot be used."""


class InputsChanged(InputError):
    """Files changed while a run was reading them: what it read is a mixture of old and new, and is not published."""


class ModelError(InputError):
    """A model's folder, card or weights cannot be used."""


class RecordError(InputError):
    """Training records are incomplete or damaged, or do not match their description."""


class ProfileError(InputError):
    """A site profile cannot be used."""


class ClusterError(ConnectionError, InputError):
    """The cluster cannot be reached, or its workers cannot start."""


class CatalogNotFound(FileNotFoundError, InputError):
    """A folder holds no catalog, or not the revision asked for."""


class OutputError(OSError, InputError):
    """The output folder cannot be written, or its disk is full."""


class LockHeld(SurveyflowError, BlockingIOError):
    """Another run works on the same output folder."""

    exit_code = 4


class CatalogError(SurveyflowError, RuntimeError):
    """A catalog failed its own checks; the published revision is untouched."""


class UnitDamaged(CatalogError):
    """A file of a work unit differs from its receipt; a run does the unit again.

    Parameters
    ----------
    message
        What was found.
    key
        The unit's key.
    """

    def __init__(self, message: str, key: str) -> None:
        super().__init__(message, key)
        self.key = key

    def __str__(self) -> str:
        return str(self.args[0])


class UnitError(SurveyflowError, RuntimeError):
    """One work unit could not be finished."""


class DeviceMemoryError(MemoryError, SurveyflowError):
    """A device does not have enough memory left for a batch of one cutout."""
