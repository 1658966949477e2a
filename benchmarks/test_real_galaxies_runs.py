from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table


@pytest.fixture
def folder(tmp_path):
    """Three images in the form of the real ones."""
    y, x = np.mgrid[:64, :64]
    rng = np.random.default_rng(1)
    images = [0.4 * np.exp(-np.hypot((y - 32) / q, x - 32) / 5) + 0.002 * rng.standard_normal((64, 64)) for q in (0.5, 0.7, 0.9)]
    fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(image) for image in images)]).writeto(
        tmp_path / "real_galaxy_images_extension.fits"
    )
    Table({"MAG": [22.0, 22.5, 23.0], "GAL_HDU": [1, 2, 3]}).write(tmp_path / "real_galaxy_catalog_26_extension_example.fits")
    return tmp_path


@pytest.mark.slow
def test_the_comparison_with_real_galaxies_runs(folder, capsys):
    pytest.importorskip("statmorph", reason="needs statmorph, which surveyflow does not install")
    spec = spec_from_file_location("real_galaxies", Path(__file__).with_name("real_galaxies.py"))
    benchmark = module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    benchmark.main([str(folder), "--n", "3", "--figure", str(folder / "figure.svg")])
    told = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in told[3:]] == list(benchmark.STATISTICS)
    assert (folder / "figure.svg").stat().st_size > 1000
