"""The authors' released files, identified by their digests.

The digests are git's ids of the files in the public repository astroferreira/FERREIRA2022 at commit
5dae72f45407f05ec25668178557fb2d7b9f6ad2; its history has no other version of them. Such an id is the SHA-1 of
``blob <size>``, a zero byte and the content; ``git ls-tree -r 5dae72f models`` prints them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from surveyflow.files.json_state import MOST_BYTES_OF_LISTS, Damaged, read_ordinary_file
from surveyflow.models.legacy.objects import SAVED_MODEL_FILE, VARIABLES_PREFIX

Digests = tuple[str, str, str]

FILES = (
    Path(SAVED_MODEL_FILE),
    VARIABLES_PREFIX.with_suffix(".index"),
    VARIABLES_PREFIX.with_suffix(".data-00000-of-00001"),
)
"""The files of a released model, in the order of its digests."""


@dataclass(frozen=True, slots=True)
class ReleasedModel:
    """One of the ten released models, named by its folders: ``F814W/GOODS_N``."""

    instrument: str
    field: str

    def __str__(self) -> str:
        return f"{self.instrument}/{self.field}"

    def is_for(self, instrument: str, field: str) -> bool:
        """Whether this is the model of that instrument and field, spelt as ``GOODS_N``, ``GOODS-N`` or ``goodsn``."""
        return instrument == self.instrument and _letters(field) == _letters(self.field)


RELEASED: Mapping[Digests, ReleasedModel] = {
    (
        "c213fd0f5c8af064f15d9dfb6168be096502cba2",
        "de31ff2a7e09caefd97529579924365da3ed8fa1",
        "1143dcbf42e6b1006f9de6fe999b45e8d3c9cd76",
    ): ReleasedModel("F814W", "COSMOS"),
    (
        "032dcd2f7486885a534ac7c0524aa73e24006139",
        "2c7abe67e6efa7a8269a4dbc564159a4f19e505f",
        "410684909af6654f062f7bd3e162da7079b0d843",
    ): ReleasedModel("F814W", "EGS"),
    (
        "3dfa31ad631a0c53794e74d6d3b77cf5d69f47c2",
        "410eb44d0912b879d1984a77dac826902a7b5ea5",
        "6f336bcc2839cd0f5661c22da79430d6afacf146",
    ): ReleasedModel("F814W", "GOODS_N"),
    (
        "79efd464ff4075a957b54c19cc3a08adccc0a15e",
        "870a9d20af81dda0f77dc4e13f70ced767a5cc41",
        "ca8c8266c6d4860088d9d5a974e6c3578da1717a",
    ): ReleasedModel("F814W", "GOODS_S"),
    (
        "dd8a79eaddb84934fe7302ce69eca517c41a78b7",
        "3d2c8a5baa97e4e3b1891e031a076aa762e47bf7",
        "cb4fdac1c2cdb823618534e6c6b22178716e55da",
    ): ReleasedModel("F814W", "UDS"),
    (
        "b6752c2b5c9c4f05ff9324080c470d93d2453342",
        "aa417b078759a009774b0625fad7401cf4dbec41",
        "e2ed2dd75a4d1f7f8a3b048b6a3438effcf9ac9f",
    ): ReleasedModel("F125W_F160W", "COSMOS"),
    (
        "d6fc36d2cb9f552e61f806e6015896a475c3a33e",
        "257588e71216f6b3327a4a542fe8d66e9b9966ea",
        "ca20a2de67c7dd3fa356c1517a6e95ddaf97cb62",
    ): ReleasedModel("F125W_F160W", "EGS"),
    (
        "1c7ae69cb1fe6756edfa47c5c4f5db1f22e85e34",
        "dab6385328e2804655b4b838b97390b453511e25",
        "be7bd25cff272594b5747a0bb2e1c5b537f307c6",
    ): ReleasedModel("F125W_F160W", "GOODS_N"),
    (
        "026463eeca327c3c7f9f19d3546e3f7b2e7bdb9b",
        "959b75b2c06ccd940fcd7318a5572cc39f89c1f2",
        "5666eb265786b6d302ccfda00c3bcf72f5fca4d6",
    ): ReleasedModel("F125W_F160W", "GOODS_S"),
    (
        "8fde45afd9f878ce6825236c702c01bdaba6db5a",
        "ac358293ff100ec143d3d295e3fe5ac6984c85c8",
        "f432643717368cee2c52da1cc0de04f261be9333",
    ): ReleasedModel("F125W_F160W", "UDS"),
}


def released_model(folder: Path) -> ReleasedModel | None:
    """Identify a SavedModel as one of the authors' released models.

    Parameters
    ----------
    folder
        The folder with ``saved_model.pb`` and ``variables``.

    Returns
    -------
    The released model; None unless every byte that an import reads equals that model's.
    """
    try:
        first, second, third = (git_id(read_ordinary_file(folder / file, MOST_BYTES_OF_LISTS)) for file in FILES)
    except (FileNotFoundError, Damaged):
        return None
    return RELEASED.get((first, second, third))


def git_id(content: bytes) -> str:
    """The id that git gives a file's content, hexadecimal."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name)).upper()
