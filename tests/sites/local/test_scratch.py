import signal
import subprocess
import sys

from surveyflow.sites.local.scratch import scratch_folder

HOLD = """
import sys, time
from pathlib import Path
from surveyflow.sites.local.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "worker.log").write_text("hello")
    print(folder, flush=True)
    time.sleep(600)
"""


def start_owner(parent):
    owner = subprocess.Popen([sys.executable, "-c", HOLD, parent], stdout=subprocess.PIPE, text=True)
    return owner, parent / owner.stdout.readline().strip()


def end(owner, how):
    owner.send_signal(how)
    owner.wait()
    owner.stdout.close()


def test_a_folder_goes_with_its_owner(tmp_path):
    with scratch_folder(tmp_path) as folder:
        (folder / "log").write_text("")
        assert folder.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_folder_of_a_killed_owner_is_removed_by_the_next_and_that_of_a_living_one_is_not(tmp_path):
    killed, left = start_owner(tmp_path)
    end(killed, signal.SIGKILL)
    assert (left / "worker.log").exists()
    living, kept = start_owner(tmp_path)
    try:
        assert not left.exists()
        with scratch_folder(tmp_path):
            assert (kept / "worker.log").read_text() == "hello"
    finally:
        end(living, signal.SIGKILL)


def test_files_and_other_folders_are_left_alone(tmp_path):
    (tmp_path / "surveyflow-notes.txt").write_text("mine")
    (tmp_path / "other").mkdir()
    with scratch_folder(tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"surveyflow-notes.txt", "other"}


def test_two_folders_of_one_process_live_side_by_side(tmp_path):
    with scratch_folder(tmp_path) as one, scratch_folder(tmp_path) as two:
        assert one != two
        assert one.is_dir()
        assert two.is_dir()
