"""The check before a run: everything that a workflow names is opened and checked, and must stay as it was.

The states of the files are recorded before the first file is read, and compared before anything is published. So a catalog is
made from one set of files, and never from a new mosaic and an old source list.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from surveyflow.catalog.kept import KeptColumns, combined_digest, contradictions
from surveyflow.errors import (
    CatalogError,
    InputError,
    InputsChanged,
    ModelError,
    MosaicError,
    OutputError,
    Problem,
    WorkflowError,
)
from surveyflow.execution.gpus import compute_capabilities
from surveyflow.files.addresses import Address
from surveyflow.files.paths import FileState, file_state, split_extension
from surveyflow.inputs.mosaics import Mosaic, check_pixel_scale, open_mosaic
from surveyflow.inputs.remote_images import KEPT_PIXELS
from surveyflow.inputs.source_lists import read_source_list
from surveyflow.measuring.domain import band_differs
from surveyflow.models.engines.choice import choose_engine, obstacle
from surveyflow.models.engines.fft_engine import NO_CORE
from surveyflow.models.juries import absence
from surveyflow.models.store import ModelStore, read_weights
from surveyflow.planning.positions import locate_sources
from surveyflow.planning.units import units_of_field
from surveyflow.releases.layout import check_layout
from surveyflow.runs.weight_checks import check_weights_of
from surveyflow.settings.workflow import FieldInputs, MosaicSpec, Workflow
from surveyflow.simulation.headers import INSTRUMENTS, zero_point_of
from surveyflow.sky.weight_kind import WeightCheck
from surveyflow.tasks.calibration import calibration_of
from surveyflow.tasks.card import ModelCard, ModelKey
from surveyflow.tasks.registry import BESIDE, LEADING, TASKS
from surveyflow.values import remedies
from surveyflow.values.codes import EngineName, Precision
from surveyflow.values.images import ELECTRONS_A_SECOND, Stated
from surveyflow.values.jobs import EngineChoice
from surveyflow.values.listed import ListedSources
from surveyflow.values.sources import SourceList, UnitSources


def input_states(workflow: Workflow) -> tuple[FileState, ...]:
    """Return the state of every source list, mosaic and weight map that exists, each file once."""
    specs = [inputs.sources.path for inputs in workflow.fields.values()]
    for inputs in workflow.fields.values():
        specs += [spec for mosaic in inputs.mosaics.values() for spec in (mosaic.science, mosaic.weight) if spec is not None]
    paths = dict.fromkeys(split_extension(spec)[0] for spec in specs)
    return tuple(state for state in map(file_state, paths) if state is not None)


def check_constant(states: Sequence[FileState]) -> None:
    """Refuse to continue if files have changed.

    Raises
    ------
    InputsChanged
        If a file was written, replaced or removed since; the error names every such file.
    """
    changed = [change for before in states if (change := _change(before))]
    if changed:
        raise InputsChanged(
            f"Inputs changed while this run was reading them, so nothing was published: {'; '.join(changed)}. "
            f"Wait until the files are complete, then run again: finished work is kept."
        )


def _change(before: FileState) -> str | None:
    now = file_state(before.path)
    if now == before:
        return None
    if now is None:
        return f"{before.path} {'cannot be reached any more' if isinstance(before.path, Address) else 'is gone'}"
    if now.size != before.size:
        return f"{before.path} had {before.size:,} bytes and has {now.size:,}"
    return f"{before.path} was {'replaced' if (now.inode, now.tag) != (before.inode, before.tag) else 'written to'}"


logger = logging.getLogger(__name__)
AMPERE = 8.0
"""Compute capability of the first NVIDIA GPUs with TF32 and bfloat16."""

BYTES_PER_ROW = 2_000
"""Disk space for each source while a revision is built beside the units, bytes: 0.5 kB was measured for each, plus a margin."""
Value = TypeVar("Value")
MosaicName = tuple[str, str]
"""Field and instrument."""


@dataclass(frozen=True, slots=True)
class OpenedField:
    """One field, opened and checked.

    Parameters
    ----------
    listed
        The content of its source list.
    mosaics
        Its mosaics by instrument, open.
    cards
        Cards of its merger models by instrument.
    cards_beside
        Cards of the other tasks' models beside them, by task and instrument.
    """

    listed: ListedSources
    mosaics: Mapping[str, Mosaic]
    cards: Mapping[str, ModelCard]
    cards_beside: Mapping[str, Mapping[str, ModelCard]]

    @property
    def sources(self) -> SourceList:
        """Its sources."""
        return self.listed.sources

    @property
    def all_cards(self) -> tuple[tuple[str, ModelCard], ...]:
        """Instrument and card of every model: mergers first."""
        return *self.cards.items(), *(one for cards in self.cards_beside.values() for one in cards.items())

    def beside(self, instrument: str) -> dict[str, ModelCard]:
        """Cards of the models beside the merger model of one instrument, by task."""
        return {task: cards[instrument] for task, cards in self.cards_beside.items() if instrument in cards}


@dataclass(frozen=True, slots=True)
class OpenedSurvey:
    """A workflow whose inputs have all been opened and checked.

    Parameters
    ----------
    workflow
        The workflow.
    fields
        Its fields by name.
    kept
        The columns of their source lists that the catalog keeps.
    kept_beside
        The same columns for the rows of further instruments.
    warnings
        What the user should know, although it does not prevent the run.
    files
        The input files as they were before the first of them was read.
    weights
        What the numbers of weight maps are, as far as the noise of the mosaics says; those that could be compared.
    """

    workflow: Workflow
    fields: Mapping[str, OpenedField]
    kept: KeptColumns
    kept_beside: KeptColumns
    warnings: tuple[str, ...]
    files: tuple[FileState, ...]
    weights: Mapping[MosaicName, WeightCheck]

    @property
    def kept_digest(self) -> str:
        """SHA-256 of all values that the source lists add to the rows; empty if there are none."""
        return combined_digest(self.kept, self.kept_beside)

    @property
    def n_sources(self) -> int:
        """Number of sources in all lists, which is the number of rows of the catalog."""
        return sum(len(field.sources) for field in self.fields.values())

    @property
    def notices(self) -> tuple[str, ...]:
        """What was ignored in the mosaics' headers."""
        mosaics = (mosaic for field in self.fields.values() for mosaic in field.mosaics.values())
        return tuple(notice for mosaic in mosaics for notice in mosaic.notices)

    def keep_pixels(self) -> None:
        """Write the pixels that were fetched from addresses so far to the output folder, for the workers."""
        for field in self.fields.values():
            for mosaic in field.mosaics.values():
                mosaic.keep()

    @property
    def cards(self) -> dict[ModelKey, ModelCard]:
        """Cards of all models in use, of all tasks."""
        return {card.key: card for field in self.fields.values() for _, card in field.all_cards}


class _Problems:
    """A collection of problems, so that all of them can be reported at once."""

    def __init__(self, workflow: Workflow) -> None:
        self.workflow = workflow
        self.found: list[Problem] = []

    def add(self, table: str, what: str, remedy: str = "") -> None:
        self.found.append(Problem(f"{self.workflow.path.name}: {table}", what, remedy))

    def catch(self, table: str, action: Callable[[], Value]) -> Value | None:
        """Return what the action returns; None if it refuses its input."""
        try:
            return action()
        except WorkflowError as error:
            self.found.extend(error.problems)
        except (InputError, CatalogError) as error:
            self.add(table, str(error))
        return None


@contextmanager
def open_survey(workflow: Workflow) -> Iterator[OpenedSurvey]:
    """Open and check everything that a workflow names.

    Parameters
    ----------
    workflow
        The workflow.

    Raises
    ------
    WorkflowError
        If anything cannot be used; it holds every problem found.
    """
    problems = _Problems(workflow)
    files = input_states(workflow)
    with ExitStack() as stack:
        store = problems.catch("[models] store", lambda: ModelStore(workflow.models.store, workflow.models.named_members))
        cards = _model_cards(workflow, store, problems) if store is not None else {}
        fields = {name: _open_field(name, inputs, cards, stack, problems) for name, inputs in workflow.fields.items()}
        opened = {name: field for name, field in fields.items() if field is not None}
        lists = {name: field.listed for name, field in opened.items()}
        for name, what, remedy in contradictions(lists):
            problems.add(f"[fields.{name}.sources] columns.keep", what, remedy)
        problems.catch("[output] root", lambda: _check_output(workflow.output.root, opened))
        problems.catch("[output] root", lambda: check_layout(workflow.output.root))
        if problems.found:
            raise WorkflowError(problems.found)
        located = {name: _located(workflow, field) for name, field in opened.items()}
        weights = _check_weights(opened, located)
        warnings = tuple(_warnings(workflow, opened, located, weights))
        kept = KeptColumns.of(lists), KeptColumns.of_alternatives(lists)
        survey = OpenedSurvey(workflow, opened, *kept, warnings, files, weights)
        for warning in survey.warnings:
            logger.warning(warning)
        yield survey


def _model_cards(workflow: Workflow, store: ModelStore, problems: _Problems) -> dict[ModelKey, ModelCard]:
    """Cards of the models that the workflow's fields and routing need: mergers, and those of other tasks beside them."""
    wanted = [ModelKey(LEADING.name, name, instrument) for name in workflow.fields for instrument in workflow.routing]
    present = problems.catch("[models] store", store.cards) or {}
    mergers = {key: present[key] for key in wanted if key in present}
    if not mergers:
        problems.add(
            "[models] store",
            f"{store.path} holds no model for any field and instrument of this workflow; expected, for example, "
            f"{store.home(wanted[0])}.",
            "Import or train models first, or correct the path.",
        )
    beside = {replace(key, task=task.name): card for task in BESIDE for key, card in mergers.items()}
    others = {key: present[key] for key in beside if key in present}
    for key, card in (mergers | others).items():
        problems.catch("[models] store", partial(_check_card, store, key, card, beside.get(key, card)))
    problems.catch("[sampling] draws", partial(_check_shares, workflow.sampling.draws, list((mergers | others).values())))
    problems.catch("[models] members", partial(_check_members, workflow.models.named_members, list((mergers | others).values())))
    return mergers | others


def _check_shares(n_draws: int, cards: Sequence[ModelCard]) -> None:
    """Refuse fewer draws than members, of whom each makes some."""
    for card in cards:
        if card.n_members > n_draws:
            raise ModelError(
                f"draws is {n_draws}, but {card.key} is a jury of {card.n_members}, of whom each makes a share of the draws. "
                f"Write {card.n_members} or more, or name fewer `members` in [models]."
            )


def _check_members(named: tuple[str, ...] | None, cards: Sequence[ModelCard]) -> None:
    """Refuse a choice of members that chooses nothing."""
    if named is not None and cards and not any(card.members for card in cards):
        raise ModelError(f'members names {", ".join(named)}, but none of the models is a jury. Remove `members`, or write "all".')


def _check_card(store: ModelStore, key: ModelKey, card: ModelCard, merger: ModelCard) -> None:
    """Check that a model has its task's outputs, and takes the same cutouts as the merger model."""
    folder, task = store.folder(key), TASKS[key.task]
    where = folder if card.members else folder / "card.toml"
    missing = [name for name in task.outputs if name not in card.class_names]
    if missing:
        raise ModelError(
            f"{where}: class_names {list(card.class_names)} lack {missing}, which a {key.task} model must name. "
            "Correct class_names."
        )
    if task.scaling is not None and any(one.contamination is None for one in card.each):
        raise ModelError(
            f"{where}: it has no table [contamination], and without it the outputs have no unit. Add it, as "
            f"docs/reference/models.md explains, or train the model again."
        )
    size, expected = card.architecture.input_size, merger.architecture.input_size
    if size != expected:
        raise ModelError(
            f"{where}: input_size is {size}, but {merger.key} takes cutouts of {expected} pixels, and both models look at the "
            f"same cutouts. Train one of them again."
        )
    for place, one in store.placed(card):
        read_weights(place, one)
    calibration_of(card.each)


def _open_field(
    name: str, inputs: FieldInputs, cards: Mapping[ModelKey, ModelCard], stack: ExitStack, problems: _Problems
) -> OpenedField | None:
    ranges = problems.workflow.routing
    listed = problems.catch(f"[fields.{name}.sources]", lambda: read_source_list(inputs.sources, name, ranges))
    of_tasks = {
        task: {key.instrument: card for key, card in cards.items() if (key.task, key.field) == (task, name)} for task in TASKS
    }
    mosaics, kept = {}, problems.workflow.output.root / KEPT_PIXELS
    for instrument, spec in inputs.mosaics.items():
        table = f"[fields.{name}.{instrument}]"
        stated = problems.catch(table, partial(_stated, spec, of_tasks[LEADING.name].get(instrument)))
        if stated is None:
            continue
        mosaic = problems.catch(table, partial(open_mosaic, spec.science, spec.weight, stated, kept))
        if mosaic is None:
            continue
        mosaics[instrument] = stack.enter_context(mosaic)
        for of_task in of_tasks.values():
            if instrument in of_task:
                problems.catch(table, partial(check_pixel_scale, mosaic, of_task[instrument]))
    own_cards = of_tasks.pop(LEADING.name)
    return OpenedField(listed, mosaics, own_cards, of_tasks) if listed is not None else None


def _stated(spec: MosaicSpec, card: ModelCard | None) -> Stated:
    """What the workflow states of a mosaic, and the zero point of the images that its model was trained on."""
    wanted = None if card is None or card.domain.unit != ELECTRONS_A_SECOND else zero_point_of(card.band)
    if spec.zero_point is not None and card is not None and wanted is None:
        raise MosaicError(
            f"zero_point is stated, but {card.key} was trained on {card.domain.unit} in {card.band}, and not on "
            f"{ELECTRONS_A_SECOND} of a band whose zero point is known ({', '.join(INSTRUMENTS)}), so nothing can be converted. "
            f"Leave it out, and convert the image to the unit of the training images."
        )
    return Stated(spec.unit, spec.weight_kind, spec.zero_point, wanted)


def _check_output(root: Path, fields: Mapping[str, OpenedField]) -> None:
    """Refuse a disk that is too full to hold the catalog."""
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    kept = sum(column.values.nbytes for field in fields.values() for column in field.listed.kept.values())
    needed = BYTES_PER_ROW * sum(len(field.sources) for field in fields.values()) + kept
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise OutputError(
            f"{root} is on a disk with {free / 1e6:.1f} MB free, but the catalog needs about {needed / 1e6:.1f} MB. "
            f"Free some space, or choose another [output] root."
        )


def _located(workflow: Workflow, field: OpenedField) -> UnitSources:
    return locate_sources(field.sources, workflow.routing, field.mosaics, field.cards)


def _check_weights(fields: Mapping[str, OpenedField], located: Mapping[str, UnitSources]) -> dict[MosaicName, WeightCheck]:
    checks = {
        (name, instrument): check_weights_of(mosaic, located[name], instrument)
        for name, field in fields.items()
        for instrument, mosaic in field.mosaics.items()
    }
    return {name: check for name, check in checks.items() if check is not None}


def _warnings(
    workflow: Workflow,
    fields: Mapping[str, OpenedField],
    located: Mapping[str, UnitSources],
    weights: Mapping[MosaicName, WeightCheck],
) -> Iterator[str]:
    yield from _absence_warnings(workflow, fields)
    yield from _prevalence_warnings(workflow, fields)
    for name, field in fields.items():
        for instrument in workflow.routing:
            n_sources = int((located[name].instrument == instrument).sum())
            if n_sources and instrument not in field.cards:
                yield (
                    f"{name}: {n_sources} sources are routed to {instrument}, but {workflow.models.store} holds no model "
                    f"{ModelKey(LEADING.name, name, instrument)}; they will have status no_model"
                )
            elif n_sources and instrument not in field.mosaics:
                yield (
                    f"{name}: {n_sources} sources are routed to {instrument}, but the workflow names no such mosaic; they "
                    f"will have status off_mosaic"
                )
        for instrument, mosaic in field.mosaics.items():
            cards = [card for used_for, card in field.all_cards if used_for == instrument]
            yield from dict.fromkeys(text for card in cards for text in _mosaic_warnings(f"{name}/{instrument}", mosaic, card))
            check = weights.get((name, instrument))
            if check is not None and check.caution:
                yield f"{name}/{instrument}: {mosaic.weight} {check.caution}"
        if "source_name" in field.listed.own:
            yield f"{name}: the ids are text: source_name holds them, and source_id the numbers that stand for them"
        if not units_of_field(located[name], field.mosaics, field.cards, workflow.tiling.core_size):
            yield f"{name}: no source needs any pixels"


def _absence_warnings(workflow: Workflow, fields: Mapping[str, OpenedField]) -> Iterator[str]:
    """Warn of juries that seem to have lost members, unless the workflow names its members."""
    if workflow.models.named_members is not None:
        return
    store = ModelStore(workflow.models.store)
    cards = {card.key: card for field in fields.values() for _, card in field.all_cards}
    yield from filter(None, (absence(card, store.home(card.key)) for card in cards.values()))


def _prevalence_warnings(workflow: Workflow, fields: Mapping[str, OpenedField]) -> Iterator[str]:
    """Warn of models without a map to a probability, if the workflow states a prevalence."""
    if workflow.science.prevalence is None:
        return
    store = ModelStore(workflow.models.store)
    for card in {card.key: card for field in fields.values() for card in field.cards.values()}.values():
        if card.calibration is None:
            folders = (folder for folder, _ in store.placed(card))
            yield (
                f"[science] states a prevalence, but the card of {card.model_id} holds no calibration, so p_pm_at_prevalence is "
                f"null for its sources; to calibrate it: `{remedies.calibrate_models(*folders)}`"
            )


def _mosaic_warnings(name: str, mosaic: Mosaic, card: ModelCard) -> Iterator[str]:
    if card.domain.unit is not None and mosaic.unit is None:
        yield (
            f"{name}: {mosaic.science} has no BUNIT, so all its rows will be flagged UNIT_DOMAIN; if its pixels are in "
            f'{card.domain.unit}, say so: unit = "{card.domain.unit}" in [fields.{name.replace("/", ".")}]'
        )
    elif card.domain.unit not in (None, mosaic.unit):
        yield f"{name}: its unit is {mosaic.unit}, but {card.key} was trained on {card.domain.unit}: flagged UNIT_DOMAIN"
    if withheld := TASKS[card.key.task].columns_withheld(mosaic.unit):
        yield f"{name}: {', '.join(withheld)} will be null: their unit is true only of mosaics in {ELECTRONS_A_SECOND}"
    if mosaic.filter is None:
        yield f"{name}: {mosaic.science} names no FILTER: flagged FILTER_UNKNOWN; check that it is {card.band}"
    if band_differs(mosaic.filter, card):
        yield f"{name}: its filter is {mosaic.filter}, but {card.key} was trained on {card.band}: flagged BAND_DOMAIN"
    if f"{card.key.field}/{card.key.instrument}" != name:
        yield f"{name}: the {card.key.task} model is lent by {card.key}, whose card allows it"


def core_caution(choice: EngineChoice, cards: Iterable[ModelCard]) -> str | None:
    """What it costs that this machine has no native core, in words; None if it costs nothing.

    Parameters
    ----------
    choice
        The chosen engine, or ``auto``, and the precision.
    cards
        Cards of the survey's models.
    """
    reasons = {choose_engine(one.architecture, choice.precision)[1] for card in cards for one in card.each}
    found = next((reason for reason in reasons if NO_CORE in reason), None)
    if choice.name != EngineName.AUTO or found is None:
        return None
    return f"No GPU is visible, and {found}. Keras computes the networks instead, which takes about ten times as long."


def precision_caution(precision: Precision) -> str | None:
    """What this machine cannot do in a precision, in words; None if it can.

    Parameters
    ----------
    precision
        Precision of the models' trunks.
    """
    if precision == Precision.FLOAT32:
        return None
    found = compute_capabilities()
    unable = [f"{name} (compute capability {number:g})" for name, number in found.items() if number < AMPERE]
    if found and not unable:
        return None
    effect = "has no effect" if precision == Precision.TF32 else "saves no time"
    return (
        f"--precision {precision} {effect} on {', '.join(unable) or 'this machine: no NVIDIA GPU is visible'}. It needs GPUs "
        f"from Ampere on; its results are kept apart from those in float32 all the same. Leave it out, or use such GPUs."
    )


def check_engine(choice: EngineChoice, cards: Iterable[ModelCard]) -> None:
    """Refuse to start if a model cannot be run with the chosen engine and precision.

    Parameters
    ----------
    choice
        The chosen engine, or ``auto``, and the precision.
    cards
        Cards of the survey's models.

    Raises
    ------
    ModelError
        If the engine cannot be used for one of the models or, with ``auto``, no engine can.
    """
    for card in (member for model in cards for member in model.each):
        problem = obstacle(choice.name, card.architecture, choice.precision)
        if problem:
            failing = "No engine can" if choice.name == EngineName.AUTO else f"The engine '{choice.name}' cannot"
            raise ModelError(f"{failing} run {card.key} in {choice.precision} here: {problem}.")
