"""A network is trained, stops anywhere and continues, and becomes a model of the store like any other."""

import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from surveyflow.errors import InputError, ModelError
from surveyflow.models.engines.choice import load_model
from surveyflow.models.store import ModelStore
from surveyflow.settings.training import OptimisationTable, load_training
from surveyflow.sky.stretch import prepare
from surveyflow.tasks.contamination.parts import OUTPUTS as CONTAMINATION_OUTPUTS
from surveyflow.training.fitting.fit import fit, is_over, train
from surveyflow.values.codes import WeightsOrigin
from training_sets import SKY_RMS, stamp, write_training
from users_keras import odd_settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    for role in one:
        np.testing.assert_array_equal(one[role], other[role], err_msg=role)


def test_a_network_learns_what_tells_the_classes_apart(tmp_path):
    training = write_training(tmp_path, n=256, optimisation="learning_rate = 1e-2").model_copy()
    training = training.model_copy(update={"optimisation": training.optimisation.model_copy(update={"epochs": 8})})
    heard = []
    trained = train(training, listener=heard.append)
    assert trained.best["accuracy"] > 0.9
    assert heard == list(trained.history)
    model = load_model(ModelStore(training.output.store).home(training.model.key))
    pixels = np.stack([stamp(number, seed=3).pixels for number in range(40)])
    draws = model.draw(
        model.features(prepare(pixels, pixels != 0, model.card.stretch, 1.0)), np.arange(40, dtype=np.uint64), 50, 1
    )
    called = draws.mean(axis=1)[:, model.card.class_names.index("post_merger")] > 0.5
    assert np.mean(called == (np.arange(40) % 2 == 1)) > 0.85


def test_the_card_says_where_the_weights_come_from(tmp_path):
    training = write_training(tmp_path)
    card = train(training).card
    assert card.origin is WeightsOrigin.SIMULATED
    assert "surveyflow's own simulations: 64 images" in card.notes
    assert (card.band, card.pixel_scale_arcsec, card.redshift_range) == ("F814W", 0.03, (0.5, 1.5))
    low, high = card.domain.sky_rms
    assert 0.5 * SKY_RMS < low < high < 3.6 * SKY_RMS
    with pytest.raises(ModelError, match="already holds another model"):
        train(
            training.model_copy(
                update={
                    "optimisation": training.optimisation.model_copy(update={"seed": 6}),
                    "output": training.output.model_copy(update={"run": tmp_path / "other"}),
                }
            )
        )


class _StopError(Exception):
    pass


def test_a_training_that_was_stopped_ends_with_the_weights_of_an_undisturbed_one(tmp_path):
    training = write_training(tmp_path)
    undisturbed = fit(training)

    def stop(entry):
        if entry["epoch"] == 1:
            raise _StopError

    with pytest.raises(_StopError):
        fit(training, run=tmp_path / "run", listener=stop)
    with odd_settings():  # what a user has set for Keras changes nothing
        resumed = fit(training, run=tmp_path / "run")
    assert [entry["epoch"] for entry in resumed.history] == [0, 1, 2]
    assert resumed.history == undisturbed.history
    assert_same_weights(resumed.weights, undisturbed.weights)


def test_a_training_that_was_killed_ends_with_the_weights_of_an_undisturbed_one(tmp_path):
    training = write_training(tmp_path)
    undisturbed = fit(training)
    program = f"""
        import os, signal
        from surveyflow.settings.training import load_training
        from surveyflow.training.fitting.fit import fit
        def die(entry):
            if entry["epoch"] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        training = load_training({str(tmp_path / "train.toml")!r})
        fit(training, run=training.output.run, listener=die)
    """
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()[-2000:]
    assert_same_weights(fit(training, run=training.output.run).weights, undisturbed.weights)


def test_a_store_that_holds_another_model_is_reported_before_training(tmp_path):
    training = write_training(tmp_path)
    train(training)
    assert train(training).card  # again: the same model, which is left as it is
    told = []
    elsewhere = training.model_copy(update={"output": training.output.model_copy(update={"run": tmp_path / "other"})})
    with pytest.raises(ModelError, match=r"already holds another model.*--overwrite"):
        train(elsewhere, listener=told.append)
    assert told == []


def test_a_history_that_was_not_written_when_a_training_was_killed_is_written_by_the_next(tmp_path):
    training = write_training(tmp_path)
    fit(training, run=training.output.run)
    history = training.output.run / "history.json"
    expected = history.read_text()
    history.unlink()
    fit(training, run=training.output.run)
    assert history.read_text() == expected


def test_mixed_precision_learns_the_same_and_leaves_float32(tmp_path):
    training = write_training(tmp_path, optimisation="mixed_precision = true")
    trained = fit(training)
    assert {values.dtype for values in trained.weights.values()} == {np.dtype(np.float32)}
    expected = fit(load_training_with(tmp_path, "mixed_precision = true", "mixed_precision = false"))
    losses = [[entry["train_loss"] for entry in one.history] for one in (trained, expected)]
    np.testing.assert_allclose(*losses, rtol=0.1)
    assert losses[0] != losses[1]


def load_training_with(folder, old, new):
    file = folder / "train.toml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    return load_training(file)


def test_the_card_of_streamed_images_is_that_of_images_in_memory(tmp_path):
    of_memory = fit(write_training(tmp_path, "contamination"), run=tmp_path / "run").card
    file = tmp_path / "train.toml"
    file.write_text(file.read_text().replace('train = "train"\n', 'train = "train"\nin_memory = false\n'))
    streamed = load_training(file)
    assert not streamed.data.in_memory
    with pytest.raises(InputError, match="is of a training with other settings"):
        fit(streamed, run=tmp_path / "run")
    of_disk = fit(streamed).card
    assert of_disk.domain == of_memory.domain
    assert of_disk.contamination.flux_range == of_memory.contamination.flux_range


def test_a_network_is_not_evaluated_on_its_training_set(tmp_path):
    write_training(tmp_path)
    file = tmp_path / "train.toml"
    file.write_text(file.read_text().replace('validation = "validation"', 'validation = "train"'))
    with pytest.raises(InputError, match="Simulate records with another seed"):
        fit(load_training(file))


def test_the_checkpoint_of_other_settings_is_refused(tmp_path):
    training = write_training(tmp_path)
    fit(training, run=training.output.run)
    file = tmp_path / "train.toml"
    file.write_text(file.read_text().replace("seed = 5", "seed = 6"))
    with pytest.raises(InputError, match="is of a training with other settings"):
        fit(load_training(file), run=training.output.run)


@pytest.mark.parametrize(
    ("history", "patience", "over"),
    [
        ([], 1, False),
        ([0.5], 1, False),
        ([0.5, 0.4], 1, True),
        ([0.5, 0.4], 2, False),
        ([0.5, 0.4, 0.6], 2, False),
        ([0.5, 0.4, 0.3, 0.2], 0, False),
        ([0.1, 0.2, 0.3, 0.4, 0.5], 0, True),
    ],
)
def test_training_ends_when_patience_or_epochs_do(history, patience, over):
    assert is_over(history, OptimisationTable(epochs=5, seed=1, patience=patience)) is over


def test_contamination_comes_with_intervals_from_held_out_images(tmp_path):
    training = write_training(tmp_path, "contamination", n=128)
    card = train(training).card
    assert card.class_names == CONTAMINATION_OUTPUTS
    assert card.contamination.truth == "sky_sigma"
    assert card.contamination.flux_range >= np.arcsinh(10)
    assert 0.1 <= card.contamination.interval_scale_coverage <= 10
