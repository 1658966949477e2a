"""Every matrix that an evaluation writes counts exactly the stamps of its selection."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from fake_models import CornerModel, NucleusModel
from labelled_stamps import contamination_card, labelled, merger_card
from surveyflow.merger_fractions.matrices import read_matrices
from surveyflow.settings.matrices import matrices_to_toml
from surveyflow.training.evaluation.evaluate import EvaluationRecords, _written, evaluate_model
from surveyflow.training.evaluation.matrices import LIMITS, selected_tests
from surveyflow.training.evaluation.predict_contamination import predict_contamination
from surveyflow.training.evaluation.predict_mergers import predict_mergers
from surveyflow.values.jobs import SamplingSettings

SAMPLING = SamplingSettings(n_draws=20, seed=7)
MERGERS, CONTAMINATION = NucleusModel(merger_card()), CornerModel(contamination_card())
COSMOS, EGS = labelled(300, seed=3), labelled(200, seed=4, field="EGS")


@cache
def found():
    return selected_tests(MERGERS, [COSMOS, EGS], SAMPLING, CONTAMINATION)


def the(rule="mean_output", **selection):
    wanted = {"field": "COSMOS", "magnitude": None, "excluded_flags": (), "limits": {}} | selection
    (one,) = [test for test in found()[rule].tests if all(getattr(test, name) == value for name, value in wanted.items())]
    return one


def counted(rows, called):
    truth = COSMOS.is_post_merger
    return [[int((rows & kind & side).sum()) for side in (called, ~called)] for kind in (truth, ~truth)]


@pytest.mark.parametrize("rule", ["mean_output", "majority_vote"])
def test_matrices_count_the_stamps_of_their_selection(rule):
    said = predict_mergers(MERGERS, COSMOS, SAMPLING)
    called = said.p_pm_mean > said.p_sf_mean if rule == "mean_output" else said.f_pm > 0.5
    near = predict_contamination(CONTAMINATION, [COSMOS], SAMPLING)["p_contaminated_mean"] <= 0.5
    bright = (COSMOS.magnitude_ab >= 21) & (COSMOS.magnitude_ab < 22)
    everything = np.ones(300, bool)
    assert the(rule).counts.counts.tolist() == counted(everything, called)
    assert the(rule, magnitude=(21.0, 22.0)).counts.counts.tolist() == counted(bright, called)
    cut = {"limits": {"p_contaminated_mean": 0.5}}
    assert the(rule, **cut).counts.counts.tolist() == counted(near, called)
    assert near.sum() < 300
    inside = {"excluded_flags": ("OUT_OF_DOMAIN",)}
    assert the(rule, magnitude=(21.0, 22.0), **cut, **inside).counts.counts.tolist() == counted(
        near & bright & ~said.out_of_domain, called
    )


def test_each_field_flag_cut_and_magnitude_is_there():
    selections = {
        (one.field, one.magnitude, one.excluded_flags, tuple(one.limits.items())) for one in found()["mean_output"].tests
    }
    n_cuts = 1 + sum(map(len, LIMITS.values()))
    assert len(selections) == len(found()["mean_output"].tests)
    assert 2 * 2 * n_cuts < len(selections) <= 2 * 2 * n_cuts * (1 + 4)


def test_the_model_the_cut_s_model_and_the_centring_are_stated():
    cut = the(limits={"coverage_pct_mean": 10.0})
    assert (cut.model_id, cut.contamination_model_id) == (MERGERS.card.model_id, CONTAMINATION.card.model_id)
    assert the().contamination_model_id is None
    assert 0 < the().offset_arcsec < 0.4


def test_without_a_contamination_model_there_are_no_cuts():
    alone = selected_tests(MERGERS, [COSMOS], SAMPLING, None)["mean_output"].tests
    assert all(not one.limits for one in alone)


def test_files_are_written_beside_the_numbers_one_for_each_rule(tmp_path):
    document = evaluate_model(MERGERS, EvaluationRecords([Path("3")], [Path("1")]), read, SAMPLING, baseline_stamps=100)
    evaluated = _written(document, tmp_path, found())
    assert [file.name for file in evaluated.matrices] == ["matrices-mean_output.toml", "matrices-majority_vote.toml"]
    assert [read_matrices(file).class_rule for file in evaluated.matrices] == ["mean_output", "majority_vote"]


def read(folder, truth, at_most):
    return labelled(120, seed=int(folder.name)).take(slice(at_most))


def test_the_file_is_read_by_fractions(tmp_path):
    text = matrices_to_toml(found()["mean_output"])
    (tmp_path / "matrices.toml").write_text(text)
    read = read_matrices(tmp_path / "matrices.toml")
    assert matrices_to_toml(read) == text
    assert (read.weights_origin, read.class_rule) == ("simulated", "mean_output")
    assert read.source.startswith("500 stamps with known truth (records 000000000003, 000000000004)")
