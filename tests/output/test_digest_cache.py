"""What is known of a mosaic's windows is remembered for as long as its files stay as they are, and no longer."""

import pytest

from surveyflow.output.digest_cache import DigestCache, forget_digests
from surveyflow.values.images import Box

FILES = [["egs_sci.fits", 1000, 17, 5], ["egs_wht.fits", 1000, 18, 6]]
BOX, DIGESTS = Box(0, 640, 512, 1024), {"science": "5c1e", "weight": "3e16"}


@pytest.fixture
def remembered(tmp_path):
    """An output folder whose cache knows one window."""
    cache = DigestCache(tmp_path, FILES)
    cache.put(BOX, DIGESTS)
    cache.save()
    return tmp_path


def test_a_window_is_remembered_by_the_next_run(remembered):
    assert DigestCache(remembered, FILES).get(BOX) == DIGESTS
    assert DigestCache(remembered, FILES).get(Box(0, 640, 0, 512)) is None


@pytest.mark.parametrize("place", [1, 2, 3], ids=["size", "mtime", "inode"])
@pytest.mark.parametrize("file", [0, 1], ids=["science", "weight"])
def test_a_file_that_changed_is_read_again(remembered, file, place):
    changed = [list(entry) for entry in FILES]
    changed[file][place] += 1
    assert DigestCache(remembered, changed).get(BOX) is None


def test_another_mosaic_is_not_mistaken_for_this_one(remembered):
    assert DigestCache(remembered, [["cosmos_sci.fits", 1000, 17, 5]]).get(BOX) is None


def test_all_digests_can_be_removed(remembered):
    forget_digests(remembered)
    assert DigestCache(remembered, FILES).get(BOX) is None


def test_before_the_first_run_nothing_is_written(tmp_path):
    cache = DigestCache(tmp_path / "catalog", FILES)
    cache.put(BOX, DIGESTS)
    cache.save()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"{}"])
def test_a_damaged_cache_only_costs_another_reading(remembered, content):
    (path,) = (remembered / "digests").iterdir()
    path.write_bytes(content)
    cache = DigestCache(remembered, FILES)
    assert cache.get(BOX) is None
    cache.put(BOX, DIGESTS)
    cache.save()
    assert DigestCache(remembered, FILES).get(BOX) == DIGESTS
