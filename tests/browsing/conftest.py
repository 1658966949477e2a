"""A catalog of two revisions with real mosaics, some of whose names are hostile."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from revisions import CENTRES, RevisionMaker, field_rows
from surveyflow.values.listed import key_of_name

HOSTILE = """<img src=x onerror="document.title='run'">'"`--${7*7}"""


def make_catalog(folder: Path) -> Path:
    """Two revisions: in the second, every probability of EGS is another, and one galaxy is new."""
    maker = RevisionMaker(folder)
    for field, instrument in (("EGS", "F814W"), ("EGS", "F125W_F160W"), ("COSMOS", "F814W")):
        maker.add_mosaic(field, instrument)
    names = np.array([HOSTILE, *(f"gal-{number}" for number in range(1, 30))], object)
    ids = np.array([key_of_name(name) for name in names])
    other = field_rows("COSMOS", 60, 1)
    strange = field_rows(HOSTILE, 30, 2, centre=CENTRES["EGS"], source_name=names, source_id=ids)
    maker(field_rows("EGS", 79, 5), other)
    maker(field_rows("EGS", 80, 6), other, strange)
    return folder / "catalog"


@pytest.fixture(scope="session")
def catalog(shared_worlds) -> Path:
    return shared_worlds.get("browsed", make_catalog)


@pytest.fixture(scope="session")
def table(catalog) -> pa.Table:
    from surveyflow.releases.revisions import open_catalog

    return open_catalog(catalog).to_table()


@pytest.fixture
def own(catalog, tmp_path):
    """The catalog under another name, so that answers are written there."""
    root = tmp_path / "own"
    root.mkdir()
    (root / "releases").symlink_to(catalog / "releases")
    (root / "latest").symlink_to((catalog / "latest").readlink())
    return root
