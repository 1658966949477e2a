"""A process killed anywhere and started again makes what an undisturbed one makes: a small sample of scripts/kill_campaign.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CAMPAIGN = Path(__file__).parents[1] / "scripts" / "kill_campaign.py"
SAMPLE = {"runs": 3, "cluster": 1, "workers": 2, "releases": 10, "trainings": 1}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("target", SAMPLE)
def test_whatever_is_killed_nothing_is_lost(target, tmp_path):
    counts = tmp_path / "kills.json"
    command = [sys.executable, CAMPAIGN, "--target", f"{target}={SAMPLE[target]}", "--seed", "3", "--json", counts]
    campaign = subprocess.run(command, capture_output=True, text=True, check=False)
    assert campaign.returncode == 0, campaign.stderr
    found = json.loads(counts.read_text())["targets"][target]
    assert found["landed"] == SAMPLE[target]
    assert f"| {target} | {SAMPLE[target]} |" in campaign.stdout
