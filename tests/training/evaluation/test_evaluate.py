"""One document for everything that was found out, and what is made of it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from fake_models import CornerModel, NucleusModel
from labelled_stamps import contamination_card, labelled, merger_card
from networks import random_weights
from surveyflow.errors import InputError, ModelError
from surveyflow.models.store import read_card, write_model
from surveyflow.reports.evaluation_page import PANELS, write_evaluation_page
from surveyflow.reports.evaluation_tables import TABLES_OF_TASKS, evaluation_facts, evaluation_tables
from surveyflow.reports.tables import NOTHING, as_text
from surveyflow.tasks.card import NuisanceLimits
from surveyflow.tasks.registry import TASKS, entry_of
from surveyflow.training.evaluation.evaluate import JUDGES, EvaluationRecords, evaluate_model, plain
from surveyflow.training.evaluation.stating import state_in_cards
from surveyflow.values.jobs import SamplingSettings

SAMPLING = SamplingSettings(n_draws=20, seed=7)
RECORDS = EvaluationRecords(test=[Path("3")], training=[Path("1")], clean=[Path("clean")], tuning=[Path("2")], other=[Path("4")])
MERGERS, CONTAMINATION = NucleusModel(merger_card()), CornerModel(contamination_card())


def read(folder, truth, at_most):
    stamps = labelled(150, seed=9, neighbours=False) if folder.name == "clean" else labelled(200, seed=int(folder.name))
    return stamps.take(slice(at_most))


@cache
def document(task):
    options = {"baseline_stamps": 150, "command": "surveyflow evaluate train.toml"}
    if task == "merger":
        return evaluate_model(MERGERS, RECORDS, read, SAMPLING, contamination_model=CONTAMINATION, **options)
    return evaluate_model(CONTAMINATION, RECORDS, read, SAMPLING, **options)


@pytest.mark.parametrize("task", ["merger", "contamination"])
def test_the_document_says_what_was_evaluated_and_on_what(task):
    found = json.loads(json.dumps(document(task), allow_nan=False))
    assert found["task"] == task
    assert found["model"]["origin"] == "simulated"
    assert found["sampling"] == {"draws": 20, "seed": 7}
    assert found["records"]["test"] == [{"field": "COSMOS", "digest": "000000000003", "n": 200}]
    assert found["records"]["training"][0]["n"] == 150
    assert found["command"] == "surveyflow evaluate train.toml"


def test_the_loss_on_another_simulation_is_stated():
    merger = document("merger")["merger"]
    found, own = merger["other"]["network"], merger["pooled"]["network"]
    assert found["n"] == 200
    lost = 100 * (own["accuracy"] - found["accuracy"])
    assert any(f"On another simulation it is right in {100 * found['accuracy']:.1f}" in line for line in merger["verdict"])
    assert any(f"{lost:.1f} points less than on its own." in line for line in merger["verdict"])
    [table] = [table for table in evaluation_tables(document("merger")) if table.title == "Accuracy"]
    assert "another simulation" in {row[0] for row in table.rows}


@pytest.mark.parametrize("task", ["merger", "contamination"])
def test_cards_state_the_score_and_how_far_each_nuisance_may_go(task, tmp_path):
    model = {"merger": MERGERS, "contamination": CONTAMINATION}[task]
    original = write_model(tmp_path, replace(model.card, notes="A note."), random_weights(model.card.architecture, seed=1))
    for _ in range(2):
        [stated] = state_in_cards(tmp_path, json.loads(json.dumps(document(task))))
    assert stated == read_card(tmp_path)
    assert stated.digest == original.digest
    assert stated.notes.count("On another simulation") == (task == "merger")
    stresses = document(task)[task]["stresses"]
    assert [(one.name, level) for one in stated.nuisances for level in one.levels] == [
        (stress["name"], stress["level"]) for stress in stresses
    ]
    assert (stated.evaluation.model, stated.evaluation.records) == (document(task)["model"]["id"], ("000000000003",))
    if task == "merger":
        assert stated.evaluation.n_images == 200
        assert [held for one in stated.nuisances for held in one.held] == [stress["passed"] for stress in stresses]
        assert stated.evaluation.other_reached == document(task)[task]["other"]["network"]["accuracy"]


def few(folder, truth, at_most):
    return read(folder, truth, at_most).take(slice(80))


def test_cards_are_narrowed_to_where_the_answer_is_kept_and_a_second_evaluation_finds_the_same(tmp_path):
    wide = replace(MERGERS.card.domain, offset_arcsec=0.39, psf_fwhm_arcsec=(0.08, 0.2))
    model, records = NucleusModel(merger_card(domain=wide)), EvaluationRecords(test=[Path("3")], training=[Path("1")])
    write_model(tmp_path, model.card, random_weights(model.card.architecture, seed=1))
    first = evaluate_model(model, records, few, SAMPLING, baseline_stamps=80, narrow=True)
    [card] = state_in_cards(tmp_path, json.loads(json.dumps(first)))
    [moved] = [one for one in first["merger"]["stresses"] if (one["name"], one["level"]) == ("position", 5)]
    assert moved["accuracy_lost"] > 0.02, "else nothing would have to be narrowed"
    assert moved["flagged"] > 0.8
    assert moved["passed"]
    assert 0.02 < card.domain.offset_arcsec < 0.16
    assert card.domain.sky_rms == wide.sky_rms
    stated = {one.name: (one.quantity, one.limits) for one in card.nuisances}
    assert stated["position"] == ("offset_arcsec", (0.0, card.domain.offset_arcsec))
    assert stated["rotation"] == (None, None)
    again = evaluate_model(NucleusModel(card), records, few, SAMPLING, baseline_stamps=80)
    assert again["merger"]["limits"] == first["merger"]["limits"]
    assert again["merger"]["stresses"] == first["merger"]["stresses"]


def test_a_nuisance_of_a_card_has_one_number_for_each_level():
    with pytest.raises(ValueError, match="one entry for each level"):
        NuisanceLimits("position", levels=(1.0, 2.0), lost=(0.0,), flagged=(1.0,), held=(True,))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"levels": (float("nan"),)}, "must be finite"),
        ({"quantity": "sky_rms"}, "stated together"),
        ({"quantity": "sky_rms", "limits": (1.0, 0.0)}, r"must be a range \(low, high\)"),
        ({"quantity": "sky_rms", "limits": (0.0, float("nan"))}, r"must be a range \(low, high\)"),
    ],
)
def test_a_nuisance_of_a_card_has_levels_and_limits_that_can_be(changes, message):
    with pytest.raises(ValueError, match=message):
        NuisanceLimits(**{"name": "depth", "levels": (1.0,), "lost": (0.0,), "flagged": (1.0,), "held": (True,)} | changes)


def test_a_score_that_does_not_exist_is_a_dash(tmp_path):
    def of_one_coverage(folder, truth, at_most):
        stamps = few(folder, truth, at_most)
        return replace(stamps, coverage_pct=np.where(stamps.coverage_pct > 0, 50.0, 0.0), flux_pp=np.zeros(len(stamps)))

    records = EvaluationRecords(test=[Path("3")], training=[Path("1")], tuning=[Path("2")])
    found = json.loads(json.dumps(evaluate_model(CONTAMINATION, records, of_one_coverage, SAMPLING, baseline_stamps=80)))
    assert found["contamination"]["scores"]["regressions"]["flux_pp"]["r2"] is None
    assert evaluation_facts(found)["R\u00b2 of flux_pp"] == NOTHING
    write_evaluation_page(found, tmp_path / "page.html")


def test_stamps_without_data_judge_no_model():
    def blank(folder, truth, at_most):
        stamps = read(folder, truth, at_most)
        return replace(stamps, pixels=np.where(np.arange(len(stamps))[:, None, None] < 3, 0, stamps.pixels))

    with pytest.raises(InputError, match="3 of 200 stamps of records 000000000003 hold no data"):
        evaluate_model(MERGERS, RECORDS, blank, SAMPLING, baseline_stamps=150)


def test_stamps_of_unknown_contamination_have_no_cuts(tmp_path):
    def unknown(folder, truth, at_most):
        stamps = few(folder, truth, at_most)
        return replace(stamps, coverage_pct=np.full(len(stamps), np.nan), flux_pp=np.full(len(stamps), np.nan))

    records = EvaluationRecords(test=[Path("3")], training=[Path("1")])
    found = json.loads(json.dumps(evaluate_model(MERGERS, records, unknown, SAMPLING, baseline_stamps=80)))
    assert found["merger"]["cuts"] == []
    write_evaluation_page(found, tmp_path / "page.html")
    assert "A cut in contamination" not in (tmp_path / "page.html").read_text()
    assert all(as_text(table) for table in evaluation_tables(found))


def test_cutting_on_predicted_contamination_keeps_the_same_shares_as_on_the_true_one():
    cuts = document("merger")["merger"]["cuts"]
    kept = {by: [cut["network"]["n"] for cut in cuts if cut["by"] == by] for by in ("true", "predicted")}
    assert kept["true"] == kept["predicted"]


@pytest.mark.parametrize("task", ["merger", "contamination"])
def test_tables_have_a_text_in_every_cell(task):
    tables = evaluation_tables(document(task))
    assert len(tables) >= 6
    for table in tables:
        assert all(len(row) == len(table.columns) and all(row) for row in table.rows)
        assert "None" not in as_text(table)
        assert "nan" not in as_text(table)


@pytest.mark.parametrize("task", ["merger", "contamination"])
def test_the_page_needs_nothing_else_and_every_figure_is_signed(task, tmp_path):
    page = tmp_path / "evaluation.html"
    write_evaluation_page(document(task), page)
    text = page.read_text()
    assert not re.search(r'(src|href)="(?!#|data:)', text)
    assert text.count("weights: simulated") == text.count("<svg") >= 2
    assert "trained on surveyflow&#39;s own simulations" in text
    assert "surveyflow evaluate train.toml" in text


def test_the_same_document_makes_the_same_page(tmp_path):
    for name in ("a", "b"):
        write_evaluation_page(document("merger"), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_records_of_another_instrument_or_size_are_refused():
    other = NucleusModel(merger_card(key=type(MERGERS.card.key)("merger", "COSMOS", "F125W_F160W")))
    with pytest.raises(InputError, match="is of F125W_F160W, but records are of F814W"):
        evaluate_model(other, RECORDS, read, SAMPLING, baseline_stamps=10)


@pytest.mark.parametrize("model", [MERGERS, CONTAMINATION], ids=["merger", "contamination"])
@pytest.mark.parametrize("chosen", [lambda truth: truth, lambda truth: ~truth, lambda truth: np.arange(len(truth)) < 12])
def test_stamps_of_one_class_or_few_stamps_judge_no_model(model, chosen):
    def few(folder, truth, at_most):
        stamps = read(folder, truth, at_most)
        of_class = stamps.is_post_merger if model is MERGERS else stamps.coverage_pct > 0
        return stamps.take(chosen(of_class)) if folder.name == "3" else stamps

    with pytest.raises(InputError, match=r"^3: \d+ stamps are of .*, and \d+ are not, expected 10 or more of each"):
        evaluate_model(model, RECORDS, few, SAMPLING, baseline_stamps=150)


def test_what_is_not_finite_becomes_null():
    assert plain({"a": np.array([1.0, np.nan]), "b": (np.float32(0.5), float("inf"))}) == {"a": [1.0, None], "b": [0.5, None]}


@pytest.mark.parametrize("entries", [JUDGES, PANELS, TABLES_OF_TASKS], ids=["judges", "panels", "tables"])
def test_every_task_can_be_evaluated(entries):
    assert set(entries) == set(TASKS)


@pytest.mark.parametrize(
    ("attempt", "what"),
    [
        (lambda document, _: evaluation_tables(document), "tabulated"),
        (lambda document, _: evaluation_facts(document), "tabulated"),
        (lambda document, folder: write_evaluation_page(document, folder / "page.html"), "tabulated"),
        (lambda document, _: entry_of(document["task"], PANELS, "drawn"), "drawn"),
    ],
    ids=["tables", "facts", "page", "panels"],
)
def test_a_task_that_cannot_be_evaluated_is_named(tmp_path, attempt, what):
    unknown = document("merger") | {"task": "bars"}
    with pytest.raises(ModelError, match=f"models of the task 'bars' cannot be {what}; expected .* merger, contamination"):
        attempt(unknown, tmp_path)
