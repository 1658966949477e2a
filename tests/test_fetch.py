"""Fetching a known release from a server on this machine that has files of its names."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
from pathlib import Path

import pytest
import tomlkit
from astropy.table import Table
from typer.testing import CliRunner

import surveyflow
from servers import Answering, FileServer, cut_short, overloaded, serving
from surveyflow.commands.main import app
from surveyflow.errors import InputError, OutputError
from surveyflow.files import transfers
from surveyflow.runs.fetch import MANIFEST
from surveyflow.settings.known_releases import FOLDER, known_release
from surveyflow.tasks.card import Architecture
from worlds import write_untrained_models

FILES = {"r1/egs_sci.fits": b"s" * 300_000, "r1/egs_wht.fits": b"w" * 200_000, "lists/egs_cat.txt": b"1 2 3\n"}


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(transfers, "FIRST_WAIT_S", 0.001)
    for path, content in FILES.items():
        file = tmp_path / "archive" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    with serving(tmp_path / "archive") as served:
        yield served


def described(server: FileServer, folder: Path, **of_first: object) -> str:
    kinds = ("science", "weight", "photometry")
    files = [{"path": path, "field": "EGS", "kind": kind} for path, kind in zip(FILES, kinds, strict=True)]
    document = {"version": 1, "title": "Test", "base": server.address, "addresses_tried": True}
    document |= {"licence": "none", "citation": "nobody", "notes": "none", "files": [files[0] | of_first, *files[1:]]}
    path = folder / "test.toml"
    path.write_text(tomlkit.dumps(document))
    return str(path)


def status(result) -> dict[str, str]:
    return {file.name: file.status.value for file in result.files}


def all_are(word: str) -> dict[str, str]:
    return {Path(path).name: word for path in FILES}


@pytest.mark.parametrize("fault", [None, overloaded(2), cut_short(3)], ids=["none", "503", "cut short"])
def test_files_come_whole_are_recorded_and_kept(server, tmp_path, fault):
    server.fault = fault
    release, folder = described(server, tmp_path), tmp_path / "files"
    assert status(surveyflow.fetch(release, folder)) == all_are("fetched")
    assert {path: (folder / Path(path).name).read_bytes() for path in FILES} == FILES
    assert sorted(path.name for path in folder.iterdir()) == sorted([".fetch.lock", MANIFEST, *all_are("")])
    again = surveyflow.fetch(release, folder)
    assert (status(again), again.exit_code) == (all_are("kept"), 0)
    assert status(surveyflow.fetch(release, folder, verify=True)) == all_are("kept")


def test_a_stopped_fetch_goes_on_where_it_stopped(server, tmp_path):
    release, folder = described(server, tmp_path), tmp_path / "files"
    server.fault = cut_short(10**6)
    assert surveyflow.fetch(release, folder).exit_code == 3
    left = (folder / ".egs_sci.fits.part").stat().st_size
    assert 0 < left < 300_000
    server.fault = None
    server.forget()
    assert status(surveyflow.fetch(release, folder)) == all_are("fetched")
    assert ("/r1/egs_sci.fits", f"bytes={left}-") in server.asked
    assert (folder / "egs_sci.fits").read_bytes() == FILES["r1/egs_sci.fits"]


def test_a_file_that_changes_between_two_parts_is_fetched_from_its_beginning(server, tmp_path):
    release, folder = described(server, tmp_path), tmp_path / "files"
    server.fault = cut_short(10**6)
    surveyflow.fetch(release, folder)
    (server.folder / "r1/egs_sci.fits").write_bytes(b"new" * 100_000)
    server.fault = None
    surveyflow.fetch(release, folder)
    assert (folder / "egs_sci.fits").read_bytes() == b"new" * 100_000


def test_what_changed_at_the_source_or_here_is_reported_and_never_replaced(server, tmp_path):
    release, folder = described(server, tmp_path), tmp_path / "files"
    surveyflow.fetch(release, folder)
    (server.folder / "r1/egs_sci.fits").write_bytes(b"new")
    (folder / "egs_wht.fits").write_bytes(b"x" * 200_000)
    (folder / "egs_cat.txt").unlink()
    verified = surveyflow.fetch(release, folder, verify=True)
    assert status(verified) == {"egs_sci.fits": "kept", "egs_wht.fits": "damaged", "egs_cat.txt": "missing"}
    result = surveyflow.fetch(release, folder)
    assert status(result) == {"egs_sci.fits": "changed", "egs_wht.fits": "kept", "egs_cat.txt": "fetched"}
    assert result.exit_code == 3
    assert (folder / "egs_sci.fits").read_bytes() == FILES["r1/egs_sci.fits"]


def test_a_file_of_unknown_origin_is_left_alone(server, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "egs_sci.fits").write_bytes(b"mine")
    result = surveyflow.fetch(described(server, tmp_path), folder)
    assert status(result)["egs_sci.fits"] == "failed"
    assert (folder / "egs_sci.fits").read_bytes() == b"mine"


@pytest.mark.parametrize("of_first", [{"sha256": "0" * 64}, {"size": 7}], ids=["checksum", "size"])
def test_what_differs_from_what_is_published_is_refused(server, tmp_path, of_first):
    result = surveyflow.fetch(described(server, tmp_path, **of_first), tmp_path / "files")
    assert "published" in result.files[0].message
    assert not (tmp_path / "files" / "egs_sci.fits").exists()


def test_a_web_page_in_the_place_of_a_file_is_refused(server, tmp_path):
    (server.folder / "r1/egs_sci.fits").write_bytes(b"<!DOCTYPE html><p>Please log in")
    assert "a web page came" in surveyflow.fetch(described(server, tmp_path), tmp_path / "files").files[0].message


def test_a_server_that_sends_more_than_it_states_is_refused(server, tmp_path):
    def longer(request: Answering, number: int) -> bool:
        if number == 0:
            return False
        request.send(200, b"s" * 300_000, {"Content-Length": "300009", "ETag": '"a"'}, sent=b"s" * 300_009)
        return True

    server.fault = longer
    assert surveyflow.fetch(described(server, tmp_path), tmp_path / "files").exit_code == 3
    assert not (tmp_path / "files" / "egs_sci.fits").exists()


def test_two_fetches_into_one_folder_are_refused(server, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    with (folder / ".fetch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(OutputError, match="another process is fetching"):
            surveyflow.fetch(described(server, tmp_path), folder)


@pytest.mark.parametrize(
    ("change", "told"),
    [({"path": "../../etc/passwd"}, "below `base`"), ({"path": "a/.hidden"}, "below `base`"), ({"sha256": "x"}, "sha256")],
)
def test_a_description_cannot_write_elsewhere(server, tmp_path, change, told):
    with pytest.raises(InputError, match=told):
        surveyflow.fetch(described(server, tmp_path, **change), tmp_path / "files")


def test_two_files_of_one_name_which_would_lie_at_one_place_are_refused(server, tmp_path):
    """Before, both were written at a time, and what came was a mixture."""
    second = Path(list(FILES)[1]).name
    with pytest.raises(InputError, match=f"several files with the name {re.escape(second)}"):
        surveyflow.fetch(described(server, tmp_path, path=f"elsewhere/{second}"), tmp_path / "files")


def test_unknown_names_are_refused_with_the_known_ones(tmp_path):
    with pytest.raises(InputError, match="candels-v1"):
        surveyflow.fetch("candles", tmp_path)
    with pytest.raises(InputError, match="COSMOS, EGS, GOODS_N, GOODS_S, UDS"):
        surveyflow.fetch("candels-v1", tmp_path, fields=["XMM"], verify=True)
    with pytest.raises(InputError, match="--from"):
        surveyflow.fetch("candels-v1", tmp_path, mirror="/somewhere")


@pytest.mark.parametrize("name", [path.stem for path in FOLDER.glob("*.toml")])
def test_a_packaged_release_names_every_file_once_and_its_images_in_pairs(name):
    release = known_release(name)
    names = [file.name for file in release.files]
    assert len(set(names)) == len(names)
    for field in {file.field for file in release.files}:
        kinds = [(file.kind, file.instrument) for file in release.of_fields((field,))]
        pairs = [("science", each) for kind, each in kinds if kind == "weight"]
        assert sorted(map(str, pairs)) == sorted(str(each) for each in kinds if each[0] == "science")


def test_candels_from_a_mirror_runs_from_fetch_by_init_to_catalog_on_the_command_line(survey_folder, server, tmp_path):
    served = server.folder / "mirror"
    served.mkdir()
    for file in known_release("candels-v1").of_fields(("COSMOS",)):
        if file.instrument:
            images = {"science": survey_folder.science, "weight": survey_folder.weight}
            shutil.copy(images[file.kind]("COSMOS", file.instrument), served / file.name)
    sources = Table.read(survey_folder.source_list("COSMOS"))
    lists = {"photometry": sources["ID", "RA", "DEC"], "redshifts": sources["ID", "zbest"]}
    for file in known_release("candels-v1").of_fields(("COSMOS",)):
        if file.kind in lists:
            lists[file.kind].write(served / file.name)
    write_untrained_models(tmp_path / "models", ("COSMOS",), Architecture(filters=(1,), kernel_sizes=(3,), dense=(2,)))
    folder, options = tmp_path / "files", ["--from", f"{server.address}/mirror", "--field", "COSMOS"]
    assert invoked("fetch", "candels-v1", str(folder), *options)["counts"] == {"fetched": 6}
    command(["init", str(folder), "--models", str(tmp_path / "models")])
    workflow = folder / "workflow.toml"
    workflow.write_text(workflow.read_text().replace("\n# seed = \n", "\nseed = 7\n"))
    assert invoked("validate", str(workflow))["sources"] == {"COSMOS": len(sources)}
    ran = invoked("run", str(workflow), "--profile", "serial", "--engine", "fft")
    assert ran["rows"] == len(sources)
    assert ran["status"]["ok"] > 20


def invoked(*arguments: str) -> dict:
    return json.loads(command([*arguments, "--json"]).splitlines()[-1])


def command(arguments: list[str]) -> str:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout
