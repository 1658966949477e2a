"""Publishing consists of tasks that any process may carry out, in any order, and again if a worker was lost meanwhile."""

import hashlib
import pickle
import random
from functools import partial

import numpy as np
import pyarrow as pa
import pytest

from catalog_rows import make_rows
from surveyflow.catalog.columns import CatalogColumn, Null
from surveyflow.catalog.kept import KeptColumns
from surveyflow.errors import CatalogError, UnitDamaged
from surveyflow.output.units import unit_path, write_unit
from surveyflow.releases import publish as releases
from surveyflow.releases import verify
from surveyflow.releases.beside import folders_of
from surveyflow.releases.publish import Alternatives, publish
from surveyflow.releases.revisions import file_by_file, open_catalog
from surveyflow.releases.verify import check_catalog, check_revision

MASS = CatalogColumn("mass", pa.float32(), "", "the list's", Null.NOT_LISTED, "solMass")


@pytest.fixture(autouse=True)
def small_partitions(monkeypatch):
    """Many tasks for few rows."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    write = releases.write_dataset
    monkeypatch.setattr(releases, "write_dataset", lambda *args, **options: write(*args, max_rows=30, **options))


class Wandering:
    """Has each task carried out twice, after it was pickled, in an order that a seed chooses."""

    def __init__(self, seed):
        self.random, self.verbs = random.Random(seed), set()

    def __call__(self, tasks):
        places = 2 * list(range(len(tasks)))
        self.random.shuffle(places)
        results = {}
        for place in places:
            task = pickle.loads(pickle.dumps(tasks[place]))
            results[place] = pickle.loads(pickle.dumps(task.carry_out()))
            self.verbs.add(task.verb)
        return [results[place] for place in range(len(tasks))]


def make_units(root):
    """Units whose sources mix on the sky."""
    return [write_unit(root, f"{n:064x}", f"EGS/F814W/{n}", {}, rows(n), seconds=0.0, worker="test") for n in range(3)]


def rows(number):
    return make_rows(30, seed=number, first_id=1 + 30 * number, radius_deg=0.02)


def kept_masses():
    ids = np.arange(1, 121)
    table = pa.table({"source_id": ids, "mass": pa.array(ids / 7, pa.float32())})
    return KeptColumns((MASS,), (), {"EGS": table})


def publish_everything(root, **options):
    """A revision with rows that no unit holds, kept columns and alternatives."""
    units, kept = make_units(root), kept_masses()
    alternatives = Alternatives(units[:1], None, kept)
    return publish(root, "v1", units, rows(3), {}, kept=kept, alternatives=alternatives, **options)


def digests(revision):
    """The content of a revision and its margin."""
    root, folders = revision.path.parent.parent, folders_of(revision.path)
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_whoever_carries_the_tasks_out_and_in_whatever_order_the_revision_is_the_same(tmp_path):
    wandering = Wandering(1)
    alone = publish_everything(tmp_path / "alone")
    spread = publish_everything(tmp_path / "spread", do=wandering)
    assert wandering.verbs == {"count", "publish", "margin", "check", "twins", "seal"}
    assert digests(spread) == digests(alone)
    assert check_revision(spread.path) == len(digests(spread)) - 1
    again = publish_everything(tmp_path / "spread", do=wandering)
    for path in again.path.rglob("Npix=*"):
        assert path.samefile(spread.path / path.relative_to(again.path))
    assert not list(tmp_path.rglob(".*"))


def test_rows_that_no_unit_holds_may_come_in_any_number_of_batches(tmp_path):
    units, extra = make_units(tmp_path), pa.concat_tables([rows(3), rows(4)])
    assert extra.column(0).num_chunks == 2
    at_once = publish(tmp_path, "v1", units, extra.combine_chunks(), {})
    in_batches = publish(tmp_path, "v1", units, extra, {}, do=Wandering(2))
    assert (in_batches.n_rows, in_batches.status_counts) == (150, at_once.status_counts)
    for path in in_batches.path.rglob("Npix=*"):
        assert path.samefile(at_once.path / path.relative_to(in_batches.path))


def test_the_files_of_a_catalog_one_by_one_hold_its_rows_in_order(tmp_path):
    publish(tmp_path, "v1", make_units(tmp_path), rows(3), {})
    catalog = open_catalog(tmp_path)
    files = list(file_by_file(catalog))
    assert [file.files for file in files] == [[path] for path in catalog.files]
    assert len(files) > 3
    assert not any(file.format.default_fragment_scan_options.pre_buffer for file in files)
    assert pa.concat_tables([file.to_table() for file in files]).equals(catalog.to_table())


def test_a_damaged_unit_stops_the_publication_wherever_it_is_found(tmp_path):
    units = make_units(tmp_path)
    path = unit_path(tmp_path, units[2].key)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UnitDamaged) as caught:
        publish(tmp_path, "v1", units, None, {}, do=Wandering(3))
    assert caught.value.key == units[2].key
    assert not list((tmp_path / "releases").iterdir())
    assert not list((tmp_path / "margins").iterdir())


@pytest.mark.parametrize("ids_at_a_time", [7, 1_000])
def test_a_source_with_two_rows_is_found_in_whichever_part_of_the_ids_it_is(tmp_path, monkeypatch, ids_at_a_time):
    monkeypatch.setattr(verify, "_IDS_AT_A_TIME", ids_at_a_time)
    ids = [-(2**63), -1, 2**63 - 1, *range(5, 20)]
    for number, twin in enumerate((None, *ids[:4])):
        folder = tmp_path / str(number)
        second = with_ids(make_rows(1, field="UDS" if twin is None else "EGS", seed=9), [5 if twin is None else twin])
        both = pa.concat_tables([with_ids(make_rows(len(ids), radius_deg=0.02), ids), second])
        releases.write_catalog_files(folder, "x", releases.write_dataset(folder, [Rows(both)]))
        check = partial(check_catalog, folder, _status(both))
        if twin is None:
            check()
        else:
            with pytest.raises(CatalogError, match=f"1 sources of field EGS have more than one row; the first is {twin}"):
                check()


def with_ids(table, ids):
    place = table.schema.get_field_index("source_id")
    return table.set_column(place, table.schema.field("source_id"), pa.array(ids, pa.int64()))


class Rows:
    """Rows in memory."""

    def __init__(self, table):
        self.table = table

    def cells(self):
        return self.table["_healpix_29"].to_numpy()

    def rows(self):
        return self.table


def _status(table):
    return {each["values"]: each["counts"] for each in table["status"].value_counts().to_pylist()}
