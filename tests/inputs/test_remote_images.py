"""Images and lists at addresses: the pixels of the local file, little more than their bytes, and no mixture of two files."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

import surveyflow
from mosaic_files import sky_image, tan_header, write_image
from servers import Answering, cut_short, overloaded, serving, throttled
from surveyflow.errors import MosaicError, SourceListError
from surveyflow.files import remote, transfers
from surveyflow.files.addresses import Address
from surveyflow.inputs.fits_images import open_image
from surveyflow.inputs.tables import read_columns
from surveyflow.values.images import Box

SHAPE = (240, 260)
FILES = ("plain.fits", "rows.fits.fz", "tiles.fits.fz", "packed.fits.gz", "double.fits")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    image = sky_image(SHAPE)
    write_image(folder / "plain.fits", image)
    write_image(folder / "double.fits", image.astype(np.float64))
    (folder / "packed.fits.gz").write_bytes(gzip.compress((folder / "plain.fits").read_bytes()))
    for name, tiles in (("rows.fits.fz", None), ("tiles.fits.fz", (50, 60))):
        hdu = fits.CompImageHDU(np.nan_to_num(image), tan_header(), compression_type="RICE_1", tile_shape=tiles)
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(folder / name)
    (folder / "list.csv").write_text("ID,RA\n7,150.1\n")
    return folder


@pytest.fixture(scope="module")
def running(folder):
    with serving(folder) as server:
        yield server


@pytest.fixture
def server(running, monkeypatch):
    monkeypatch.setattr(transfers, "FIRST_WAIT_S", 0.001)
    running.fault, running.ranges, running.etags, running.dates = None, True, True, True
    running.forget()
    return running


def whole(location, kept=None):
    with open_image(location, "SCI", kept) as image:
        return image.read(Box(0, image.shape[0], 0, image.shape[1]))


def refusal(location):
    with pytest.raises(MosaicError) as caught:
        whole(location)
    return str(caught.value)


BOXES = st.tuples(st.integers(0, SHAPE[0]), st.integers(0, SHAPE[0]), st.integers(0, SHAPE[1]), st.integers(0, SHAPE[1]))


@pytest.mark.parametrize("name", FILES)
def test_a_box_at_an_address_is_that_of_the_local_file_bit_for_bit(running, folder, name, tmp_path_factory):
    kept = tmp_path_factory.mktemp("root") / "windows"
    with open_image(f"{running.address}/{name}", "SCI") as far, open_image(folder / name, "SCI") as near:
        keeping = open_image(f"{running.address}/{name}", "SCI", kept)

        @settings(max_examples=6)
        @given(BOXES)
        def same(edges):
            (y0, y1), (x0, x1) = sorted(edges[:2]), sorted(edges[2:])
            box = Box(y0, y1, x0, x1)
            expected = near.read(box).tobytes()
            assert far.read(box).tobytes() == expected
            assert keeping.read(box).tobytes() == expected

        with keeping:
            same()


def test_wanted_parts_are_read_and_nothing_else(server, folder):
    parts = [Box(10, 20, 30, 50), Box(15, 40, 45, 60), Box(-5, 8, 250, 300)]
    with open_image(f"{server.address}/plain.fits", "SCI") as far, open_image(folder / "plain.fits", "SCI") as near:
        server.forget()
        box = Box(0, 60, 20, 260)
        found, expected, outside = far.read(box, parts), near.read(box), np.ones(box.shape, bool)
        for part in parts:
            outside[max(part.y0, 0) : part.y1, part.x0 - 20 : part.x1 - 20] = False
    np.testing.assert_array_equal(found, np.where(outside, 0, expected))
    assert server.n_bytes <= 1.25 * 4 * (~outside).sum()


def test_pixels_that_are_kept_are_not_fetched_again_by_another_process(server, folder, tmp_path):
    place, kept = f"{server.address}/plain.fits", tmp_path / "windows"
    first = whole(place, kept)
    server.forget()
    np.testing.assert_array_equal(whole(place, kept), first)
    assert server.n_bytes <= 1 + remote.BLOCK_BYTES  # the header
    (damaged,) = kept.rglob("*.npy")
    damaged.write_bytes(damaged.read_bytes()[:1000])
    np.testing.assert_array_equal(whole(place, kept), first)


def test_pixels_are_kept_in_memory_before_there_is_an_output_folder(server, tmp_path):
    kept = tmp_path / "root" / "windows"
    with open_image(f"{server.address}/plain.fits", "SCI", kept) as image:
        image.read(Box(0, 50, 0, 50))
        server.forget()
        image.read(Box(5, 30, 5, 30))
        assert not server.asked
        assert not kept.parent.exists()
        kept.parent.mkdir()
        image.keep()
    assert len(list(kept.rglob("*.npy"))) == 1


@pytest.mark.parametrize("fault", [overloaded(2), cut_short(2), throttled(0.02)], ids=["503", "cut short", "slow"])
@pytest.mark.parametrize("name", FILES)
def test_faults_that_pass_change_no_pixel(server, folder, name, fault):
    server.fault = fault
    np.testing.assert_array_equal(whole(f"{server.address}/{name}"), whole(folder / name))


def test_a_server_that_stays_overloaded_is_named(server):
    server.fault = overloaded(10**6)
    told = refusal(f"{server.address}/plain.fits?sig=secret")
    assert "the server answers 503, 6 times in a row" in told
    assert "secret" not in told


def test_a_file_that_is_replaced_while_it_is_read_is_noticed(server, folder, tmp_path):
    path = folder / "changing.fits"
    for change in (0, 1):  # another content, then another size
        path.unlink(missing_ok=True)
        write_image(path, sky_image(SHAPE))
        with open_image(f"{server.address}/changing.fits", "SCI") as image:
            image.read(Box(0, 9, 0, 9))
            write_image(tmp_path / f"{change}.fits", sky_image((SHAPE[0] + change * 100, SHAPE[1])) + 1)
            (tmp_path / f"{change}.fits").rename(path)
            with pytest.raises(MosaicError, match=r"it was replaced on the server while it was read|it had .* bytes and now has"):
                image.read(Box(100, 200, 0, 9))


def answering(status=206, content=b"", **headers):
    def fault(request: Answering, number: int) -> bool:
        request.send(status, content, {name.replace("_", "-"): value for name, value in headers.items()})
        return True

    return fault


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (answering(404), "There is no such file"),
        (answering(403), "a signed address expires"),
        (answering(302, Location="file:///etc/passwd"), "is not followed"),
        (answering(302, Location="/plain.fits"), "redirects more than 5 times"),
        (answering(200, b"x" * 9), "sends only whole files"),
        (answering(206, b"x", Content_Range=f"bytes 0-0/{10**17}", ETag='"a"'), "which is not believed"),
        (answering(206, b"x", Content_Range="bytes 0-0/100"), "neither ETag nor date"),
        (answering(206, b"x", Content_Range="bytes 0-0/100", ETag='"a"'), "was asked for bytes 0 to 99"),
        (answering(206, b"x" * 101, Content_Range="bytes 0-99/100", ETag='"a"'), "sends more than"),
        (answering(206, b"x", Content_Range="bytes 0-0/100", ETag='"a"', Content_Encoding="gzip"), "packs it on the way"),
    ],
)
def test_a_server_is_not_believed(server, fault, told):
    def first_honest(request: Answering, number: int) -> bool:
        if told == "sends more than" and number == 0:
            return answering(206, b"x", Content_Range="bytes 0-0/100", ETag='"a"')(request, number)
        return fault(request, number)

    server.fault = first_honest
    assert told in refusal(f"{server.address}/plain.fits")


def test_an_encrypted_address_is_never_left():
    from surveyflow.files.http_files import _check_redirection

    _check_redirection("http://a/x", "https://b/x")
    for target in ("http://a/x", "file:///x", "ftp://a/x"):
        with pytest.raises(transfers.Unreachable, match="is not followed"):
            _check_redirection("https://a/x", target)


def test_a_host_that_nobody_knows_and_a_closed_port_are_named():
    assert "download it" in refusal("https://nowhere.invalid/a.fits").lower()


def test_cutouts_fetch_little_more_than_their_pixels(server, folder):
    write_image(folder / "wide.fits", sky_image((400, 2000)))
    place = f"{server.address}/wide.fits"
    with fits.open(folder / "wide.fits") as hdus:
        positions = surveyflow_positions(hdus[0].header, np.array([[50, 60], [1900, 350], [1000, 200]]))
    server.forget()
    far = surveyflow.cutouts(place, *positions, 32)
    near = surveyflow.cutouts(folder / "wide.fits", *positions, 32)
    np.testing.assert_array_equal(far.pixels, near.pixels)
    np.testing.assert_array_equal(far.valid, near.valid)
    assert server.n_bytes <= 1 + remote.BLOCK_BYTES + 1.25 * 3 * 32 * 32 * 4


def surveyflow_positions(header, pixels):
    from astropy.wcs import WCS

    return WCS(header).wcs_pix2world(pixels[:, 0], pixels[:, 1], 0)


def test_a_list_is_copied_once_and_read_as_a_local_one(server):
    place = Address(f"{server.address}/list.csv?sig=secret")
    server.ranges = False
    for _ in range(2):
        assert read_columns(place, {"ID"})["ID"].values.tolist() == [7]
    assert len([asked for asked in server.asked if not asked[1]]) == 1
    with pytest.raises(SourceListError, match=r"list\.csv\?sig=\.\.\. has no column DEC"):
        read_columns(place, {"DEC"})
    with pytest.raises(SourceListError, match="There is no such file"):
        read_columns(Address(f"{server.address}/absent.csv"), {"ID"})


def test_a_kind_of_address_whose_library_is_missing_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    from surveyflow.files import object_stores

    object_stores._store.cache_clear()
    assert "surveyflow-mergers[remote]" in refusal("s3://bucket/a.fits")


def test_the_folder_of_kept_pixels_may_vanish(server, tmp_path):
    kept = tmp_path / "windows"
    kept.write_text("a file in its place")
    assert whole(f"{server.address}/plain.fits", kept).shape == SHAPE
    assert Path(kept).is_file()
