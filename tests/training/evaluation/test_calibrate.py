"""The map to a probability is fitted to records and written into cards; nothing else of a model changes."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from fake_models import NucleusModel
from labelled_stamps import SIZE, contamination_card, labelled, merger_card, write_records
from networks import random_weights
from surveyflow.api.models import calibrate_models
from surveyflow.commands import main as cli
from surveyflow.errors import InputError, RecordError
from surveyflow.models.store import read_card, write_model
from surveyflow.stats.calibration import calibration_error
from surveyflow.tasks.calibration import calibration_of
from surveyflow.tasks.card import Architecture, TrainingFacts
from surveyflow.training.evaluation.calibrate import fit_calibration, pooled_mean
from surveyflow.training.records.record_index import read_index
from surveyflow.values.jobs import SamplingSettings

ARCHITECTURE = Architecture(input_size=SIZE, filters=(2,), kernel_sizes=(3,), dense=(2,))
SAMPLING = SamplingSettings(n_draws=20, seed=7)


@pytest.fixture
def records(tmp_path):
    write_records(tmp_path / "records", labelled(200, seed=1))
    return tmp_path / "records"


def model(folder, scale=1.0, **changes):
    card = merger_card(architecture=ARCHITECTURE, **changes)
    weights = {role: np.float32(scale) * values for role, values in random_weights(ARCHITECTURE).items()}
    write_model(folder, card, weights)
    return folder


def test_the_map_makes_probabilities_of_a_network_s_outputs():
    model = NucleusModel(merger_card())
    map_ = fit_calibration([model], [labelled(600, seed=1), labelled(600, seed=2)], ("ab" * 32,), SAMPLING)
    assert (map_.n_images, map_.records) == (1200, ("ab" * 32,))
    fresh = labelled(1000, seed=3)
    raw = pooled_mean([model], [fresh], SAMPLING)
    assert calibration_error(raw, fresh.is_post_merger) > 0.07
    assert calibration_error(map_.probability(raw), fresh.is_post_merger) < 0.05


def test_too_few_stamps_or_outputs_that_fall_with_the_truth_give_no_map():
    swapped = merger_card(class_names=("star_forming", "post_merger"))
    assert fit_calibration([NucleusModel(merger_card())], [labelled(60, seed=1)], ("ab" * 32,), SAMPLING) is None
    assert fit_calibration([NucleusModel(swapped)], [labelled(600, seed=1)], ("ab" * 32,), SAMPLING) is None


def test_the_map_is_written_into_the_card_and_the_weights_stay(tmp_path, records):
    folder = model(tmp_path / "model")
    before, weights = read_card(folder), (folder / "weights.safetensors").read_bytes()
    (after,) = calibrate_models(folder, records=records, draws=20, seed=7)
    assert after == read_card(folder)
    assert replace(after, calibrations=()) == before
    assert (folder / "weights.safetensors").read_bytes() == weights
    assert after.digest != before.digest
    assert calibration_of([after]).members == (before.weights_digest,)
    assert calibrate_models(folder, records=records, draws=20, seed=7) == [after]


def test_members_of_a_jury_share_a_map_and_keep_their_own(tmp_path, records):
    folders = [model(tmp_path / name, scale) for name, scale in (("a", 1.0), ("b", 1.001))]
    (own,) = calibrate_models(folders[0], records=records, draws=20)
    cards = calibrate_models(folders, records=records, draws=20)
    assert calibration_of(cards).members == tuple(sorted(card.weights_digest for card in cards))
    assert calibration_of([read_card(folders[0])]) == calibration_of([own])
    assert calibration_of([read_card(folders[1])]) is None


def test_what_cannot_be_calibrated_is_refused_and_nothing_is_written(tmp_path, records):
    folder = model(tmp_path / "model")
    card = (folder / "card.toml").read_bytes()
    write_records(tmp_path / "few", labelled(60, seed=2))
    for asked, words in (
        (
            {"folders": folder, "records": tmp_path / "few"},
            "50 images of a class, or the outputs do not rise with the truth",
        ),
        ({"folders": [folder, folder], "records": records}, "a model is named twice"),
        ({"folders": folder, "records": [records, records]}, "which would count twice"),
        ({"folders": folder, "records": records, "draws": 0}, "draws must lie between 1 and 65535"),
    ):
        with pytest.raises(InputError, match=words):
            calibrate_models(**asked)
    with pytest.raises(RecordError, match="holds no index"):
        calibrate_models(folder, records=tmp_path)
    assert (folder / "card.toml").read_bytes() == card


def test_a_model_is_not_calibrated_on_its_training_set(tmp_path, records):
    digest = read_index(records).digest
    facts = TrainingFacts((digest,), ("b" * 12,), 200, 200, 100, 100, "accuracy", 0.8, 0.5, 0.01)
    folder = model(tmp_path / "model", training=facts)
    with pytest.raises(InputError, match=r"was trained on, on which every network is too sure\. Name its validation records"):
        calibrate_models(folder, records=records)


def test_other_tasks_and_other_pixels_are_refused(tmp_path, records):
    six = replace(ARCHITECTURE, n_outputs=6)
    write_model(tmp_path / "six", contamination_card(architecture=six), random_weights(six))
    with pytest.raises(InputError, match="holds a contamination model; expected a merger model"):
        calibrate_models(tmp_path / "six", records=records)
    with pytest.raises(InputError, match=r"images of F814W .* Name records that match the model"):
        calibrate_models(model(tmp_path / "coarse", pixel_scale_arcsec=0.06), records=records)


def test_the_command_says_what_it_wrote(tmp_path, records, monkeypatch, capsys):
    folder = model(tmp_path / "model")
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(
        sys, "argv", ["surveyflow", "models", "calibrate", str(folder), "--records", str(records), "--draws", "20", "--json"]
    )
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    told = json.loads(capsys.readouterr().out)
    assert told["models"] == [read_card(folder).model_id]
    assert told["calibration"]["n_images"] == 200
    assert told["calibration"]["share"] == pytest.approx(np.mean(labelled(200, seed=1).is_post_merger))
