"""The confusion matrices of the classifiers' tests, and the files that hold them.

::

    weights_origin = "simulated"        # origin of the weights that were tested
    class_rule = "mean_output"          # rule that classified the galaxies
    source = "4,000 simulated galaxies of 2026-11-20, half of them post-mergers"

    [matrices]                          # rows: true class, columns: predicted class; post-mergers first, then star-forming
    COSMOS = [[1827, 481], [491, 1959]]
    "EGS/F814W" = [[1804, 432], [467, 1981]]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field, PlainValidator, TypeAdapter, WithJsonSchema, with_config

from surveyflow.errors import InputError
from surveyflow.files.paths import at_home, problem_of_file
from surveyflow.settings.reader import SettingsFile
from surveyflow.stats.fractions import ConfusionMatrix
from surveyflow.values.codes import ClassRule, WeightsOrigin

FERREIRA2022 = "ferreira2022"
"""Name of the published matrices, instead of a file's path."""

_PUBLISHED = Path(__file__).with_name("ferreira2022_matrices.toml")


def _matrix(value: Any) -> ConfusionMatrix:
    try:
        counts = np.array(value)
    except ValueError:
        counts = np.empty(0)
    return ConfusionMatrix(counts)


Matrix = Annotated[ConfusionMatrix, PlainValidator(_matrix), WithJsonSchema({"type": "array"})]


@with_config(ConfigDict(extra="forbid", strict=True))
@dataclass(frozen=True, slots=True)
class ClassifierTests:
    """Confusion matrices of tested classifiers.

    Parameters
    ----------
    weights_origin
        Origin of the weights that were tested; the matrices do not apply to other weights.
    class_rule
        Rule that classified the galaxies of the test.
    source
        Source of the numbers, in words.
    matrices
        Matrices by ``FIELD/INSTRUMENT``, or by ``FIELD`` for every instrument without its own.
    """

    weights_origin: WeightsOrigin
    class_rule: ClassRule
    source: Annotated[str, Field(min_length=1, examples=["4,000 simulated galaxies"])]
    matrices: Annotated[Mapping[str, Matrix], Field(min_length=1)]

    def name_for(self, field: str, instrument: str) -> str | None:
        """The name of the matrix that applies to a field's galaxies; None if there is none."""
        names = (f"{field}/{instrument}", field)
        return next((name for name in names if name in self.matrices), None)


_FILE = SettingsFile(TypeAdapter(ClassifierTests), InputError, "docs/how-to/merger-fractions.md")


def read_matrices(name_or_path: str | Path) -> ClassifierTests:
    """Read confusion matrices.

    Parameters
    ----------
    name_or_path
        A TOML file as in the module's docstring, or ``ferreira2022`` for the published matrices of Ferreira et al. (2022), by
        field, which apply only to the authors' weights.

    Raises
    ------
    InputError
        If the file cannot be read or is not valid; the message reports every problem.

    Examples
    --------
    >>> published = read_matrices("ferreira2022")
    >>> round(published.matrices["EGS"].completeness, 3), published.name_for("EGS", "F814W")
    (0.807, 'EGS')
    """
    path = _PUBLISHED if str(name_or_path) == FERREIRA2022 else at_home(name_or_path).absolute()
    if problem := problem_of_file(path):
        raise InputError(f"confusion matrices: {' '.join(problem)} Or use the published ones: {FERREIRA2022}.")
    return _FILE.load(path, str(path))
