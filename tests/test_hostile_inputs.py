"""No hostile input ends in a traceback, hangs, or publishes half a catalog: a small sample of scripts/hostile_campaign.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CAMPAIGN = Path(__file__).parents[1] / "scripts" / "hostile_campaign.py"


@pytest.mark.timeout(900)
def test_hostile_inputs_are_refused_or_survived():
    command = [sys.executable, CAMPAIGN, "--inputs", "50", "--seed", "3"]
    campaign = subprocess.run(command, capture_output=True, text=True, check=False)
    assert campaign.returncode == 0, campaign.stderr + campaign.stdout
    assert campaign.stdout.splitlines()[-1].split()[:2] == ["all", "50"]
