"""Ways to break a healthy survey, each with words that the message must hold: where, what, and what to do.

Each entry takes the folder of a small survey of COSMOS and EGS as `worlds.MiniSurvey` writes it, with its models, breaks one
thing, and returns the workflow to run.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table

BLOCK = 2880
WEB_PAGE = b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>\n"


@dataclass(frozen=True)
class BrokenInput:
    """One way to break a survey.

    Parameters
    ----------
    name
        What is wrong.
    break_it
        Takes the survey's folder, returns the workflow's path.
    expected_words
        Each stands in the message.
    """

    name: str
    break_it: Callable[[Path], Path]
    expected_words: tuple[str, ...]


BROKEN: list[BrokenInput] = []


def breaks(*expected_words: str) -> Callable[[Callable[[Path], Path | None]], Callable[[Path], Path | None]]:
    """Register a function under its name; one that returns None has left the workflow where it was."""

    def register(function: Callable[[Path], Path | None]) -> Callable[[Path], Path | None]:
        name = function.__name__.replace("_", " ").strip()
        BROKEN.append(BrokenInput(name, lambda folder: function(folder) or folder / "workflow.toml", expected_words))
        return function

    return register


def replace(folder: Path, found: str, replacement: str) -> None:
    """Replace the first of some text in the workflow."""
    file = folder / "workflow.toml"
    text = file.read_text()
    assert found in text, f"the workflow holds no {found!r}"
    file.write_text(text.replace(found, replacement, 1))


def edit_headers(folder: Path, stem: str, edit: Callable[[fits.Header], Any]) -> None:
    """Edit the headers of an image and of its weight map alike."""
    for name in (f"{stem}_sci.fits", f"{stem}_wht.fits"):
        with fits.open(folder / name, mode="update", memmap=False) as hdus:
            edit(next(hdu for hdu in hdus if hdu.data is not None).header)


def cut(path: Path, n_bytes: int) -> None:
    """Keep the first bytes of a file; the last ones are left out where the number is negative."""
    path.write_bytes(path.read_bytes()[:n_bytes])


def rewrite(path: Path, edit: Callable[[np.ndarray], np.ndarray]) -> None:
    """Write an image anew with other pixels and the same header."""
    with fits.open(path, memmap=False) as hdus:
        hdu = next(hdu for hdu in hdus if hdu.data is not None)
        pixels, header = edit(hdu.data), hdu.header
    fits.PrimaryHDU(pixels, header).writeto(path, overwrite=True)


def edit_rows(folder: Path, edit: Callable[[list[str]], list[str]]) -> None:
    """Edit the rows of the EGS list, below its header."""
    path = folder / "egs_catalog.cat"
    lines = path.read_text().splitlines()
    header = [line for line in lines if line.startswith("#")]
    path.write_text("\n".join(header + edit(lines[len(header) :])) + "\n")


def with_value(column: int, value: str) -> Callable[[list[str]], list[str]]:
    """Put a value into the second row."""

    def edit(rows: list[str]) -> list[str]:
        cells = rows[1].split()
        cells[column] = value
        return [rows[0], " ".join(cells), *rows[2:]]

    return edit


# ---- the workflow


@breaks("workflw.toml", "does not exist", "Did you mean workflow.toml?")
def workflow_that_is_not_there(folder: Path) -> Path:
    return folder / "workflw.toml"


@breaks("workflow.toml", "is not TOML", "line", "Correct that line")
def workflow_that_is_not_toml(folder: Path) -> None:
    replace(folder, "[survey]", "[survey")


@breaks("workflow.toml", "UTF-8")
def workflow_that_is_not_utf_8(folder: Path) -> None:
    (folder / "workflow.toml").write_bytes(b"name = '\xff'\n")


@breaks("workflow.toml: version", "found 2, expected 1")
def version_of_the_future(folder: Path) -> None:
    replace(folder, "version = 1", "version = 2")


@breaks("workflow.toml: [tilling]", "not a table", "Did you mean `tiling`?")
def unknown_table(folder: Path) -> None:
    replace(folder, "[tiling]", "[tilling]")


@breaks("workflow.toml: [fields.EGS.sources.columnz]", "Did you mean `columns`?")
def unknown_key(folder: Path) -> None:
    replace(folder, 'columns = { id = "NUMBER"', 'columnz = { id = "NUMBER"')


@breaks("workflow.toml: [sampling] seed", "is missing", "Add `seed = ")
def missing_key(folder: Path) -> None:
    replace(folder, "seed =", "# seed =")


@breaks("workflow.toml: [sampling] draws", "the text 'many'", "expected a whole number", "draws = 1000")
def text_where_a_number_belongs(folder: Path) -> None:
    replace(folder, "draws = ", 'draws = "many" # ')


@breaks("workflow.toml: [sampling] draws", "found 70000", "1 to 65535")
def too_many_draws(folder: Path) -> None:
    replace(folder, "draws = ", "draws = 70000 # ")


@breaks("workflow.toml: [routing] F814W", "[1.5, 0.5]", "low < high")
def range_that_is_inside_out(folder: Path) -> None:
    replace(folder, "[0.5, 1.5]", "[1.5, 0.5]")


@breaks("workflow.toml: [routing] F125W_F160W", "overlaps F814W")
def ranges_that_overlap(folder: Path) -> None:
    replace(folder, "[0.5, 1.5]", "[0.5, 1.6]")


@breaks("workflow.toml: [fields.EGS.F841W]", "not an instrument of [routing]", "Did you mean `F814W`?")
def instrument_without_a_range(folder: Path) -> None:
    replace(folder, "[fields.EGS.F814W]", "[fields.EGS.F841W]")


@breaks("workflow.toml: [survey] release", "cannot name a folder")
def release_that_leaves_its_folder(folder: Path) -> None:
    replace(folder, 'release = "', 'release = "../')


@breaks("workflow.toml: [survey] release", "gives to revisions")
def release_named_like_a_revision(folder: Path) -> None:
    replace(folder, 'release = "', 'release = "v1.0-r2" # "')


@breaks("workflow.toml: [quality] min_valid_fraction", "1.5")
def fraction_above_one(folder: Path) -> None:
    replace(folder, "min_valid_fraction = ", "min_valid_fraction = 1.5 # ")


@breaks("workflow.toml: [tiling] core_size", "found 64", "256")
def core_smaller_than_a_cutout_is_worth(folder: Path) -> None:
    replace(folder, "core_size = ", "core_size = 64 # ")


@breaks("workflow.toml: [output] root", "cosmos_catalog.fits is a file", "Name another folder")
def output_inside_a_file(folder: Path) -> None:
    replace(folder, 'root = "', 'root = "cosmos_catalog.fits/')


@breaks("workflow.toml: [models] store", "does not exist", "surveyflow models import")
def store_that_is_not_there(folder: Path) -> None:
    replace(folder, 'store = "models"', 'store = "modelz"')


@breaks("workflow.toml: [models] store", "egs_catalog.cat is a file")
def store_that_is_a_file(folder: Path) -> None:
    replace(folder, 'store = "models"', 'store = "egs_catalog.cat"')


@breaks("workflow.toml: [models] store", "models")
def store_without_models(folder: Path) -> None:
    shutil.rmtree(folder / "models")
    (folder / "models").mkdir()


@breaks("workflow.toml: [fields.EGS.F814W] weight", "science, too")
def image_named_as_its_own_weight(folder: Path) -> None:
    replace(folder, "egs_f814w_wht.fits", "egs_f814w_sci.fits")


@breaks("workflow.toml: [fields.EGS.F814W] science", "[fields.COSMOS.F814W] science, too")
def image_of_another_field(folder: Path) -> None:
    replace(folder, "egs_f814w_sci.fits", "cosmos_f814w_sci.fits")


@breaks("[sampling] draws", "[fields.COSMOS.sources] path", "cosmos.fits", "[fields.EGS.F814W] weightt", "Did you mean `weight`?")
def several_mistakes_at_once(folder: Path) -> None:
    replace(folder, "draws = ", "draws = 0 # ")
    replace(folder, "cosmos_catalog.fits", "cosmos.fits")
    replace(folder, 'weight = "egs_f814w', 'weightt = "egs_f814w')


# ---- mosaics


@breaks("workflow.toml: [fields.COSMOS.F814W] science", "cosmos_f814w_sci.fits does not exist", "Did you mean")
def mosaic_that_is_not_there(folder: Path) -> None:
    (folder / "cosmos_f814w_sci.fits").unlink()


@breaks("[fields.COSMOS.F814W]", "cosmos_f814w_sci.fits", "the file is empty")
def mosaic_that_is_empty(folder: Path) -> None:
    (folder / "cosmos_f814w_sci.fits").write_bytes(b"")


@breaks("[fields.COSMOS.F814W]", "cosmos_f814w_sci.fits", "cut short")
def mosaic_that_is_truncated(folder: Path) -> None:
    cut(folder / "cosmos_f814w_sci.fits", -100 * BLOCK)


@breaks("[fields.COSMOS.F814W]", "cosmos_f814w_sci.fits")
def mosaic_cut_within_its_header(folder: Path) -> None:
    cut(folder / "cosmos_f814w_sci.fits", 1000)


@breaks("[fields.COSMOS.F814W]", "cosmos_f814w_sci.fits", "not a FITS file")
def mosaic_that_is_a_web_page(folder: Path) -> None:
    (folder / "cosmos_f814w_sci.fits").write_bytes(WEB_PAGE)


@breaks("[fields.COSMOS.F814W]", "cosmos_f814w_sci.fits", "no 2-D image")
def mosaic_without_an_image(folder: Path) -> None:
    shutil.copy(folder / "cosmos_catalog.fits", folder / "cosmos_f814w_sci.fits")


@breaks("[fields.EGS.F814W]", "egs_f814w_sci.fits", "no 2-D image", "plane")
def mosaic_of_three_dimensions(folder: Path) -> None:
    rewrite(folder / "egs_f814w_sci.fits", lambda pixels: np.stack([pixels, pixels]))


@breaks("[fields.EGS.F814W]", "egs_f814w_sci.fits", "several 2-D images", "Name one")
def mosaic_with_several_images(folder: Path) -> None:
    images = [fits.ImageHDU(np.zeros((9, 9), np.float32), name=name) for name in ("DRZ", "EXP")]
    fits.HDUList([fits.PrimaryHDU(), *images]).writeto(folder / "egs_f814w_sci.fits", overwrite=True)


@breaks("[fields.EGS.F125W_F160W]", "egs_f125w_f160w_sci.fits", "no extension 'DRZ'", "SCI")
def extension_that_is_not_there(folder: Path) -> None:
    replace(folder, "egs_f125w_f160w_sci.fits", "egs_f125w_f160w_sci.fits[DRZ]")


@breaks("[fields.COSMOS.F125W_F160W]", "cosmos_f125w_f160w_sci.fits", "arcsec", "0.12")
def pixels_of_twice_the_size(folder: Path) -> None:
    def double(header: fits.Header) -> None:
        for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
            header[key] *= 2

    edit_headers(folder, "cosmos_f125w_f160w", double)


@breaks("[fields.COSMOS.F125W_F160W]", "cosmos_f125w_f160w_sci.fits", "not square")
def pixels_that_are_not_square(folder: Path) -> None:
    edit_headers(folder, "cosmos_f125w_f160w", lambda header: header.update(CD1_1=2 * header["CD1_1"], CD1_2=2 * header["CD1_2"]))


@breaks("[fields.EGS.F814W]", "egs_f814w_sci.fits", "no world coordinates")
def mosaic_without_coordinates(folder: Path) -> None:
    def strip(header: fits.Header) -> None:
        for key in ("CTYPE1", "CTYPE2"):
            del header[key]

    edit_headers(folder, "egs_f814w", strip)


@breaks("[fields.EGS.F814W]", "egs_f814w_sci.fits", "RA---SIN")
def projection_that_is_not_gnomonic(folder: Path) -> None:
    edit_headers(folder, "egs_f814w", lambda header: header.update(CTYPE1="RA---SIN", CTYPE2="DEC--SIN"))


SIP = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-6}


@breaks("[fields.EGS.F814W]", "egs_f814w_sci.fits", "RA---TAN-SIP")
def mosaic_that_is_not_rectified(folder: Path) -> None:
    edit_headers(folder, "egs_f814w", lambda header: header.update(SIP))


@breaks("[fields.EGS.F814W]", "egs_f814w_sci.fits", "declination is along x")
def axes_that_are_swapped(folder: Path) -> None:
    edit_headers(folder, "egs_f814w", lambda header: header.update(CTYPE1="DEC--TAN", CTYPE2="RA---TAN"))


@breaks("[fields.EGS.F814W]", "egs_f814w_sci.fits", "WCS")
def pixels_without_a_size(folder: Path) -> None:
    edit_headers(folder, "egs_f814w", lambda header: header.update(CD1_1=0.0, CD1_2=0.0, CD2_1=0.0, CD2_2=0.0))


@breaks("[fields.COSMOS.F814W]", "cosmos_f814w_wht.fits", "pixels", "Name the weight map that belongs to the image")
def weight_of_another_shape(folder: Path) -> None:
    rewrite(folder / "cosmos_f814w_wht.fits", lambda pixels: pixels[:-1])


@breaks("[fields.COSMOS.F814W]", "cosmos_f814w_wht.fits", "Name the weight map that belongs to the image")
def weight_that_is_shifted(folder: Path) -> None:
    with fits.open(folder / "cosmos_f814w_wht.fits", mode="update", memmap=False) as hdus:
        hdus[0].header["CRPIX1"] += 1.0


@breaks("[fields.COSMOS.F814W]", "cosmos_f814w_wht.fits", "cut short")
def weight_that_is_truncated(folder: Path) -> None:
    cut(folder / "cosmos_f814w_wht.fits", -100 * BLOCK)


# ---- source lists


@breaks("workflow.toml: [fields.EGS.sources] path", "egs_catalog.cat does not exist", "the nearest folder")
def list_that_is_not_there(folder: Path) -> None:
    (folder / "egs_catalog.cat").unlink()


@breaks("[fields.EGS.sources]", "egs_catalog.cat is empty")
def list_that_is_empty(folder: Path) -> None:
    (folder / "egs_catalog.cat").write_bytes(b"")


@breaks("[fields.EGS.sources]", "egs_catalog.cat is a web page", "Fetch it again")
def list_that_is_a_web_page(folder: Path) -> None:
    (folder / "egs_catalog.cat").write_bytes(WEB_PAGE)


@breaks("[fields.EGS.sources]", "egs_catalog.cat has no rows")
def list_without_rows(folder: Path) -> None:
    edit_rows(folder, lambda _: [])


@breaks("[fields.EGS.sources]", "egs_catalog.cat", "no header line that names its 8 columns")
def list_without_names(folder: Path) -> None:
    path = folder / "egs_catalog.cat"
    path.write_text("\n".join(line for line in path.read_text().splitlines() if not line.startswith("#")))


@breaks("[fields.EGS.sources]", "egs_catalog.cat", "Expected 8 columns", "truncated")
def list_whose_last_row_is_cut(folder: Path) -> None:
    edit_rows(folder, lambda rows: [*rows[:-1], rows[-1][:30]])


@breaks("[fields.EGS.sources]", "egs_catalog.cat", "no column zbest", "Did you mean zbest -> z_best?")
def list_without_a_column(folder: Path) -> None:
    replace(folder, 'redshift = "z_best"', 'redshift = "zbest"')


@breaks("[fields.EGS.sources]", "egs_catalog.cat, column NUMBER", "1 id occurs more than once: 1 (rows 1, 2)")
def list_with_an_id_twice(folder: Path) -> None:
    edit_rows(folder, with_value(0, "1"))


@breaks("[fields.EGS.sources]", "egs_catalog.cat, column NUMBER", "row 2 holds 'EGS-2'", "If the ids are names")
def list_with_text_as_ids(folder: Path) -> None:
    edit_rows(folder, with_value(0, "EGS-2"))


@breaks("[fields.EGS.sources]", "egs_catalog.cat, column ALPHA_J2000", "row 2 holds '14:19:16.6'", "decimal degrees")
def list_with_sexagesimal_positions(folder: Path) -> None:
    edit_rows(folder, with_value(3, "14:19:16.6"))


@breaks("[fields.EGS.sources]", "egs_catalog.cat, column DELTA_J2000", "row 2 (-99", "[-90, 90]")
def list_with_a_position_out_of_range(folder: Path) -> None:
    edit_rows(folder, with_value(4, "-99"))


@breaks("[fields.EGS.sources]", "egs_catalog.cat, column z_best", "row 2 holds 'unknown'", "leave unknown redshifts empty")
def list_with_text_among_redshifts(folder: Path) -> None:
    edit_rows(folder, with_value(7, "unknown"))


@breaks("[fields.EGS.sources]", "egs_catalog.cat, column z_best", "row 2 (-1.0)", "Write -99 or NaN")
def list_with_a_sentinel_of_its_own(folder: Path) -> None:
    edit_rows(folder, with_value(7, "-1"))


@breaks("[fields.COSMOS.sources]", "cosmos_catalog.fits", "truncated")
def table_that_is_truncated(folder: Path) -> None:
    cut(folder / "cosmos_catalog.fits", 2 * BLOCK + 100)


@breaks("[fields.COSMOS.sources]", "cosmos_catalog.fits holds no table", "Name a catalog")
def table_that_is_an_image(folder: Path) -> None:
    shutil.copy(folder / "cosmos_f814w_sci.fits", folder / "cosmos_catalog.fits")


@breaks("[fields.COSMOS.sources]", "cosmos_catalog.fits, column RA", "its unit is 'rad', expected degrees")
def table_in_radians(folder: Path) -> None:
    table = Table.read(folder / "cosmos_catalog.fits")
    table["RA"].unit = "rad"
    table.write(folder / "cosmos_catalog.fits", overwrite=True)
