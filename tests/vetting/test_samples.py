"""Samples with a known design: random, stratified, the same for everybody, and of the selection alone."""

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from surveyflow.errors import InputError
from surveyflow.vetting.samples import Design, draw, random_numbers


def catalog(n=5000, seed=0):
    rng = np.random.default_rng(seed)
    p = rng.random(n)
    p[::50] = np.nan
    columns = {
        "field": pa.array(np.where(np.arange(n) % 3, "EGS", "it's <b>")),
        "source_id": pa.array(np.arange(n) - 7),
        "p_pm_mean": pa.array(p, from_pandas=True),
        "redshift": pa.array(rng.uniform(0, 3, n)),
    }
    return ds.dataset(pa.table(columns))


CATALOG = catalog()


def keys(sample):
    return [(one.field, one.source_id) for one in sample.galaxies]


def test_a_sample_is_of_the_selection_and_says_of_how_many():
    sample = draw(CATALOG, Design("z < 1", 100))
    selected = CATALOG.to_table(filter=ds.field("redshift") < 1)
    there = set(zip(selected["field"].to_pylist(), selected["source_id"].to_pylist(), strict=True))
    assert set(keys(sample)) <= there
    assert {(one.stratum.n_selected, one.stratum.n_drawn) for one in sample.galaxies} == {(len(there), 100)}


def test_everybody_sees_the_same_galaxies_in_the_same_order_and_a_larger_sample_begins_alike():
    small, large = draw(CATALOG, Design("", 50)), draw(CATALOG, Design("", 200))
    shuffled = CATALOG.to_table().take(np.random.default_rng(1).permutation(5000))
    assert keys(small) == keys(large)[:50] == keys(draw(ds.dataset(shuffled), Design("", 50)))
    assert keys(small) != keys(draw(CATALOG, Design("", 50, seed=2)))


def test_every_galaxy_has_the_same_chance():
    drawn = np.zeros(1000)
    rows = ds.dataset(CATALOG.to_table().slice(0, 1000))
    for seed in range(200):
        for one in draw(rows, Design("", 100, seed=seed)).galaxies:
            drawn[one.source_id + 7] += 1
    assert drawn.sum() == 20_000
    assert abs(np.corrcoef(drawn, np.arange(1000))[0, 1]) < 0.1
    assert drawn.var() == pytest.approx(200 * 0.1 * 0.9, rel=0.15)


def test_strata_have_equally_many_and_leave_out_what_has_no_value():
    sample = draw(CATALOG, Design("", 90, "p_pm_mean", (0.0, 0.1, 0.5, 1.0)))
    counts = {}
    for one in sample.galaxies:
        counts.setdefault((one.stratum.low, one.stratum.high), []).append(one.stratum)
    assert {span: len(found) for span, found in counts.items()} == {(0.0, 0.1): 30, (0.1, 0.5): 30, (0.5, 1.0): 30}
    known = CATALOG.count_rows() - 100
    assert sum(found[0].n_selected for found in counts.values()) == known
    order = [one.stratum.low for one in sample.galaxies]
    assert all(set(order[at : at + 3]) == {0.0, 0.1, 0.5} for at in range(0, 90, 3))
    assert len({tuple(order[at : at + 3]) for at in range(0, 90, 3)}) == 6


def test_random_numbers_are_uniform_and_differ_between_fields():
    ids = np.arange(20_000)
    one, other = (random_numbers([field] * len(ids), ids, 1) for field in ("EGS", "COSMOS"))
    assert not (one == other).any()
    bins = np.bincount((one >> np.uint64(58)).astype(int), minlength=64)
    assert ((bins - 312.5) ** 2 / 312.5).sum() < 110  # chi-square with 63 degrees of freedom: 1 in 4000


@pytest.mark.parametrize(
    ("design", "told"),
    [
        (lambda: Design("", 0), "1 to 100,000"),
        (lambda: Design("", 5, "z"), "column and edges"),
        (lambda: Design("", 5, "z", (1.0, 0.0)), "increasing"),
        (lambda: Design("", 5, seed=-1), "seed"),
        (lambda: draw(CATALOG, Design("z > 9", 5)), "no galaxy is selected"),
        (lambda: draw(CATALOG, Design("nonsense > 9", 5)), "no column"),
        (lambda: draw(CATALOG, Design("", 5, "field", (0.0, 1.0))), "expected numbers"),
    ],
)
def test_what_cannot_be_sampled_is_refused(design, told):
    with pytest.raises(InputError, match=told):
        design()
