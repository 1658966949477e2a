"""Files that others wrote: whatever a library raises on them becomes one error that names the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from surveyflow.errors import SurveyflowError
from surveyflow.files.addresses import redacted

_LONGEST = 300


@contextmanager
def refusing(refusal: Callable[[str], SurveyflowError]) -> Iterator[None]:
    """Replace any error by a refusal of the file that is being read.

    Libraries raise on content that they do not expect whatever their code happens to raise: an AttributeError for a missing
    column, a MemoryError for a table that claims 10^12 rows. So the body should hold little more than the call of a library.

    Parameters
    ----------
    refusal
        Makes the error from the reason.

    Raises
    ------
    SurveyflowError
        What ``refusal`` returns, in place of any error that is not surveyflow's own.
    """
    try:
        yield
    except SurveyflowError:
        raise
    except Exception as error:
        raise refusal(reason(error)) from error


def reason(error: BaseException) -> str:
    """An error's text in one line of limited length, without a full stop; its class if it has no text."""
    if isinstance(error, MemoryError):
        return "it claims more than fits into memory"
    text = redacted(" ".join(str(error).split()).rstrip("."))
    return f"{text[:_LONGEST]}..." if len(text) > _LONGEST else text or type(error).__name__
