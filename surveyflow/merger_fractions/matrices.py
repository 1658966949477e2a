"""The confusion matrices that correct a catalog's fractions: from a file, or the published ones."""

from __future__ import annotations

from pathlib import Path

from surveyflow.errors import InputError
from surveyflow.files.paths import at_home, problem_of_file
from surveyflow.settings.matrices import MATRICES_FILE, ClassifierTests

FERREIRA2022 = "ferreira2022"
"""Name of the published matrices, instead of a file's path."""

_PUBLISHED = Path(__file__).with_name("ferreira2022_matrices.toml")


def matrices_file(name_or_path: str | Path) -> Path:
    """The file that holds the matrices of a name or path, as for `read_matrices`; it need not exist."""
    return _PUBLISHED if str(name_or_path) == FERREIRA2022 else at_home(name_or_path).absolute()


def read_matrices(name_or_path: str | Path) -> ClassifierTests:
    """Read confusion matrices.

    Parameters
    ----------
    name_or_path
        A TOML file as in `surveyflow.settings.matrices`, or ``ferreira2022`` for the published matrices of Ferreira et al.
        (2022), by field, which apply only to the authors' weights.

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
    path = matrices_file(name_or_path)
    if problem := problem_of_file(path):
        raise InputError(f"confusion matrices: {' '.join(problem)} Or use the published ones: {FERREIRA2022}.")
    return MATRICES_FILE.load(path, str(path))
