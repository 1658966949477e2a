"""A published revision that is not as it was published is recognised, and every fault is named."""

import json
import os

import pytest

from catalog_rows import make_rows
from other_schemas import DUMMY, catalog_with
from surveyflow.catalog.columns import COLUMNS
from surveyflow.catalog.schema import SCHEMA_VERSION
from surveyflow.errors import CatalogError
from surveyflow.releases.beside import folders_of
from surveyflow.releases.publish import publish
from surveyflow.releases.revisions import read_manifest
from surveyflow.releases.verify import check_revision


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    return publish(tmp_path, "v1", [], make_rows(50), {}).path


def overwrite(path, content):
    path.chmod(0o644)
    path.write_bytes(content)


def test_an_intact_revision_passes_with_the_number_of_its_files(folder):
    files = [path for each in folders_of(folder) for path in each.rglob("*") if path.is_file()]
    assert check_revision(folder) == len(files) - 1


def test_every_damaged_and_missing_file_is_named(folder):
    overwrite(folder / "hats.properties", b"")
    (folder / "skymap.fits").unlink()
    largest = max((folder / "dataset").rglob("*.parquet"), key=lambda path: path.stat().st_size)
    largest.chmod(0o644)
    os.truncate(largest, 2**40)  # would take an hour to read
    with pytest.raises(CatalogError) as caught:
        check_revision(folder)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert any("hats.properties has 0 bytes, expected" in line for line in lines)
    assert any(f"{largest} has {2**40} bytes, expected" in line for line in lines)
    assert any("skymap.fits is missing" in line for line in lines)


def test_a_flipped_bit_in_a_table_is_found(folder):
    path = next((folder / "dataset").rglob("*.parquet"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    overwrite(path, bytes(content))
    with pytest.raises(CatalogError, match=f"{path.name} has SHA-256 .* Publish again, or take another revision"):
        check_revision(folder)


def test_a_file_that_was_added_is_named(folder):
    (folder / "dataset" / "notes.parquet").write_text("")
    with pytest.raises(CatalogError, match=r"notes.parquet is not in the manifest: remove it"):
        check_revision(folder)


def test_a_manifest_that_counts_other_rows_is_found(folder):
    manifest = (folder / "manifest.json").read_text()
    overwrite(folder / "manifest.json", manifest.replace('"ok": ', '"ok": 1').encode())
    with pytest.raises(CatalogError, match=r"holds rows .* expected"):
        check_revision(folder)


def test_a_revision_of_another_schema_is_checked_by_the_schema_that_it_declares(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    with catalog_with((*COLUMNS, DUMMY)) as version:
        other = publish(tmp_path, "v1", [], make_rows(50), {}).path
        assert read_manifest(other)["schema_version"] == version
    assert check_revision(other) > 0

    manifest = (other / "manifest.json").read_text()
    overwrite(other / "manifest.json", manifest.replace(version, SCHEMA_VERSION).encode())
    with pytest.raises(CatalogError, match="must have the catalog's schema"):
        check_revision(other)


def test_a_revision_with_the_version_1_of_earlier_releases_is_checked(folder):
    manifest = json.loads((folder / "manifest.json").read_bytes()) | {"schema_version": 1}
    overwrite(folder / "manifest.json", json.dumps(manifest).encode())
    assert check_revision(folder) > 0
