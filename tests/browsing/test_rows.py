"""DuckDB finds the rows that pandas finds, in the same order, and may read nothing else."""

import duckdb
import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord

from browsing.conftest import HOSTILE
from surveyflow.browsing.rows import DEEPEST_ROW, Axis, BrowsedRows, Order
from surveyflow.browsing.search import Place, parse_search
from surveyflow.errors import CatalogError, InputError
from surveyflow.releases.revisions import find

KEY = ["field", "source_id"]


@pytest.fixture(scope="module")
def rows(catalog):
    return BrowsedRows(catalog, find(catalog).name)


@pytest.fixture(scope="module")
def frame(table):
    return table.to_pandas()


def keys(found):
    return [(row["field"], row["source_id"]) for row in found]


@pytest.mark.parametrize("column", ["p_pm_mean", "redshift", "flags", "source_name", "status"])
@pytest.mark.parametrize("descending", [True, False])
def test_pages_are_sorted_and_what_is_missing_comes_last(rows, frame, column, descending):
    expected = frame.sort_values([column, "_healpix_29", *KEY], ascending=[not descending, True, True, True], na_position="last")
    found = [row for start in range(0, 170, 12) for row in rows.page("", Order(column, descending), start, 12, KEY)]
    assert keys(found) == list(zip(expected["field"], expected["source_id"], strict=True))


def test_a_selection_is_that_of_where(rows, frame):
    where = "0.5 <= z < 1.5 and p_pm_mean > 0.3 and flags & PARTIAL_COVERAGE == 0"
    chosen = (frame.redshift >= 0.5) & (frame.redshift < 1.5) & (frame.p_pm_mean > 0.3) & (frame["flags"] & 2 == 0)
    assert rows.count(where) == chosen.sum() > 5
    found = rows.page(where, Order(), 0, 200, [*KEY, "p_pm_mean", "no such column"])
    assert sorted(keys(found)) == sorted(zip(*(frame[chosen][name] for name in KEY), strict=True))
    assert found[0]["no such column"] is None


def test_a_galaxy_is_found_by_key_name_and_position(rows, frame):
    one = frame[(frame.field == "EGS") & (frame.source_id == 4)].iloc[0]
    assert rows.row("EGS", 4)["p_pm_hist"] is not None
    assert rows.row("EGS", 4000) is None
    assert sorted(keys(rows.with_id(4, None, KEY, 10))) == [("COSMOS", 4), ("EGS", 4)]
    assert keys(rows.with_id(4, "EGS", KEY, 10)) == [("EGS", 4)]
    named = frame[frame.source_name == HOSTILE].iloc[0]
    assert keys(rows.named(HOSTILE, None, KEY, 10)) == [(HOSTILE, named.source_id)]
    assert keys(rows.named(HOSTILE, HOSTILE, KEY, 10)) == [(HOSTILE, named.source_id)]
    assert rows.named(HOSTILE, "EGS", KEY, 10) == []
    near = rows.near(one.ra, one.dec, 60.0, KEY, 50)
    apart = SkyCoord(frame.ra, frame.dec, unit="deg").separation(SkyCoord(one.ra, one.dec, unit="deg")).to_value(u.arcsec)
    order = np.argsort(apart)[: int((apart <= 60).sum())]
    assert [row["separation_arcsec"] for row in near] == pytest.approx(apart[order], abs=1e-6)
    assert keys(near)[0] == ("EGS", 4)


def test_positions_are_found_across_right_ascension_0(rows):
    assert rows.near(359.9999, 10.0, 600.0, KEY, 5) == []
    assert parse_search("-0.5 10 30", []).place == Place(359.5, 10.0, 30.0)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("EGS 12", ("EGS", 12, None)),
        ("12", (None, 12, None)),
        (" EGS   12 ", ("EGS", 12, None)),
        ("XMM 12", (None, None, None)),
        ("EGS gal-12 b", ("EGS", None, None)),
        ("214.8, 52.8", (None, None, Place(214.8, 52.8))),
        ("214.8 52.8 700", (None, None, Place(214.8, 52.8, 600.0))),
        ("214.8 92", (None, None, None)),
        ("99999999999999999999", (None, None, None)),
        ("<script>", (None, None, None)),
        ("14:00:00 +10:30:00", (None, None, Place(210.0, 10.5))),
    ],
)
def test_texts_mean_what_they_look_like(text, meant):
    found = parse_search(text, ["EGS"])
    place = found.place and Place(round(found.place.ra_deg, 9), round(found.place.dec_deg, 9), found.place.radius_arcsec)
    assert (found.field, found.source_id, place) == meant
    assert found.name_in_field == (text.split(maxsplit=1)[1].strip() if found.field else None)


def test_cells_count_what_numpy_counts(rows, frame):
    ok = frame[frame.status == "ok"]
    spans = [rows.span(name, "status == 'ok'") for name in ("redshift", "p_pm_mean")]
    assert spans == [(ok[name].min(), ok[name].max()) for name in ("redshift", "p_pm_mean")]
    found = rows.binned(Axis("redshift", *spans[0]), Axis("p_pm_mean", *spans[1]), "status == 'ok'", 8)
    expected, *_ = np.histogram2d(ok.redshift, ok.p_pm_mean.astype(float), 8, spans)
    counted = np.zeros((8, 8))
    for i, j, n in found:
        counted[i, j] = n
    assert counted.sum() == len(ok)
    assert np.abs(counted - expected).sum() <= 2  # values on the border of two cells may be rounded


def test_right_ascensions_are_counted_from_the_centre_of_a_field(rows, frame):
    centre = rows.fields()["EGS"][0]
    assert centre == pytest.approx(frame[frame.field == "EGS"].ra.mean(), abs=0.02)
    low, high = rows.span("ra", "field == 'EGS'", 0.0)
    ra = frame[frame.field == "EGS"].ra - 360
    assert (low, high) == pytest.approx((ra.min(), ra.max()))
    assert sum(n for *_, n in rows.binned(Axis("ra", low, high, 0.0), Axis("dec", -90, 90), "field == 'EGS'", 16)) == 80


def test_galaxies_that_are_alike_are_the_nearest_in_the_columns(rows, frame):
    names = ["p_pm_mean", "p_pm_std", "redshift"]
    row = rows.page("status == 'ok'", Order(), 3, 1, [*KEY, "instrument", *names])[0]
    others = frame[(frame.instrument == row["instrument"]) & (frame.status == "ok")]
    others = others[~((others.field == row["field"]) & (others.source_id == row["source_id"]))]
    spread = frame[names].astype(float).std()
    distance = (((others[names].astype(float) - [row[name] for name in names]) / spread) ** 2).sum(axis=1)
    expected = others.loc[distance.sort_values().index[:5]]
    assert keys(rows.alike(row, names, KEY, 5)) == keys(expected.to_dict("records"))


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda rows: rows.count("nothing > 1"), "no column 'nothing'"),
        (lambda rows: rows.page("", Order("p_pm_hist"), 0, 5, KEY), "holds lists"),
        (lambda rows: rows.page("", Order('"; DROP TABLE x'), 0, 5, KEY), "no column"),
        (lambda rows: rows.page("", Order(), DEEPEST_ROW, 5, KEY), "Select fewer"),
        (lambda rows: rows.count("source_id * 9000000000000000000 > 1"), "cannot be computed"),
        (lambda rows: rows.binned(Axis("field", 0, 1), Axis("dec", 0, 1), "", 8), "expected numbers"),
    ],
)
def test_what_cannot_be_asked_is_refused(rows, ask, told):
    with pytest.raises(InputError, match=told):
        ask(rows)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "COPY (SELECT 1) TO '/tmp/stolen.csv'",
        "ATTACH '/tmp/other.db'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "SELECT * FROM read_parquet('/tmp/*.parquet')",
    ],
)
def test_the_database_reads_the_revision_and_nothing_else(rows, statement):
    with pytest.raises(duckdb.Error):
        rows._connection.cursor().execute(statement)


def test_a_damaged_file_is_named_as_such(catalog, tmp_path):
    import shutil

    root = tmp_path / "it's [a] copy*"
    shutil.copytree(catalog, root, symlinks=True)
    rows = BrowsedRows(root, find(root).name)
    assert rows.count("") == 170
    path = next((root / "latest" / "dataset").rglob("*.parquet"))
    path.unlink()
    path.write_bytes(b"PAR1 nonsense PAR1")
    with pytest.raises(CatalogError, match="releases verify"):
        rows.count("p_pm_mean > 0.123")
