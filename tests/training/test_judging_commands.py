"""From records to a model, its judgement and better settings, by the commands."""

from __future__ import annotations

import json
import re
import shutil
import tomllib

import numpy as np
import pytest
from typer.testing import CliRunner

from labelled_stamps import labelled, write_records
from surveyflow.commands import main as cli
from surveyflow.errors import InputError
from surveyflow.models.store import ModelStore, write_model
from surveyflow.reports.evaluation_tables import evaluation_tables
from surveyflow.settings.training import load_training
from surveyflow.training.evaluation.evaluate import evaluate
from surveyflow.training.fitting.fit import fit
from surveyflow.training.fitting.tuning import TrialSettings, with_settings
from surveyflow.training.records.reading import read_stamps
from surveyflow.training.records.record_index import read_index

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FILE = """
version = 1
[model]
task = "{task}"
field = "COSMOS"
instrument = "F814W"
origin = "simulated"
citation = "none"
[data]
train = "records/train"
validation = "records/validation"
[images]
stretch = "asinh_noise"
softening = 1.0
[architecture]
input_size = 48
filters = [4]
kernel_sizes = [5]
dense = [8]
dropout = 0.2
[optimisation]
epochs = 2
batch_size = 32
seed = 1
[output]
store = "models"
run = "runs/{task}"
[evaluation]
test = "records/test"
clean = "records/clean"
draws = 20
baseline_stamps = 150
report = "evaluations/{task}"
{more}
[tuning]
folder = "tuning/{task}"
trials = 2
epochs = 1
seed = 2
[tuning.space]
filters = [[2], [4]]
kernel_sizes = [[3], [5]]
dense = [[4], [8]]
"""


def run_command(*arguments):
    return CliRunner().invoke(cli.app, arguments, catch_exceptions=False)


@pytest.fixture(scope="module")
def folder(shared_worlds, tmp_path_factory):
    """A copy of records, and of a contamination and a merger model that were trained on them, to write evaluations beside."""
    trained = shared_worlds.get("judging", train_both)
    return shutil.copytree(trained, tmp_path_factory.mktemp("judging"), dirs_exist_ok=True)


def train_both(folder):
    """Write records, and train a contamination and a merger model on them."""
    sets = {"train": labelled(160, seed=1), "validation": labelled(80, seed=2), "test": labelled(120, seed=3)}
    for name, stamps in (sets | {"clean": labelled(80, seed=4, neighbours=False)}).items():
        write_records(folder / "records" / name, stamps)
    more = 'contamination_model = "models/contamination/F814W/COSMOS"'
    (folder / "contamination.toml").write_text(FILE.format(task="contamination", more=""))
    (folder / "merger.toml").write_text(FILE.format(task="merger", more=more))
    for task in ("contamination", "merger"):
        _write_model(load_training(folder / f"{task}.toml"))
    return folder


def _write_model(training):
    """Train a model and write it, however little it has learned."""
    trained = fit(training)
    write_model(ModelStore(training.output.store).home(training.model.key), trained.card, trained.weights)


def test_stamps_come_back_from_records(folder):
    stamps, written = read_stamps(folder / "records/test", "sky_sigma"), labelled(120, seed=3)
    np.testing.assert_array_equal(stamps.pixels, written.pixels)
    np.testing.assert_array_equal(stamps.is_post_merger, written.is_post_merger)
    np.testing.assert_allclose(stamps.flux_pp, written.flux_pp, rtol=1e-6)
    assert stamps.digest == read_index(folder / "records/test").digest
    assert len(read_stamps(folder / "records/test", "self_sigma", at_most=50)) == 50


@pytest.mark.parametrize("task", ["merger", "contamination"])
def test_evaluate_prints_tables_and_writes_numbers_and_a_page(folder, task):
    result = run_command("evaluate", str(folder / f"{task}.toml"))
    assert result.exit_code == 0, result.stderr
    assert "weights simulated" in result.stdout
    found = json.loads((folder / f"evaluations/{task}/evaluation.json").read_text())
    assert found["command"].startswith("surveyflow evaluate")
    assert found["records"]["test"][0]["n"] == 120
    assert (folder / f"evaluations/{task}/evaluation.html").read_text().startswith("<!DOCTYPE html>")
    matrices = {file.name for file in (folder / f"evaluations/{task}").glob("matrices-*.toml")}
    assert task == "merger" or not matrices
    assert matrices == set(re.findall(r"^matrices  .*/(.*)$", result.stdout, flags=re.MULTILINE))


def test_the_effect_of_a_predicted_cut_is_reported(folder):
    document = evaluate(load_training(folder / "merger.toml"), engine="keras").document
    assert {cut["by"] for cut in document["merger"]["cuts"]} == {"true", "predicted"}
    assert document["contamination_model"]["id"].startswith("contamination/COSMOS/F814W@")


def test_tune_writes_a_training_file_that_trains(folder):
    result = run_command("tune", str(folder / "merger.toml"), "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    best = told["trials"][told["best"]]
    written = load_training(told["file"])
    assert written.network.filters == tuple(best["settings"]["filters"])
    assert written.optimisation.learning_rate == best["settings"]["learning_rate"]
    assert written.optimisation.epochs == 2
    assert written.output.run == folder / "tuning/merger/best-run"
    assert "tuning" not in tomllib.loads((folder / "tuning/merger/best.toml").read_text())


def test_a_contamination_model_must_be_one(folder):
    training = load_training(folder / "merger.toml")
    changed = training.evaluation.model_copy(update={"contamination_model": folder / "models/merger/F814W/COSMOS"})
    with pytest.raises(InputError, match=r"contamination_model is merger/COSMOS/F814W, expected a contamination model of F814W"):
        evaluate(training.model_copy(update={"evaluation": changed}))


def test_records_of_other_pixels_are_refused(folder, tmp_path):
    shutil.copytree(folder / "records/test", tmp_path / "test")
    index = tmp_path / "test" / "index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"pixel_scale_arcsec": 0.06}))
    training = load_training(folder / "merger.toml")
    changed = training.evaluation.model_copy(update={"test": (tmp_path / "test",)})
    with pytest.raises(InputError, match=r"test holds images of F814W in electron/s, 0\.06 arcsec .* 0\.03 arcsec"):
        evaluate(training.model_copy(update={"evaluation": changed}))


def test_a_model_is_not_evaluated_on_its_training_set(folder):
    training = load_training(folder / "merger.toml")
    changed = training.evaluation.model_copy(update={"clean": (folder / "records/train",)})
    with pytest.raises(InputError, match=r"train holds galaxies that .*train holds, too"):
        evaluate(training.model_copy(update={"evaluation": changed}))


def test_a_file_without_the_table_is_refused(folder):
    training = load_training(folder / "merger.toml").model_copy(update={"evaluation": None})
    with pytest.raises(InputError, match=r"no \[evaluation\]"):
        evaluate(training)


def test_settings_that_make_no_network_are_refused(folder):
    with pytest.raises(ValueError, match="too small"):
        with_settings(load_training(folder / "merger.toml"), TrialSettings((4,), (31,), (8,), 0.1, 1e-3))


@pytest.mark.parametrize("task", ["merger", "contamination"])
def test_a_jury_is_evaluated_as_one_model(folder, tmp_path, task):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    training = load_training(tmp_path / f"{task}.toml")
    other = fit(training.model_copy(update={"optimisation": training.optimisation.model_copy(update={"seed": 2})}))
    home = ModelStore(training.output.store).home(training.model.key)
    home.rename(home.with_name("first"))
    home.mkdir()
    home.with_name("first").rename(home / "seed-1")
    write_model(home / "seed-2", other.card, other.weights)
    with pytest.raises(InputError, match=r"has 2 members \(seed-1, seed-2\), but the training file says \[model\] members = 1"):
        evaluate(training)
    two = training.model_copy(update={"model": training.model.model_copy(update={"members": 2})})
    found = evaluate(two, engine="keras")
    assert [one["name"] for one in found.document["model"]["members"]] == ["seed-1", "seed-2"]
    assert found.page.read_text().startswith("<!DOCTYPE html>")
    titles = [table.title for table in evaluation_tables(found.document)]
    assert ("Jury" in titles, "Uncertainty of changed stamps" in titles) == ((task == "merger"),) * 2
