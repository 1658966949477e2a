import json
import os
import shutil

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pytest

from catalog_rows import make_rows
from surveyflow.catalog.schema import CATALOG_SCHEMA
from surveyflow.errors import CatalogNotFound, InputError
from surveyflow.releases.publish import publish
from surveyflow.releases.revisions import find, latest, list_revisions, open_catalog, point_latest_at, read_catalog, read_manifest
from surveyflow.values.codes import Flag

ROWS = make_rows(40)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    root = tmp_path_factory.mktemp("catalogs")
    for release, n_rows, minute in (("v1.0", 10, 10), ("v1.0", 20, 20), ("v1.1", 30, 15), ("v1.0", 40, 40)):
        created = f"2026-11-22T13:{minute}:00+00:00"
        publish(root, release, [], ROWS.slice(0, n_rows), {"survey": "mini", "created": created})
    return root


@pytest.fixture
def root(published, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(published, tmp_path / "root", symlinks=True)


def test_revisions_are_listed_by_release_and_number(published):
    assert [revision.name for revision in list_revisions(published)] == ["v1.0-r1", "v1.0-r2", "v1.0-r3", "v1.1-r1"]


def test_the_tenth_revision_follows_the_ninth(root):
    for number in (9, 10):
        shutil.copytree(root / "releases" / "v1.0-r1", root / "releases" / f"v1.0-r{number}")
    assert [revision.name for revision in list_revisions(root)][-3:] == ["v1.0-r9", "v1.0-r10", "v1.1-r1"]
    assert find(root, "v1.0").name == "v1.0-r10"


@pytest.mark.parametrize(
    ("asked", "name", "n_rows"),
    [("latest", "v1.0-r3", 40), ("v1.0", "v1.0-r3", 40), ("v1.0-r2", "v1.0-r2", 20), ("v1.1", "v1.1-r1", 30)],
)
def test_a_revision_is_found_by_latest_release_or_name(published, asked, name, n_rows):
    revision = find(published, asked)
    assert (revision.name, revision.n_rows) == (name, n_rows)
    assert open_catalog(published, asked).count_rows() == n_rows
    assert sum(revision.status_counts.values()) == n_rows


def test_an_unknown_revision_is_answered_with_those_there_are(published):
    with pytest.raises(CatalogNotFound, match=r"no release or revision v2.*It has v1\.0-r1, v1\.0-r2, v1\.0-r3, v1\.1-r1"):
        find(published, "v2")


def test_a_folder_without_catalog_is_named_with_what_to_do(tmp_path):
    assert latest(tmp_path) is None
    assert list_revisions(tmp_path) == []
    with pytest.raises(CatalogNotFound, match=rf"{tmp_path} holds no catalog.* Name the output folder") as missing:
        open_catalog(tmp_path)
    assert isinstance(missing.value, FileNotFoundError)
    assert missing.value.exit_code == 2


def test_a_link_to_a_removed_revision_is_explained_with_the_command_that_repairs_it(root, monkeypatch):
    shutil.rmtree(root / "releases" / "v1.0-r3")
    with pytest.raises(CatalogNotFound, match=r"points to v1\.0-r3.*`ln -sfn releases/v1\.0-r2") as broken:
        latest(root)
    command = str(broken.value).split("`")[1]
    monkeypatch.chdir(root)
    os.system(command)
    assert latest(root).name == "v1.0-r2"


def test_a_link_to_the_only_revision_after_its_removal_says_so(root):
    shutil.rmtree(root / "releases")
    with pytest.raises(CatalogNotFound, match=r"Published: none\. Remove it, and run again"):
        open_catalog(root)


def test_without_a_link_latest_is_not_guessed(root):
    (root / "latest").unlink()
    assert latest(root) is None
    with pytest.raises(CatalogNotFound, match="no release or revision latest"):
        find(root)


def test_unfinished_and_foreign_folders_are_not_revisions(root):
    for name in (".building-v1.0-r9", "v1.0-r8", "notes", "v1.0-rx"):
        (root / "releases" / name).mkdir()
    assert len(list_revisions(root)) == 4


def test_latest_can_point_to_an_older_revision_again(root):
    point_latest_at(root, "v1.0-r1")
    assert latest(root).name == "v1.0-r1"
    assert len(read_catalog(root)) == 10
    with pytest.raises(CatalogNotFound):
        point_latest_at(root, "v1.0-r7")
    assert latest(root).name == "v1.0-r1"


@pytest.mark.parametrize("large", ["9223372036854775807", "4000000000000000000"])
def test_a_selection_that_cannot_be_computed_says_nothing_against_the_catalog(root, large):
    with pytest.raises(InputError, match=r"cannot be computed for every row: overflow\. .* Compare the columns one by one"):
        read_catalog(root, filter=f"source_id * {large} + source_id > 5")


def test_a_folder_without_manifest_is_not_a_revision(tmp_path):
    with pytest.raises(CatalogNotFound, match=r"no manifest\.json"):
        read_manifest(tmp_path)


def test_the_dataset_has_the_catalog_s_columns_and_nothing_of_its_folders(published):
    dataset = open_catalog(str(published))
    assert dataset.schema.equals(CATALOG_SCHEMA)
    assert dataset.to_table().equals(ROWS)


def test_files_that_are_not_part_of_the_catalog_are_not_read(root):
    (root / "releases" / "v1.0-r3" / "dataset" / "notes.txt").write_text("x")
    shutil.copy(
        next(root.glob("releases/v1.0-r1/dataset/**/*.parquet")), root / "releases" / "v1.0-r3" / "dataset" / "stray.parquet"
    )
    assert open_catalog(root).count_rows() == 40


def test_pandas_reads_the_catalog_in_the_order_of_the_sky(published):
    frame = read_catalog(published)
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == [*CATALOG_SCHEMA.names, "class", "flags_text"]
    assert frame["_healpix_29"].is_monotonic_increasing
    assert frame["p_pm_mean"].isna().sum() == ROWS["p_pm_mean"].null_count


def test_integers_stay_integers_beside_rows_without_a_result(published):
    frame = read_catalog(published)
    assert 0 < frame["n_draws"].isna().sum() < 40
    assert {name: str(frame[name].dtype) for name in ("source_id", "flags", "n_draws", "seed")} == {
        "source_id": "int64",
        "flags": "int32",
        "n_draws": "Int32",
        "seed": "Int64",
    }
    assert set(frame["n_draws"].dropna()) == {20}
    everywhere = read_catalog(published, ["n_draws"], "status == 'ok'")
    assert str(everywhere["n_draws"].dtype) == "Int32", "the type must not depend on the rows"


def test_a_histogram_is_an_array_in_each_row_and_missing_without_a_result(published):
    frame = read_catalog(published, ["status", "p_pm_hist"])
    ok = frame["status"] == "ok"
    assert frame["p_pm_hist"].isna().equals(~ok)
    stacked = np.stack(frame["p_pm_hist"][ok])
    assert stacked.dtype == np.uint16
    expected = [row for row in ROWS["p_pm_hist"].to_pylist() if row[0] is not None]
    np.testing.assert_array_equal(stacked, expected)


def test_the_class_is_the_larger_mean_output_and_flags_are_written_out(published):
    frame = read_catalog(published, ["class", "flags_text", "p_pm_mean", "p_sf_mean", "flags"])
    assert list(frame.columns) == ["class", "flags_text", "p_pm_mean", "p_sf_mean", "flags"]
    measured = frame.dropna()
    expected = np.array(["post_merger", "star_forming"])[np.argmax(measured[["p_pm_mean", "p_sf_mean"]], axis=1)]
    assert measured["class"].tolist() == expected.tolist()
    assert set(expected) == {"post_merger", "star_forming"}
    assert frame["class"].isna().equals(frame["p_pm_mean"].isna())
    for bits, text in zip(frame["flags"], frame["flags_text"], strict=True):
        assert sum(Flag[name] for name in text.split("|") if name) == bits


def test_a_table_knows_its_units_descriptions_and_revision(published):
    frame = read_catalog(published, ["ra", "x_pix", "p_pm_mean", "n_draws", "class"], release="v1.0-r2")
    assert frame.attrs["revision"] == "v1.0-r2"
    assert frame.attrs["units"] == {"ra": "deg", "x_pix": "pix", "p_pm_mean": ""}
    assert frame.attrs["descriptions"]["ra"] == "Right ascension, ICRS."
    assert set(frame.attrs["descriptions"]) == set(frame.columns)
    json.dumps(frame.attrs)


@pytest.mark.parametrize(
    ("columns", "condition", "words"),
    [
        (["p_pm_maen"], None, "no column 'p_pm_maen'. Did you mean p_pm_mean?"),
        (["klass"], None, "no column 'klass'. Did you mean class?"),
        (["z"], None, "no column 'z'. Did you mean redshift?"),
        (["luminosity"], None, "no column 'luminosity'. docs/reference/catalog.md lists them."),
        ("ra", None, "Write columns=['ra']."),
        (["ra", 3], None, "columns holds 3, which is not the name of a column"),
        (None, "statsu == 'ok'", "Did you mean status?"),
        (None, [("statsu", "==", "ok")], "no column 'statsu'. Did you mean status?"),
        (None, pc.field("statsu") == "ok", "no column 'statsu'. Did you mean status?"),
        (None, pc.field("ra") == "ok", "the filter cannot be used"),
        (None, [("ra", "~", 3)], "the filter cannot be used"),
        (None, [("ra",)], "the filter cannot be used"),
        (None, "class == 'post_merger'", "write p_pm_mean > p_sf_mean"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(published, columns, condition, words):
    with pytest.raises(InputError) as refused:
        read_catalog(published, columns, condition)
    assert words in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    "condition",
    [
        (pc.field("status") == "ok") & (pc.field("p_pm_mean") > 0.5),
        [("status", "==", "ok"), ("p_pm_mean", ">", 0.5)],
        [[("status", "==", "ok"), ("p_pm_mean", ">", 0.5)]],
        "status == 'ok' and p_pm_mean > 0.5",
    ],
    ids=["expression", "list", "list of lists", "text"],
)
def test_rows_and_columns_can_be_chosen(published, condition):
    frame = read_catalog(published, ["source_id", "p_pm_mean"], condition)
    everything = ROWS.to_pandas()
    expected = everything[(everything.status == "ok") & (everything.p_pm_mean > 0.5)]
    assert 0 < len(frame) < 40
    assert list(frame.columns) == ["source_id", "p_pm_mean"]
    assert frame["source_id"].tolist() == expected["source_id"].tolist()


def test_a_revision_knows_its_rows_without_reading_them(root):
    manifest = json.loads((root / "releases" / "v1.1-r1" / "manifest.json").read_text())
    assert find(root, "v1.1").status_counts == manifest["status"]
