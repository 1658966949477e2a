"""The training of a model: epoch by epoch, with a checkpoint after each, until the best weights become a model of the store."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from surveyflow.errors import InputError, ModelError
from surveyflow.files.durable import write_over
from surveyflow.models.engines.head import Head
from surveyflow.models.engines.keras_engine import KerasModel
from surveyflow.models.keras_defaults import keras_defaults
from surveyflow.models.network import build_network, get_weights, set_weights
from surveyflow.models.store import ModelStore, check_place, check_vacant, trained_before, write_model
from surveyflow.models.weights import digest_of, encode_weights
from surveyflow.settings.training import OptimisationTable, Training
from surveyflow.tasks.calibration import Calibration
from surveyflow.tasks.card import ContaminationScale, Domain, ModelCard, TrainingFacts
from surveyflow.tasks.task import Skill
from surveyflow.training.evaluation.calibrate import fit_calibration
from surveyflow.training.fitting.checkpoints import CHECKPOINT, Checkpoint, read_checkpoint, restore, state_of, write_checkpoint
from surveyflow.training.fitting.domain import measured_domain
from surveyflow.training.fitting.losses import TaskLoss
from surveyflow.training.fitting.pipeline import (
    Images,
    changed_copies,
    check_records,
    epoch_of,
    labels_of,
    load_images,
    streamed_epoch,
)
from surveyflow.training.fitting.starting import Start, read_start
from surveyflow.training.records.reading import read_stamps
from surveyflow.training.records.record_index import RecordIndex, check_apart, check_listed_once, check_observed_alike
from surveyflow.training.records.shards import damage_told
from surveyflow.values.arrays import Float32Array
from surveyflow.values.jobs import SamplingSettings
from surveyflow.values.notebooks import notebook_table

_log = logging.getLogger(__name__)

HISTORY = "history.json"
_NO_DIGEST = "0" * 64
_DOMAIN_QUANTILES = (0.001, 0.99)
_N_DRAWS = 20
_N_CALIBRATION_DRAWS = 100
_PREDICT_AT_ONCE = 256
_LEAST_OF_A_CLASS = 10


@dataclass(frozen=True, slots=True)
class Trained:
    """A training that has ended.

    Parameters
    ----------
    card
        Card of the model with the best epoch's weights.
    weights
        The best epoch's weights, by role.
    history
        One entry for each epoch: ``epoch``, ``train_loss`` and the task's scores on the validation images.
    best
        The entry of the best epoch.
    store
        Path of the store that the model was written to; None if it was not written.
    """

    card: ModelCard
    weights: Mapping[str, Float32Array]
    history: tuple[Mapping[str, float], ...]
    best: Mapping[str, float]
    store: Path | None = None

    def _repr_html_(self) -> str:
        return notebook_table({"model": self.card.model_id, "store": self.store, "best": self.best, "history": self.history})


Listener = Callable[[Mapping[str, float]], None]
StepListener = Callable[[int, int], None]
"""Takes the number of steps that are done, and of all steps."""


def train_members(
    training: Training,
    names: Sequence[str],
    *,
    overwrite: bool = False,
    listener: Listener | None = None,
    on_step: StepListener | None = None,
) -> dict[str, Trained]:
    """Train members of a jury one after the other; those that have ended are left as they are.

    Parameters
    ----------
    training
        The training file.
    names
        The members to train; several processes may train different ones.
    overwrite, listener, on_step
        As for `train`.

    Returns
    -------
    Each member by name, as it was written.

    Raises
    ------
    InputError, RecordError, ModelError
        As for `train`; and InputError if the file has no such member.
    """
    home = ModelStore(training.output.store).home(training.model.key)
    each = {name: training.of_member(name) for name in names}
    for name, of_member in each.items():
        _check_free(home / name, of_member, overwrite=overwrite)
    trained: dict[str, Trained] = {}
    for name, of_member in each.items():
        try:
            trained[name] = train(of_member, home=home / name, overwrite=overwrite, listener=listener, on_step=on_step)
        except ModelError as error:
            there = f" Until all members are there, those in {home} make a smaller jury." if trained else ""
            raise ModelError(f"member {name}: {error}{there}") from error
    return trained


def train(
    training: Training,
    *,
    home: Path | None = None,
    overwrite: bool = False,
    listener: Listener | None = None,
    on_step: StepListener | None = None,
) -> Trained:
    """Train a model and write it into its store; a training that was stopped continues where it was.

    Parameters
    ----------
    training
        The training file, of a model that is alone or of one member.
    home
        The folder to write; that of the model's key in the store if None.
    overwrite
        Whether another model of the same key may be replaced.
    listener
        Called with each epoch's entry of the history.
    on_step
        Called after each step.

    Returns
    -------
    The model as it was written.

    Raises
    ------
    InputError
        If records and model do not match, or the run's folder holds another training.
    RecordError
        If records are incomplete or damaged.
    ModelError
        If the store holds another model of this key that may not be overwritten, which is checked before the training begins; or
        if the network is no better than a constant answer, and then nothing is written.
    """
    home = home or ModelStore(training.output.store).home(training.model.key)
    _check_free(home, training, overwrite=overwrite)
    trained = fit(training, listener=listener, on_step=on_step, run=training.output.run)
    _check_skill(trained.card, len(trained.history))
    if not overwrite and (card := trained_before(home, trained.card, trained.weights)):
        return replace(trained, card=card, store=training.output.store)
    domain, features = measured_domain(training, trained.card, trained.weights)
    card = replace(trained.card, domain=domain, calibrations=_calibrations(training, trained))
    card = write_model(home, card, trained.weights, overwrite=overwrite, domain=features)
    return replace(trained, card=card, store=training.output.store)


def _check_free(home: Path, training: Training, *, overwrite: bool) -> None:
    """Check that a training may write its model, before it begins."""
    check_place(home)
    if not overwrite and not (training.output.run / CHECKPOINT).exists():
        check_vacant([home])


def _calibrations(training: Training, trained: Trained) -> tuple[Calibration, ...]:
    """The map to a probability that validation images give; none for tasks that do not lead, or of too few images."""
    if not training.model.known_task.leads:
        return ()
    card = replace(trained.card, weights_digest=digest_of(encode_weights(trained.weights)))
    sets = [read_stamps(folder, training.contamination.truth) for folder in training.data.validation]
    sampling = SamplingSettings(_N_CALIBRATION_DRAWS, training.optimisation.seed)
    digests = card.training.validation_records if card.training else ()
    found = fit_calibration([KerasModel(card, trained.weights)], sets, digests, sampling)
    return () if found is None else (found,)


def _check_skill(card: ModelCard, n_epochs: int) -> None:
    facts = card.training
    assert facts is not None, "every trained model has these facts"
    skill = Skill(facts.score, facts.reached, facts.constant, facts.error, n_epochs)
    if not skill.is_shown:
        reached = f"{skill.score} {skill.reached:.3f}, a constant answer {skill.constant:.3f} +- {skill.error:.3f}"
        raise ModelError(
            f"the network of {card.key} learned nothing that its validation images show: {reached}; expected more than "
            f"{skill.errors_needed:.1f} standard errors above it, for the best of {n_epochs} epochs. Train on more images or for "
            "more epochs, lower [optimisation] learning_rate, and name another [output] run."
        )


@keras_defaults()
def fit(
    training: Training, *, run: Path | None = None, listener: Listener | None = None, on_step: StepListener | None = None
) -> Trained:
    """Train a model without writing it.

    Parameters
    ----------
    training
        The training file.
    run
        Folder of checkpoints and history, from which a training continues; None for neither.
    listener
        Called with each epoch's entry of the history; what it raises ends the training.
    on_step
        Called after each step.
    """
    data = training.data
    indices = check_records([*data.train, *data.validation], training)
    of_training, of_validation = indices[: len(data.train)], indices[len(data.train) :]
    for folders, of_folders in ((data.train, of_training), (data.validation, of_validation)):
        check_listed_once(folders, of_folders)
        if training.model.known_task.leads:
            check_observed_alike(folders, of_folders)
    check_apart(dict(zip(data.train, of_training, strict=True)), dict(zip(data.validation, of_validation, strict=True)))
    start = read_start(training, indices[len(data.train) :])
    digest = _digest(training, indices, start)
    before = read_checkpoint(run, digest) if run is not None else None
    course = _Course(training, before, start)
    if run is not None and before is not None:
        _write_history(run, course.history)  # a kill may have come between the checkpoint and its entry
    while not course.ended:
        entry = course.advance(on_step)
        if run is not None:
            write_checkpoint(run, Checkpoint(digest, tuple(course.history), state_of(course.network), course.best_weights))
            _write_history(run, course.history)
            _write_summaries(run / "tensorboard", entry)
        _log.info("event=epoch %s", " ".join(f"{name}={value:.5g}" for name, value in entry.items()))
        if listener is not None:
            listener(entry)
    card = course.card(indices[: len(training.data.train)], indices[len(training.data.train) :])
    return Trained(card, course.best_weights, tuple(course.history), course.best)


class _Course:
    """A training in progress, from the first epoch or from a checkpoint."""

    def __init__(self, training: Training, before: Checkpoint | None, start: Start | None = None) -> None:
        self.training, self.start = training, start
        keras.utils.set_random_seed(training.optimisation.seed)
        if training.optimisation.deterministic:
            tf.config.experimental.enable_op_determinism()
        self.validation = load_images(training.data.validation, training)
        self.images = self._training_images()
        self.labels = self.images[0] if self.images else labels_of(training.data.train, training)
        self.task = training.model.known_task
        self._check_classes()
        self._check_noise()
        self.scale = self._scale()
        self.n_steps = self._n_steps()
        self.network = compiled_network(training, self.n_steps, self.scale)
        self.trunk = keras.Model(self.network.input, self.network.get_layer("dense_0").output)
        self.history: list[Mapping[str, float]] = list(before.history) if before else []
        self.best_weights: Mapping[str, Float32Array] = dict(before.best) if before else {}
        if before:
            restore(self.network, before.state)
        elif start:
            set_weights(self.network, start.weights)

    @property
    def best(self) -> Mapping[str, float]:
        """The best epoch's entry."""
        return max(self.history, key=self._score)

    @property
    def ended(self) -> bool:
        """Whether all epochs are done, or patience has run out."""
        return is_over([self._score(entry) for entry in self.history], self.training.optimisation)

    def advance(self, on_step: StepListener | None = None) -> Mapping[str, float]:
        """Train for one epoch, evaluate the network, and keep its weights if they are the best."""
        epoch = len(self.history)
        told = [] if on_step is None else [self._step_callback(epoch, on_step)]
        with damage_told(*self.training.data.train):
            fitted = self.network.fit(self._epoch(epoch), epochs=1, shuffle=False, verbose=0, callbacks=told)
        entry = {"epoch": float(epoch), "train_loss": float(fitted.history["loss"][0])} | self._judged()
        self.history.append(entry)
        if spoiled := self._not_finite(entry["train_loss"]):
            raise InputError(
                f"{spoiled} of epoch {epoch} is not finite: the training has failed. Lower [optimisation] learning_rate, "
                "and name another folder in [output] run."
            )
        if self.best is entry or not self.best_weights:
            self.best_weights = get_weights(self.network)
        return entry

    def _step_callback(self, epoch: int, on_step: StepListener) -> Any:
        before = epoch * self.n_steps // self.training.optimisation.epochs
        return keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda step, logs: on_step(before + step + 1, self.n_steps)  # noqa: ARG005 - the name is Keras's
        )

    def _not_finite(self, loss: float) -> str | None:
        """What is not finite after an epoch: the loss, or a weight or a running statistic of a layer; None if nothing is."""
        if not np.isfinite(loss):
            return "the loss"
        variables = self.network.variables
        return next((variable.path for variable in variables if not np.isfinite(np.asarray(variable)).all()), None)

    def _check_classes(self) -> None:
        """Check that a network can learn from the training images, and that the validation images can show it."""
        data, least = self.training.data, _LEAST_OF_A_CLASS
        for folders, labels in ((data.train, self.labels), (data.validation, self.validation)):
            positive, negative = _class_counts(labels.targets)
            if min(positive, negative) < least:
                found = f"{positive} images are positive in {self.task.targets[0]} and {negative} are not"
                raise InputError(
                    f"{', '.join(map(str, folders))}: {found}, expected {least} or more of each. "
                    "Simulate more images, or images of both kinds."
                )

    def _check_noise(self) -> None:
        """Check that the images have noise, which differs from image to image: otherwise they are blank, or copies of few."""
        data = self.training.data
        for folders, labels in ((data.train, self.labels), (data.validation, self.validation)):
            rms, named = labels.sky_rms, ", ".join(map(str, folders))
            if n_blank := int((~(rms > 0)).sum()):
                raise InputError(
                    f"{named}: {n_blank} of {len(rms)} images are blank, or hold nothing but one number, so they have no noise. "
                    "Simulate them again."
                )
            if (n_different := len(np.unique(rms))) < 2 * _LEAST_OF_A_CLASS:
                raise InputError(
                    f"{named}: the noise of {len(rms)} images has {n_different} different values, so most are copies of others. "
                    f"Simulate {2 * _LEAST_OF_A_CLASS} or more images that differ."
                )

    def _facts(self, train: Sequence[RecordIndex], validation: Sequence[RecordIndex]) -> TrainingFacts:
        """What the card says of the training."""
        skill = self.task.skill(self.best, self.validation.targets)
        return TrainingFacts(
            records=tuple(index.digest for index in train),
            validation_records=tuple(index.digest for index in validation),
            n_images=len(self.labels.targets),
            n_validation=len(self.validation),
            positive=_class_counts(self.labels.targets)[0],
            validation_positive=_class_counts(self.validation.targets)[0],
            score=skill.score,
            reached=skill.reached,
            constant=skill.constant,
            error=skill.error,
        )

    def card(self, indices: Sequence[RecordIndex], validation: Sequence[RecordIndex]) -> ModelCard:
        """The card of the model with the best weights."""
        model, index = self.training.model, indices[0]
        return ModelCard(
            key=model.key,
            class_names=model.class_names,
            pixel_scale_arcsec=index.pixel_scale_arcsec,
            band=index.band,
            redshift_range=(min(_redshifts(one)[0] for one in indices), max(_redshifts(one)[1] for one in indices)),
            stretch=self.training.images.stretch,
            softening=self.training.images.softening,
            architecture=self.training.network,
            origin=model.weights_origin,
            citation=model.citation,
            weights_digest=_NO_DIGEST,
            domain=Domain(unit=index.unit, sky_rms=_domain(self.labels.sky_rms)),
            notes=self._notes(indices),
            also_for=model.also_for,
            contamination=self._calibrated(),
            training=self._facts(indices, validation),
        )

    def _training_images(self) -> Sequence[Images]:
        """The sets of images that the epochs use in turn; none if they are read again in each epoch."""
        augmentation, folders = self.training.augmentation, self.training.data.train
        if not self.training.data.in_memory:
            return ()
        images = load_images(folders, self.training, as_seen=not augmentation.changes_pixels)
        return changed_copies(images, self.training) if augmentation.changes_pixels and augmentation.copies else [images]

    def _n_steps(self) -> int:
        n = len(self.labels.targets)
        steps = n // self.training.optimisation.batch_size
        if steps < 1:
            raise InputError(f"there are {n} images to train on, fewer than a batch. Lower [optimisation] batch_size.")
        return steps * self.training.optimisation.epochs

    def _epoch(self, epoch: int) -> Any:
        if not self.images:
            return streamed_epoch(self.training.data.train, self.training, epoch)
        return epoch_of(self.images[epoch % len(self.images)], self.training, epoch)

    def _judged(self) -> dict[str, float]:
        draws = self._draws(get_weights(self.network))
        return self.task.scores(draws, self.validation.targets, self.scale)

    def _draws(self, weights: Mapping[str, Float32Array]) -> Float32Array:
        features = self.trunk.predict(self.validation.images, batch_size=_PREDICT_AT_ONCE, verbose=0)
        head = Head.of(self._bare_card(), weights)
        return head.draw(np.asarray(features, np.float32), np.arange(len(features), dtype=np.uint64), _N_DRAWS, seed=0)

    def _bare_card(self) -> ModelCard:
        """A card for the head, which takes the network's shape and the key of its masks from it."""
        model = self.training.model
        return ModelCard(
            key=model.key,
            class_names=model.class_names,
            pixel_scale_arcsec=1.0,
            band="",
            redshift_range=(0.0, 1.0),
            stretch=self.training.images.stretch,
            softening=self.training.images.softening,
            architecture=self.training.network,
            origin=model.weights_origin,
            citation="",
            weights_digest=_NO_DIGEST,
        )

    def _scale(self) -> ContaminationScale | None:
        """The scale of the outputs to train with."""
        if self.task.scaling is None:
            return None
        settings, sets = self.training.contamination, (self.labels.targets, self.validation.targets)
        return self.task.scaling.fitted(sets, settings.truth, settings.scatter_limit)

    def _calibrated(self) -> ContaminationScale | None:
        """The scale whose intervals hold as many of the validation images' truths as they claim."""
        if self.task.scaling is None or self.scale is None:
            return None
        set_weights(self.network, self.best_weights)
        return self.task.scaling.calibrated(self.scale, self._draws(self.best_weights), self.validation.targets)

    def _score(self, entry: Mapping[str, float]) -> float:
        return score_of(entry, self.training)

    def _notes(self, indices: Sequence[RecordIndex]) -> str:
        digests = ", ".join(index.digest[:12] for index in indices)
        simulated = " surveyflow's own simulations:" if self.training.model.origin == "simulated" else ""
        told = f"Trained on{simulated} {sum(index.n for index in indices)} images, records {digests}."
        started = "" if self.start is None else self.start.note
        return " ".join(part for part in (told, started, self.training.model.notes) if part)


def _class_counts(targets: Float32Array) -> tuple[int, int]:
    """Number of images whose first target is 1, and 0."""
    known = targets[~np.isnan(targets[:, 0]), 0]
    return int((known > 0.5).sum()), int((known <= 0.5).sum())


def score_of(entry: Mapping[str, float], training: Training) -> float:
    """The score of an epoch by which the best one is found; minus infinity if it is not finite."""
    value = entry[training.optimisation.objective or training.model.known_task.objectives[0]]
    return value if np.isfinite(value) else -np.inf


def is_over(history: Sequence[float], optimisation: OptimisationTable) -> bool:
    """Whether a training with these scores, one for each epoch, has ended: all epochs are done, or patience has run out."""
    patience = optimisation.patience
    since_best = len(history) - 1 - int(np.argmax(history)) if history else 0
    return len(history) >= optimisation.epochs or (patience > 0 and since_best >= patience)


@keras_defaults()
def compiled_network(training: Training, n_steps: int, scale: ContaminationScale | None) -> keras.Model:
    """Compile a network with its loss and its optimiser, on all GPUs of the machine."""
    optimisation = training.optimisation
    with _strategy():
        network = build_network(
            training.network,
            dtype="mixed_bfloat16" if optimisation.mixed_precision else "float32",
            batch_norm_momentum=optimisation.batch_norm_momentum,
        )
        network.compile(
            keras.optimizers.Adam(_schedule(optimisation, n_steps), clipnorm=optimisation.clip_norm),
            loss=TaskLoss.of(training.model.known_task, scale),
            jit_compile=optimisation.xla,
        )
    return network


def _strategy() -> AbstractContextManager[Any]:
    if len(tf.config.list_physical_devices("GPU")) > 1:
        scope: AbstractContextManager[Any] = tf.distribute.MirroredStrategy().scope()
        return scope
    return nullcontext()


def _schedule(optimisation: OptimisationTable, n_steps: int) -> Any:
    """The learning rate: it rises linearly, then falls to 0 as a cosine."""
    warmup = round(optimisation.warmup * n_steps)
    return keras.optimizers.schedules.CosineDecay(
        optimisation.learning_rate / max(warmup, 1) if warmup else optimisation.learning_rate,
        max(n_steps - warmup, 1),
        warmup_target=optimisation.learning_rate if warmup else None,
        warmup_steps=warmup,
    )


def _domain(sky_rms: Float32Array) -> tuple[float, float]:
    """Range of the noise for which the model is valid: that of nearly all training images."""
    low, high = np.nanquantile(sky_rms, _DOMAIN_QUANTILES)
    return float(f"{low:.3g}"), float(f"{high:.3g}")


def _redshifts(index: RecordIndex) -> tuple[float, float]:
    low, high = index.settings["redshifts"]
    return float(low), float(high)


def _digest(training: Training, indices: Sequence[RecordIndex], start: Start | None) -> str:
    """Digest of everything that can change the weights."""
    told = training.learning_settings()
    told |= {"key": list(astuple(training.model.key)), "in_memory": training.data.in_memory}
    told |= {"shuffle_buffer": None if training.data.in_memory else training.data.shuffle_buffer}
    told |= {"task": training.model.task, "records": [index.digest for index in indices], "n_train": len(training.data.train)}
    told |= {} if start is None else {"start": start.card.weights_digest}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _write_history(run: Path, history: Sequence[Mapping[str, float]]) -> None:
    write_over(run / HISTORY, (json.dumps(history, indent=1) + "\n").encode())


def _write_summaries(folder: Path, entry: Mapping[str, float]) -> None:
    """Write numbers of an epoch for TensorBoard."""
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default():
        for name, value in entry.items():
            if name != "epoch":
                tf.summary.scalar(name, value, step=int(entry["epoch"]))
    writer.close()
