"""Processes that surveyflow starts get an environment of their own, and leave the one of this process as it was."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from surveyflow.errors import ClusterError
from surveyflow.execution import child_processes
from surveyflow.execution.child_processes import check_guard, child_environment


def test_processes_import_nothing_from_the_working_folder_of_a_notebook(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    (tmp_path / "select.py").write_text("raise RuntimeError('this is not the module of Python')")
    before, path = dict(os.environ), list(sys.path)
    with child_environment(tmp_path / "unguarded", {"OMP_NUM_THREADS": "1"}):
        assert sys.path == path[1:]
        assert os.environ["OMP_NUM_THREADS"] == "1"
        subprocess.run([sys.executable, "-c", "import select"], check=True)
    assert (dict(os.environ), sys.path) == (before, path)


def test_a_checkout_in_which_python_was_started_stays_on_the_path(monkeypatch, tmp_path):
    monkeypatch.chdir(child_processes._HOME)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    with child_environment(tmp_path / "unguarded", {}):
        assert sys.path[0] == ""


def test_a_script_without_a_guard_is_told_from_other_failures(tmp_path):
    check_guard(tmp_path / "unguarded")
    (tmp_path / "unguarded").touch()
    with pytest.raises(ClusterError, match=r"would run again from its first line .* under `if __name__ == \"__main__\":`\.$"):
        check_guard(tmp_path / "unguarded")
