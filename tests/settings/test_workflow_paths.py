"""A path of a workflow names one file, also when it holds the release or wildcards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveyflow.settings.workflow_paths import Unresolved, file_named, releases_named, resolve_paths


@pytest.fixture
def folder(tmp_path):
    for name in ("egs_v1.0_sci.fits", "egs_v1.1_sci.fits", "egs_v1.1_wht.fits", ".egs_v1.2_sci.fits", "a[1].fits", "a1.fits"):
        (tmp_path / name).touch()
    (tmp_path / "v2" / "sub").mkdir(parents=True)
    (tmp_path / "v2" / "egs.fits").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("anything at all.fits", "anything at all.fits"),
        ("egs_{release}_sci.fits", "egs_v1.1_sci.fits"),
        ("{release}/egs_{release}.fits", "v1.1/egs_v1.1.fits"),
        ("egs_*1.1_s?i.fits", "egs_v1.1_sci.fits"),
        ("egs_v1.[!0]_sci.fits", "egs_v1.1_sci.fits"),
        ("egs_v1.[1-9]_sci.fits[SCI]", "egs_v1.1_sci.fits[SCI]"),
        ("egs_{release}_w*[WHT,2]", "egs_v1.1_wht.fits[WHT,2]"),
        ("a[1].fits", "a[1].fits"),
        ("a[!x].fits", "a1.fits"),
        ("*/egs.fits", "v2/egs.fits"),
        ("v2/*", "v2/egs.fits"),
        ("missing.fits[SCI]", "missing.fits[SCI]"),
    ],
)
def test_a_path_names_this_file(folder, text, expected):
    assert file_named(folder, text, "v1.1") == expected


def test_an_absolute_pattern_is_looked_up_where_it_says(folder, tmp_path_factory):
    text = f"{folder}/egs_v1.1_s*.fits"
    assert file_named(tmp_path_factory.mktemp("elsewhere"), text, None) == f"{folder}/egs_v1.1_sci.fits"


def test_wildcards_in_the_folder_of_the_workflow_are_none(tmp_path):
    folder = tmp_path / "run [a-c]"
    folder.mkdir()
    (folder / "egs_1.fits").touch()
    assert file_named(folder, "egs_*.fits", None) == "egs_1.fits"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("egs_*_sci.fits", ["2 files match egs_*_sci.fits, expected one: egs_v1.0_sci.fits, egs_v1.1_sci.fits."]),
        ("gns_*.fits", ["no file matches gns_*.fits", "put the file there"]),
        ("v2/s*", ["no file matches"]),
        ("egs_v1.2*", ["no file matches"]),
        ("egs_{relaese}_sci.fits", ["holds {relaese}", "{release}, the only name in braces"]),
        ("egs_{release}*.fits", ["beside *", "nothing shows where"]),
        ("egs_*{release}.fits", ["beside *"]),
    ],
)
def test_a_path_that_names_no_single_file_is_refused(folder, text, words):
    with pytest.raises(Unresolved) as caught:
        file_named(folder, text, "v1.0")
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("egs_{release}_sci.fits", {"v1.0", "v1.1"}),
        ("egs_{release}_wht.fits[WHT]", {"v1.1"}),
        ("{release}/egs.fits", {"v2"}),
        ("{release}/egs_{release}.fits", set()),
        ("egs_{release}_*.fits", {"v1.0", "v1.1"}),
        ("egs_{release}[_]sci?fits", {"v1.0", "v1.1"}),
        ("e*_{release}_[!w]*.fits", {"v1.0", "v1.1"}),
    ],
)
def test_releases_are_found_from_the_files_that_there_are(folder, text, expected):
    assert releases_named(folder, text) == expected


def test_the_release_is_the_same_wherever_it_occurs(tmp_path):
    for name in ("v1/egs_v1.fits", "v2/egs_v3.fits"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    assert releases_named(tmp_path, "{release}/egs_{release}.fits") == {"v1"}


@given(release=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,20}", fullmatch=True))
def test_a_file_named_after_a_release_tells_it(tmp_path_factory, release):
    folder = tmp_path_factory.mktemp("release")
    name = file_named(folder, "egs_{release}_drz.fits", release)
    (folder / name).touch()
    assert releases_named(folder, "egs_{release}_drz.fits") == {release}
    assert file_named(folder, "egs_{release}_d?z*", release) == name


def test_all_paths_of_a_document_are_resolved_and_the_others_reported_at_their_places(folder):
    document = {
        "survey": {"release": "v1.1"},
        "output": {"root": "catalogs/{release}"},
        "models": {"store": "models*"},
        "fields": {
            "EGS": {
                "sources": {"path": "egs_*", "redshifts": {"path": "egs_*"}},
                "F814W": {"science": "egs_{release}_s*.fits", "weight": 3, "unit": "e*"},
            }
        },
    }
    resolved, findings = resolve_paths(document, folder)
    assert resolved["output"]["root"] == "catalogs/v1.1"
    assert resolved["models"]["store"] == "models*"
    assert resolved["fields"]["EGS"]["F814W"] == {"science": "egs_v1.1_sci.fits", "weight": 3, "unit": "e*"}
    assert resolved["fields"]["EGS"]["sources"]["path"] == sorted(path.name for path in folder.glob("egs_*"))
    assert [finding.location for finding in findings] == [("fields", "EGS", "sources", "redshifts", "path")]
    assert document["output"]["root"] == "catalogs/{release}"


def images(folder, science, weight):
    document = {"fields": {"EGS": {"models": "COSMOS", "F814W": {"science": science, "weight": weight}}}}
    resolved, findings = resolve_paths(document, folder)
    assert {finding.location[:3] for finding in findings} <= {("fields", "EGS", "F814W")}
    return resolved["fields"]["EGS"]["F814W"], [finding.what for finding in findings]


@pytest.fixture
def tiles(tmp_path):
    for name in ("b1_sci.fits", "a2_sci.fits", "wht/a2.fits", "wht/b1.fits"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_wildcards_pair_mosaics_with_weight_maps_by_what_they_stand_for(tiles):
    named, problems = images(tiles, "*_sci.fits[SCI]", "wht/*.fits")
    assert not problems
    assert named["science"] == ["a2_sci.fits[SCI]", "b1_sci.fits[SCI]"]
    assert named["weight"] == ["wht/a2.fits", "wht/b1.fits"]


@pytest.mark.parametrize(
    ("gone", "words"), [("wht/a2.fits", "no weight map for a2_sci.fits"), ("a2_sci.fits", "no mosaic for wht/a2.fits")]
)
def test_a_mosaic_or_weight_map_without_partner_is_named(tiles, gone, words):
    (tiles / gone).unlink()
    (problem,) = images(tiles, "*_sci.fits", "wht/*.fits")[1]
    assert words in problem


def test_lists_are_taken_in_their_order(tiles):
    named, problems = images(tiles, ["b1_sci.fits", "a*_sci.fits"], ["wht/b1.fits", "wht/a*.fits"])
    assert not problems
    assert named == {"science": ["b1_sci.fits", "a2_sci.fits"], "weight": ["wht/b1.fits", "wht/a2.fits"]}


def test_wildcards_beside_a_list_are_refused(tiles):
    (problem,) = images(tiles, "*_sci.fits", ["wht/a2.fits", "wht/b1.fits"])[1]
    assert "2 entries with wildcards for the weight maps of 1 entries" in problem


def test_a_tilde_is_the_users_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "egs_1.fits").touch()
    assert file_named(tmp_path / "elsewhere", "~/egs_*.fits", None) == f"{tmp_path}/egs_1.fits"
    assert file_named(tmp_path / "elsewhere", "~/egs.fits[SCI]", None) == f"{tmp_path}/egs.fits[SCI]"
