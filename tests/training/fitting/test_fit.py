"""A network is trained, stops anywhere and continues, and becomes a model of the store like any other."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

import training_sets
from surveyflow.commands.main import app
from surveyflow.errors import InputError, ModelError, WorkflowError
from surveyflow.models.cards import card_from_file
from surveyflow.models.engines.choice import load_model
from surveyflow.models.network import get_weights
from surveyflow.models.store import ModelStore
from surveyflow.settings.training import OptimisationTable, load_training
from surveyflow.sky.measurements import LARGEST_OFFSET_ARCSEC
from surveyflow.sky.stretch import prepare
from surveyflow.tasks.contamination.parts import OUTPUTS as CONTAMINATION_OUTPUTS
from surveyflow.training.evaluation.matching import check_unused
from surveyflow.training.fitting import fit as fit_module
from surveyflow.training.fitting.domain import _offset_limit, _share_limit, with_limits_of_held_out
from surveyflow.training.fitting.fit import _Course, fit, is_over, score_of, train, train_members
from surveyflow.training.fitting.starting import read_start
from surveyflow.training.records.record_index import read_index, settings_digest, write_index
from surveyflow.values.codes import WeightsOrigin
from training_sets import SIZE, SKY_RMS, stamp, write_records, write_training
from users_keras import odd_settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    for role in one:
        np.testing.assert_array_equal(one[role], other[role], err_msg=role)


def write_learnable(tmp_path, task="merger"):
    """A training that ends with a network that has learned something."""
    training = write_training(tmp_path, task, n=256, optimisation="learning_rate = 1e-2")
    return training.model_copy(update={"optimisation": training.optimisation.model_copy(update={"epochs": 8})})


def test_a_network_learns_what_tells_the_classes_apart(tmp_path):
    training = write_learnable(tmp_path)
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
    training = write_learnable(tmp_path)
    card = train(training).card
    assert card.origin is WeightsOrigin.SIMULATED
    assert "surveyflow's own simulations: 256 images" in card.notes
    assert (card.band, card.pixel_scale_arcsec, card.redshift_range) == ("F814W", 0.03, (0.5, 1.5))
    low, high = card.domain.sky_rms
    assert 0.5 * SKY_RMS < low < high < 3.6 * SKY_RMS
    low, high = card.domain.noise_correlation
    assert -0.3 < low < 0.2, "the noise is white"
    assert low < high < 1
    assert card.domain.psf_fwhm_arcsec == (0.09, 0.15)
    low, high = card.domain.sky_sigma
    assert -0.5 < low < high < 5
    assert 0 < card.domain.offset_arcsec < 0.4
    assert 0 < card.domain.edge_light_fraction < 1
    without = replace(card.domain, window_snr=None, edge_light_fraction=None)
    assert with_limits_of_held_out(without, training, card.pixel_scale_arcsec) == card.domain
    domain = load_model(ModelStore(training.output.store).home(card.key)).domain
    assert (card.domain.feature_percentile, domain.distances.shape) == (99, (1001,))
    with pytest.raises(ModelError, match="already holds another model"):
        train(
            training.model_copy(
                update={
                    "optimisation": training.optimisation.model_copy(update={"seed": 6}),
                    "output": training.output.model_copy(update={"run": tmp_path / "other"}),
                }
            )
        )


def test_the_card_says_what_the_model_was_trained_on_and_what_it_reached(tmp_path):
    training = write_learnable(tmp_path)
    trained = train(training)
    facts = card_from_file(ModelStore(training.output.store).home(training.model.key) / "card.toml").training
    assert facts == trained.card.training
    assert (facts.n_images, facts.positive, facts.n_validation, facts.validation_positive) == (256, 128, 48, 24)
    assert facts.records == (read_index(tmp_path / "train").digest,)
    assert facts.validation_records == (read_index(tmp_path / "validation").digest,)
    assert (facts.score, facts.reached, facts.constant) == ("accuracy", trained.best["accuracy"], 0.5)
    assert facts.error == pytest.approx(np.sqrt(0.25 / 48))


def test_a_network_that_learned_nothing_is_not_written(tmp_path):
    write_training(tmp_path, optimisation="learning_rate = 1e-8")
    training = load_training(tmp_path / "train.toml")
    with pytest.raises(
        ModelError, match=r"learned nothing that its validation images show: accuracy 0\.\d+, a constant answer 0\.500"
    ):
        train(training)
    assert not ModelStore(training.output.store).home(training.model.key).exists()


@pytest.mark.parametrize(("task", "told"), [("merger", "20 images are positive in post_merger and 0 are not")])
@pytest.mark.parametrize("part", ["train", "validation"])
def test_a_set_of_one_class_is_refused(tmp_path, part, task, told):
    training = write_training(tmp_path, task)
    shutil.rmtree(tmp_path / part)
    write_records(tmp_path / part, 20, seed=3, numbers=range(1, 41, 2))
    with pytest.raises(InputError, match=rf"{part}: {told}, expected 10 or more of each"):
        fit(training)


@pytest.mark.parametrize("part", ["train", "validation"])
def test_copies_of_few_images_are_refused_before_the_training(tmp_path, part):
    training = write_training(tmp_path)
    shutil.rmtree(tmp_path / part)
    write_records(tmp_path / part, 40, seed=3, numbers=[1, 2] * 20)
    with pytest.raises(InputError, match=rf"{part}: the noise of 40 images has 2 different values, so most are copies of others"):
        fit(training)


def test_the_same_records_do_not_count_twice(tmp_path):
    write_training(tmp_path)
    shutil.copytree(tmp_path / "train", tmp_path / "copy")
    file = tmp_path / "train.toml"
    file.write_text(file.read_text().replace('train = "train"', 'train = ["train", "copy"]'))
    with pytest.raises(InputError, match=r"copy holds the same records as .*train, which would count twice"):
        fit(load_training(file))


def test_blank_images_are_refused_before_the_training(tmp_path, monkeypatch):
    training = write_training(tmp_path)
    shutil.rmtree(tmp_path / "train")
    blank = np.zeros((SIZE, SIZE), np.float32)
    monkeypatch.setattr(training_sets, "stamp", lambda number, seed: replace(stamp(number, seed), pixels=blank))
    write_records(tmp_path / "train", 20)
    with pytest.raises(InputError, match=r"train: 20 of 20 images are blank"):
        fit(training)


def test_a_weight_that_is_not_finite_ends_the_training(tmp_path, monkeypatch):
    training = write_training(tmp_path)

    def spoil(self, epoch, original=_Course._epoch):
        moving_mean = next(variable for variable in self.network.variables if "moving_mean" in variable.path)
        moving_mean.assign(np.full(moving_mean.shape, np.nan))
        return original(self, epoch)

    monkeypatch.setattr(_Course, "_epoch", spoil)
    with pytest.raises(InputError, match=r"of epoch 0 is not finite: the training has failed"):
        fit(training)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    training = write_training(tmp_path)
    fit(training, run=training.output.run)
    file = training.output.run / "checkpoint.safetensors"
    content = bytearray(file.read_bytes())
    content[-40] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"checkpoint\.safetensors is damaged.*Remove it to begin again"):
        fit(training, run=training.output.run)


def test_galaxies_of_one_s_own_make_no_simulated_model(tmp_path):
    training = write_training(tmp_path)
    index = read_index(tmp_path / "train")
    settings = {**index.settings, "stamps": {"images": []}}
    write_index(tmp_path / "train", replace(index, settings=settings, digest=settings_digest(settings)))
    with pytest.raises(InputError, match=r'galaxies of your own.*Write `origin = "user"`'):
        fit(training)


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
        steps = []
        resumed = fit(training, run=tmp_path / "run", on_step=lambda *counts: steps.append(counts))
    assert [entry["epoch"] for entry in resumed.history] == [0, 1, 2]
    assert steps == [(number, 12) for number in range(9, 13)], "the third epoch is told step by step"
    assert resumed.history == undisturbed.history
    assert_same_weights(resumed.weights, undisturbed.weights)


@pytest.mark.parametrize(("largest", "limit"), [(0.3, 0.3), (LARGEST_OFFSET_ARCSEC, 0.39), (0.0, None)])
def test_the_limit_of_the_offset_lies_below_the_largest_that_is_measured(largest, limit):
    assert _offset_limit(np.full(100, largest, np.float32)) == limit
    assert limit is None or limit < LARGEST_OFFSET_ARCSEC


@pytest.mark.parametrize(("shares", "limit"), [([0.0, 0.5], 0.495), ([0.0], None), ([1.0], None), ([np.nan], None), ([], None)])
def test_the_limit_of_a_share_flags_some_stamps_or_there_is_none(shares, limit):
    assert _share_limit(np.array(shares, np.float32)) == limit


def test_a_store_that_holds_another_model_is_reported_before_training(tmp_path, monkeypatch):
    training = write_learnable(tmp_path)
    card = train(training).card
    with monkeypatch.context() as patch:  # a finished training is left as it is: its domain is not measured again
        patch.setattr("surveyflow.training.fitting.fit.measured_domain", None)
        assert train(training).card == card
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


def test_a_training_on_copies_ends_where_an_undisturbed_one_does_and_needs_memory(tmp_path):
    training = write_training(tmp_path, extra="[augmentation]\ngain = [0.5, 2.0]\ncopies = 2")
    whole = fit(training)
    stopped = RuntimeError("stopped")

    def stop_after_one(entry):
        if entry["epoch"] == 1:
            raise stopped

    with pytest.raises(RuntimeError, match="stopped"):
        fit(training, run=tmp_path / "run", listener=stop_after_one)
    resumed = fit(training, run=tmp_path / "run")
    assert_same_weights(whole.weights, resumed.weights)
    with pytest.raises(WorkflowError, match=r"\[augmentation\] copies are kept in memory, but \[data\] in_memory is false"):
        load_training_with(tmp_path, 'train = "train"\n', 'train = "train"\nin_memory = false\n')


def test_a_training_starts_from_the_weights_of_another_model(tmp_path):
    first = train(write_learnable(tmp_path / "first"))
    folder = ModelStore(first.store).home(first.card.key)
    again = write_learnable(tmp_path / "second")
    started = again.model_copy(update={"model": again.model.model_copy(update={"start": folder})})
    course = _Course(started, None, read_start(started, []))
    assert_same_weights(get_weights(course.network), first.weights)
    jury = tmp_path / "jury"
    shutil.copytree(folder, jury / f"seed-{again.optimisation.seed}")
    of_jury = again.model_copy(update={"model": again.model.model_copy(update={"start": jury})})
    assert read_start(of_jury, []).card == first.card
    shutil.move(jury / f"seed-{again.optimisation.seed}", jury / "seed-8")
    with pytest.raises(InputError, match="is a jury of seed-8, without a member of this training's seed, 5"):
        read_start(of_jury, [])
    end = fit(started, run=tmp_path / "run")
    assert end.history[0]["accuracy"] > fit(again).history[0]["accuracy"]
    assert f"The training started from the weights of {first.card.model_id}." in end.card.notes
    with pytest.raises(InputError, match="is of a training with other settings"):
        fit(again, run=tmp_path / "run")


def test_a_start_of_other_layers_or_that_knows_the_validation_images_is_refused(tmp_path):
    first = train(write_learnable(tmp_path))
    folder = ModelStore(first.store).home(first.card.key)
    training = load_training(tmp_path / "train.toml")
    started = training.model_copy(update={"model": training.model.model_copy(update={"start": folder})})
    with pytest.raises(InputError, match=r"was trained on the validation records [0-9a-f]{12}, which could then not show"):
        read_start(started, [read_index(training.data.train[0])])
    for used in (*training.data.train, *training.data.validation):
        with pytest.raises(InputError, match=r"\[model\] start is .*COSMOS, which was trained on these records"):
            check_unused("[model] start", folder, {used: read_index(used)})
        check_unused("[model] start", None, {used: read_index(used)})
    wider = started.model_copy(update={"architecture": replace(started.architecture, filters=(5,))})
    with pytest.raises(InputError, match=r"\[model\] start: the network of .* has other layers than \[architecture\]"):
        read_start(wider, [])


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


def test_the_best_epoch_is_that_of_the_score_in_the_file(tmp_path):
    first, second = {"upsilon": 0.6, "accuracy": 0.7}, {"upsilon": 0.5, "accuracy": float("nan")}
    training = write_training(tmp_path)
    assert (score_of(first, training), score_of(second, training)) == (0.6, 0.5)
    named = training.model_copy(update={"optimisation": training.optimisation.model_copy(update={"objective": "accuracy"})})
    assert (score_of(first, named), score_of(second, named)) == (0.7, -np.inf)


def test_contamination_comes_with_intervals_from_held_out_images(tmp_path):
    training = write_learnable(tmp_path, "contamination")
    card = train(training).card
    assert card.class_names == CONTAMINATION_OUTPUTS
    assert card.contamination.truth == "sky_sigma"
    assert card.contamination.flux_range >= np.arcsinh(10)
    assert 0.1 <= card.contamination.interval_scale_coverage <= 10


def write_jury(tmp_path):
    alone = write_learnable(tmp_path)
    return alone, alone.model_copy(update={"model": alone.model.model_copy(update={"members": 2})})


def test_members_are_trained_from_their_own_seeds_and_complete_ones_are_left_as_they_are(tmp_path, monkeypatch):
    alone, jury = write_jury(tmp_path)
    home = ModelStore(alone.output.store).home(alone.model.key)
    second = train_members(jury, ["seed-6"])  # as another process would, with --member
    assert [folder.name for folder in home.iterdir()] == ["seed-6"]
    written = (home / "seed-6" / "card.toml").stat().st_mtime_ns
    trained = train_members(jury, jury.member_names)
    assert list(trained) == ["seed-5", "seed-6"]
    assert (home / "seed-6" / "card.toml").stat().st_mtime_ns == written
    assert_same_weights(trained["seed-6"].weights, second["seed-6"].weights)
    card = ModelStore(alone.output.store).card(alone.model.key)
    assert [member.name for member in card.members] == ["seed-5", "seed-6"]
    assert (tmp_path / "run/seed-5/history.json").is_file()
    assert (tmp_path / "run/seed-6/history.json").is_file()

    elsewhere = alone.model_copy(
        update={"output": alone.output.model_copy(update={"store": tmp_path / "s", "run": tmp_path / "r"})}
    )
    assert_same_weights(train(elsewhere).weights, trained["seed-5"].weights)


def test_a_stopped_jury_continues_with_the_member_at_which_it_stopped(tmp_path):
    _, jury = write_jury(tmp_path)
    heard = []

    def stop(entry):
        heard.append(entry["epoch"])
        if len(heard) == 11:
            raise _StopError

    with pytest.raises(_StopError):
        train_members(jury, jury.member_names, listener=stop)
    heard.clear()
    train_members(jury, jury.member_names, listener=lambda entry: heard.append(entry["epoch"]))
    assert heard == [3, 4, 5, 6, 7]


def test_juries_and_models_that_are_alone_are_not_mixed(tmp_path):
    alone, jury = write_jury(tmp_path)
    home = ModelStore(alone.output.store).home(alone.model.key)
    home.mkdir(parents=True)
    (home / "card.toml").write_text("")
    told = []
    with pytest.raises(ModelError, match="a model that is alone, so no member can be put there"):
        train_members(jury, jury.member_names, listener=told.append)
    (home / "seed-5").mkdir()
    (home / "card.toml").rename(home / "seed-5" / "card.toml")
    with pytest.raises(ModelError, match="it holds the members seed-5 of a jury"):
        train(alone, listener=told.append)
    assert told == []


def test_a_member_that_the_file_does_not_train_is_refused(tmp_path):
    alone, jury = write_jury(tmp_path)
    with pytest.raises(InputError, match="no member 'seed-9'; its members are seed-5, seed-6"):
        train_members(jury, ["seed-9"])
    with pytest.raises(InputError, match="no member 'seed-5'; it trains one model"):
        train_members(alone, ["seed-5"])


def test_a_member_that_failed_is_named_with_what_is_there(tmp_path, monkeypatch):
    _, jury = write_jury(tmp_path)

    def train_or_fail(training, **_):
        if training.optimisation.seed == 6:
            raise ModelError("the network learned nothing.")

    monkeypatch.setattr(fit_module, "train", train_or_fail)
    with pytest.raises(ModelError, match=r"^member seed-6: the network .* those in .*COSMOS make a smaller jury\."):
        train_members(jury, ["seed-5", "seed-6"])
    with pytest.raises(ModelError, match=r"^member seed-6: the network learned nothing\.$"):
        train_members(jury, ["seed-6"])


def test_the_command_trains_one_member_of_a_jury(tmp_path):
    write_learnable(tmp_path)
    file = tmp_path / "train.toml"
    file.write_text(file.read_text().replace("[data]", "members = 2\n[data]").replace("epochs = 3", "epochs = 8"))
    result = CliRunner().invoke(app, ["train", str(file), "--member", "seed-6"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("member    seed-6\nmodel     merger/COSMOS/F814W@")
    assert [path.name for path in (tmp_path / "models/merger/F814W/COSMOS").iterdir()] == ["seed-6"]
    told = CliRunner().invoke(app, ["train", str(file), "--member", "seed-6", "--json"])
    assert list(json.loads(told.stdout)["members"]) == ["seed-6"]
