"""The evaluation of a trained model: one document, from which page and tables are made."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from surveyflow import __version__
from surveyflow.errors import InputError
from surveyflow.files.durable import explained, make_folder, write_over
from surveyflow.models.engines.choice import load_model
from surveyflow.models.store import ModelStore
from surveyflow.reports.evaluation_page import write_evaluation_page
from surveyflow.reports.evaluation_tables import evaluation_tables
from surveyflow.reports.tables import as_html
from surveyflow.settings.matrices import ClassifierTests, matrices_to_toml
from surveyflow.settings.training import EvaluationTable, Training
from surveyflow.tasks.card import Model, ModelCard
from surveyflow.tasks.contamination.task import CONTAMINATION
from surveyflow.tasks.merger import MERGER
from surveyflow.tasks.registry import entry_of, task_of
from surveyflow.training.evaluation import contamination, mergers
from surveyflow.training.evaluation.matching import (
    check_classes,
    check_clean,
    check_kind,
    check_other,
    check_stamps,
    check_unused,
)
from surveyflow.training.evaluation.matrices import selected_tests
from surveyflow.training.evaluation.stating import state_in_cards
from surveyflow.training.records.labelled import LabelledStamps
from surveyflow.training.records.reading import read_stamps
from surveyflow.training.records.record_index import RecordIndex, check_apart, check_listed_once, check_observed_alike, read_index
from surveyflow.values.codes import EngineName
from surveyflow.values.jobs import SamplingSettings

FORMAT = 2
"""Version of ``evaluation.json``; raised when a number changes its meaning or place."""

NUMBERS_FILE = "evaluation.json"
PAGE_FILE = "evaluation.html"
DEFAULT_TRUTH = "sky_sigma"
"""Variant of the contamination truth if no contamination model says which one it was trained on."""


@dataclass(frozen=True, slots=True)
class EvaluationRecords:
    """Folders of the records that a model is evaluated with.

    Parameters
    ----------
    test
        Stamps with neighbours that were not used in training.
    training
        The network's own training stamps, to which the baseline is fitted.
    clean
        Stamps without neighbours.
    tuning
        The network's validation stamps, on which a cut in predicted contamination is tuned.
    other
        Stamps of another simulation.
    """

    test: Sequence[Path]
    training: Sequence[Path]
    clean: Sequence[Path] = ()
    tuning: Sequence[Path] = ()
    other: Sequence[Path] = ()


Reader = Callable[[Path, str, int | None], LabelledStamps]
"""Reads a folder of records: takes folder, variant of the contamination truth, and the largest number of stamps."""

Judge = Callable[[Model, Mapping[str, Sequence[LabelledStamps]], SamplingSettings, Model | None, bool], dict[str, Any]]
"""Evaluates a model on sets of stamps: ``test``, ``training``, ``clean``, ``tuning`` and ``other``.

The last argument says whether flags are those of the limits that follow from the evaluation."""

JUDGES: Mapping[str, Judge] = {MERGER.name: mergers.judge, CONTAMINATION.name: contamination.judge}
"""The function that evaluates models of each task."""


_JUDGED: Mapping[str, tuple[str, ...]] = {MERGER.name: ("test", "clean", "other"), CONTAMINATION.name: ("test",)}
"""The sets of stamps on which models of each task are judged."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """An evaluation on disk.

    Parameters
    ----------
    document
        All results, as JSON's plain values.
    numbers, page
        The document's file, and the page made from it.
    matrices
        Files of confusion matrices, one for each class rule; none for other than merger models.
    """

    document: Mapping[str, Any]
    numbers: Path
    page: Path
    matrices: tuple[Path, ...] = ()

    def _repr_html_(self) -> str:
        return "".join(map(as_html, evaluation_tables(self.document)))


def evaluate(training: Training, *, engine: str = EngineName.AUTO, update_cards: bool = False, command: str = "") -> Evaluated:
    """Evaluate the model that a training file made, and write numbers and page into its report's folder.

    Parameters
    ----------
    training
        The training file; its ``[evaluation]`` names the records.
    engine
        Name of an engine: see `surveyflow.values.codes.EngineName`.
    update_cards
        Whether to state scores and limits of nuisances in the model's cards, and to narrow their domains to where nuisances cost
        at most 2 points. Stamps count as flagged by the narrowed domains.
    command
        What the user typed, for the record.

    Raises
    ------
    InputError
        If the file has no ``[evaluation]``, model and records do not match, the records were used in training, or they hold fewer
        than 10 stamps of a class.
    ModelError
        If a model is missing or cannot be used.
    RecordError
        If records are incomplete or damaged.
    """
    settings = training.evaluation
    if settings is None:
        raise InputError("the training file has no [evaluation]. Add the table, with `test`, `report` and, for mergers, `clean`.")
    records = EvaluationRecords(settings.test, training.data.train, settings.clean, training.data.validation, settings.other)
    with explained(settings.report):
        make_folder(settings.report)
    unseen = {folder: read_index(folder) for folder in (*settings.test, *settings.clean, *settings.other)}
    _check_records(training, settings, unseen)
    home = ModelStore(training.output.store).home(training.model.key)
    model = load_model(home, engine)
    _check_members(model.card, training)
    _check_learned(model.card, training.data.train, training.data.validation)
    for folder, index in unseen.items():
        check_kind(model.card, folder, index)
        _check_not_calibrated_on(model.card, folder)
    beside = None if settings.contamination_model is None else load_model(settings.contamination_model, engine)
    sampling = SamplingSettings(settings.draws, settings.seed)
    document = evaluate_model(
        model,
        records,
        read_stamps,
        sampling,
        baseline_stamps=settings.baseline_stamps,
        contamination_model=beside,
        command=command,
        narrow=update_cards,
    )
    if update_cards:
        state_in_cards(home, document)
        model = load_model(home, engine)
        document["model"] = _told(model)
    return _written(document, settings.report, _matrices(model, settings.test, sampling, beside))


def _check_records(training: Training, settings: EvaluationTable, unseen: Mapping[Path, RecordIndex]) -> None:
    """Check that the records of an evaluation are what the file says, and that nothing that is judged has used them."""
    for folders in (settings.test, settings.clean, settings.other):
        check_listed_once(folders, [unseen[folder] for folder in folders])
        if training.model.known_task.leads:
            check_observed_alike(folders, [unseen[folder] for folder in folders])
    learned = {folder: read_index(folder) for folder in (*training.data.train, *training.data.validation)}
    check_apart(learned, unseen)
    check_unused("[model] start", training.model.start, unseen)
    check_unused("[evaluation] contamination_model", settings.contamination_model, unseen)
    for folder in settings.clean:
        check_clean(folder, unseen[folder])
    for folder in settings.other:
        check_other(folder, unseen[folder], learned.values())


def _matrices(model: Model, test: Sequence[Path], sampling: SamplingSettings, beside: Model | None) -> dict[str, ClassifierTests]:
    """The confusion matrices of a merger model by class rule; none of other models."""
    if model.card.key.task != MERGER.name:
        return {}
    return selected_tests(model, [read_stamps(folder, _truth_of(beside or model)) for folder in test], sampling, beside)


def _written(document: Mapping[str, Any], folder: Path, matrices: Mapping[str, ClassifierTests]) -> Evaluated:
    files = {rule: folder / f"matrices-{rule}.toml" for rule in matrices}
    evaluated = Evaluated(document, folder / NUMBERS_FILE, folder / PAGE_FILE, tuple(files.values()))
    write_over(evaluated.numbers, (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())
    write_evaluation_page(document, evaluated.page)
    for rule, tests in matrices.items():
        write_over(files[rule], matrices_to_toml(tests).encode())
    return evaluated


def evaluate_model(
    model: Model,
    records: EvaluationRecords,
    read: Reader,
    sampling: SamplingSettings,
    *,
    baseline_stamps: int,
    contamination_model: Model | None = None,
    command: str = "",
    narrow: bool = False,
) -> dict[str, Any]:
    """Evaluate a model, and return all results.

    Parameters
    ----------
    model
        A merger or a contamination model.
    records
        The records that it is evaluated with.
    read
        Reads them.
    sampling
        Number of draws, and seed; the seed also degrades stamps and fits the baseline.
    baseline_stamps
        Largest number of training stamps that the baseline is fitted to.
    contamination_model
        A contamination model of the same instrument, to find the effect of a cut on a merger model.
    command
        What the user typed, for the record.
    narrow
        Whether stamps count as flagged as if the card's limits were narrowed to those that follow from this evaluation.

    Returns
    -------
    JSON's plain values: the model, its records, and every number; null where there is none.

    Raises
    ------
    InputError
        If models and records are not of one instrument, a model is of another task, or there are fewer than 10 stamps of a class.
    ModelError
        If models of this task cannot be evaluated.
    """
    task = task_of(model.card.key.task).name
    judge = entry_of(task, JUDGES, "evaluated")
    if contamination_model is not None:
        _check_beside(contamination_model.card, model.card)
    sets = _read(records, read, _truth_of(contamination_model or model), baseline_stamps)
    for stamps in chain(*sets.values()):
        check_stamps(model.card, stamps)
    for name in _JUDGED[task]:
        check_classes(task, getattr(records, name), sets[name])
    heading = _heading(model, contamination_model, sampling, command) | {"records": _listed(sets)}
    return dict(plain(heading | {task: judge(model, sets, sampling, contamination_model, narrow)}))


def _truth_of(model: Model) -> str:
    """The variant of the contamination truth that a model was trained on; the physical one if no model says."""
    return model.card.contamination.truth if model.card.contamination else DEFAULT_TRUTH


def _read(records: EvaluationRecords, read: Reader, truth: str, baseline_stamps: int) -> dict[str, list[LabelledStamps]]:
    each = max(baseline_stamps // max(len(records.training), 1), 1)
    at_most = {"test": None, "clean": None, "tuning": None, "other": None, "training": each}
    return {name: [read(folder, truth, limit) for folder in getattr(records, name)] for name, limit in at_most.items()}


def _check_members(card: ModelCard, training: Training) -> None:
    """Check that a jury is complete."""
    if card.n_members != training.model.members:
        there = ", ".join(member.name for member in card.members) or "a model that is alone"
        raise InputError(
            f"{card.key} has {card.n_members} members ({there}), but the training file says [model] members = "
            f"{training.model.members}. Train or copy the others, or correct `members`."
        )


def _check_learned(model: ModelCard, *sets: Sequence[Path]) -> None:
    """Check that a model was trained on the records that the file names; its card knows them if surveyflow trained it."""
    for card in model.each:
        _check_records_of(card, *sets)


def _check_records_of(card: ModelCard, *sets: Sequence[Path]) -> None:
    facts = card.training
    for named, trained in zip(sets, () if facts is None else (facts.records, facts.validation_records), strict=False):
        digests = [read_index(folder).digest for folder in named]
        if sorted(digests) != sorted(trained):
            raise InputError(
                f"model {card.model_id} was trained on the records {_short(trained)}, but {', '.join(map(str, named))} are "
                f"{_short(digests)}. Name the model's own records in [data], so that evaluation cannot use them."
            )


def _check_not_calibrated_on(card: ModelCard, folder: Path) -> None:
    """Check that a model's probabilities were not fitted to the records that would judge them."""
    if any(read_index(folder).digest in one.records for own in card.each for one in own.calibrations):
        raise InputError(
            f"{folder}: model {card.model_id} was calibrated on these records, so they cannot show how well it is calibrated. "
            "Name records that were not used for it."
        )


def _short(digests: Sequence[str]) -> str:
    return ", ".join(digest[:12] for digest in digests)


def _check_beside(contamination: ModelCard, card: ModelCard) -> None:
    """Check that a contamination model can be used beside a model."""
    if (contamination.key.task, contamination.key.instrument) != (CONTAMINATION.name, card.key.instrument):
        raise InputError(
            f"[evaluation] contamination_model is {contamination.key}, expected a contamination model of {card.key.instrument}. "
            "Name the folder of one."
        )


def _heading(model: Model, contamination_model: Model | None, sampling: SamplingSettings, command: str) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "surveyflow_version": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "task": model.card.key.task,
        "model": _told(model),
        "contamination_model": contamination_model and _told(contamination_model),
        "sampling": {"draws": sampling.n_draws, "seed": sampling.seed},
    }


def _told(model: Model) -> dict[str, Any]:
    card = model.card
    return {
        "id": card.model_id,
        "origin": card.origin.value,
        "instrument": card.key.instrument,
        "fields": [card.key.field, *card.also_for],
        "stretch": card.stretch.value,
        "engine": model.engine,
        "card_digest": card.digest,
        "members": [{"name": one.name, "id": one.card.model_id} for one in card.members],
        "architecture": asdict(card.architecture),
    }


def _listed(sets: Mapping[str, Sequence[LabelledStamps]]) -> dict[str, Any]:
    return {
        name: [{"field": stamps.field, "digest": stamps.digest, "n": len(stamps)} for stamps in of_name]
        for name, of_name in sets.items()
    }


def plain(value: Any) -> Any:
    """Convert nested dataclasses to JSON's values: arrays become lists, and numbers that are not finite become null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value
