"""A survey whose files are on servers: the tables of the local run, whatever happens, for little more than the pixels' bytes."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import boto3
import pytest
from moto.server import ThreadedMotoServer

from servers import FileServer, overloaded, serving, troubled
from stubs import TINY
from surveyflow import cutouts
from surveyflow.errors import InputsChanged, MosaicError
from surveyflow.files import object_stores, transfers
from surveyflow.inputs import remote_images
from surveyflow.inputs.remote_images import KEPT_PIXELS
from surveyflow.output.run_folders import Phase, Progress
from surveyflow.planning.plan import Decision
from surveyflow.releases.publish import list_revisions, open_catalog, read_manifest
from surveyflow.runs.decide import make_plan
from surveyflow.runs.execute import LateExecutor, Reporter
from surveyflow.runs.preflight import open_survey
from surveyflow.runs.run import RunResult, run_survey
from surveyflow.settings.workflow import load_workflow
from surveyflow.simulation.survey import SimulatedSurvey
from surveyflow.sites.serial.profile import SerialProfile
from surveyflow.values.images import Box
from worlds import copied, edit_workflow, perturb_mosaic, write_untrained_models

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "very-secret", "AWS_DEFAULT_REGION": "us-east-1"}
MODELS = "models"


@pytest.fixture(scope="module")
def home(egs_folder, tmp_path_factory) -> SimulatedSurvey:
    """A survey and its models; what was published from its local files."""
    survey = copied(egs_folder, tmp_path_factory.mktemp("home") / "survey")
    write_untrained_models(survey.folder / MODELS, survey.spec.fields, TINY)
    edit_workflow(survey.workflow, {"tiling": {"core_size": 4096}})
    run(survey.workflow)
    return survey


@pytest.fixture
def server(home, monkeypatch) -> Iterator[FileServer]:
    monkeypatch.setattr(transfers, "FIRST_WAIT_S", 0.001)
    with serving(home.folder) as served:
        yield served


def run(workflow: Path, listeners=()) -> RunResult:
    with open_survey(load_workflow(workflow)) as opened:
        return run_survey(opened, SerialProfile(), factory="stubs:StubWorker", listeners=listeners)


def away(home: SimulatedSurvey, folder: Path, base: str, query: str = "", **changes: Mapping[str, object]) -> Path:
    """The workflow of the survey, with addresses for its files, in a folder of its own."""
    folder.mkdir()
    workflow = folder / "workflow.toml"
    shutil.copy(home.workflow, workflow)
    shutil.copytree(home.folder / MODELS, folder / MODELS)
    sources = {"path": f"{base}/{home.source_list('EGS').relative_to(home.folder)}{query}"}
    mosaics = {
        instrument: {
            role: f"{base}/{path.relative_to(home.folder)}{query}"
            for role, path in (("science", home.science("EGS", instrument)), ("weight", home.weight("EGS", instrument)))
        }
        for instrument in ("F814W", "F125W_F160W")
    }
    edit_workflow(workflow, {"fields": {"EGS": {"sources": sources} | mosaics}} | changes)
    return workflow


def same_tables(home: SimulatedSurvey, workflow: Path, *, but: tuple[str, ...] = ()) -> None:
    here, there = (repr(rows_of(root / "catalog", but)) for root in (home.folder, workflow.parent))
    assert here == there


def rows_of(root: Path, but: tuple[str, ...]) -> list[dict[str, object]]:
    table = open_catalog(root).to_table().sort_by("source_id")
    return table.drop_columns(list(but)).to_pylist()


def window_bytes(workflow: Path) -> int:
    with open_survey(load_workflow(workflow)) as survey:
        windows = {(unit.instrument, unit.tile.window) for unit in survey.lists.units if unit.tile is not None}
    return sum(2 * 4 * box.shape[0] * box.shape[1] for _, box in windows)


def image_bytes(home: SimulatedSurvey, server: FileServer) -> int:
    return server.n_bytes - home.source_list("EGS").stat().st_size


def test_a_run_over_http_gives_the_tables_of_the_local_run_for_little_more_than_the_bytes_of_its_windows(home, server, tmp_path):
    server.fault = overloaded(3)
    workflow = away(home, tmp_path / "away", server.address, "?X-Amz-Signature=very-secret&uri=egs")
    result = run(workflow)
    same_tables(home, workflow)
    assert image_bytes(home, server) <= 1.5 * window_bytes(home.workflow)
    assert not (result.root / KEPT_PIXELS).exists()
    entries = {entry["kind"]: entry for entry in read_manifest(result.path)["inputs"]}
    assert entries["science"]["path"].startswith(server.address)
    assert entries["science"]["etag"]
    assert secrets_in(result.root) == []


def secrets_in(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file() and b"very-secret" in path.read_bytes()]


def test_a_run_on_parts_of_wide_mosaics_survives_faults_throughout_and_fetches_little_more_than_its_windows(
    home, server, tmp_path, monkeypatch
):
    monkeypatch.setattr(remote_images, "SHORT_ROW_BYTES", 0)  # parts of rows are fetched, as from rows of more than 8 KiB
    rows = open_catalog(home.folder / "catalog").to_table().to_pandas()
    near = rows[(rows.instrument == "F814W") & (rows.x_pix < 256) & (rows.y_pix < 256)]
    lines = home.source_list("EGS").read_text().splitlines()
    own = [line for line in lines if line.startswith("#") or int(line.split()[0]) in set(near.source_id)]
    workflow = away(home, tmp_path / "away", server.address, tiling={"core_size": 256})
    (tmp_path / "away" / "part.cat").write_text("\n".join(own) + "\n")
    edit_workflow(workflow, {"fields": {"EGS": {"sources": {"path": "part.cat"}}}})
    server.fault = troubled(every=20)
    run(workflow)
    n_bytes, counts = server.n_bytes, dict(server.requests)
    there = {row["source_id"]: row for row in rows_of(tmp_path / "away" / "catalog", ("unit_key",))}
    here = {row["source_id"]: row for row in rows_of(home.folder / "catalog", ("unit_key",))}
    assert repr(there) == repr({number: here[number] for number in sorted(there)})
    assert len(there) >= 2
    assert min(count for path, count in counts.items() if "f814w" in path) > 200  # so each fault came at least ten times
    assert n_bytes <= 1.5 * window_bytes(workflow)


def test_digests_by_etag_read_no_pixel_twice_and_compute_a_changed_file_again(home, server, tmp_path):
    survey = copied(home, tmp_path / "copy")
    server.folder = survey.folder
    workflow = away(home, tmp_path / "away", server.address, remote={"digest": "etag"})
    first = run(workflow)
    same_tables(home, workflow, but=("unit_key",))
    assert image_bytes(home, server) <= 1.5 * window_bytes(home.workflow)
    assert decisions(workflow) == {Decision.KEEP: first.units["done"]}
    perturb_mosaic(survey.science("EGS", "F125W_F160W"), Box(0, 1, 0, 1), 0.5)
    assert decisions(workflow)[Decision.DO] >= 1


def decisions(workflow: Path) -> Counter[Decision]:
    with open_survey(load_workflow(workflow)) as survey, ExitStack() as stack:
        plan = make_plan(survey, LateExecutor(stack, nobody), Reporter([]))
    return Counter(unit.decision for unit in plan.units)


def nobody() -> NoReturn:
    raise AssertionError("pixels are read")


def test_a_file_that_is_replaced_during_a_run_is_never_mixed_with_the_old_one(home, server, tmp_path):
    survey = copied(home, tmp_path / "copy")
    server.folder = survey.folder
    workflow = away(home, tmp_path / "away", server.address, remote={"digest": "etag"})

    def replace(progress: Progress) -> None:
        if (progress.phase, progress.done) == (Phase.UNITS, 1):
            perturb_mosaic(survey.science("EGS", "F814W"), Box(0, 900, 0, 800), 0.5)

    with pytest.raises(InputsChanged, match=r"egs_f814w_sci\.fits was replaced"):
        run(workflow, [replace])
    assert list_revisions(workflow.parent / "catalog") == []


@pytest.fixture(scope="module")
def bucket(home) -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (KEYS | {"AWS_ENDPOINT_URL": address}).items():
            patch.setenv(name, value)
        object_stores._store.cache_clear()
        client = boto3.client("s3")
        client.create_bucket(Bucket="survey")
        for path in home.folder.rglob("*"):
            if path.is_file() and path.suffix in {".fits", ".cat", ".csv"}:
                client.upload_file(str(path), "survey", str(path.relative_to(home.folder)))
        yield "s3://survey"
    server.stop()
    object_stores._store.cache_clear()


def test_a_run_over_s3_gives_the_tables_of_the_local_run(home, bucket, tmp_path, monkeypatch):
    read, count = object_stores.ObjectStores.read, []

    def counted(self, address, start, stop, expected):
        count.append(stop - start)
        return read(self, address, start, stop, expected)

    monkeypatch.setattr(object_stores.ObjectStores, "read", counted)
    workflow = away(home, tmp_path / "away", bucket)
    result = run(workflow)
    same_tables(home, workflow)
    assert sum(count) - home.source_list("EGS").stat().st_size <= 1.5 * window_bytes(home.workflow)
    assert secrets_in(result.root) == []


def test_what_an_object_store_refuses_is_named(bucket):
    with pytest.raises(MosaicError, match="no such file in the bucket"):
        cutouts(f"{bucket}/absent.fits", [150.1], [2.2])
    with pytest.raises(MosaicError, match=r"no such file in the bucket|refuses access"):
        cutouts("s3://nobodys/absent.fits", [150.1], [2.2])
