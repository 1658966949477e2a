"""Hostile FITS images: structure, bytes, pixels, astrometry, compression, packing, weight maps."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from pathlib import Path

import numpy as np
from astropy.io import fits

from hostile.breaking import CARD_VALUES, ESCAPE, flipped, gzip_of_zeros, make_odd, random_pixels, set_card
from hostile.families import family
from hostile.world import SHAPE, Attempt, World, science_pixels, write_pixels
from mosaic_files import tan_header

STRUCTURE = (
    "SIMPLE",
    "BITPIX",
    "NAXIS",
    "NAXIS1",
    "NAXIS2",
    "NAXIS3",
    "EXTEND",
    "BSCALE",
    "BZERO",
    "BLANK",
    "PCOUNT",
    "GCOUNT",
    "GROUPS",
)
WCS_KEYS = (
    "CRPIX1",
    "CRPIX2",
    "CRVAL1",
    "CRVAL2",
    "CD1_1",
    "CD1_2",
    "CD2_1",
    "CD2_2",
    "CTYPE1",
    "CTYPE2",
    "CUNIT1",
    "CUNIT2",
    "LONPOLE",
    "LATPOLE",
    "RADESYS",
    "EQUINOX",
    "CDELT1",
    "CROTA2",
    "PC1_1",
    "PC001001",
    "PV1_1",
    "A_ORDER",
    "WCSAXES",
    "WCSNAME",
    "NAXIS1",
)
TEXTS = ("BUNIT", "FILTER", "FILTER1", "DATE", "TELESCOP", "INSTRUME", "OBJECT", "EXTNAME", "FILENAME", "EXPTIME", "PHOTFLAM")
TILING = (
    "ZIMAGE",
    "ZCMPTYPE",
    "ZBITPIX",
    "ZNAXIS",
    "ZNAXIS1",
    "ZNAXIS2",
    "ZTILE1",
    "ZTILE2",
    "ZNAME1",
    "ZVAL1",
    "ZQUANTIZ",
    "ZDITHER0",
    "ZBLANK",
    "ZSCALE",
    "ZZERO",
    "ZSIMPLE",
    "TFIELDS",
    "TFORM1",
    "TTYPE1",
    "NAXIS1",
    "NAXIS2",
    "PCOUNT",
    "THEAP",
    "BITPIX",
    "XTENSION",
)


def _image(world: World) -> Path:
    return world / world.choose(("sci.fits", "sci.fits", "wht.fits"))


@family
def fits_structure(world: World) -> None:
    set_card(_image(world), world.choose(STRUCTURE), world.choose(CARD_VALUES))


@family
def fits_header_bytes(world: World) -> None:
    path = _image(world)
    path.write_bytes(flipped(world, path.read_bytes(), 1 + int(world.rng.integers(30)), 0, 2000))


@family
def fits_cut_short(world: World) -> None:
    path = _image(world)
    content = path.read_bytes()
    path.write_bytes(
        content[: int(world.rng.choice([80, 2880, 2879, 5000, len(content) // 2, len(content) - 3000, len(content) - 1]))]
    )


@family
def fits_extensions(world: World) -> None:
    good = fits.ImageHDU(science_pixels(), tan_header(), name="SCI")
    cube = fits.ImageHDU(np.zeros((2, *SHAPE), np.float32), name="CUBE")
    others = (
        good,
        cube,
        fits.ImageHDU(name="EMPTY"),
        fits.ImageHDU(np.zeros(5, np.float32)),
        fits.ImageHDU(np.zeros((0, 5), np.float32)),
        fits.BinTableHDU.from_columns([fits.Column("a", "D", array=np.zeros(3))], name="SCI"),
        fits.ImageHDU(np.zeros(SHAPE, np.int16)),
    )
    count = int(world.rng.choice([0, 1, 2, 5, 400]))
    hdus = [fits.PrimaryHDU(), *(world.choose(others).copy() for _ in range(count))]
    fits.HDUList(hdus).writeto(world / "sci.fits", overwrite=True, output_verify="ignore")
    number = world.choose(
        (
            "",
            "",
            "[SCI]",
            "[1]",
            "[99]",
            "[-1]",
            "[SCI,2]",
            "[0]",
            "[ ]",
            "[1e5]",
            "[" + "9" * 5000 + "]",
            "[²]",
            f"[{'x' * 300}]",
        )
    )
    world.name_image("science", f"sci.fits{number}")


@family
def fits_pixels(world: World) -> Attempt:
    """Bad pixels around one source leave all others as they are."""
    value = world.choose((np.nan, np.inf, -np.inf, 1e37, -1e37, 3.4e38, -3.4e38, 1e-42, 0.0, 1e20))
    pixels = science_pixels()
    pixels[35 : 35 + int(world.rng.choice([1, 3, 12])), 27:33] = value
    write_pixels(world / "sci.fits", pixels, BUNIT="ELECTRONS/S")
    return Attempt(unspoilt=range(2, 9))


@family
def fits_pixel_types(world: World) -> None:
    kind = world.choose(("u1", "i2", "i4", "i8", "f4", "f8"))
    values = world.choose((0, 1, 127, -1, 100))
    pixels = (
        np.full(SHAPE, values, np.float64)
        if kind[0] != "f"
        else np.full(SHAPE, world.choose((0, 1e300, -1e300, np.nan, np.inf, 1e-320)))
    )
    with np.errstate(all="ignore"):
        write_pixels(world / "sci.fits", pixels.astype(kind))
    set_card(
        world / "sci.fits",
        world.choose(("BSCALE", "BZERO", "BLANK")),
        world.choose(("0", "1E300", "-1E300", "1E-300", "127", "1.5", "-1", "NAN")),
    )


@family
def fits_weights(world: World) -> None:
    fill = world.choose((0, np.nan, -1, np.inf, -np.inf, 1e-45, 3e38, 1))
    weights = np.full(SHAPE, fill, np.float32)
    weights[world.rng.random(SHAPE) < world.choose((0, 0.01, 0.5, 0.999))] = world.choose((0, 1, np.nan, np.inf, -5))
    shape = world.choose((SHAPE, SHAPE, SHAPE, (1, 1), (280, 301), (140, 150)))
    write_pixels(world / "wht.fits", np.resize(weights, shape))


@family
def fits_astrometry(world: World) -> None:
    values = (
        *CARD_VALUES,
        "'RA---SIN'",
        "'DEC--TAN'",
        "'RA---TAN'",
        "'arcsec'",
        "'FK4'",
        "1950.0",
        "90.0",
        "1E-300",
        "1E15",
        "0.0",
        "359.99999999",
    )
    for _ in range(int(world.rng.choice([1, 1, 2]))):
        set_card(world / "sci.fits", world.choose(WCS_KEYS), world.choose(values))
    if world.rng.random() < 0.5:
        world.edit_workflow(lambda document: document["fields"]["EGS"]["F814W"].pop("weight"))


@family
def fits_texts(world: World) -> None:
    values = (
        "''",
        "'ELECTRONS/S'",
        "'ergs/cm2'",
        f"'{ESCAPE}'",
        "'\x00'",
        "'\xe9\x9b'",
        "'" + "&" * 66 + "'",
        "5",
        "T",
        "",
        "'CLEAR1L'",
    )
    for _ in range(3):
        set_card(_image(world), world.choose(TEXTS), world.choose(values))


@family
def fits_tile_compression(world: World) -> Attempt:
    kind = world.choose(("GZIP_1", "GZIP_2", "RICE_1", "HCOMPRESS_1", "NOCOMPRESS"))
    path = world.name_image("science", "sci.fits.fz")
    header = tan_header()
    header["BUNIT"] = "ELECTRONS/S"
    level = 0 if kind.startswith(("GZIP", "NO")) else 16
    fits.CompImageHDU(science_pixels(), header, compression_type=kind, quantize_level=level).writeto(path)
    way = world.choose(("none", "card", "card", "card", "heap", "cut", "header"))
    content = path.read_bytes()
    if way == "card":
        set_card(
            path,
            world.choose(TILING),
            world.choose((*CARD_VALUES, "'RICE_1'", "'PLIO_1'", "'NONE'", "'1PB(5)'", "'1QE(99999999999)'")),
            hdu=1,
        )
    elif way == "heap":
        path.write_bytes(flipped(world, content, 60, 2880 * 4))
    elif way == "header":
        path.write_bytes(flipped(world, content, 10, 2880, 2880 * 3))
    elif way == "cut":
        path.write_bytes(content[: int(world.rng.integers(3000, len(content)))])
    return Attempt(unspoilt=range(1, 9) if way == "none" and level == 0 else ())


@family
def fits_packed(world: World) -> Attempt:
    content = (world / "sci.fits").read_bytes()
    ways = {
        "gz": lambda: gzip.compress(content, 1),
        "gz cut": lambda: gzip.compress(content, 1)[:-20],
        "gz spoilt": lambda: flipped(world, gzip.compress(content, 1), 5, 20),
        "gz twice": lambda: gzip.compress(gzip.compress(content)),
        "gz and more": lambda: gzip.compress(content, 1) + world.rng.bytes(50),
        "bomb": lambda: gzip_of_zeros(6 * 2**30, content[:2880]),
        "large": lambda: gzip_of_zeros(3 * 2**30, content[:2880]),
        "bz2": lambda: bz2.compress(content),
        "bz2 bomb": lambda: bz2.compress(bytes(10**7)) * 300,
        "xz": lambda: lzma.compress(content, preset=0),
        "zlib": lambda: zlib.compress(content),
        "zip": lambda: _zip({"sci.fits": content}),
        "zip bomb": lambda: _zip({"sci.fits": content[:2880] + bytes(10**8)}),
        "Z": lambda: b"\x1f\x9d\x90" + world.rng.bytes(5000),
        "zstd": lambda: b"\x28\xb5\x2f\xfd" + world.rng.bytes(5000),
        "gz of text": lambda: gzip.compress(b"hello"),
        "gz of nothing": lambda: gzip.compress(b""),
        "gz head": lambda: b"\x1f\x8b",
    }
    way = world.choose(list(ways))
    path = world.name_image("science", world.choose(("sci.fits.gz", "sci2.fits", "sci.fits.bz2", "sci.zip")))
    path.write_bytes(ways[way]())
    return Attempt(unspoilt=range(1, 9) if way == "gz" else ())


def _zip(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


@family
def things_that_are_no_images(world: World) -> None:
    make_odd(world, _image(world))


@family
def header_claims(world: World) -> None:
    """Headers alone that claim images of any size, the file being sparse or short."""
    path = world / "sci.fits"
    write_pixels(path, random_pixels(world, (10, 10)))
    for axis in (1, 2):
        set_card(path, f"NAXIS{axis}", world.choose(("1", "100", "70000", "2000000", "999999999", "4294967296")))
    with path.open("r+b") as stream:
        stream.truncate(int(world.rng.choice([5760, 2**32, 2**36, 2**42])))
    world.edit_workflow(lambda document: document["fields"]["EGS"]["F814W"].pop("weight"))
