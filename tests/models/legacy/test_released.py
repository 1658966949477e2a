"""The authors' files are known by their content, all of it, and by nothing else."""

from __future__ import annotations

import pytest

from surveyflow.models.legacy import released
from surveyflow.models.legacy.released import FILES, RELEASED, ReleasedModel, git_id, released_model

UDS = ReleasedModel("F814W", "UDS")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three small files that count as a released model."""
    (tmp_path / "variables").mkdir()
    for file in FILES:
        (tmp_path / file).write_bytes(file.name.encode())
    monkeypatch.setattr(released, "RELEASED", {tuple(git_id(file.name.encode()) for file in FILES): UDS})
    return tmp_path


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"),
        (b"hello\n", "ce013625030ba8dba906f756967f9e9ca394464a"),
    ],
)
def test_ids_are_those_of_git(content, expected):
    """Expected values from ``git hash-object``."""
    assert git_id(content) == expected


def test_the_table_has_ten_models_of_three_files_each():
    fields = ("COSMOS", "EGS", "GOODS_N", "GOODS_S", "UDS")
    wanted = {ReleasedModel(instrument, field) for instrument in ("F814W", "F125W_F160W") for field in fields}
    assert len(RELEASED) == 10
    assert set(RELEASED.values()) == wanted
    ids = [one for digests in RELEASED for one in digests]
    assert len(set(ids)) == 30
    assert all(len(one) == 40 and int(one, 16) for one in ids)


def test_all_three_files_make_a_released_model(folder):
    assert released_model(folder) == UDS


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.suffix)
def test_one_byte_more_makes_another_file(folder, file):
    with (folder / file).open("ab") as stream:
        stream.write(b"0")
    assert released_model(folder) is None


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.suffix)
def test_a_missing_file_makes_none(folder, file):
    (folder / file).unlink()
    assert released_model(folder) is None


@pytest.mark.parametrize(
    ("instrument", "field", "expected"),
    [
        ("F814W", "GOODS_N", True),
        ("F814W", "GOODS-N", True),
        ("F814W", "goodsn", True),
        ("F814W", "GOODS_S", False),
        ("F125W_F160W", "GOODS_N", False),
    ],
)
def test_a_field_may_be_spelt_otherwise(instrument, field, expected):
    assert ReleasedModel("F814W", "GOODS_N").is_for(instrument, field) is expected
