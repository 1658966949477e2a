import errno
import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog_rows import make_rows
from surveyflow.errors import CatalogError, InputError, OutputError
from surveyflow.files.durable import file_digest
from surveyflow.output.units import unit_path, write_unit
from surveyflow.releases import publish as releases
from surveyflow.releases.publish import latest, list_revisions, open_catalog, publish, read_catalog, read_manifest

HERE = Path(__file__).parent


def write_units(root, *tables):
    return [
        write_unit(root, f"{number:064x}", f"EGS/F814W/{number}", {}, table, seconds=1.0, worker="test")
        for number, table in enumerate(tables)
    ]


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch):
    """Durability is tested elsewhere."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def units(tmp_path):
    return write_units(tmp_path, make_rows(60), make_rows(60, first_id=61))


def files_of(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def nothing_was_published(root):
    return latest(root) is None and list_revisions(root) == [] and list((root / "releases").glob(".*")) == []


def test_a_revision_holds_every_row_of_units_and_extra_rows(tmp_path, units):
    extra = make_rows(5, field="UDS", centre_deg=(34.4, -5.2))
    revision = publish(tmp_path, "v1.0", units, extra, {"survey": "mini"})
    assert revision.name == "v1.0-r1"
    assert revision.path == tmp_path / "releases" / "v1.0-r1"
    assert revision.n_rows == 125 == open_catalog(tmp_path).count_rows()
    assert sum(revision.status_counts.values()) == 125
    found = read_catalog(tmp_path, ["field", "source_id"])
    assert sorted(found.itertuples(index=False)) == sorted(
        [("EGS", n) for n in range(1, 121)] + [("UDS", n) for n in range(1, 6)]
    )


def test_a_revision_is_a_hats_catalog_with_a_manifest(tmp_path, units):
    revision = publish(tmp_path, "v1.0", units, None, {"survey": "mini"})
    found = files_of(revision.path)
    assert {"hats.properties", "partition_info.csv", "dataset/_common_metadata", "manifest.json"} < found
    assert "obs_collection=mini_v1.0-r1\n" in (revision.path / "hats.properties").read_text()


def test_latest_is_a_relative_link_so_that_the_folder_can_be_moved(tmp_path):
    root = tmp_path / "here"
    publish(root, "v1.0", write_units(root, make_rows(5)), None, {})
    assert (root / "latest").readlink() == Path("releases/v1.0-r1")
    root.rename(tmp_path / "there")
    assert open_catalog(tmp_path / "there").count_rows() == 5


def test_the_manifest_says_what_the_caller_says_and_what_was_written(tmp_path, units):
    revision = publish(tmp_path, "v1.0", units, None, {"survey": "mini", "run_id": "7"})
    manifest = read_manifest(revision.path)
    assert (manifest["survey"], manifest["run_id"]) == ("mini", "7")
    assert (manifest["revision"], manifest["release"], manifest["rows"]) == ("v1.0-r1", "v1.0", 120)
    assert manifest["status"] == revision.status_counts
    assert manifest["weights_origin"] == ["untrained"]
    assert set(manifest["files"]) == files_of(revision.path) - {"manifest.json"}
    for path, entry in manifest["files"].items():
        assert entry == {"size_bytes": (revision.path / path).stat().st_size, "sha256": file_digest(revision.path / path)}


def test_revisions_are_numbered_by_release_and_never_written_over(tmp_path, units):
    names = [publish(tmp_path, release, units, None, {}).name for release in ("v1.0", "v1.0", "v1.1", "v1.0")]
    assert names == ["v1.0-r1", "v1.0-r2", "v1.1-r1", "v1.0-r3"]
    assert latest(tmp_path).name == "v1.0-r3"


def test_an_older_revision_is_the_same_byte_for_byte_after_the_next(tmp_path, units):
    first = publish(tmp_path, "v1.0", units, None, {})
    before = {path: (first.path / path).read_bytes() for path in files_of(first.path)}
    publish(tmp_path, "v1.0", units[:1], None, {})
    assert {path: (first.path / path).read_bytes() for path in files_of(first.path)} == before


def test_a_published_file_is_read_only(tmp_path, units):
    revision = publish(tmp_path, "v1.0", units, None, {})
    assert {(revision.path / path).stat().st_mode & 0o222 for path in files_of(revision.path)} == {0}


def test_a_dataset_that_is_open_stays_with_its_revision(tmp_path, units):
    publish(tmp_path, "v1.0", units, None, {})
    dataset = open_catalog(tmp_path)
    publish(tmp_path, "v1.0", units[:1], None, {})
    assert dataset.count_rows() == 120
    assert open_catalog(tmp_path).count_rows() == 60


def test_a_catalog_without_sources_can_be_published_and_read(tmp_path):
    revision = publish(tmp_path, "v1.0", [], None, {})
    assert revision.n_rows == 0
    assert len(read_catalog(tmp_path)) == 0


def test_decorations_are_part_of_the_revision_and_see_it_complete(tmp_path, units):
    def decorate(folder):
        manifest = read_manifest(folder)
        (folder / "report.html").write_text(f"{manifest['revision']}: {manifest['rows']} rows")

    revision = publish(tmp_path, "v1.0", units, None, {}, decorate=decorate)
    assert (revision.path / "report.html").read_text() == "v1.0-r1: 120 rows"
    assert "report.html" in read_manifest(revision.path)["files"]


def test_a_decoration_that_fails_is_left_out_and_logged(tmp_path, units, caplog):
    def decorate(folder):
        (folder / "report.html").write_text("half a")
        raise RuntimeError("no font")

    with caplog.at_level(logging.WARNING):
        revision = publish(tmp_path, "v1.0", units, None, {}, decorate=decorate)
    assert "no font" in caplog.text
    assert "report.html" not in files_of(revision.path)
    assert latest(tmp_path).name == revision.name


def test_a_decoration_may_not_change_the_catalog(tmp_path, units):
    def decorate(folder):
        next(folder.glob("dataset/**/*.parquet")).write_bytes(b"")

    with pytest.raises(CatalogError, match="changed or damaged"):
        publish(tmp_path, "v1.0", units, None, {}, decorate=decorate)
    assert nothing_was_published(tmp_path)


def test_a_source_in_two_units_is_refused_by_name(tmp_path):
    units = write_units(tmp_path, make_rows(60), make_rows(10, first_id=60, seed=3))
    with pytest.raises(CatalogError, match="1 sources of field EGS have more than one row; the first is 60"):
        publish(tmp_path, "v1.0", units, None, {})
    assert nothing_was_published(tmp_path)


def test_the_same_source_number_in_two_fields_is_two_sources(tmp_path):
    units = write_units(tmp_path, make_rows(10), make_rows(10, field="UDS"))
    assert publish(tmp_path, "v1.0", units, None, {}).n_rows == 20


def test_a_dropped_row_is_refused(tmp_path, units):
    with pytest.raises(CatalogError, match="120 sources, but the source lists hold 121"):
        publish(tmp_path, "v1.0", units, None, {"expected_rows": 121})
    assert nothing_was_published(tmp_path)


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(path.read_bytes()[:99]), Path.unlink])
def test_a_unit_that_cannot_be_read_is_named(tmp_path, units, damage):
    damage(unit_path(tmp_path, units[1].key))
    with pytest.raises(CatalogError, match=r"EGS/F814W/1\) (cannot be read|is damaged): .* Run again"):
        publish(tmp_path, "v1.0", units, None, {})
    assert nothing_was_published(tmp_path)


def test_a_unit_with_another_number_of_rows_than_its_receipt_says_is_refused(tmp_path, units):
    with pytest.raises(CatalogError, match=r"has 60 rows, but its receipt says 61\. Run again"):
        publish(tmp_path, "v1.0", [units[0], replace(units[1], n_rows=61)], None, {})
    assert nothing_was_published(tmp_path)


def test_a_unit_that_holds_the_rows_of_another_is_refused(tmp_path, units):
    unit_path(tmp_path, units[1].key).write_bytes(unit_path(tmp_path, units[0].key).read_bytes())
    with pytest.raises(CatalogError, match=r"EGS/F814W/1\) is damaged: it differs from its receipt\. Run again"):
        publish(tmp_path, "v1.0", units, None, {})
    with pytest.raises(CatalogError, match="60 sources of field EGS have more than one row"):
        publish(tmp_path, "v1.0", [units[0], replace(units[1], digest=units[0].digest)], None, {})
    assert nothing_was_published(tmp_path)


def test_a_unit_of_another_schema_is_refused(tmp_path, units):
    path = unit_path(tmp_path, units[1].key)
    pq.write_table(pq.read_table(path).drop_columns(["seed"]), path)
    with pytest.raises(CatalogError, match=r"has a different schema .* Run again"):
        publish(tmp_path, "v1.0", [units[0], replace(units[1], digest=file_digest(path))], None, {})
    assert nothing_was_published(tmp_path)


def test_positions_that_contradict_their_cells_are_refused(tmp_path):
    rows = make_rows(10)
    shifted = rows.set_column(rows.schema.get_field_index("ra"), rows.schema.field("ra"), pa.compute.add(rows["ra"], 1.0))
    with pytest.raises(CatalogError, match="_healpix_29 is not the cell of ra and dec in"):
        publish(tmp_path, "v1.0", [], shifted, {})
    assert nothing_was_published(tmp_path)


@pytest.mark.parametrize("call", ["rename", "mkdir", "chmod", "link"])
def test_a_disk_that_refuses_leaves_the_old_revision_in_place(tmp_path, units, monkeypatch, call):
    publish(tmp_path, "v1.0", units, None, {})

    def refuse(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(OutputError, match="No space left"):
            publish(tmp_path, "v1.0", units[:1], None, {})
    assert latest(tmp_path).name == "v1.0-r1"
    assert [path.name for path in (tmp_path / "releases").iterdir()] == ["v1.0-r1"]
    assert publish(tmp_path, "v1.0", units[:1], None, {}).name == "v1.0-r2"


def test_a_disk_that_is_full_at_any_file_of_rows_or_ids_is_named_and_nothing_is_published(tmp_path, monkeypatch):
    rows = make_rows(60, centre_deg=(90.0, 60.0), radius_deg=0.001)  # at the border of two cells
    written = []

    def counted(write):
        def writing(place, *given):
            if given:  # a mode, or an array
                written.append(place)
                if len(written) == full_at:
                    raise OSError(errno.ENOSPC, "No space left on device")
            return write(place, *given)

        return writing

    monkeypatch.setattr(np, "save", counted(np.save))
    monkeypatch.setattr(pa, "OSFile", counted(pa.OSFile))
    full_at = 0
    publish(tmp_path / "0", "v1.0", write_units(tmp_path / "0", rows), make_rows(3, first_id=100), {})
    n_files = len(written)
    assert n_files >= 6
    for full_at in range(1, n_files + 1):
        root = tmp_path / str(full_at)
        units = write_units(root, rows)
        written.clear()
        with pytest.raises(OutputError, match=f"{root}/.* could not be written: No space left on device. Free some space"):
            publish(root, "v1.0", units, make_rows(3, first_id=100), {})
        assert nothing_was_published(root)


def test_what_a_dead_publisher_left_is_removed_by_the_next(tmp_path, units):
    ruin = tmp_path / "releases" / ".building-v1.0-r1" / "dataset"
    ruin.mkdir(parents=True)
    (ruin / "half.parquet").write_bytes(b"PAR1")
    (tmp_path / ".latest.host.1.aa.tmp").symlink_to("releases/v0")
    publish(tmp_path, "v1.0", units, None, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "margins", "releases", "units"]
    assert [path.name for path in (tmp_path / "releases").iterdir()] == ["v1.0-r1"]


@pytest.mark.parametrize("release", ["", "latest", "a/b", "../v1", ".hidden", "v 1", "-v1"])
def test_a_release_s_name_must_be_a_valid_folder_name(tmp_path, release):
    with pytest.raises(InputError, match="cannot be the name of a folder"):
        publish(tmp_path, release, [], None, {})


def test_the_reason_for_every_check_is_a_revision_that_was_written_wrong(tmp_path, units, monkeypatch):
    write = releases.write_dataset
    monkeypatch.setattr(releases, "write_dataset", lambda folder, sources, **options: write(folder, sources[:1], **options))
    with pytest.raises(CatalogError, match=r"holds rows .* expected"):
        publish(tmp_path, "v1.0", units, None, {})
    assert nothing_was_published(tmp_path)


def test_a_reader_never_sees_an_incomplete_revision_while_publishers_are_killed(tmp_path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE.parents[1])])}
    script = [sys.executable, HERE / "publishing_under_fire.py", tmp_path]
    done = subprocess.run(script, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["reader_status"] == 0, done.stderr
    assert found["seen"] > 3
    assert found["killed"] > 10
    assert all(found["decided"][f"{verb}, {state}"] > 0 for verb in ("accept", "rollback") for state in ("old", "new"))
    assert found["latest_rows"] == 117
    assert found["hidden"] == []
    assert found["revisions"] >= 101 - found["killed"]
