"""The newest complete release is found, and what is newer and not complete is told with its reasons."""

from __future__ import annotations

import os

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from surveyflow.errors import WorkflowError
from surveyflow.inputs.discovery import Watch, age_order, find_newest_release

WORKFLOW = """\
version = 1
[survey]
name = "mini"
release = "none"
[fields.EGS.sources]
path = "lists/egs_{release}.cat"
columns = { id = "ID", ra = "RA", dec = "DEC" }
[fields.EGS.F814W]
science = "{release}/egs_*_sci.fits"
weight = "{release}/egs_*_wht.fits[WHT]"
"""
NOW_S = 1_700_000_000.0
LONG_AGO_S = NOW_S - 3600


@pytest.fixture
def world(tmp_path):
    (tmp_path / "lists").mkdir()
    for release in ("v1.9", "v1.10"):
        put(tmp_path, release)
    (tmp_path / "workflow.toml").write_text(WORKFLOW)
    return tmp_path


def files(folder, release):
    mosaics = folder / release
    return {
        "list": folder / "lists" / f"egs_{release}.cat",
        "science": mosaics / "egs_f814w_sci.fits",
        "weight": mosaics / "egs_f814w_wht.fits",
    }


def put(folder, release):
    for path in files(folder, release).values():
        path.parent.mkdir(exist_ok=True)
        path.write_text(release)
        age(path)


def age(path, seconds=LONG_AGO_S):
    os.utime(path, (seconds, seconds))


def find(folder, sleep=lambda _: None, **watch):
    return find_newest_release(folder / "workflow.toml", Watch(now=lambda: NOW_S, sleep=sleep, **watch))


def reason(choice):
    (skipped,) = choice.skipped
    (why,) = skipped.reasons
    return skipped.release, why


def test_the_newest_complete_release_is_chosen(world):
    choice = find(world)
    assert (choice.release, choice.skipped) == ("v1.10", ())
    assert choice.as_json() == {"release": "v1.10", "skipped": ()}


@pytest.mark.parametrize(
    ("which", "words"),
    [
        ("weight", "EGS F814W weight: no file matches v1.10/egs_*_wht.fits"),
        ("science", "EGS F814W science: no file matches v1.10/egs_*_sci.fits"),
        ("list", "egs_v1.10.cat does not exist"),
    ],
)
def test_a_release_that_lacks_a_file_is_skipped(world, which, words):
    files(world, "v1.10")[which].unlink()
    choice = find(world)
    assert choice.release == "v1.9"
    assert reason(choice)[0] == "v1.10"
    assert words in reason(choice)[1]


def test_a_release_with_a_mosaic_whose_weight_map_is_missing_is_skipped(world):
    (world / "v1.10" / "egs_f606w_sci.fits").touch()
    assert "no weight map for v1.10/egs_f606w_sci.fits" in reason(find(world))[1]


def test_every_mosaic_of_a_release_must_be_at_rest(world):
    for kind in ("sci", "wht"):
        path = world / "v1.10" / f"egs_f606w_{kind}.fits"
        path.touch()
        age(path, NOW_S)
    (skipped,) = find(world).skipped
    assert [why.partition(" was written")[0] for why in skipped.reasons] == [
        "EGS F814W science egs_f606w_sci.fits: egs_f606w_sci.fits",
        "EGS F814W weight egs_f606w_wht.fits: egs_f606w_wht.fits",
    ]


def test_the_mosaics_of_a_table_are_looked_up(world):
    text = WORKFLOW.replace('science = "{release}/egs_*_sci.fits"', 'mosaics = "{release}/tiles.csv"')
    (world / "workflow.toml").write_text(text.replace('weight = "{release}/egs_*_wht.fits[WHT]"', ""))
    for release, names in (("v1.9", "egs_f814w_sci.fits"), ("v1.10", "egs_f814w_sci.fits\ngone.fits")):
        table = world / release / "tiles.csv"
        table.write_text(f"science\n{names}\n")
        age(table)
    choice = find(world)
    assert choice.release == "v1.9"
    assert "gone.fits does not exist" in reason(choice)[1]


def test_a_file_that_grows_while_it_is_watched_is_not_complete(world):
    def write_on(seconds):
        assert seconds == 1.0
        with files(world, "v1.10")["weight"].open("a") as stream:
            stream.write("more")

    release, why = reason(find(world, sleep=write_on))
    assert (release, why) == ("v1.10", "EGS F814W weight: egs_f814w_wht.fits is changing in size: 5 bytes, then 9")


def test_a_file_that_is_replaced_or_vanishes_while_it_is_watched_is_not_complete(world):
    science, weight = (files(world, "v1.10")[kind] for kind in ("science", "weight"))

    def change(_):
        twin = science.with_name("twin")
        twin.write_text("v1.10")
        age(twin)
        twin.replace(science)
        weight.unlink()

    (skipped,) = find(world, sleep=change).skipped
    assert [why.split("fits ")[1] for why in skipped.reasons] == [
        "was written or replaced while it was watched",
        "vanished while it was watched",
    ]


def test_a_file_written_recently_is_not_complete_until_it_was_left_alone(world):
    age(files(world, "v1.10")["list"], NOW_S - 59)
    why = reason(find(world))[1]
    assert why == "EGS source list: egs_v1.10.cat was written 59 s ago, and counts as complete after 60 s"
    age(files(world, "v1.10")["list"], NOW_S - 61)
    assert find(world).release == "v1.10"


def test_the_user_chooses_how_long_a_file_must_be_left_alone(world):
    age(files(world, "v1.10")["list"], NOW_S - 59)
    (world / "workflow.toml").write_text(WORKFLOW + "[discovery]\nquiet_s = 50\n")
    assert find(world).release == "v1.10"


def test_a_damaged_file_is_reported_with_its_damage(world):
    path = files(world, "v1.10")["science"]
    fits.PrimaryHDU(np.ones((9, 9), np.float32)).writeto(path, overwrite=True, checksum=True)
    age(path)
    assert find(world).release == "v1.10"
    content = bytearray(path.read_bytes())
    content[2880] ^= 1
    path.write_bytes(content)
    age(path)
    assert "egs_f814w_sci.fits is damaged or incomplete: the data of HDU 0" in reason(find(world))[1]
    (world / "workflow.toml").write_text(WORKFLOW + "[discovery]\nchecksums = false\n")
    assert find(world).release == "v1.10"


def broken(folder, now_s, settings=""):
    (folder / "workflow.toml").write_text(f"{WORKFLOW}[discovery]\n{settings}\n")
    choice = find_newest_release(folder / "workflow.toml", Watch(now=lambda: now_s, sleep=lambda _: None))
    assert [skipped.release for skipped in choice.skipped] == ["v1.10"]
    return [skipped.release for skipped in choice.broken]


def test_a_release_that_lacks_a_file_counts_as_broken_once_nothing_has_arrived_for_long(world):
    files(world, "v1.10")["weight"].unlink()
    arrived = files(world, "v1.10")["science"].stat().st_ctime
    assert broken(world, arrived + 3599) == []
    assert broken(world, arrived + 3610) == ["v1.10"]
    assert broken(world, arrived + 3610, "arrival_s = 7200") == []


def test_a_release_that_changes_is_not_broken_whatever_it_lacks(world):
    files(world, "v1.10")["weight"].unlink()
    age(files(world, "v1.10")["science"], NOW_S)
    assert broken(world, NOW_S + 1, "arrival_s = 0") == []


def test_a_damaged_release_is_broken_at_once(world):
    path = files(world, "v1.10")["science"]
    choice = find(world, damage=lambda other: "cut short" if other == path else None)
    assert choice.broken == choice.skipped
    assert reason(choice) == ("v1.10", "EGS F814W science: egs_f814w_sci.fits is damaged or incomplete: cut short")


def test_content_is_not_read_where_files_are_missing_or_older_releases_are_not_asked_for(world):
    files(world, "v1.10")["weight"].unlink()
    put(world, "v1.8")
    read = []
    find(world, damage=read.append)
    assert set(read) == set(files(world, "v1.9").values())


def test_when_nothing_is_complete_every_reason_is_reported(world):
    for release in ("v1.9", "v1.10"):
        files(world, release)["weight"].unlink()
    with pytest.raises(WorkflowError) as caught:
        find(world)
    head, *problems = map(str, caught.value.problems)
    assert "no release is complete" in head
    assert [problem.split()[2] for problem in problems] == ["v1.10", "v1.9"]


def test_a_workflow_without_the_release_in_any_path_has_no_newest(world):
    (world / "workflow.toml").write_text(WORKFLOW.replace("{release}", "v1.9"))
    with pytest.raises(WorkflowError, match=r"no path of a source list or mosaic contains \{release\}"):
        find(world)


def test_if_no_file_matches_the_paths_are_reported(world):
    (world / "workflow.toml").write_text(WORKFLOW.replace("egs_", "gns_"))
    with pytest.raises(WorkflowError, match=r"no file matches lists/gns_\{release\}.cat"):
        find(world)


def test_a_manifest_has_no_newest_release(world):
    with pytest.raises(WorkflowError, match="manifest of one release"):
        find_newest_release(world / "manifest.json")


def test_names_that_cannot_be_releases_are_skipped(world):
    put(world, "v1.10-r2")
    put(world, "latest")
    assert find(world).release == "v1.10"


@pytest.mark.parametrize(
    "name", ["v1.11.gone", "v1.11.bad", "v1.11.old", "v1.11.tmp", "v1.11.GONE", "v1.11~", ".v1.11", ".v1.11.Xy3"]
)
def test_what_was_set_aside_is_never_taken(world, name):
    put(world, name)
    assert find(world).as_json() == {"release": "v1.10", "skipped": ()}


def test_a_newest_release_that_was_set_aside_gives_way_to_the_one_before(world):
    (world / "v1.10").rename(world / "v1.10.gone")
    files(world, "v1.10")["list"].rename(world / "lists" / "egs_v1.10.gone.cat")
    assert find(world).as_json() == {"release": "v1.9", "skipped": ()}


@pytest.mark.parametrize(
    ("settings", "chosen"),
    [
        ('include = ["v*"]', "v1.10"),
        ('include = ["v1.9", "w?"]', "w5"),
        ('exclude = ["w*"]', "v1.10"),
        ('include = ["v*", "w*"]\nexclude = ["*[05]"]', "v1.9"),
        ("exclude = []", "w5"),
        ('exclude = ["W*"]', "w5"),
    ],
)
def test_the_workflow_says_which_names_are_releases(world, settings, chosen):
    put(world, "w5")
    (world / "workflow.toml").write_text(f"{WORKFLOW}[discovery]\n{settings}\n")
    assert find(world).as_json() == {"release": chosen, "skipped": ()}


def test_if_every_release_is_left_out_each_is_named_with_the_reason(world):
    put(world, "w5.old")
    (world / "workflow.toml").write_text(WORKFLOW + '[discovery]\ninclude = ["w*", "v1.9"]\nexclude = ["v1.9"]\n')
    with pytest.raises(WorkflowError) as caught:
        find(world)
    (problem,) = map(str, caught.value.problems)
    assert "w5.old ends in .old, like a release that was set aside" in problem
    assert "v1.10 matches nothing of include" in problem
    assert 'v1.9 matches "v1.9" of exclude' in problem
    assert problem.endswith("Rename it, correct include and exclude, or name it all the same: --release NAME.")


def test_versions_and_dates_sort_from_old_to_new():
    in_order = ["v0.9", "v1", "v1.0-rc2", "v1.0", "v1.0b", "v1.0.1", "v1.9", "v1.10-dev3", "v1.10-RC1", "v1.10", "V1.11", "v2"]
    shuffled = in_order[::-1]
    assert sorted(shuffled, key=age_order) == in_order
    assert sorted(["2024-01-05", "20231101", "2023-12-24"], key=age_order)[-1] == "20231101"
    assert sorted(["2024-01-05", "2023-12-24"], key=age_order) == ["2023-12-24", "2024-01-05"]
    assert sorted(["dr10", "DR9"], key=age_order) == ["DR9", "dr10"]


@given(st.lists(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,12}", fullmatch=True), unique=True))
def test_any_names_have_one_order(names):
    shuffled = names[::-1]
    assert sorted(names, key=age_order) == sorted(shuffled, key=age_order)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=4), st.lists(st.integers(0, 10**6), min_size=1, max_size=4))
def test_numbers_of_versions_compare_as_numbers(first, second):
    names = [f"v{'.'.join(map(str, version))}" for version in (first, second)]
    assert (age_order(names[0]) < age_order(names[1])) == (first < second)
