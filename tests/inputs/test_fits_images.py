import gzip
import os
import resource

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from mosaic_files import sky_image, tan_header, write_image
from surveyflow.errors import MosaicError
from surveyflow.inputs import packed_fits
from surveyflow.inputs.fits_images import open_image
from surveyflow.values.images import Box

WHOLE = Box(0, 30, 0, 40)


def read_whole(location, preferred="SCI"):
    with open_image(location, preferred) as image:
        return image.read(Box(0, image.shape[0], 0, image.shape[1]))


def refusal(location, preferred="SCI"):
    with pytest.raises(MosaicError) as caught:
        read_whole(location, preferred)
    return str(caught.value)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return write_image(tmp_path_factory.mktemp("plain") / "plain.fits")


@given(rows=st.tuples(st.integers(0, 30), st.integers(0, 30)), columns=st.tuples(st.integers(0, 40), st.integers(0, 40)))
def test_a_box_is_the_slice_of_the_image_bit_for_bit(plain, rows, columns):
    (y0, y1), (x0, x1) = sorted(rows), sorted(columns)
    with open_image(plain, "SCI") as image:
        pixels = image.read(Box(y0, y1, x0, x1))
    assert pixels.dtype == np.float32
    assert pixels.dtype.isnative
    assert pixels.flags.c_contiguous
    assert pixels.tobytes() == np.ascontiguousarray(sky_image()[y0:y1, x0:x1]).tobytes()


def test_double_precision_becomes_single_and_overflows_to_infinity(tmp_path):
    image = sky_image().astype(np.float64) / 3
    image[10, 10] = 1e300
    write_image(tmp_path / "double.fits", image)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(read_whole(tmp_path / "double.fits"), image.astype(np.float32))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64"])
def test_scaled_integers_with_blanks_become_single_precision(tmp_path, dtype):
    raw = np.arange(12).reshape(3, 4).astype(dtype)
    hdu = fits.PrimaryHDU(raw, tan_header())
    hdu.header["BLANK"] = 7
    hdu.writeto(tmp_path / "integers.fits")
    with fits.open(tmp_path / "integers.fits", mode="update", do_not_scale_image_data=True, memmap=False) as hdus:
        hdus[0].header.update({"BSCALE": 0.25, "BZERO": 1000.5})
    expected = (raw.astype(np.float64) * 0.25 + 1000.5).astype(np.float32)
    expected[raw == 7] = np.nan
    np.testing.assert_array_equal(read_whole(tmp_path / "integers.fits"), expected)


def test_unsigned_integers_are_read_as_astropy_reads_them(tmp_path):
    raw = np.array([[0, 1], [40_000, 65_535]], dtype=np.uint16)
    write_image(tmp_path / "unsigned.fits", raw)
    np.testing.assert_array_equal(read_whole(tmp_path / "unsigned.fits"), raw.astype(np.float32))


@pytest.mark.parametrize("cards", [{"BSCALE": "two"}, {"BZERO": True, "BSCALE": "x"}])
def test_scales_that_are_not_numbers_are_refused(tmp_path, cards):
    write_image(tmp_path / "scale.fits")
    with fits.open(tmp_path / "scale.fits", mode="update", do_not_scale_image_data=True, memmap=False) as hdus:
        hdus[0].header.update(cards)
    assert "BSCALE" in refusal(tmp_path / "scale.fits")


def test_gzip_is_unpacked_with_a_notice(tmp_path, plain):
    packed = tmp_path / "image.fits.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    np.testing.assert_array_equal(read_whole(packed), sky_image())
    with open_image(packed, "SCI") as image:
        assert "gunzip" in image.notices[0]
        assert image.file.size == packed.stat().st_size


def test_gzip_too_large_for_memory_is_refused(tmp_path, plain, monkeypatch):
    packed = tmp_path / "image.fits.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    monkeypatch.setattr(packed_fits, "MAX_UNPACKED_BYTES", 5000)
    assert "gunzip" in refusal(packed)


def test_a_file_with_much_after_its_last_header_is_refused_unread(tmp_path, plain):
    large = tmp_path / "image.fits"
    large.write_bytes(plain.read_bytes())
    os.truncate(large, 2**40)
    assert "follow after what its headers describe" in refusal(large)


def test_gzip_that_unpacks_to_more_than_it_describes_is_refused(tmp_path, plain):
    packed = tmp_path / "image.fits.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()) + gzip.compress(bytes(10**6)))
    assert "follow after what its headers describe" in refusal(packed)


@pytest.mark.parametrize("compression", ["RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1"])
def test_tile_compressed_images_are_read_as_astropy_reads_them(tmp_path, compression):
    image = np.nan_to_num(sky_image((90, 70)))
    path = tmp_path / "image.fits.fz"
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(image, tan_header(), compression_type=compression)]).writeto(path)
    with fits.open(path) as hdus:
        expected = hdus[1].data[20:75, 3:66].astype(np.float32)
    with open_image(path, "SCI") as opened:
        assert opened.shape == (90, 70)
        np.testing.assert_array_equal(opened.read(Box(20, 75, 3, 66)), expected)


def several(path, *hdus):
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    return path


def extension(name, value, shape=(4, 5)):
    return fits.ImageHDU(np.full(shape, value, dtype=np.float32), name=name)


def test_the_only_image_is_found_in_any_extension(tmp_path):
    table = fits.BinTableHDU.from_columns([fits.Column("A", "J", array=[1])])
    path = several(tmp_path / "one.fits", table, extension("CUBE", 1, (2, 4, 5)), extension("OTHER", 7))
    assert (read_whole(path) == 7).all()


def test_of_several_images_the_preferred_one_is_taken(tmp_path):
    path = several(tmp_path / "mef.fits", extension("ERR", 1), extension("SCI", 2), extension("WHT", 3))
    assert (read_whole(path) == 2).all()
    assert (read_whole(path, "WHT") == 3).all()


def test_lookup_tables_of_distortions_are_not_images(tmp_path):
    path = several(tmp_path / "drz.fits", extension("WCSDVARR", 1), extension("D2IMARR", 2), extension("MOSAIC", 3))
    assert (read_whole(path) == 3).all()


@pytest.mark.parametrize(("named", "value"), [("[ERR]", 1), ("[err]", 1), ("[2]", 2), ("[SCI,2]", 3), ("[SCI]", 2)])
def test_an_extension_can_be_named(tmp_path, named, value):
    second = extension("SCI", 3)
    second.ver = 2
    path = several(tmp_path / "mef.fits", extension("ERR", 1), extension("SCI", 2), second)
    assert (read_whole(f"{path}{named}") == value).all()


def test_images_without_an_obvious_one_are_listed(tmp_path):
    message = refusal(several(tmp_path / "two.fits", extension("A", 1), extension("B", 2)))
    assert "A (Image, 5 x 4); B (Image, 5 x 4)" in message
    assert "two.fits[A]" in message


@pytest.mark.parametrize(
    ("named", "told"), [("[NONE]", "no extension 'NONE'"), ("[9]", "no extension '9'"), ("[CUBE]", "is not a 2-D image")]
)
def test_a_wrong_extension_is_refused_with_what_there_is(tmp_path, named, told):
    path = several(tmp_path / "mef.fits", extension("CUBE", 1, (1, 4, 5)), extension("SCI", 1))
    message = refusal(f"{path}{named}")
    assert told in message
    assert "CUBE (Image, 5 x 4 x 1)" in message


@pytest.mark.parametrize("shape", [(1, 4, 5), (20,)])
def test_an_image_that_is_not_2_d_is_refused(tmp_path, shape):
    write_image(tmp_path / "cube.fits", np.zeros(shape, dtype=np.float32), header=fits.Header())
    assert "no 2-D image" in refusal(tmp_path / "cube.fits")


def test_a_file_of_tables_is_refused(tmp_path):
    table = fits.BinTableHDU.from_columns([fits.Column("RA", "D", array=[1.0])])
    assert "it has no 2-D image, but PRIMARY (Primary, no data)" in refusal(several(tmp_path / "table.fits", table))


@pytest.mark.parametrize("keep", [0.999, 0.9, 0.5, 0.1])
@pytest.mark.parametrize("kind", ["plain", "extension", "gzip", "tiled"])
def test_a_file_cut_short_is_refused_when_opened(tmp_path, kind, keep):
    image = sky_image((200, 300))
    hdus = {
        "plain": [fits.PrimaryHDU(image)],
        "gzip": [fits.PrimaryHDU(image)],
        "extension": [fits.PrimaryHDU(), fits.ImageHDU(image)],
        "tiled": [fits.PrimaryHDU(), fits.CompImageHDU(np.nan_to_num(image))],
    }[kind]
    whole = tmp_path / "whole.fits"
    fits.HDUList(hdus).writeto(whole)
    content = gzip.compress(whole.read_bytes()) if kind == "gzip" else whole.read_bytes()
    short = tmp_path / "short.fits"
    short.write_bytes(content[: int(len(content.rstrip(b"\0")) * keep)])
    with pytest.raises(MosaicError, match=r"short\.fits: .*[Ff]etch (it|the file) again"):
        open_image(short, "SCI")


def test_missing_padding_of_the_last_block_is_forgiven(tmp_path, plain):
    content = plain.read_bytes()
    header_bytes = len(content) // 2880 * 2880 - 2 * 2880
    assert header_bytes % 2880 == 0
    bare = tmp_path / "bare.fits"
    bare.write_bytes(content[: header_bytes + 30 * 40 * 4])
    np.testing.assert_array_equal(read_whole(bare), sky_image())


def test_a_file_cut_short_while_it_is_open_is_an_error_not_a_crash(tmp_path):
    path = write_image(tmp_path / "shrinking.fits", sky_image((300, 300)))
    with open_image(path, "SCI") as image:
        os.truncate(path, 20_000)
        with pytest.raises(MosaicError, match=r"shrinking\.fits: rows 200 to 300 cannot be read"):
            image.read(Box(200, 300, 0, 300))


def test_a_file_replaced_while_it_is_open_stays_the_one_that_was_opened(tmp_path):
    path = write_image(tmp_path / "image.fits")
    with open_image(path, "SCI") as image:
        write_image(tmp_path / "new.fits", sky_image(seed=1)).replace(path)
        np.testing.assert_array_equal(image.read(WHOLE), sky_image())


def test_damaged_tiles_are_an_error_that_names_the_file(tmp_path):
    path = tmp_path / "damaged.fits.fz"
    image = np.random.default_rng(0).normal(size=(200, 200)).astype(np.float32)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(image, compression_type="GZIP_1")]).writeto(path)
    content = bytearray(path.read_bytes())
    content[-40_000:-10_000] = b"\xff" * 30_000
    path.write_bytes(content)
    assert "damaged.fits.fz: rows 0 to 200 cannot be read" in refusal(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a FITS file"),
        (b"\x1f\x8b garbage", "gzip data"),
        (b"SIMPLE", "FITS"),
    ],
)
def test_what_is_not_fits_is_refused(tmp_path, content, told):
    (tmp_path / "image.fits").write_bytes(content)
    message = refusal(tmp_path / "image.fits")
    assert "image.fits" in message
    assert told in message


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert "does not exist" in refusal(tmp_path / "absent.fits")
    assert "is a folder" in refusal(tmp_path)


def test_a_file_without_read_permission_is_refused(tmp_path, monkeypatch):
    path = write_image(tmp_path / "private.fits")

    def deny(self, mode):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", deny)
    assert "private.fits: cannot be opened (Permission denied)" in refusal(path)


def test_an_image_with_odd_cards_can_be_read(tmp_path):
    path = write_image(tmp_path / "odd.fits")
    content = path.read_bytes()
    end = content.index(b"END" + b" " * 77)
    odd = b"BADCARD   no value indicator here".ljust(80) + b"KEY-\xe9   = 3".ljust(80)
    header = (content[:end] + odd + b"END".ljust(80)).ljust(2880)
    path.write_bytes(header + content[2880:])
    np.testing.assert_array_equal(read_whole(path), sky_image())


@pytest.fixture(scope="module")
def goods_s(tmp_path_factory):
    """A sparse file of the size of the GOODS-S mosaic, 21 GB, with a few pixels written at its far corner."""
    path = tmp_path_factory.mktemp("sparse") / "goods_s.fits"
    header = fits.PrimaryHDU(np.zeros((1, 1), dtype=np.float32), tan_header()).header
    header.update({"NAXIS1": 64_800, "NAXIS2": 81_000})
    block = header.tostring().encode()
    with path.open("wb") as stream:
        stream.write(block)
        stream.truncate(len(block) + -(-64_800 * 81_000 * 4 // 2880) * 2880)
        for row in range(80_990, 81_000):
            stream.seek(len(block) + (row * 64_800 + 64_780) * 4)
            stream.write(np.arange(row * 20, row * 20 + 20, dtype=">f4").tobytes())
    if path.stat().st_blocks * 512 > 2**24:
        pytest.skip("the file system has no sparse files")
    yield path
    path.unlink()


def test_a_21_gigabyte_mosaic_is_read_at_its_far_corner_in_little_memory(goods_s):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open_image(goods_s, "SCI") as image:
        assert image.shape == (81_000, 64_800)
        pixels = image.read(Box(80_980, 81_000, 64_780, 64_800))
    np.testing.assert_array_equal(pixels[10:], np.arange(80_990 * 20, 81_000 * 20).reshape(10, 20).astype(np.float32))
    assert not pixels[:10].any()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_a_21_gigabyte_mosaic_can_be_read_from_one_end_to_the_other(goods_s):
    with open_image(goods_s, "SCI") as image:
        assert image.read(Box(0, 81_000, 64_790, 64_791)).shape == (81_000, 1)
