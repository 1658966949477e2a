"""The import of TensorFlow without the notices that it prints on standard error, which no setting of its own suppresses.

TensorFlow's core reports its processor's features before its logging begins, so ``TF_CPP_MIN_LOG_LEVEL`` comes too late for them.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec

_NOTICE = re.compile(
    rb"All log messages before absl::InitializeLog\(\)|oneDNN custom operations are on|This TensorFlow binary is optimized|"
    rb"^To enable the following instructions:"
)
_STDERR = 2


def import_tensorflow() -> None:
    """Import TensorFlow, if it is installed and not yet imported; whatever else is printed meanwhile is printed afterwards.

    Nothing is suppressed if ``TF_CPP_MIN_LOG_LEVEL`` is 0, which asks for every message.
    """
    if "tensorflow" in sys.modules or find_spec("tensorflow") is None:
        return
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        import_module("tensorflow")
        return
    with _without_notices():
        import_module("tensorflow")


@contextmanager
def _without_notices() -> Iterator[None]:
    sys.stderr.flush()
    with tempfile.TemporaryFile() as printed:
        kept = os.dup(_STDERR)
        os.dup2(printed.fileno(), _STDERR)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, _STDERR)
            os.close(kept)
            printed.seek(0)
            os.write(_STDERR, b"".join(line for line in printed if not _NOTICE.search(line)))
