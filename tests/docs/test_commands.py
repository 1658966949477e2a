"""The reference of the commands is what the commands say of themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "commands.md"


def test_reference_of_the_commands_is_not_stale():
    """Make it again with the command that stands here, and add nothing by hand."""
    command = ["-m", "typer", "surveyflow.commands.main", "utils", "docs", "--name", "surveyflow", "--title", "Commands"]
    made = subprocess.check_output([sys.executable, *command], text=True)
    assert PAGE.read_text() == made, f"python {' '.join(command)} > docs/reference/commands.md"
