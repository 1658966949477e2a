"""A run killed anywhere and run again publishes what an undisturbed run publishes: a small sample of scripts/kill_campaign.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CAMPAIGN = Path(__file__).parents[1] / "scripts" / "kill_campaign.py"


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("profile", "n_kills"), [("serial", 4), ("local", 2)])
def test_killed_runs_lose_nothing(profile, n_kills):
    command = [sys.executable, CAMPAIGN, "--kills", str(n_kills), "--seed", "3", "--profile", profile]
    campaign = subprocess.run(command, capture_output=True, text=True, check=False)
    assert campaign.returncode == 0, campaign.stderr
    counts = json.loads(campaign.stdout)
    assert counts.get("driver", 0) + counts.get("worker", 0) == n_kills


@pytest.mark.timeout(1800)
def test_runs_that_lose_a_worker_come_through():
    command = [sys.executable, CAMPAIGN, "--kills", "3", "--seed", "3", "--victims", "workers"]
    campaign = subprocess.run(command, capture_output=True, text=True, check=False)
    assert campaign.returncode == 0, campaign.stderr
    assert json.loads(campaign.stdout)["worker"] == 3
