import errno
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from catalog_rows import make_rows
from surveyflow.errors import OutputError
from surveyflow.files.durable import temporary_path
from surveyflow.output.units import ReceiptsOnDisk, read_receipt, read_unit, sweep, unit_path, write_unit
from surveyflow.values.jobs import Receipt

KEY = "ab" * 32
ROWS = make_rows(60)


def write(root, rows=ROWS, **change):
    facts = {"name": "EGS/F814W/y000x000", "parts": {"seed": "7"}, "seconds": 1.5, "worker": "host:1"} | change
    return write_unit(root, KEY, facts["name"], facts["parts"], rows, seconds=facts["seconds"], worker=facts["worker"])


def test_a_unit_is_read_back_as_it_was_written(tmp_path):
    receipt = write(tmp_path)
    assert read_receipt(tmp_path, KEY, verify=True) == receipt
    assert read_unit(tmp_path, KEY).equals(ROWS)
    assert isinstance(receipt, Receipt)
    assert receipt.n_rows == 60
    assert sum(receipt.status_counts.values()) == 60
    assert receipt.status_counts["ok"] == ROWS["status"].to_pylist().count("ok")


def test_the_file_lies_below_the_first_two_digits_of_its_key(tmp_path):
    write(tmp_path)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")) == [
        f"units/ab/{KEY}.json",
        f"units/ab/{KEY}.parquet",
    ]


def test_a_reader_may_choose_columns(tmp_path):
    write(tmp_path)
    assert read_unit(tmp_path, KEY, ["_healpix_29"]).column_names == ["_healpix_29"]


def test_receipts_by_name_are_those_on_disk_whenever_they_are_asked_for(tmp_path):
    found = ReceiptsOnDisk(tmp_path, {"here": KEY, "lost": "cd" * 32})
    assert found.get("here") is None
    receipt = write(tmp_path)
    assert (found["here"], found.get("lost"), found.get("other")) == (receipt, None, None)
    assert (list(found), len(found)) == (["here", "lost"], 2)


def test_without_a_receipt_the_unit_is_not_done(tmp_path):
    assert read_receipt(tmp_path, KEY) is None
    write(tmp_path)
    unit_path(tmp_path, KEY).with_suffix(".json").unlink()
    assert read_receipt(tmp_path, KEY) is None


def test_a_second_writer_changes_nothing(tmp_path):
    first = write(tmp_path)
    before = unit_path(tmp_path, KEY).stat()
    assert write(tmp_path, make_rows(60, seed=5), worker="host:2") == first
    assert unit_path(tmp_path, KEY).stat() == before


def test_a_file_left_without_receipt_gets_one(tmp_path):
    first = write(tmp_path)
    unit_path(tmp_path, KEY).with_suffix(".json").unlink()
    inode = unit_path(tmp_path, KEY).stat().st_ino
    assert write(tmp_path) == first
    assert unit_path(tmp_path, KEY).stat().st_ino == inode


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-10])


def make_huge(path):
    os.truncate(path, 2**40)  # would take an hour to read


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut_short, make_huge, Path.unlink])
def test_a_damaged_file_is_not_done_and_is_made_again(tmp_path, damage):
    receipt = write(tmp_path)
    damage(unit_path(tmp_path, KEY))
    assert read_receipt(tmp_path, KEY) is None
    assert write(tmp_path) == receipt
    assert read_unit(tmp_path, KEY).equals(ROWS)


def test_a_flipped_bit_is_found_by_its_digest_and_repaired(tmp_path):
    receipt = write(tmp_path)
    flip_a_byte(unit_path(tmp_path, KEY))
    assert read_receipt(tmp_path, KEY) == receipt
    assert read_receipt(tmp_path, KEY, verify=True) is None
    assert write(tmp_path) == receipt
    assert read_receipt(tmp_path, KEY, verify=True) == receipt


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"key": 1}', b"\xff\xfe"])
def test_a_damaged_receipt_is_not_done_and_is_made_again(tmp_path, content):
    receipt = write(tmp_path)
    unit_path(tmp_path, KEY).with_suffix(".json").write_bytes(content)
    assert read_receipt(tmp_path, KEY) is None
    assert write(tmp_path) == receipt
    assert read_receipt(tmp_path, KEY, verify=True) == receipt


def test_a_receipt_is_json_that_people_can_read(tmp_path):
    write(tmp_path)
    entry = json.loads(unit_path(tmp_path, KEY).with_suffix(".json").read_text())
    assert entry["name"] == "EGS/F814W/y000x000"
    assert entry["size_bytes"] == unit_path(tmp_path, KEY).stat().st_size


def test_a_full_disk_stops_the_writer_with_an_explanation_and_no_receipt(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OutputError, match="No space left"):
        write(tmp_path)
    assert read_receipt(tmp_path, KEY) is None


def test_rows_that_break_the_rules_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="schema"):
        write(tmp_path, ROWS.drop_columns(["seed"]))
    assert not (tmp_path / "units").exists()


def test_only_old_temporary_files_are_swept(tmp_path):
    write(tmp_path)
    folder = unit_path(tmp_path, KEY).parent
    old, young, old_lock = folder / ".x.parquet.host.1.aa.tmp", folder / ".y.parquet.host.2.bb.tmp", tmp_path / ".run.lock.1.tmp"
    for path in (old, young, old_lock):
        path.write_text("")
    for path in (old, old_lock):
        os.utime(path, (time.time() - 5000,) * 2)
    assert sweep(tmp_path, older_than_s=3600) == 2
    assert not old_lock.exists()
    assert sorted(path.name for path in folder.iterdir()) == [young.name, f"{KEY}.json", f"{KEY}.parquet"]


def test_temporary_file_of_a_process_that_has_ended_is_swept_at_once(tmp_path):
    write(tmp_path)
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True)
    mine = temporary_path(unit_path(tmp_path, KEY))
    dead = mine.with_name(mine.name.replace(f".{os.getpid()}.", f".{done.stdout.strip()}."))
    elsewhere = mine.with_name(mine.name.replace(socket.gethostname(), "another-host"))
    for path in (mine, dead, elsewhere):
        path.write_text("")
    assert sweep(tmp_path) == 1
    assert mine.exists()
    assert elsewhere.exists()
    assert not dead.exists()


def test_sweeping_an_output_folder_without_units_does_nothing(tmp_path):
    assert sweep(tmp_path) == 0


def test_a_writer_killed_at_any_step_leaves_no_partial_file_and_no_false_receipt(tmp_path):
    script = Path(__file__).with_name("killed_writer.py")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(script.parents[1]), str(script.parents[2])])}
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 15, "the writer was killed at fewer places than it has steps"
