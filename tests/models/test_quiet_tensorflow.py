"""Only TensorFlow's own notices are kept from standard error while it is imported."""

from __future__ import annotations

import os

import pytest

from surveyflow.models import quiet_tensorflow

NOTICES = b"""WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795892355.916735   23593 port.cc:153] oneDNN custom operations are on. You may see slightly different results.
To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow with the appropriate compiler flags.
"""


def test_everything_else_is_printed_after_all(capfd):
    with quiet_tensorflow._without_notices():
        os.write(2, NOTICES + b"libcudart.so: cannot open\n")
    assert capfd.readouterr().err == "libcudart.so: cannot open\n"


def test_what_was_printed_before_an_error_is_not_lost(monkeypatch, capfd):
    def fail(name):
        os.write(2, b"the reason\n" + NOTICES)
        raise ImportError(name)

    monkeypatch.setattr(quiet_tensorflow, "find_spec", lambda name: name)
    monkeypatch.setattr(quiet_tensorflow, "import_module", fail)
    monkeypatch.delitem(quiet_tensorflow.sys.modules, "tensorflow", raising=False)
    with pytest.raises(ImportError):
        quiet_tensorflow.import_tensorflow()
    assert capfd.readouterr().err == "the reason\n"


def test_who_asks_for_every_message_gets_it(monkeypatch, capfd):
    monkeypatch.setattr(quiet_tensorflow, "find_spec", lambda name: name)
    monkeypatch.setattr(quiet_tensorflow, "import_module", lambda name: os.write(2, NOTICES))
    monkeypatch.delitem(quiet_tensorflow.sys.modules, "tensorflow", raising=False)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    quiet_tensorflow.import_tensorflow()
    assert capfd.readouterr().err == NOTICES.decode()
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    quiet_tensorflow.import_tensorflow()
    assert capfd.readouterr().err == ""
