"""The labels that people give to galaxies, and one answer of one person."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, with_config

from surveyflow.errors import InputError
from surveyflow.values.codes import Code

MOST_CHARACTERS = 2000
"""The longest note."""
_NAME = re.compile(r"\w[\w.\-]{0,63}")


class Label(Code):
    """What a person sees."""

    def __init__(self, value: str, meaning: str = "", key: str = "") -> None:
        super().__init__(value, meaning)
        self.key = key

    POST_MERGER = "post_merger", "one galaxy with the traces of a merger", "m"
    STAR_FORMING = "star_forming", "a galaxy without such traces", "s"
    PAIR = "pair", "two galaxies that have not merged yet", "d"
    ARTEFACT = "artefact", "no galaxy: a star, a spike, a cosmic ray, a fault of the image", "a"
    UNSURE = "unsure", "cannot be told from this image", "u"


@with_config(ConfigDict(extra="ignore", strict=True))
@dataclass(frozen=True, slots=True)
class Stratum:
    """The part of a selection from which a galaxy was drawn, with what is needed to know its chance.

    Parameters
    ----------
    low, high
        The half-open range of the column that divides the selection; None without one, and for galaxies outside all ranges.
    n_selected
        Number of galaxies of the selection in it.
    n_drawn
        Number of them that were drawn for the sample.
    """

    low: float | None
    high: float | None
    n_selected: Annotated[int, Field(ge=1)]
    n_drawn: Annotated[int, Field(ge=1)]


def _label(word: str) -> str:
    if word not in set(Label):
        raise ValueError(f"there is no label {word[:40]!r}")
    return word


@with_config(ConfigDict(extra="ignore", strict=True))
@dataclass(frozen=True, slots=True)
class Answer:
    """What one person said of one galaxy, with what was asked.

    Parameters
    ----------
    person
        Who said it.
    time
        When, ISO 8601, UTC.
    revision
        The revision that was shown.
    field, source_id
        The galaxy.
    ra, dec
        Its position, ICRS degrees.
    label
        One of `Label`.
    note
        What else the person wrote.
    blind
        Whether the model's answer was hidden.
    sample
        The sample's name; see `surveyflow.vetting.samples.Sample`.
    where
        The selection from which the sample was drawn.
    stratum
        The galaxy's part of the selection.
    column
        The column that divides the selection; ``""`` for a random sample.
    """

    person: str
    time: str
    revision: str
    field: str
    source_id: int
    ra: float
    dec: float
    label: Annotated[str, AfterValidator(_label)]
    note: Annotated[str, Field(max_length=MOST_CHARACTERS)]
    blind: bool
    sample: str
    where: str
    stratum: Stratum
    column: str = ""

    @property
    def galaxy(self) -> tuple[str, int]:
        """Field and id."""
        return self.field, self.source_id


def checked_name(name: str) -> str:
    """Check that a person's name can be the name of a file.

    Parameters
    ----------
    name
        Letters, digits, ``_``, ``-`` and ``.``, in any script; it begins with a letter, a digit or ``_``.

    Raises
    ------
    InputError
        If it is another text.

    Examples
    --------
    >>> checked_name("ana.lópez")
    'ana.lópez'
    """
    normal = unicodedata.normalize("NFC", name)
    if not _NAME.fullmatch(normal):
        raise InputError(
            f"the name {name[:80]!r} cannot be that of a file. Use up to 64 letters, digits, dots, hyphens and underscores, and "
            "begin with a letter."
        )
    return normal
