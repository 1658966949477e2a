import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from surveyflow.planning.source_changes import SourceChanges, compare_sources
from surveyflow.values.sources import UnitSources

values = st.sampled_from([0.5, 1.0, float("nan")])
source = st.fixed_dictionaries(
    {
        "ra": st.sampled_from([10.0, 10.5]),
        "dec": st.just(1.0),
        "redshift": values,
        "x_pix": values,
        "y_pix": st.just(7.0),
        "status": st.sampled_from(["ok", "no_redshift"]),
    }
)
source_sets = st.dictionaries(st.integers(1, 6), source, max_size=6)


def earlier_rows(sources):
    columns = {name: [entry[name] for entry in sources.values()] for name in ("ra", "dec", "redshift", "x_pix", "y_pix")}
    arrays = {name: pa.array(column, pa.float64(), from_pandas=True) for name, column in columns.items()}
    status = pa.array([entry["status"] for entry in sources.values()], pa.string())
    return pa.table({"source_id": pa.array(list(sources), pa.int64()), **arrays, "status": status})


def unit_sources(sources, settled):
    def column(name):
        return np.array([entry[name] for entry in sources.values()], dtype=float)

    words = [entry["status"] if settled else "" for entry in sources.values()]
    return UnitSources(
        field="EGS",
        instrument=np.full(len(sources), "F814W"),
        source_id=np.array(list(sources), dtype=np.int64),
        ra_deg=column("ra"),
        dec_deg=column("dec"),
        redshift=column("redshift"),
        x_pix=column("x_pix"),
        y_pix=column("y_pix"),
        status=np.array(words, dtype=np.str_),
        flags=np.zeros(len(sources), np.int32),
    )


def same(one, two):
    return one == two or (one != one and two != two)


@given(before=source_sets, after=source_sets, settled=st.booleans())
def test_counts_are_those_of_a_comparison_source_by_source(before, after, settled):
    both = sorted(before.keys() & after.keys())
    moved = {key for key in both if before[key]["ra"] != after[key]["ra"]}
    statuses = {key for key in both if settled and before[key]["status"] != after[key]["status"]}
    shifted = {key for key in both if not same(before[key]["x_pix"], after[key]["x_pix"])}
    assert compare_sources(earlier_rows(before), unit_sources(after, settled)) == SourceChanges(
        added=len(after.keys() - before.keys()),
        removed=len(before.keys() - after.keys()),
        moved=len(moved),
        values={"redshift": sum(not same(before[key]["redshift"], after[key]["redshift"]) for key in both)},
        placed=len((shifted | statuses) - moved),
    )


def test_changes_are_described_in_words():
    assert (
        SourceChanges(3, 1, 2, {"redshift": 2}, 0).in_words()
        == "3 sources added, 1 source removed, 2 sources moved, 2 redshifts changed"
    )
    assert SourceChanges(0, 0, 0, {"redshift": 1}, 5).in_words() == "1 redshift changed"
    assert SourceChanges(0, 0, 0, {"redshift": 0}, 5).in_words() == ""
