"""A revision that an earlier surveyflow published opens, verifies, and differs from a new one in its columns alone.

The archive was made on commit 7781c92: ``RevisionMaker(folder)(field_rows("EGS", n_sources=8, seed=5))``.
"""

import tarfile
from pathlib import Path

import pytest

from revisions import RevisionMaker, field_rows
from surveyflow.catalog.schema import CATALOG_SCHEMA, SCHEMA_VERSION
from surveyflow.errors import InputError
from surveyflow.releases.comparison import compare
from surveyflow.releases.publish import open_catalog, read_catalog, read_manifest
from surveyflow.releases.rollback import roll_back
from surveyflow.releases.verify import check_revision

OLD_SCHEMA = "27e82c81aa52"
ARCHIVE = Path(__file__).with_name(f"catalog-{OLD_SCHEMA}.tar.gz")


@pytest.fixture
def root(tmp_path):
    """A catalog whose first revision is the old one, and whose second holds the same sources today."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path / "catalog", filter="data")
    RevisionMaker(tmp_path)(field_rows("EGS", n_sources=8, seed=5))
    return tmp_path / "catalog"


def names(root):
    """Names of the old revision's columns."""
    return open_catalog(root, "v1.0-r1").schema.names


def test_an_old_revision_opens_and_verifies(root):
    old = root / "releases" / "v1.0-r1"
    assert read_manifest(old)["schema_version"] == OLD_SCHEMA != SCHEMA_VERSION
    assert check_revision(old) > 0
    assert len(read_catalog(root, release="v1.0-r1")) == 8
    assert set(names(root)) < set(CATALOG_SCHEMA.names)


def test_the_same_sources_differ_in_nothing_but_the_columns_that_were_added(root):
    found = compare(root, "v1.0-r1", "v1.0-r2").as_json()
    added = [name for name in CATALOG_SCHEMA.names if name not in names(root)]
    assert {"entropy_predictive", "entropy_expected", "mutual_information"} <= set(added)
    assert found["schema"] == {"added": added, "removed": [], "retyped": []}
    assert found["rows"]["unchanged"] + found["rows"]["recomputed"] == 8


def test_a_column_that_an_old_revision_lacks_is_said_to_be_newer(root):
    with pytest.raises(InputError, match=r"'mutual_information', since this revision was published before there was one\. Run"):
        read_catalog(root, ["mutual_information"], release="v1.0-r1")


def test_one_can_go_back_to_an_old_revision(root):
    assert roll_back(root).after.name == "v1.0-r1"
    assert len(read_catalog(root)) == 8
