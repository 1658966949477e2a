"""The check before a run: everything that a workflow names is opened and checked, and must stay as it was.

The states of the files are recorded before the first file is read, and compared before anything is published. So a catalog is
made from one set of files, and never from a new mosaic and an old source list.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from surveyflow import __version__
from surveyflow.catalog.kept import contradictions
from surveyflow.errors import (
    CatalogError,
    InputError,
    InputsChanged,
    ModelError,
    MosaicError,
    OutputError,
    Problem,
    SourceListError,
    WorkflowError,
)
from surveyflow.execution.gpus import compute_capabilities
from surveyflow.files.addresses import Address
from surveyflow.files.open_files import allow_open_files
from surveyflow.files.paths import FileState, Place, file_state, split_extension
from surveyflow.inputs.list_files import files_of
from surveyflow.inputs.mosaic_lists import MosaicSet, listed_mosaics
from surveyflow.inputs.mosaics import Mosaic, check_pixel_scale, open_mosaic
from surveyflow.inputs.remote_images import KEPT_PIXELS
from surveyflow.models.cards import absence
from surveyflow.models.engines.choice import choose_engine, obstacle
from surveyflow.models.engines.fft_engine import NO_CORE
from surveyflow.models.store import ModelStore, read_weights
from surveyflow.output.list_folders import building_lists, lists_folder, move_lists
from surveyflow.planning.expectations import TO_MEASURE, expectations
from surveyflow.planning.list_tasks import FieldPlan
from surveyflow.planning.work_lists import (
    ListFacts,
    ReadList,
    SurveyLists,
    finish_lists,
    key_of_lists,
    read_lists,
    recall_lists,
    write_index,
)
from surveyflow.releases.layout import check_layout
from surveyflow.runs.placement_checks import misplaced_lists, repeated_mosaics, sparse_lists
from surveyflow.runs.weight_checks import check_weights_of, contradicted_kinds, exchanged_images
from surveyflow.settings.workflow import FieldInputs, MosaicFiles, Workflow
from surveyflow.simulation.headers import INSTRUMENTS, zero_point_of
from surveyflow.sky.weight_kind import WeightCheck
from surveyflow.tasks.calibration import calibration_of
from surveyflow.tasks.card import ModelCard, ModelKey
from surveyflow.tasks.domains import band_differs, psf_outside
from surveyflow.tasks.registry import BESIDE, LEADING, TASKS
from surveyflow.values import remedies
from surveyflow.values.codes import EngineName, Precision
from surveyflow.values.images import ELECTRONS_A_SECOND, Stated
from surveyflow.values.jobs import Doing, EngineChoice, in_this_process

MosaicName = tuple[str, str]
"""Field and instrument."""


def input_states(specs: Iterable[Place]) -> tuple[FileState, ...]:
    """Return the states of the files that exist, each once; a path may name an extension."""
    paths = dict.fromkeys(split_extension(spec)[0] for spec in specs)
    return tuple(state for state in map(file_state, paths) if state is not None)


def _named_files(workflow: Workflow) -> Iterator[Place]:
    """The files that a workflow names: source lists, tables of mosaics, mosaics and weight maps."""
    for inputs in workflow.fields.values():
        yield from _files_of_list(inputs)
        for spec in inputs.mosaics.values():
            yield from _images(spec.files) if spec.mosaics is None else [spec.mosaics]


def _files_of_list(inputs: FieldInputs) -> Iterator[Place]:
    """The files of a source list, and of the tables that join it; none of a folder that cannot be read, which is reported."""
    with suppress(SourceListError):
        yield from files_of(inputs.sources.path)
    yield from (table.path for table in inputs.sources.tables.values())


def _images(files: Iterable[MosaicFiles]) -> Iterator[Place]:
    yield from (path for each in files for path in (each.science, each.weight) if path is not None)


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


_MOSAIC = "{mosaic}"
"""Stands for a mosaic's name in a warning that is true of several."""
logger = logging.getLogger(__name__)
AMPERE = 8.0
"""Compute capability of the first NVIDIA GPUs with TF32 and bfloat16."""

BYTES_PER_ROW = 2_000
"""Disk space for each source while a revision is built beside the units, bytes: 0.5 kB was measured for each, plus a margin."""
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class OpenedField:
    """One field, opened and checked.

    Parameters
    ----------
    mosaics
        Its mosaics by instrument, open.
    cards
        Cards of its merger models by instrument.
    cards_beside
        Cards of the other tasks' models beside them, by task and instrument.
    """

    mosaics: Mapping[str, MosaicSet]
    cards: Mapping[str, ModelCard]
    cards_beside: Mapping[str, Mapping[str, ModelCard]]

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
    lists
        The work lists that their source lists became.
    key
        The key of the work lists.
    warnings
        What the user should know, although it does not prevent the run.
    files
        The input files as they were before the first of them was read.
    weights
        What the numbers of weight maps are, as far as the noise of the mosaics says; those that could be compared.
    """

    workflow: Workflow
    fields: Mapping[str, OpenedField]
    lists: SurveyLists
    key: str
    warnings: tuple[str, ...]
    files: tuple[FileState, ...]
    weights: Mapping[MosaicName, WeightCheck]

    def log_warnings(self) -> None:
        """Log the warnings, for callers that hand them to nobody."""
        for warning in self.warnings:
            logger.warning(warning)

    @property
    def kept_digest(self) -> str:
        """SHA-256 of all values that the source lists add to the rows; empty if there are none."""
        return self.lists.kept_digest

    @property
    def n_sources(self) -> int:
        """Number of sources in all lists, which is the number of rows of the catalog."""
        return self.lists.n_sources

    def with_lists_in_root(self) -> OpenedSurvey:
        """The survey with its work lists in the output folder, for the workers; it takes over those that were built elsewhere."""
        root = self.workflow.output.root
        if self.lists.folder == lists_folder(root, self.key):
            return self
        return replace(self, lists=self.lists.moved_to(move_lists(self.lists.folder, root, self.key)))

    @property
    def notices(self) -> tuple[str, ...]:
        """What was ignored in the mosaics' headers."""
        sets = (mosaics for field in self.fields.values() for mosaics in field.mosaics.values())
        return tuple(notice for one in sets for mosaic in one.mosaics for notice in mosaic.notices)

    def keep_pixels(self) -> None:
        """Write the pixels that were fetched from addresses so far to the output folder, for the workers."""
        for field in self.fields.values():
            for mosaics in field.mosaics.values():
                for one in mosaics.mosaics:
                    one.keep()

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

    def refuse(self) -> None:
        """Raise an error with all problems, if there are any."""
        if self.found:
            raise WorkflowError(self.found)


@contextmanager
def open_survey(workflow: Workflow, do: Doing = in_this_process) -> Iterator[OpenedSurvey]:
    """Open and check everything that a workflow names, and make work lists of its source lists.

    Parameters
    ----------
    workflow
        The workflow.
    do
        Has the tasks carried out that read the lists; by default, this process does them.

    Raises
    ------
    WorkflowError
        If anything cannot be used; it holds every problem found.
    """
    problems = _Problems(workflow)
    files = input_states(_named_files(workflow))
    mosaics = _listed_mosaics(workflow, problems)
    known = {state.path for state in files}
    files += tuple(state for state in input_states(_images(chain(*mosaics.values()))) if state.path not in known)
    with ExitStack() as stack:
        store = problems.catch("[models] store", lambda: ModelStore(workflow.models.store, workflow.models.named_members))
        cards = _model_cards(workflow, store, problems) if store is not None else {}
        open_field = partial(_open_field, cards=cards, listed_files=mosaics, stack=stack, problems=problems)
        fields = {name: open_field(name, inputs) for name, inputs in workflow.fields.items()}
        problems.catch("[output] root", lambda: check_layout(workflow.output.root))
        listing = _Listing(workflow, fields, files)
        earlier = None if problems.found else listing.recalled()
        folder = None if problems.found or earlier else stack.enter_context(building_lists(workflow.output.root, listing.key))
        read = [] if earlier else _read_checked(listing, folder, do, problems)
        facts = earlier.facts if earlier else {one.plan.name: one.facts for one in read}
        weights = _checked_places(fields, facts, problems)
        lists = earlier or _finished(listing, read, folder or Path(), do, problems)
        yield OpenedSurvey(
            workflow, fields, lists, listing.key, tuple(_warnings(workflow, fields, facts, weights)), files, weights
        )


@dataclass(frozen=True, slots=True)
class _Listing:
    """How the source lists of a workflow become work lists."""

    workflow: Workflow
    fields: Mapping[str, OpenedField]
    files: tuple[FileState, ...]

    @property
    def plans(self) -> list[FieldPlan]:
        workflow = self.workflow
        settings = workflow.routing, workflow.redshifts.least_share, workflow.tiling.core_size
        numbered = enumerate(workflow.fields.items())
        return [
            FieldPlan(name, number, inputs.sources, *settings, self.fields[name].mosaics, self.fields[name].cards)
            for number, (name, inputs) in numbered
        ]

    @property
    def key(self) -> str:
        """The key of the work lists: everything on which they depend."""
        states = [[str(state.path), state.size, state.mtime_ns, state.inode, state.tag] for state in self.files]
        fields = {name: self._dependencies(name, opened) for name, opened in self.fields.items()}
        dumped = self.workflow.model_dump(mode="json", include={"routing", "tiling", "duplicates", "redshifts"})
        return key_of_lists(states, {"version": __version__, "fields": fields, **dumped})

    def _dependencies(self, name: str, opened: OpenedField) -> dict[str, Any]:
        """What the lists of a field depend on beside the states of files."""
        sets = opened.mosaics.items()
        return {
            "sources": self.workflow.fields[name].sources.model_dump(mode="json"),
            "mosaics": {key: [each.labels, each.names] for key, each in sets},
            "images": {key: [[one.science, one.weight, one.treatment] for one in each.mosaics] for key, each in sets},
            "cutouts": {key: card.architecture.input_size for key, card in opened.cards.items()},
        }

    @property
    def is_known_by_states(self) -> bool:
        """Whether the states of all files say that these are unchanged, as an address without an ETag cannot."""
        return all(state.tag for state in self.files if isinstance(state.path, Address))

    def recalled(self) -> SurveyLists | None:
        """The work lists that an earlier run made of the same files."""
        folder = lists_folder(self.workflow.output.root, self.key)
        lists = recall_lists(folder, self.plans) if self.is_known_by_states else None
        if lists is not None:
            with suppress(OSError):  # only the age by which stale lists are swept
                os.utime(folder)
        return lists


def _read_checked(listing: _Listing, folder: Path | None, do: Doing, problems: _Problems) -> list[ReadList]:
    """Read all source lists; without a folder they are only checked."""
    read = read_lists(listing.plans, folder, do)
    for one in read:
        if one.problem:
            problems.add(f"[fields.{one.plan.name}.sources]", one.problem)
    whole = [one for one in read if not one.problem]
    for name, what, remedy in contradictions({one.plan.name: one.head for one in whole}):
        problems.add(f"[fields.{name}.sources] columns.keep", what, remedy)
    problems.catch("[output] root", lambda: _check_output(listing.workflow.output.root, whole))
    problems.refuse()
    for one in read:
        if one.unplaced:
            problems.add(f"[fields.{one.plan.name}]", one.unplaced)
        for caution in one.cautions:
            logger.warning("%s", caution)
    problems.refuse()
    return read


def _checked_places(
    fields: Mapping[str, OpenedField], facts: Mapping[str, ListFacts], problems: _Problems
) -> dict[MosaicName, WeightCheck]:
    """Check that lists, mosaics and weight maps belong together; returns what the noise says of the weight maps."""
    _check_places(fields, facts, problems)
    problems.refuse()
    weights = _check_weights(fields, facts, problems)
    problems.refuse()
    return weights


def _finished(listing: _Listing, read: Sequence[ReadList], folder: Path, do: Doing, problems: _Problems) -> SurveyLists:
    """Make the work lists, in the output folder if there is one."""
    root, duplicates = listing.workflow.output.root, listing.workflow.duplicates
    finish = partial(finish_lists, radius_arcsec=duplicates.radius_arcsec, same_id=duplicates.same_id)
    lists = problems.catch("[fields]", lambda: finish(read, folder, do))
    problems.refuse()
    if lists is None:
        raise WorkflowError(problems.found)
    _check_nothing_appeared(listing, read)
    if not any(map(_change, listing.files)):
        write_index(lists)
    in_root = root.is_dir() and folder.is_relative_to(root)
    return lists.moved_to(move_lists(folder, root, listing.key)) if in_root else lists


def _check_nothing_appeared(listing: _Listing, read: Sequence[ReadList]) -> None:
    """Refuse lists of which files appeared while they were read: neither their key nor the manifest would name these."""
    known = {state.path for state in listing.files}
    files = (split_extension(file)[0] for one in read for file in one.files)
    if new := [file for file in files if file not in known]:
        raise InputsChanged(
            f"{new[0]} appeared while this run was reading the source lists, so nothing was published. Wait until they are "
            "complete, then run again."
        )


def _model_cards(workflow: Workflow, store: ModelStore, problems: _Problems) -> dict[ModelKey, ModelCard]:
    """Cards of the models that the workflow's fields and routing need: mergers, and those of other tasks beside them."""
    wanted = {
        ModelKey(LEADING.name, name, instrument): ModelKey(LEADING.name, inputs.models or name, instrument)
        for name, inputs in workflow.fields.items()
        for instrument in workflow.routing
    }
    present = problems.catch("[models] store", store.cards)
    if present is None:
        return {}
    mergers = {key: present[serving] for key, serving in wanted.items() if serving in present}
    _check_served(workflow, store, present, problems)
    beside = {replace(key, task=task.name): card for task in BESIDE for key, card in mergers.items()}
    serving = {key: replace(wanted[replace(key, task=LEADING.name)], task=key.task) for key in beside}
    others = {key: present[serving[key]] for key in beside if serving[key] in present}
    for key, card in (mergers | others).items():
        problems.catch("[models] store", partial(_check_card, store, card, beside.get(key, card)))
    problems.catch("[sampling] draws", partial(_check_shares, workflow.sampling.draws, list((mergers | others).values())))
    problems.catch("[models] members", partial(_check_members, workflow.models.named_members, list((mergers | others).values())))
    return mergers | others


def _check_served(workflow: Workflow, store: ModelStore, present: Mapping[ModelKey, ModelCard], problems: _Problems) -> None:
    """Refuse a survey without any model, and a field whose `models` names one that has none."""
    serving = {name: inputs.models or name for name, inputs in workflow.fields.items()}
    able = {key.field for key in present if key.task == LEADING.name and key.instrument in workflow.routing}
    lacking = [name for name, field in serving.items() if field not in able]
    for name in lacking:
        if workflow.fields[name].models is not None:
            what = f"{store.path} holds no merger model of {serving[name]} for an instrument of [routing]."
            problems.add(f"[fields.{name}] models", what, _how_to_serve(name, able, store))
    if len(lacking) == len(serving):
        key = ModelKey(LEADING.name, next(iter(serving.values())), next(iter(workflow.routing)))
        expected = f"expected, for example, {store.home(key)}."
        what = f"{store.path} holds no model for any field and instrument of this workflow; {expected}"
        problems.add("[models] store", what, _how_to_serve(lacking[0], able, store))


def _how_to_serve(name: str, able: Iterable[str], store: ModelStore) -> str:
    """What to do for a field without models, if the store has those of the fields `able`."""
    fields = sorted(able)
    if not fields:
        command = remedies.import_models("FOLDER", store.path, "STRETCH")
        return f"Train models, import the authors' (`{command}`), or correct the path."
    return f'It has models of {", ".join(fields)}: to use those of one, write models = "{fields[0]}" in [fields.{name}].'


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


def _check_card(store: ModelStore, card: ModelCard, merger: ModelCard) -> None:
    """Check that a model has its task's outputs, and takes the same cutouts as the merger model."""
    key = card.key
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


def _listed_mosaics(workflow: Workflow, problems: _Problems) -> dict[MosaicName, tuple[MosaicFiles, ...]]:
    """The files of all mosaics, with the permission to hold all of them open."""
    found = {
        (name, key): problems.catch(f"[fields.{name}.{key}] mosaics", partial(listed_mosaics, spec, name, key))
        for name, inputs in workflow.fields.items()
        for key, spec in inputs.mosaics.items()
    }
    files = {name: each for name, each in found.items() if each is not None}
    n_files = len(list(_images(chain(*files.values()))))
    limit = allow_open_files(n_files)
    if limit is not None:
        what = f"the workflow names {n_files} images, but this machine lets a process open {limit} files."
        problems.add("[fields]", what, "Raise the hard limit (ulimit -Hn), or divide the fields among several workflows.")
    return files


def _open_field(
    name: str,
    inputs: FieldInputs,
    *,
    cards: Mapping[ModelKey, ModelCard],
    listed_files: Mapping[MosaicName, Sequence[MosaicFiles]],
    stack: ExitStack,
    problems: _Problems,
) -> OpenedField:
    of_tasks = {
        task: {key.instrument: card for key, card in cards.items() if (key.task, key.field) == (task, name)} for task in TASKS
    }
    mosaics = {}
    for instrument in inputs.mosaics:
        table, models = f"[fields.{name}.{instrument}]", [each[instrument] for each in of_tasks.values() if instrument in each]
        files = listed_files.get((name, instrument), ())
        opened = [(each, _open_mosaic(each, models, table, stack, problems)) for each in files]
        usable = {each: mosaic for each, mosaic in opened if mosaic is not None}
        if usable:
            mosaics[instrument] = MosaicSet.of(list(usable.values()), list(usable), problems.workflow.survey.release)
    own_cards = of_tasks.pop(LEADING.name)
    return OpenedField(mosaics, own_cards, of_tasks)


def _open_mosaic(
    files: MosaicFiles, models: Sequence[ModelCard], table: str, stack: ExitStack, problems: _Problems
) -> Mosaic | None:
    """Open a mosaic, and compare its pixels with those of the models; None if it cannot be used."""
    kept = problems.workflow.output.root / KEPT_PIXELS
    leading = next((card for card in models if card.key.task == LEADING.name), None)
    mosaic = problems.catch(table, lambda: open_mosaic(files.science, files.weight, _stated(files, leading), kept))
    if mosaic is not None:
        stack.enter_context(mosaic)
        for card in models:
            problems.catch(table, partial(check_pixel_scale, mosaic, card))
    return mosaic


def _stated(files: MosaicFiles, card: ModelCard | None) -> Stated:
    """What the workflow states of a mosaic, and the zero point and scale of the images that its model was trained on."""
    wanted = None if card is None or card.domain.unit != ELECTRONS_A_SECOND else zero_point_of(card.band)
    if files.zero_point is not None and card is not None and wanted is None:
        raise MosaicError(
            f"zero_point is stated, but {card.key} was trained on {card.domain.unit} in {card.band}, and not on "
            f"{ELECTRONS_A_SECOND} of a band whose zero point is known ({', '.join(INSTRUMENTS)}), so nothing can be converted. "
            f"Leave it out, and convert the image to the unit of the training images."
        )
    scale = card.pixel_scale_arcsec if files.resample and card is not None else None
    return Stated(files.unit, files.weight_kind, files.zero_point, wanted, scale, files.psf_fwhm)


def _check_output(root: Path, lists: Sequence[ReadList]) -> None:
    """Refuse a disk that is too full to hold the catalog."""
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    kept = sum(part.kept_bytes for one in lists for part in one.parts)
    needed = BYTES_PER_ROW * sum(one.n_sources for one in lists) + kept
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise OutputError(
            f"{root} is on a disk with {free / 1e6:.1f} MB free, but the catalog needs about {needed / 1e6:.1f} MB. "
            f"Free some space, or choose another [output] root."
        )


def _check_places(fields: Mapping[str, OpenedField], facts: Mapping[str, ListFacts], problems: _Problems) -> None:
    """Refuse lists of which no source lies on the mosaics, and weight maps that look like science images."""
    for name, known in facts.items():
        nowhere = [instrument for instrument, on in known.on_images.items() if not on]
        for instrument, what, remedy in misplaced_lists(name, known.sample, _sets(fields), known.n_sources, nowhere):
            problems.add(f"[fields.{name}.{instrument}]", what, remedy)
        for instrument, mosaics in fields[name].mosaics.items():
            for what, remedy in exchanged_images(mosaics, known.spread, instrument):
                problems.add(f"[fields.{name}.{instrument}] weight", what, remedy)


def _sets(fields: Mapping[str, OpenedField]) -> dict[MosaicName, MosaicSet]:
    return {(name, key): mosaics for name, field in fields.items() for key, mosaics in field.mosaics.items()}


def _check_weights(
    fields: Mapping[str, OpenedField], facts: Mapping[str, ListFacts], problems: _Problems
) -> dict[MosaicName, WeightCheck]:
    """Compare weight maps with the noise, and refuse those that are clearly something else than what is stated."""
    checks = {
        (name, instrument): check_weights_of(mosaics, facts[name].sample, instrument)
        for name, field in fields.items()
        for instrument, mosaics in field.mosaics.items()
    }
    measured = {name: check for name, check in checks.items() if check is not None}
    for (name, instrument), what, remedy in contradicted_kinds(measured, _sets(fields)):
        problems.add(f"[fields.{name}.{instrument}] weight_kind", what, remedy)
    return measured


def _warnings(
    workflow: Workflow,
    fields: Mapping[str, OpenedField],
    facts: Mapping[str, ListFacts],
    weights: Mapping[MosaicName, WeightCheck],
) -> Iterator[str]:
    yield from _absence_warnings(workflow, fields)
    yield from _prevalence_warnings(workflow, fields)
    for name, field in fields.items():
        known = facts[name]
        for instrument in workflow.routing:
            n_sources = known.n_routed(instrument)
            if n_sources and instrument not in field.cards:
                key = ModelKey(LEADING.name, workflow.fields[name].models or name, instrument)
                yield (
                    f"{name}: {n_sources} sources are routed to {instrument}, but {workflow.models.store} holds no model "
                    f"{key}; they will have status no_model"
                )
            elif n_sources and instrument not in field.mosaics:
                yield (
                    f"{name}: {n_sources} sources are routed to {instrument}, but the workflow names no such mosaic; they "
                    f"will have status off_mosaic"
                )
        n_mosaics = {key: len(mosaics.mosaics) for key, mosaics in field.mosaics.items()}
        for expected in expectations(name, known.places, n_mosaics, {}):
            yield from sparse_lists(known.sample, _sets(fields), expected)
        for instrument, mosaics in field.mosaics.items():
            yield from repeated_mosaics(f"{name}/{instrument}", mosaics)
            cards = [card for used_for, card in field.all_cards if used_for == instrument]
            yield from _warnings_of_set(f"{name}/{instrument}", mosaics, cards)
            check = weights.get((name, instrument))
            if check is not None and check.caution:
                weighted = [mosaic.weight for mosaic in mosaics.mosaics if mosaic.weight is not None]
                yield f"{name}/{instrument}: {weighted[0]}{_and_more(len(weighted))} {check.caution}"
        yield from (f"{name}: {join}" for join in known.joins if not join.is_complete)
        if known.has_names:
            yield f"{name}: the ids are text: source_name holds them, and source_id the numbers that stand for them"
        if not any(status == TO_MEASURE for _, status, _ in known.places):
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


def _warnings_of_set(name: str, mosaics: MosaicSet, cards: Sequence[ModelCard]) -> Iterator[str]:
    """Warnings about mosaics, each once, with the number of further mosaics that it is true of."""
    found: dict[str, list[str]] = {}
    for mosaic in mosaics.mosaics:
        for text in dict.fromkeys(text for card in cards for text in _mosaic_warnings(name, mosaic, card)):
            found.setdefault(text.replace(mosaic.science, _MOSAIC), []).append(mosaic.science)
    for text, images in found.items():
        more = _and_more(len(images))
        yield text.replace(_MOSAIC, f"{images[0]}{more}") if _MOSAIC in text else text + more


def _and_more(number: int) -> str:
    return "" if number == 1 else f" (and {number - 1} more)"


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
    if psf_outside(mosaic.stated.psf_fwhm_arcsec, card):
        low, high = card.domain.psf_fwhm_arcsec or (0, 0)
        yield (
            f"{name}: psf_fwhm is {mosaic.stated.psf_fwhm_arcsec:g} arcsec, but {card.key} is for {low:g} to {high:g}: flagged "
            "PSF_DOMAIN"
        )
    if f"{card.key.field}/{card.key.instrument}" != name:
        yield f"{name}: the {card.key.task} model is lent by {card.key}, as its card or the workflow's `models` says"


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
