"""The tests' own helpers."""

from __future__ import annotations

import tomllib

import numpy as np
from astropy.io import fits

from surveyflow.values.images import Box
from worlds import edit_workflow, perturb_mosaic


def test_editing_a_workflow_changes_what_is_named_and_nothing_else(mini_survey):
    before = tomllib.loads(mini_survey.workflow.read_text())
    edit_workflow(
        mini_survey.workflow, {"sampling": {"draws": 7}, "quality": None, "fields": {"EGS": {"F814W": {"weight": None}}}}
    )
    after = tomllib.loads(mini_survey.workflow.read_text())
    assert after["sampling"] == before["sampling"] | {"draws": 7}
    assert "quality" not in after
    assert list(after["fields"]["EGS"]["F814W"]) == ["science"]
    assert after["fields"]["COSMOS"] == before["fields"]["COSMOS"]


def test_perturbing_a_mosaic_changes_the_box_only(mini_survey):
    path = mini_survey.science("EGS", "F125W_F160W")
    before = fits.getdata(path, "SCI").copy()
    perturb_mosaic(path, Box(100, 110, 200, 205), 9.5)
    after = fits.getdata(path, "SCI")
    changed = np.argwhere(before != after)
    assert changed.min(axis=0).tolist() == [100, 200]
    assert changed.max(axis=0).tolist() == [109, 204]
    assert np.all(after[100:110, 200:205] == 9.5)
