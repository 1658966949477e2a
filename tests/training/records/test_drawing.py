"""Examples of a user's own galaxies, and on real sky."""

from __future__ import annotations

import galsim
import h5py
import numpy as np
import pytest

from mosaic_files import write_image
from surveyflow.inputs.stamps import electrons_per_unit
from surveyflow.settings.simulation import BackgroundTable, SimulationTable, StampsTable
from surveyflow.simulation.observe import F814W, sky_noise
from surveyflow.simulation.scenes import draw_background, paint
from surveyflow.training.records.drawing import draw_examples, prepare, simulation_settings

SETTINGS = {"field": "COSMOS", "instrument": "F814W", "n": 4, "seed": 1}


@pytest.fixture
def library(tmp_path):
    """Two galaxies of 20 and 22 mag at 10 mas."""
    fluxes = [10 ** (-0.4 * (magnitude - 31.4)) for magnitude in (20, 22)]
    profiles = [galsim.Exponential(half_light_radius=0.3, flux=flux).shear(g1=0.3, g2=0) for flux in fluxes]
    with h5py.File(tmp_path / "stamps.h5", "w") as file:
        file["images"] = np.stack([each.drawImage(nx=300, ny=300, scale=0.01, method="no_pixel").array for each in profiles])
        file["label"] = np.array([0, 1])
        file["z"] = np.array([0.6, 1.4])
    return StampsTable(path=tmp_path / "stamps.h5", pixel_scale_arcsec=0.01, unit="nJy", redshift_column="z")


def simulation(tmp_path, **settings):
    return SimulationTable(output=tmp_path / "records", **SETTINGS | settings)


def test_ones_own_galaxies_keep_flux_label_and_redshift(library, tmp_path):
    examples = draw_examples(simulation(tmp_path, stamps=library, neighbours=False), range(4))
    assert [each.label for each in examples] == [0, 1, 0, 1]
    assert [each.redshift for each in examples] == [0.6, 1.4, 0.6, 1.4]
    assert [each.magnitude_ab for each in examples] == pytest.approx([20, 22, 20, 22], abs=0.02)
    for each in examples:
        assert each.radius_arcsec == pytest.approx(0.3, abs=0.05)
        assert F814W.magnitude(each.pixels.sum(dtype=float)) == pytest.approx(each.magnitude_ab, abs=0.05)
        assert each.truths["sky_sigma"].coverage_pct == 0


def test_a_galaxy_used_twice_differs_in_orientation_place_and_noise(library, tmp_path):
    first, _, again, _ = draw_examples(simulation(tmp_path, stamps=library, neighbours=False), range(4))
    difference = np.abs(first.pixels - again.pixels).max()
    assert difference > 10 * first.sky_rms


def test_ones_own_galaxies_get_neighbours(library, tmp_path):
    examples = draw_examples(simulation(tmp_path, stamps=library), range(12))
    assert any(each.truths["sky_sigma"].flux_pp > 0 for each in examples)
    assert any(each.truths["sky_sigma"].coverage_pct > 0 for each in examples)


def test_a_galaxy_that_fills_its_image_is_cut_at_the_stamps_edge(tmp_path):
    with h5py.File(tmp_path / "stamps.h5", "w") as file:
        file["images"] = np.ones((1, 900, 1100), np.float32)
    table = StampsTable(path=tmp_path / "stamps.h5", pixel_scale_arcsec=0.01, unit="uJy", label="star_forming")
    (each,) = draw_examples(simulation(tmp_path, stamps=table, neighbours=False, redshifts=(0.5, 1.5)), [0])
    brightness = 9 * electrons_per_unit("uJy", 0.01, F814W)
    np.testing.assert_allclose(each.pixels, brightness, rtol=0.05)


def test_what_was_corrected_within_a_session_is_read_again(library, tmp_path):
    asked = simulation(tmp_path, stamps=library, neighbours=False)
    prepare(asked)
    before = simulation_settings(asked)["stamps"]["images"]
    with h5py.File(library.path, "a") as file:
        file["label"][...] = [1, 1]
    prepare(asked)
    after = simulation_settings(asked)["stamps"]["images"]
    assert sorted(map(str, after)) != sorted(map(str, before))
    assert [each.label for each in draw_examples(asked, range(2))] == [1, 1]


@pytest.fixture
def background(tmp_path):
    """A mosaic of sky and galaxies."""
    rng = np.random.default_rng(1)
    sky = paint(draw_background(rng, 12.0, 12.0), F814W, (400, 400)) + sky_noise(rng, (400, 400), 0.0009)
    return BackgroundTable(science=write_image(tmp_path / "sci.fits", sky, BUNIT="electron/s"))


def test_on_real_sky_neighbours_and_noise_are_the_mosaics(background, tmp_path):
    real = draw_examples(simulation(tmp_path, background=background), range(6))
    drawn = draw_examples(simulation(tmp_path), range(6))
    for on_patch, on_drawn in zip(real, drawn, strict=True):
        assert on_patch.magnitude_ab == on_drawn.magnitude_ab
        assert on_patch.sky_rms == pytest.approx(0.0009, rel=0.3)
        assert on_patch.sky_rms != on_drawn.sky_rms
    assert len({each.truths["sky_sigma"].flux_pp for each in real}) > 3


@pytest.mark.parametrize(
    "change", [{"seed": 2}, {"n": 5}, {"first": 1}, {"post_merger_share": 0.1}, {"neighbours": False}, {"redshifts": (0.6, 1.0)}]
)
def test_every_setting_changes_what_the_records_are_said_to_be(tmp_path, change):
    assert simulation_settings(simulation(tmp_path, **change)) != simulation_settings(simulation(tmp_path))


def test_where_files_lie_does_not_change_it(library, background, tmp_path):
    settings = simulation_settings(simulation(tmp_path, stamps=library, background=background))
    assert str(tmp_path) not in str(settings)
    assert len(settings["stamps"]["images"]) == 2
    assert settings["redshifts"] == [0.6, 1.4]
    assert settings["background"]["files"][0][0] == "sci.fits"
    assert simulation_settings(simulation(tmp_path / "elsewhere")) == simulation_settings(simulation(tmp_path))
