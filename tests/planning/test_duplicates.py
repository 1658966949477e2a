"""One galaxy in several source lists is found, and every row is kept."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from surveyflow.catalog.kept import KeptColumns
from surveyflow.catalog.schema import build_rows
from surveyflow.planning.duplicates import mark_duplicates
from surveyflow.values.codes import Flag, Status
from surveyflow.values.listed import ListedSources
from surveyflow.values.sources import SourceList

ARCSEC = 1 / 3600


def listed(field, ids, offsets_arcsec, names=None) -> ListedSources:
    n = len(ids)
    dec = 2.0 + np.array(offsets_arcsec) * ARCSEC
    own = {} if names is None else {"source_name": pa.array(names)}
    return ListedSources(SourceList(field, np.array(ids), np.full(n, 150.0), dec, np.ones(n)), own=own)


def duplicates_of(*lists, radius_arcsec=0.3, same_id=False):
    by_field = {one.sources.field: one for one in lists}
    found = mark_duplicates(by_field, radius_arcsec, same_id=same_id)
    return {name: columns["duplicate_of"].to_pylist() for name, columns in found.items()}


def test_the_row_of_the_later_list_names_that_of_the_first():
    found = duplicates_of(listed("A", [1, 2], [0, 10]), listed("B", [7, 8], [10.2, 40]))
    assert found == {"A": [None, None], "B": ["A/2", None]}


def test_a_third_list_names_the_first_and_not_the_second():
    found = duplicates_of(listed("A", [1], [0]), listed("B", [1], [0.1]), listed("C", [1, 2], [0.2, 5]))
    assert found == {"A": [None], "B": ["A/1"], "C": ["A/1", None]}


def test_only_nearest_neighbours_of_each_other_are_one_galaxy():
    found = duplicates_of(listed("A", [1], [0]), listed("B", [1, 2], [0.2, 0.1]))
    assert found == {"A": [None], "B": [None, "A/1"]}


def test_rows_of_one_list_and_rows_farther_apart_are_different_galaxies():
    assert duplicates_of(listed("A", [1, 2], [0, 0.01]), listed("B", [1], [0.32])) == {}
    assert duplicates_of(listed("A", [1], [0]), listed("B", [1], [0.1]), radius_arcsec=0.0) == {}


def test_ids_may_have_to_be_the_same():
    lists = listed("A", [1, 2], [0, 5]), listed("B", [2, 1, 3], [0.05, 0.1, 5])
    assert duplicates_of(*lists, same_id=True) == {"A": [None, None], "B": [None, "A/1", None]}


def test_names_stand_for_numbers():
    found = duplicates_of(listed("A", [1], [0], names=["NGC 1"]), listed("B", [1], [0]))
    assert found["B"] == ["A/NGC 1"]


def test_the_flag_joins_those_that_a_row_has():
    lists = {"A": listed("A", [1], [0]), "B": listed("B", [5], [0])}
    found = mark_duplicates(lists, 0.3, same_id=False)
    marked = {name: ListedSources(one.sources, own=found[name]) for name, one in lists.items()}
    identity = {"_healpix_29": np.zeros(2), "field": ["A", "B"], "source_id": [1, 5], "ra": [150.0] * 2, "dec": [2.0] * 2}
    rows = build_rows(identity | {"status": [Status.NO_MODEL.value] * 2, "flags": [int(Flag.EDGE)] * 2}, 2)
    joined = KeptColumns.of(marked).added_to(rows).to_pylist()
    assert [(row["duplicate_of"], row["flags"]) for row in joined] == [(None, Flag.EDGE), ("A/1", Flag.EDGE | Flag.DUPLICATE)]
