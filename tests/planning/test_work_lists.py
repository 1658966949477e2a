"""A source list that is read in parts becomes the same units, keys and columns as one that is read as a whole."""

from __future__ import annotations

import shutil
import tracemalloc
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fake_mosaics import SkyMosaic
from surveyflow.catalog.kept import KeptColumns
from surveyflow.errors import SourceListError, UnitError
from surveyflow.inputs.list_files import parts_of_list
from surveyflow.inputs.source_lists import read_source_list
from surveyflow.planning import list_tasks, work_lists
from surveyflow.planning.list_tasks import FieldPlan
from surveyflow.planning.units import locate_sources, settled_unit, units_of_field
from surveyflow.planning.work_lists import finish_lists, read_lists, recall_lists, write_index
from surveyflow.settings.workflow import ColumnMap, SourceListSpec
from surveyflow.sky.stretch import Stretch
from surveyflow.tasks.card import Architecture, ModelCard, ModelKey
from surveyflow.values.codes import WeightsOrigin
from surveyflow.values.jobs import in_this_process

ROUTING = {"F814W": (0.5, 1.5), "F160W": (1.5, 3.0)}
COLUMNS = ColumnMap(id="ID", ra="RA", dec="DEC", redshift="z", keep=["mag", "word"])
CENTRES = {"EGS": (150.1, 2.2), "UDS": (150.1003, 2.2)}
BLANK = np.zeros((600, 400), np.float32)


@dataclass(frozen=True)
class Alone:
    """The only mosaic of a field and instrument: 36 x 24 arcsec."""

    mosaics: tuple[SkyMosaic, ...]
    names: tuple[str, ...] = ("one.fits",)
    labels: tuple[str, ...] = ("",)


def card(field: str, instrument: str) -> ModelCard:
    return ModelCard(
        key=ModelKey("merger", field, instrument),
        class_names=("post_merger", "star_forming"),
        pixel_scale_arcsec=0.06,
        band=instrument,
        redshift_range=(0.5, 1.5),
        stretch=Stretch.MINMAX,
        softening=1.0,
        architecture=Architecture(input_size=64, filters=(2,), kernel_sizes=(3,), dense=(4,)),
        origin=WeightsOrigin.UNTRAINED,
        citation="",
        weights_digest="0" * 64,
    )


def plan_of(path: Path | list[Path], field: str = "EGS", number: int = 0, columns: ColumnMap = COLUMNS) -> FieldPlan:
    ra, dec = CENTRES[field]
    mosaics = {"F814W": Alone((SkyMosaic(BLANK, ra_deg=ra, dec_deg=dec),))}
    cards = {name: card(field, name) for name in mosaics}
    return FieldPlan(field, number, SourceListSpec(path=path, columns=columns), ROUTING, 0.1, 128, mosaics, cards)


def made_list(n_sources: int, seed: int = 0, field: str = "EGS", names: bool = False) -> Table:
    rng = np.random.default_rng(seed)
    ra, dec = CENTRES[field]
    ids = rng.permutation(10 * n_sources)[:n_sources] + 1
    words = [None if rng.random() < 0.3 else f"w{n}" for n in range(n_sources)]
    mag = rng.normal(24, 1, n_sources)
    mag[rng.random(n_sources) < 0.2] = np.nan
    return pa.table(
        {
            "ID": [f"S {each}" for each in ids] if names else ids,
            "RA": ra + rng.uniform(-20, 20, n_sources) / 3600,
            "DEC": dec + rng.uniform(-20, 20, n_sources) / 3600,
            "z": np.where(rng.random(n_sources) < 0.1, np.nan, rng.uniform(0.3, 3.2, n_sources)),
            "mag": mag,
            "word": words,
        }
    )


def write_parts(folder: Path, table: pa.Table, cuts: list[int]) -> Path:
    """A folder of Parquet files that are cut at these rows, each in row groups of 9 rows."""
    folder.mkdir()
    for number, (start, stop) in enumerate(pairwise([0, *sorted(cuts), len(table)])):
        pq.write_table(table.slice(start, stop - start), folder / f"{number:02d}.parquet", row_group_size=9)
    return folder


def lists_of(plans, folder: Path, rows_per_part: int, rows_per_range: int, do=in_this_process):
    folder.mkdir()
    read = read_lists(plans, folder, do, rows_per_part)
    assert not [one.problem for one in read if one.problem]
    return finish_lists(read, folder, do, radius_arcsec=0.3, same_id=False, rows_per_range=rows_per_range)


def whole(plan: FieldPlan, settled_rows: int):
    """The units and kept columns of a list, without parts."""
    listed = read_source_list(plan.spec, plan.name, plan.routing)
    located = locate_sources(listed.sources, plan.routing, plan.mosaics, plan.cards)
    settled = located.take(located.status != "")
    settled = settled.take(np.argsort(settled.source_id))
    starts = range(0, len(settled), settled_rows)
    gathered = [
        settled_unit(settled.take(np.arange(len(settled))[start : start + settled_rows]), n) for n, start in enumerate(starts)
    ]
    gathered += units_of_field(located.take(located.status == ""), plan.mosaics, plan.cards, plan.core_size)
    names = np.full(len(located), None, dtype=object)
    names[located.mosaic >= 0] = "one.fits"
    return gathered, replace(listed, own={**listed.own, "mosaic": pa.array(names, pa.string())})


@settings(
    max_examples=6,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # a failing list is small enough
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    seed=st.integers(0, 1000),
    cuts=st.lists(st.integers(0, 120), max_size=4),
    rows_per_part=st.integers(5, 130),
    rows_per_range=st.integers(5, 130),
    names=st.booleans(),
)
def test_units_keys_sources_and_kept_columns_are_those_of_the_whole_list(
    tmp_path_factory, monkeypatch, seed, cuts, rows_per_part, rows_per_range, names
):
    monkeypatch.setattr(work_lists, "SETTLED_ROWS_PER_UNIT", 11)
    folder = tmp_path_factory.mktemp("lists")
    plan = plan_of(write_parts(folder / "list", made_list(120, seed, names=names), cuts))
    found = lists_of([plan], folder / "work", rows_per_part, rows_per_range)
    expected, listed = whole(plan, 11)
    places = [replace(unit, worklist="", number=0) for unit in found.units]
    assert places == [unit for unit, _ in expected]
    for unit, (_, sources) in zip(found.units, expected, strict=True):
        np.testing.assert_array_equal(found.sources_of(unit).source_id, sources.source_id)
    assert found.kept_digest == KeptColumns.of({"EGS": listed}).digest
    assert found.kept_is_intact()


def test_the_same_galaxies_are_marked_in_parts_and_as_a_whole(tmp_path):
    galaxies = made_list(60)
    shifted = galaxies.set_column(0, "ID", pa.array(np.arange(60) + 1000)).slice(0, 40)
    plans = [plan_of(write_parts(tmp_path / "a", galaxies, [25])), plan_of(write_parts(tmp_path / "b", shifted, [7]), "UDS", 1)]
    apart, together = lists_of(plans, tmp_path / "parts", 10, 20), lists_of(plans, tmp_path / "whole", 1000, 1000)
    rows = apart.kept.tables["UDS"]
    assert apart.kept_digest == together.kept_digest
    assert rows["duplicate_of"].to_pylist() == [f"EGS/{each}" for each in galaxies["ID"].to_pylist()[:40]]
    assert apart.kept.tables["EGS"]["duplicate_of"].null_count == 60


def refusal(folder: Path, plan: FieldPlan, rows_per_part: int = 10) -> str:
    """What is wrong with a list, whichever step finds it."""
    folder.mkdir()
    (read,) = read_lists([plan], folder, in_this_process, rows_per_part)
    if read.problem:
        return read.problem
    with pytest.raises(SourceListError) as caught:
        finish_lists([read], folder, in_this_process, radius_arcsec=0.3, same_id=False, rows_per_range=20)
    return str(caught.value)


@pytest.mark.parametrize(("cuts", "told"), [([], "50 (rows 4, 48)"), ([20], "50 (row 4 of 00.parquet, row 28 of 01.parquet)")])
def test_an_id_that_occurs_in_two_parts_is_refused_with_its_rows(tmp_path, cuts, told):
    table = made_list(60)
    ids = np.arange(60) + 1
    ids[3] = 50
    ids[47] = 50
    ids[49] = 999
    found = refusal(tmp_path / "work", plan_of(write_parts(tmp_path / "list", table.set_column(0, "ID", pa.array(ids)), cuts)))
    assert told in found
    assert "1 id occurs more than once" in found
    assert "Keep one row a source" in found


def test_a_name_that_occurs_in_two_parts_is_refused_by_name(tmp_path):
    table = made_list(30, names=True)
    names = table["ID"].to_pylist()
    names[25] = names[2] = "S twice"
    path = write_parts(tmp_path / "list", table.set_column(0, "ID", pa.array(names)), [])
    assert "S twice (rows 3, 26)" in refusal(tmp_path / "work", plan_of(path))


@pytest.mark.parametrize("form", ["parquet", "fits"])
def test_a_bad_value_in_a_later_part_is_refused_with_its_row_in_the_file(tmp_path, form):
    table = made_list(40).drop_columns(["word"])
    dec = table["DEC"].to_numpy().copy()
    dec[33] = 95.0
    table = table.set_column(2, "DEC", pa.array(dec))
    path = tmp_path / f"list.{form}"
    if form == "parquet":
        pq.write_table(table, path, row_group_size=7)
    else:
        Table(table.to_pydict()).write(path)
    columns = ColumnMap(id="ID", ra="RA", dec="DEC", redshift="z", keep=["mag"])
    found = refusal(tmp_path / "work", plan_of(path, columns=columns))
    assert "column DEC: row 34 (95.0): is missing or not in [-90, 90]" in found


def test_parts_that_contradict_each_other_are_refused(tmp_path):
    table = made_list(40)
    folder = write_parts(tmp_path / "list", table.slice(0, 20), [])
    pq.write_table(table.slice(20).set_column(5, "word", pa.array(np.arange(20))), folder / "01.parquet")
    assert "column word: its kind of values is 'numbers' in 01.parquet, but 'text' in 00.parquet" in refusal(
        tmp_path / "work", plan_of(folder)
    )


def test_no_digits_of_kept_integers_are_lost_to_the_numbers_of_another_part(tmp_path):
    table = made_list(40)
    numbers = np.arange(20)
    numbers[7] = -(2**53) - 1
    folder = write_parts(tmp_path / "list", table.slice(0, 20).set_column(4, "mag", pa.array(numbers)), [])
    pq.write_table(table.slice(20), folder / "01.parquet")
    found = refusal(tmp_path / "work", plan_of(folder))
    assert "column mag: it holds integers beyond 2^53 in one part of the list and floating-point numbers in another" in found


def test_a_table_of_fits_is_cut_like_one_of_parquet(tmp_path):
    table = made_list(50).drop_columns(["word"])
    columns = ColumnMap(id="ID", ra="RA", dec="DEC", redshift="z", keep=["mag"])
    Table(table.to_pydict()).write(tmp_path / "list.fits")
    pq.write_table(table, tmp_path / "list.parquet")
    found = [
        lists_of([plan_of(tmp_path / f"list.{form}", columns=columns)], tmp_path / form, 12, 30) for form in ("fits", "parquet")
    ]
    assert found[0].units == found[1].units
    assert found[0].kept_digest == found[1].kept_digest


def test_parts_hold_every_row_once_and_files_of_text_are_whole(tmp_path):
    table = made_list(50)
    folder = write_parts(tmp_path / "list", table, [3, 6, 40])
    Table(table.to_pydict()).write(tmp_path / "list.csv")
    parts = parts_of_list([*sorted(folder.glob("*")), tmp_path / "list.csv"], {"ID", "RA"}, 12)
    pieces = [(piece.number, piece.rows.start, piece.rows.stop) for part in parts for piece in part.pieces]
    assert pieces == [(0, 0, None), (1, 0, None), (2, 0, 12), (2, 12, 24), (2, 24, 34), (3, 0, None), (4, 0, None)]
    assert [len(part.pieces) for part in parts] == [2, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("harm", ["flipped", "cut", "zeros", "gone"])
def test_sources_of_a_damaged_work_list_are_not_believed(indexed, tmp_path, harm):
    _, lists = indexed
    folder = tmp_path / "copy"
    shutil.copytree(lists.folder, folder)
    unit = next(unit for unit in lists.units if unit.tile is not None)
    victim, ra = folder / unit.worklist, lists.sources_of(unit).ra_deg
    content = victim.read_bytes()
    place = content.index(ra.tobytes())
    harmed = {
        "flipped": content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :],
        "cut": content[:place],
        "zeros": bytes(len(content)),
    }
    victim.unlink()
    if harm in harmed:
        victim.write_bytes(harmed[harm])
    with pytest.raises(UnitError, match=rf"{victim} was damaged\. Run again: the source lists are then read again"):
        lists.moved_to(folder).sources_of(unit)
    assert not victim.exists()


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("indexed")
    plan = plan_of(write_parts(folder / "list", made_list(80), [30]))
    lists = lists_of([plan], folder / "work", 25, 25)
    write_index(lists)
    return plan, lists


def test_unchanged_lists_are_known_from_the_index_alone(indexed):
    plan, lists = indexed
    found = recall_lists(lists.folder, [plan])
    assert found is not None
    assert (found.units, found.kept_digest, found.kept.columns) == (lists.units, lists.kept_digest, lists.kept.columns)
    facts, before = found.facts["EGS"], lists.facts["EGS"]
    assert (facts.n_sources, facts.places, facts.on_images) == (before.n_sources, before.places, before.on_images)
    np.testing.assert_array_equal(facts.sample.source_id, before.sample.source_id)
    assert found.kept.tables["EGS"].equals(lists.kept.tables["EGS"])


@pytest.mark.parametrize("name", ["units.arrow", "000-sample.arrow", "000-kept--000000.arrow", "index.json"])
@pytest.mark.parametrize("harm", ["cut", "gone"])
def test_a_damaged_index_is_not_believed(indexed, tmp_path, name, harm):
    plan, lists = indexed
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in lists.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    if harm == "cut":
        (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    else:
        (folder / name).unlink()
    assert recall_lists(folder, [plan]) is None


def test_a_changed_bit_of_a_kept_column_is_noticed(indexed, tmp_path):
    _, lists = indexed
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in lists.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    victim = folder / "000-kept--000001.arrow"
    content = bytearray(victim.read_bytes())
    place = content.index(lists.kept.tables["EGS"]["source_id"].chunk(1).to_numpy()[:2].tobytes())
    content[place] ^= 1
    victim.write_bytes(content)
    assert lists.kept_is_intact()
    assert not lists.moved_to(folder).kept_is_intact()


def test_a_list_of_four_times_the_sources_takes_no_more_memory(tmp_path, monkeypatch):
    """Of this process, which reads part by part; sources in files that are mapped do not count."""
    monkeypatch.setattr(list_tasks, "SAMPLE_SIZE", 1000)
    monkeypatch.setattr(list_tasks, "_FEWEST_SAMPLED", 10)
    monkeypatch.setattr(work_lists, "SETTLED_ROWS_PER_UNIT", 3000)
    peaks = []
    for n_sources in (24_000, 96_000):
        path = tmp_path / f"{n_sources}.parquet"
        pq.write_table(made_list(n_sources).drop_columns(["word"]), path)
        plan = replace(plan_of(path, columns=ColumnMap(id="ID", ra="RA", dec="DEC", redshift="z", keep=["mag"])), core_size=64)
        tracemalloc.start()
        lists_of([plan], tmp_path / f"work-{n_sources}", 6000, 6000)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 72_000 < 4
