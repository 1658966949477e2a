"""What a test of the classifiers found: confusion matrices, as a file says them.

::

    weights_origin = "simulated"        # of the weights that were tested
    class_rule = "mean_output"          # by which they were told apart
    source = "4,000 simulated galaxies of 2026-11-20, half of them post-mergers"

    [matrices]                          # rows are the truth, columns what it was called; post-mergers, then star-forming galaxies
    COSMOS = [[1827, 481], [491, 1959]]
    "EGS/F814W" = [[1804, 432], [467, 1981]]
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from surveyflow.errors import InputError, Problem
from surveyflow.files.paths import problem_of_file
from surveyflow.stats.fractions import ConfusionMatrix
from surveyflow.values.codes import ClassRule, WeightsOrigin

FERREIRA2022 = "ferreira2022"
"""Name of the published matrices, instead of a file's path."""

_PUBLISHED = Path(__file__).with_name("ferreira2022_matrices.toml")


@dataclass(frozen=True, slots=True)
class ClassifierTests:
    """Confusion matrices, and what they are of.

    Parameters
    ----------
    weights_origin
        Origin of the weights that were tested: they say nothing of others.
    class_rule
        How the test told classes apart.
    source
        Where the numbers come from, in words.
    matrices
        By ``FIELD/INSTRUMENT``, or by ``FIELD`` for every instrument without its own.
    """

    weights_origin: WeightsOrigin
    class_rule: ClassRule
    source: str
    matrices: Mapping[str, ConfusionMatrix]

    def name_for(self, field: str, instrument: str) -> str | None:
        """The name of the matrix that holds for a field's galaxies; None where there is none."""
        names = (f"{field}/{instrument}", field)
        return next((name for name in names if name in self.matrices), None)


def _matrix(value: Any) -> ConfusionMatrix:
    try:
        counts = np.array(value)
    except ValueError:
        counts = np.empty(0)
    return ConfusionMatrix(counts)


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    weights_origin: WeightsOrigin
    class_rule: ClassRule
    source: Annotated[str, Field(min_length=1)]
    matrices: Annotated[dict[str, Annotated[ConfusionMatrix, BeforeValidator(_matrix)]], Field(min_length=1)]


def read_matrices(name_or_path: str | Path) -> ClassifierTests:
    """Read confusion matrices.

    Parameters
    ----------
    name_or_path
        A TOML file as in the module's docstring, or ``ferreira2022`` for the published ones of
        Ferreira et al. (2022), by field; they hold for the authors' weights only.

    Raises
    ------
    InputError
        If the file cannot be read or is not as it must be; the message holds every problem found.

    Examples
    --------
    >>> published = read_matrices("ferreira2022")
    >>> round(published.matrices["EGS"].completeness, 3), published.name_for("EGS", "F814W")
    (0.807, 'EGS')
    """
    path = _PUBLISHED if str(name_or_path) == FERREIRA2022 else Path(name_or_path).expanduser().absolute()
    table = _read(path)
    try:
        document = _Document.model_validate(table)
    except ValidationError as error:
        raise InputError("\n".join(str(_problem(path, found)) for found in error.errors())) from None
    return ClassifierTests(document.weights_origin, document.class_rule, document.source, document.matrices)


def _read(path: Path) -> dict[str, Any]:
    problem = problem_of_file(path)
    if problem is not None:
        raise InputError(f"confusion matrices: {' '.join(problem)} Or name {FERREIRA2022}, the published ones.")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: is not TOML: {error}. Correct the file.") from error


def _problem(path: Path, found: ErrorDetails) -> Problem:
    """Say one of pydantic's findings in our words."""
    where = f"{path}: {'.'.join(map(str, found['loc']))}"
    known = ", ".join(_Document.model_fields)
    match found["type"]:
        case "extra_forbidden":
            return Problem(where, "is not a key of this file.", f"Known keys: {known}.")
        case "missing":
            return Problem(where, "is missing.", f"Expected keys: {known}.")
        case _:
            return Problem(
                where, f"{found['msg'].removeprefix('Value error, ')}; found {found['input']!r}.", "Correct the value."
            )
