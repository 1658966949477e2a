"""Fixtures of the report's tests."""

import pytest

from revisions import RevisionMaker


@pytest.fixture
def make_revision(tmp_path):
    return RevisionMaker(tmp_path)
