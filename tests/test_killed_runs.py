"""A run killed anywhere and run again publishes what an undisturbed run publishes: a small sample of scripts/kill_campaign.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CAMPAIGN = Path(__file__).parents[1] / "scripts" / "kill_campaign.py"


@pytest.mark.timeout(300)
def test_killed_runs_lose_nothing():
    command = [sys.executable, CAMPAIGN, "--kills", "4", "--seed", "3", "--profile", "serial"]
    campaign = subprocess.run(command, capture_output=True, text=True, check=False)
    assert campaign.returncode == 0, campaign.stderr
    assert json.loads(campaign.stdout)["driver"] == 4
