"""Simulation files: what a good one gives, and what is said of bad ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from surveyflow.errors import WorkflowError
from surveyflow.settings.simulation import load_simulation
from surveyflow.simulation.encounters import OrbitsRecipe
from surveyflow.simulation.galaxies import ContrastedRecipe
from surveyflow.simulation.matched import MatchedRecipe
from surveyflow.simulation.nuisances import Nuisances

WORKFLOWS = Path(__file__).parents[2] / "workflows"
GOOD = """version = 1
[simulation]
output = "records"
field = "COSMOS"
instrument = "F814W"
n = 10
seed = 1
"""


@pytest.fixture
def write(tmp_path):
    def written(text):
        path = tmp_path / "simulate.toml"
        path.write_text(text)
        return path

    return written


def problems(path):
    with pytest.raises(WorkflowError) as told:
        load_simulation(path)
    return str(told.value)


def test_a_file_gives_its_values_and_the_defaults(write, tmp_path):
    simulation = load_simulation(write(GOOD))
    assert simulation.output == tmp_path / "records"
    assert (simulation.n, simulation.first, simulation.size, simulation.neighbours) == (10, 0, 128, True)
    assert simulation.redshift_range == (0.5, 1.5)
    assert simulation.depth.sky_rms == 0.000721
    assert simulation.galaxy_recipe == MatchedRecipe()
    assert simulation.nuisance_ranges == Nuisances(0.1)


def test_a_recipe_without_a_name_is_of_contrasted_galaxies(write):
    simulation = load_simulation(write(f"{GOOD}[simulation.recipe]\nmerger_strength = [1.0, 2.0]"))
    assert simulation.galaxy_recipe == ContrastedRecipe(merger_strength=(1.0, 2.0))
    assert simulation.nuisance_ranges == Nuisances()


def test_a_file_names_its_galaxies_and_nuisances(write):
    ranges = "psf_fwhm = [0.95, 1.2]\nsky_pedestal = [-1, 5]\nnoise_correlation = [0.3, 0.6]"
    simulation = load_simulation(write(f'{GOOD}galaxies = "matched"\n[simulation.nuisances]\n{ranges}'))
    assert simulation.galaxy_recipe == MatchedRecipe()
    assert simulation.nuisance_ranges == Nuisances(0.1, (0.95, 1.2), 0.0, (0.3, 0.6), (-1.0, 5.0))
    still = load_simulation(write(f'{GOOD}galaxies = "orbits"\n[simulation.nuisances]\nposition_sigma_arcsec = 0.0'))
    assert still.galaxy_recipe == OrbitsRecipe()
    assert still.nuisance_ranges == Nuisances()


@pytest.mark.parametrize("path", sorted(WORKFLOWS.glob("**/simulate*.toml")), ids=lambda path: path.stem)
def test_the_files_that_come_with_surveyflow_are_good(path):
    assert load_simulation(path).n > 0


def test_training_validation_and_test_sets_share_no_galaxy():
    for instrument in ("f814w", "f160w"):
        sets = [load_simulation(WORKFLOWS / "packaged" / f"simulate-{instrument}-{name}.toml") for name in SETS]
        assert len({simulation.seed for simulation in sets}) == len(SETS)
        clean = load_simulation(WORKFLOWS / "packaged" / f"simulate-{instrument}-test-clean.toml")
        assert clean.model_copy(update={"neighbours": True, "output": sets[2].output}) == sets[2]


def test_sets_with_few_post_mergers_are_fresh_and_otherwise_like_the_test_set():
    for instrument in ("f814w", "f160w"):
        test = load_simulation(WORKFLOWS / "packaged" / f"simulate-{instrument}-test.toml")
        sets = [load_simulation(path) for path in sorted((WORKFLOWS / "packaged").glob(f"simulate-{instrument}-share-*.toml"))]
        assert [each.post_merger_share for each in sets] == [0.05, 0.1, 0.3]
        assert len({each.seed for each in (*sets, test)}) == 4
        for each in sets:
            assert (
                each.model_copy(update={"seed": test.seed, "post_merger_share": None, "output": test.output, "n": test.n}) == test
            )


SETS = ("train", "validation", "test")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("seed = 1", "sed = 1"), ["[simulation] seed: is missing. Add `seed = 20220523`", "sed: is not a key", "mean `seed`?"]),
        (("n = 10", "n = 0"), ["[simulation] n: found 0, expected a number from 1 to 100000000."]),
        (("n = 10", 'n = "10"'), ["[simulation] n: found the text '10', expected a whole number. Write such as `n = 60000`."]),
        (("n = 10", "n = 10\nsize = 64"), ["size: found 64"]),
        (('"F814W"', '"F606W"'), ["[simulation] instrument: found the text 'F606W'", "Write such as `instrument"]),
        (('"COSMOS"', '"UDS"'), ["the depth of UDS is not known; known: COSMOS, EGS, GOODS_N. State `sky_rms`"]),
        (("n = 10", "n = 10\nsky_rms = 0.1"), ["`exposure_s` without the other"]),
        (("n = 10", "n = 10\nmagnitudes = [24, 20]"), ["magnitudes: found [24.0, 20.0], expected finite low <= high"]),
        (("n = 10", "n = 10\nmagnitudes = 20"), ["magnitudes: found 20, expected two numbers"]),
        (("n = 10", "n = 10\ndepth_range = [0, 1]"), ["depth_range: found [0.0, 1.0]"]),
        (("n = 10", "n = 10\npost_merger_share = 1.5"), ["post_merger_share: found 1.5, expected a number from 0 to 1"]),
        (("version = 1", "version = 2"), ["version: found 2"]),
        (("version = 1\n", ""), ["version: is missing. Add `version = 1`"]),
        (("seed = 1", 'seed = 1\ngalaxies = "ellipticals"'), ["galaxies: ", "contrasted, matched, orbits"]),
        (
            ("seed = 1", 'seed = 1\ngalaxies = "matched"\n[simulation.recipe]\ndust_lane_chance = 0.1'),
            ["found [simulation.recipe] beside galaxies = 'matched', which have no such settings. Remove the table."],
        ),
        (
            (
                "seed = 1",
                'seed = 1\n[simulation.nuisances]\nsky_pedestal = [0, 1]\n[simulation.background]\nscience = "simulate.toml"',
            ),
            ["found sky_pedestal beside a background. Leave them out: the mosaic has its own."],
        ),
        (("seed = 1", "seed = 1\n[simulation.nuisances]\npsf_fwhm = [0.5, 1]"), ["psf_fwhm: found [0.5, 1.0]"]),
        (("seed = 1", "seed = 1\n[simulation.recipe]\nstrength = 1"), ["[simulation.recipe] strength: is not a key"]),
        (("seed = 1", "seed = 1\n[simulation.background]"), ["[simulation.background] science: is missing."]),
        (("seed = 1", "seed = 1\n[simulation.stamps]\npath = 'gone'"), ["[simulation.stamps] path: ", "gone does not exist"]),
        (("seed = 1", "seed = 1\nstamps = 3"), ["[simulation.stamps]", "found 3, expected a table"]),
        (("[simulation]", "[simulation"), ["simulate.toml: is not TOML"]),
    ],
)
def test_what_is_wrong_is_reported_with_its_place_and_remedy(write, change, told):
    assert change[0] in GOOD
    message = problems(write(GOOD.replace(*change)))
    for words in told:
        assert words in message


def test_all_problems_are_reported_at_once(write):
    message = problems(write(GOOD.replace("n = 10", "n = -1").replace("seed = 1", "seeds = 1")))
    assert len(message.splitlines()) == 3


def test_a_field_of_ones_own_has_the_depth_that_is_stated(write):
    stated = GOOD.replace('"COSMOS"', '"UDS"') + "sky_rms = 0.001\nexposure_s = 5000.0\n"
    assert load_simulation(write(stated)).depth.sky_rms == 0.001


def test_a_file_that_is_not_there_is_reported(tmp_path):
    assert "does not exist" in problems(tmp_path / "gone.toml")


@pytest.fixture
def mosaic(tmp_path):
    (tmp_path / "mosaic.fits").write_bytes(b"")


@pytest.mark.parametrize("line", ["neighbours = false", "depth_range = [0.5, 2.0]"])
def test_a_mosaic_has_its_own_neighbours_and_depth(write, mosaic, line):
    text = GOOD + f"{line}\n[simulation.background]\nscience = 'mosaic.fits'\n"
    assert "beside a background. Leave them out" in problems(write(text))


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("pixel_scale_arcsec = 0.05\nunit = 'nJy'\nlabel = 'post_merger'", "coarser than F814W's, 0.03"),
        ("pixel_scale_arcsec = 0.01\nunit = 'nJy'", "neither `label` nor `labels`"),
        (
            "pixel_scale_arcsec = 0.01\nunit = 'nJy'\nlabel = 'post_merger'\nredshift_column = 'z'\ngroup_column = 'g'",
            "found redshift_column and group_column without `labels` for a folder of FITS files. State the table",
        ),
        ("pixel_scale_arcsec = 0.01\nunit = 'erg'\nlabel = 'post_merger'", "[simulation.stamps] unit: found the text 'erg'"),
        ("pixel_scale_arcsec = 0.01\nunit = 'nJy'\nlabel = 'merger'", "[simulation.stamps] label: found the text 'merger'"),
    ],
)
def test_stamps_that_cannot_be_used_are_refused(write, tmp_path, lines, told):
    (tmp_path / "tng").mkdir()
    assert told in problems(write(f"{GOOD}[simulation.stamps]\npath = 'tng'\n{lines}\n"))


def test_what_belongs_to_drawn_galaxies_has_no_place_beside_stamps(write, tmp_path):
    (tmp_path / "tng").mkdir()
    stamps = "[simulation.stamps]\npath = 'tng'\npixel_scale_arcsec = 0.01\nunit = 'nJy'\nlabel = 'post_merger'\n"
    assert "found neither `redshifts` nor `[simulation.stamps] redshift_column`" in problems(write(GOOD + stamps))
    (tmp_path / "labels.csv").write_text("file,label,z\n")
    of_table = stamps.replace("label = 'post_merger'", "labels = 'labels.csv'")
    both = GOOD + "redshifts = [0.5, 1.5]\n" + of_table + "redshift_column = 'z'\n"
    assert "found `redshifts` and `[simulation.stamps] redshift_column`" in problems(write(both))
    assert "found magnitudes beside stamps" in problems(write(GOOD + "magnitudes = [20, 21]\n" + stamps))
    recipe = "[simulation.recipe]\ndust_lane_chance = 0.1\n"
    assert "found [simulation.recipe] beside" in problems(write(GOOD + stamps + recipe))
