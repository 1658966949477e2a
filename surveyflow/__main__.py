"""``python -m surveyflow``: the command line of this interpreter's environment, whatever the path finds first."""

import os
import sys

if not sys.flags.safe_path and sys.path[0] != os.path.dirname(os.path.dirname(__file__)):  # noqa: PTH120 - pathlib imports others
    del sys.path[0]  # the working folder: a user's select.py there would take the place of Python's own

from surveyflow.commands.main import main

main()
