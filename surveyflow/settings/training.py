"""The training file: the model, its records, its network, and the places to write to.

``load_training`` reads a training file and either returns frozen values with absolute paths or raises one ``WorkflowError`` that
holds every problem found. The same file serves ``train``, ``tune`` and ``evaluate``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, model_validator

from surveyflow.errors import InputError, WorkflowError
from surveyflow.settings.findings import Finding, shown
from surveyflow.settings.reader import AnyPath, FolderName, Range, SettingsFile, SettingsTable, of_version, refuse, within
from surveyflow.sky.stretch import Stretch
from surveyflow.tasks.card import CONTAMINATION_TRUTHS, Architecture, ModelKey
from surveyflow.tasks.registry import TASKS
from surveyflow.tasks.task import Task
from surveyflow.values.codes import WeightsOrigin

TRAINING_VERSION = 1
LARGEST_SEED = 2**31 - 1

if TYPE_CHECKING:
    TaskName = str
    Truth = str
    Objective = str
else:
    TaskName = Literal[*TASKS]
    Truth = Literal[*CONTAMINATION_TRUTHS]
    Objective = Literal[*(name for task in TASKS.values() for name in task.objectives)]


def _to_list_of_paths(value: Any) -> Any:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _check_any(folders: tuple[Path, ...]) -> tuple[Path, ...]:
    if not folders:
        raise refuse("found an empty list, expected a folder of records or more.", "Name the folder.")
    return folders


Folders = Annotated[tuple[AnyPath, ...], BeforeValidator(_to_list_of_paths)]
"""One folder, or a list of folders."""
SomeFolders = Annotated[Folders, AfterValidator(_check_any)]
Chance = Annotated[float, within(0, 1)]


class ModelTable(SettingsTable):
    """``[model]``: the name of the model, and what its card says.

    Parameters
    ----------
    task, field, instrument
        The model's key; the records must be of this instrument.
    also_for
        Other fields for whose cutouts the model may be used.
    origin
        ``simulated`` for surveyflow's own simulations, ``user`` for the user's data.
    citation, notes
        Text for the card.
    members
        Number of networks: 1 for a model that is alone, or that of a jury's members, which differ in their seed alone.
    start
        Folder of a trained model whose weights the training starts from; random ones if left out.
    """

    task: TaskName = Field(examples=["merger"])
    field: FolderName = Field(examples=["COSMOS"])
    instrument: FolderName = Field(examples=["F814W"])
    also_for: tuple[FolderName, ...] = Field(default=(), examples=[["EGS"]])
    origin: Literal["simulated", "user"] = Field(examples=["simulated"])
    citation: str = Field(examples=["surveyflow's simulations"])
    notes: str = Field(default="", examples=["for tests"])
    members: Annotated[int, within(1, 100)] = Field(default=1, examples=[5])
    start: AnyPath | None = Field(default=None, examples=["models/merger/F814W/COSMOS"])

    @property
    def key(self) -> ModelKey:
        """The model's key."""
        return ModelKey(self.task, self.field, self.instrument)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Meaning of the network's outputs, in column order."""
        return self.known_task.outputs

    @property
    def known_task(self) -> Task:
        """The task."""
        return TASKS[self.task]

    @property
    def weights_origin(self) -> WeightsOrigin:
        """The origin, for the card."""
        return WeightsOrigin(self.origin)


class DataTable(SettingsTable):
    """``[data]``: the records to train on.

    Parameters
    ----------
    train, validation
        Folders that ``surveyflow simulate`` made.
    in_memory
        Whether the training images are kept in memory, prepared if their pixels are not changed. Otherwise they are read again
        in each epoch, in an order shuffled within ``shuffle_buffer`` images.
    shuffle_buffer
        Number of images that are shuffled together if they are not in memory.
    """

    train: SomeFolders = Field(examples=["records/f814w-train"])
    validation: SomeFolders = Field(examples=["records/f814w-validation"])
    in_memory: bool = Field(default=True, examples=[True])
    shuffle_buffer: Annotated[int, within(1, 10_000_000)] = Field(default=20_000, examples=[20_000])


class ImagesTable(SettingsTable):
    """``[images]``: how cutouts are prepared; see docs/reference/models.md."""

    stretch: Stretch = Field(examples=["asinh_noise"])
    softening: Annotated[float, within(1e-30, 1e30)] = Field(examples=[1.0])


_LARGEST = {"input_size": 1024, "binning": 64, "filters": 4096, "kernel_sizes": 4096, "dense": 4096, "dropout": 0.95}
_NOT_SET_HERE = {
    "n_outputs": "follows from the task in [model]",
    "batch_norm_epsilon": "is the same for every network that is trained",
}


def _check_size(architecture: Architecture) -> Architecture:
    for name, largest in _LARGEST.items():
        value = getattr(architecture, name)
        if (max(value) if isinstance(value, tuple) else value) > largest:
            raise refuse(f"found {name} = {value}, expected no number above {largest}.", "Write a smaller number.")
    return architecture


def _keys_not_set_here(document: Mapping[str, Any]) -> Iterator[Finding]:
    table = document.get("architecture")
    for key, reason in _NOT_SET_HERE.items():
        if isinstance(table, Mapping) and key in table:
            yield Finding(("architecture", key), f"{reason}.", "Remove it.")


class AugmentationTable(SettingsTable):
    """``[augmentation]``: how images are changed during training; only flipped and rotated by right angles by default.

    All but ``orientations`` change pixels before they are stretched and made into the network's channels.

    Parameters
    ----------
    orientations
        Whether images are flipped, and rotated by multiples of 90 degrees.
    rotation_deg
        Largest further rotation, degrees; pixels are interpolated.
    shift_pix
        Largest shift along each axis, whole pixels of the stamp.
    gain
        Range of the factor on all pixels.
    depth
        Largest factor by which the noise is raised; 1 for none.
    pedestal
        Range of a constant that is added to all pixels, in units of the image's noise.
    quantum
        Largest step to which pixels are rounded, in units of the image's noise, as lossy compression does; 0 for none.
    hot_pixel_chance, strip_chance
        Chance that an image has a hot pixel, or a strip of 5 to 48 rows without data.
    neighbour_chance
        Chance that half of another image's light lies on an edge, and again on another or the same edge. For mergers only: the
        true contamination stays that of before.
    copies
        Number of copies of each image that are changed and prepared before training; an epoch uses one of them, in turn. 0 to
        change every image anew in each epoch, which takes more time and less memory.
    """

    orientations: bool = Field(default=True, examples=[True])
    rotation_deg: Annotated[float, within(0, 180)] = Field(default=0.0, examples=[10.0])
    shift_pix: Annotated[int, within(0, 16)] = Field(default=0, examples=[2])
    gain: Annotated[Range, within(1e-3, 1e3)] = Field(default=(1.0, 1.0), examples=[[0.5, 2.0]])
    depth: Annotated[float, within(1, 10)] = Field(default=1.0, examples=[2.0])
    pedestal: Annotated[Range, within(-100, 100)] = Field(default=(0.0, 0.0), examples=[[-1.0, 5.0]])
    quantum: Annotated[float, within(0, 10)] = Field(default=0.0, examples=[0.5])
    hot_pixel_chance: Chance = Field(default=0.0, examples=[0.1])
    strip_chance: Chance = Field(default=0.0, examples=[0.05])
    neighbour_chance: Chance = Field(default=0.0, examples=[0.2])
    copies: Annotated[int, within(0, 1000)] = Field(default=0, examples=[1])

    @property
    def changes_pixels(self) -> bool:
        """Whether pixels change before they are stretched."""
        return self != AugmentationTable(orientations=self.orientations, copies=self.copies)

    @property
    def changes_pixels_anew(self) -> bool:
        """Whether pixels change in each epoch."""
        return self.changes_pixels and not self.copies


class OptimisationTable(SettingsTable):
    """``[optimisation]``: how the network is trained.

    Parameters
    ----------
    epochs, batch_size
        Number of passes over the records, and of images in a step.
    learning_rate, warmup
        Largest learning rate of Adam, and the share of all steps over which it rises; it falls to 0 as a cosine.
    clip_norm
        Largest norm of a step's gradient.
    batch_norm_momentum
        Momentum of the running statistics.
    objective
        The score on the validation records whose best epoch is kept: one of the task's objectives, the first if left out.
    patience
        Training ends after this number of epochs without a better validation score; 0 for never. The best epoch's weights are
        kept.
    seed
        Seed of weights, order, augmentation and dropout.
    mixed_precision
        Whether the trunk is computed in bfloat16, which is meant for GPUs.
    xla
        Whether steps are compiled by XLA: twice as fast on some CPUs.
    deterministic
        Whether TensorFlow must give the same bits each time, also after a stop. Without it this holds on CPUs, but not on GPUs.
    """

    epochs: Annotated[int, within(1, 100_000)] = Field(examples=[12])
    batch_size: Annotated[int, within(1, 65_536)] = Field(default=64, examples=[64])
    learning_rate: Annotated[float, within(1e-8, 10)] = Field(default=3e-3, examples=[3e-3])
    warmup: Annotated[float, within(0, 0.9)] = Field(default=0.1, examples=[0.1])
    clip_norm: Annotated[float, within(1e-6, 1e6)] = Field(default=1.0, examples=[1.0])
    batch_norm_momentum: Annotated[float, within(0, 0.9999)] = Field(default=0.9, examples=[0.9])
    objective: Objective | None = Field(default=None, examples=["accuracy"])
    patience: Annotated[int, within(0, 100_000)] = Field(default=0, examples=[0])
    seed: Annotated[int, within(0, LARGEST_SEED)] = Field(examples=[20220523])
    mixed_precision: bool = Field(default=False, examples=[False])
    xla: bool = Field(default=False, examples=[False])
    deterministic: bool = Field(default=True, examples=[True])

    @model_validator(mode="after")
    def _check_xla(self) -> Self:
        if self.xla and self.deterministic:
            raise refuse("asks for `xla` with `deterministic`, which exclude each other.", "State `deterministic = false`.")
        return self


class ContaminationTable(SettingsTable):
    """``[contamination]``: the truth that a contamination model is trained on, and the largest scatter that it may state."""

    truth: Truth = Field(default="sky_sigma", examples=["sky_sigma"])
    scatter_limit: Annotated[float, within(0.01, 1)] = Field(default=0.5, examples=[0.5])


class OutputTable(SettingsTable):
    """``[output]``: the model store, and the folder of checkpoints, history and TensorBoard's files."""

    store: AnyPath = Field(examples=["models"])
    run: AnyPath = Field(examples=["runs/merger-f814w"])


class EvaluationTable(SettingsTable):
    """``[evaluation]``: how the model is evaluated.

    Parameters
    ----------
    test, clean
        Records that the model was never trained on: with neighbours, and without.
    other
        Records of another simulation, such as of galaxies on orbits: what a model loses on them is stated.
    draws, seed
        Monte Carlo draws of each stamp.
    baseline_stamps
        Number of training stamps that the baseline trees are fitted to.
    contamination_model
        Folder of the contamination model of the same instrument, whose cut is applied to a merger model.
    report
        Folder to write to.
    """

    test: SomeFolders = Field(examples=["records/f814w-test"])
    clean: Folders = Field(default=(), examples=["records/f814w-test-clean"])
    other: Folders = Field(default=(), examples=["records/f814w-orbits"])
    draws: Annotated[int, within(1, 65_535)] = Field(default=100, examples=[100])
    seed: Annotated[int, within(0, 2**32 - 1)] = Field(default=20220523, examples=[20220523])
    baseline_stamps: Annotated[int, within(100, 10_000_000)] = Field(default=40_000, examples=[40_000])
    contamination_model: AnyPath | None = Field(default=None, examples=["models/contamination/F814W/COSMOS"])
    report: AnyPath = Field(examples=["evaluations/merger-f814w"])


def _to_choices(value: Any) -> Any:
    if isinstance(value, (list, tuple)) and value and all(isinstance(choice, (list, tuple)) for choice in value):
        return tuple(tuple(choice) for choice in value)
    raise refuse(f"found {shown(value)}, expected a list of lists, the choices.", "Write such as [[8, 16, 32], [16, 32, 64]].")


Choices = Annotated[tuple[tuple[Annotated[int, within(1, 4096)], ...], ...], BeforeValidator(_to_choices)]
"""Lists of whole numbers, one of which is chosen."""


class SpaceTable(SettingsTable):
    """``[tuning.space]``: the settings that are searched.

    Parameters
    ----------
    filters, kernel_sizes, dense
        Choices for the architecture; all lists of filters and kernel sizes have the same length.
    dropout
        Range of the dropout rate.
    learning_rate
        Range of the largest learning rate; it is searched in its logarithm.
    """

    filters: Choices = Field(default=((8, 16, 32), (16, 32, 64)), examples=[[[8, 16, 32], [16, 32, 64]]])
    kernel_sizes: Choices = Field(default=((7, 5, 3), (11, 9, 7)), examples=[[[7, 5, 3], [11, 9, 7]]])
    dense: Choices = Field(default=((64, 64), (128, 128)), examples=[[[64, 64], [128, 128]]])
    dropout: Annotated[Range, within(0, 0.95)] = Field(default=(0.1, 0.6), examples=[[0.1, 0.6]])
    learning_rate: Annotated[Range, within(1e-8, 10)] = Field(default=(3e-4, 1e-2), examples=[[3e-4, 1e-2]])

    @model_validator(mode="after")
    def _check_blocks(self) -> Self:
        lengths = {len(choice) for choice in (*self.filters, *self.kernel_sizes)}
        if len(lengths) != 1:
            raise refuse(
                f"has filters and kernel_sizes of {' and '.join(map(str, sorted(lengths)))} blocks, expected one number.",
                "Give every choice as many entries.",
            )
        return self


class TuningTable(SettingsTable):
    """``[tuning]``: a search for better settings.

    Parameters
    ----------
    folder
        Folder of the journal of trials and, in the end, of the best settings.
    objective
        The score on the validation records that selects the best settings: one of the task's objectives, the first if left out.
    trials
        Number of settings to try.
    epochs
        Number of epochs of each trial.
    at_once
        Number of trials that are proposed together: as many as there are workers.
    seed
        Seed of the proposals.
    space
        The settings that are searched.
    """

    folder: AnyPath = Field(examples=["tuning/merger-f814w"])
    objective: Objective | None = Field(default=None, examples=["upsilon"])
    trials: Annotated[int, within(1, 100_000)] = Field(default=40, examples=[40])
    epochs: Annotated[int, within(1, 100_000)] = Field(examples=[4])
    at_once: Annotated[int, within(1, 10_000)] = Field(default=1, examples=[2])
    seed: Annotated[int, within(0, 2**31 - 1)] = Field(examples=[20220523])
    space: SpaceTable = SpaceTable()


class Training(SettingsTable):
    """A training file.

    Parameters
    ----------
    version
        Version of the file format, 1.
    model, data, images, architecture, augmentation, optimisation, contamination, output, evaluation, tuning
        Its tables.
    """

    version: Annotated[int, of_version(TRAINING_VERSION)] = Field(examples=[TRAINING_VERSION])
    model: ModelTable
    data: DataTable
    images: ImagesTable
    architecture: Annotated[Architecture, AfterValidator(_check_size)] = Architecture()
    augmentation: AugmentationTable = AugmentationTable()
    optimisation: OptimisationTable
    contamination: ContaminationTable = ContaminationTable()
    output: OutputTable
    evaluation: EvaluationTable | None = None
    tuning: TuningTable | None = None

    @model_validator(mode="after")
    def _check_objective(self) -> Self:
        known = self.model.known_task.objectives
        for name, table in (("optimisation", self.optimisation), ("tuning", self.tuning)):
            if table and table.objective and table.objective not in known:
                raise refuse(
                    f"[{name}] objective is {table.objective!r}, which no {self.model.task} model has.",
                    f"Name one of {', '.join(known)}.",
                )
        return self

    @model_validator(mode="after")
    def _check_truth(self) -> Self:
        if self.model.known_task.truth_depends_on_noise and self.augmentation.depth > 1:
            raise refuse(
                f"[augmentation] depth raises the noise, but the truth of {self.model.task} was found at the records' noise.",
                "Remove it, and simulate records with `depth_range`.",
            )
        if self.model.known_task.truth_depends_on_noise and self.augmentation.neighbour_chance:
            raise refuse(
                f"[augmentation] neighbour_chance adds galaxies that the truth of {self.model.task} does not know.",
                "Remove it: the records have neighbours of their own.",
            )
        return self

    @model_validator(mode="after")
    def _check_copies(self) -> Self:
        if self.augmentation.copies and not self.data.in_memory:
            raise refuse("[augmentation] copies are kept in memory, but [data] in_memory is false.", "Remove one of them.")
        return self

    @property
    def member_names(self) -> tuple[str, ...]:
        """Names of the jury's members, which hold their seeds: ``seed-7``, ``seed-8``; empty for a model that is alone."""
        first, n_members = self.optimisation.seed, self.model.members
        return tuple(f"seed-{seed}" for seed in range(first, first + n_members)) if n_members > 1 else ()

    def of_member(self, name: str) -> Training:
        """The training of one member, with its seed and its folder below that of the runs.

        Parameters
        ----------
        name
            One of `member_names`.

        Raises
        ------
        InputError
            If there is no such member.
        """
        if name not in self.member_names:
            known = f"its members are {', '.join(self.member_names)}" if self.member_names else "it trains one model"
            raise InputError(f"the training file has no member {name!r}; {known}. Correct --member, or [model] members.")
        optimisation = self.optimisation.model_copy(update={"seed": int(name.removeprefix("seed-"))})
        output = self.output.model_copy(update={"run": self.output.run / name})
        return self.model_copy(update={"optimisation": optimisation, "output": output})

    @model_validator(mode="after")
    def _check_seeds(self) -> Self:
        if self.optimisation.seed + self.model.members > LARGEST_SEED + 1:
            raise refuse(
                f"[optimisation] seed {self.optimisation.seed} leaves no room for {self.model.members} [model] members, whose "
                f"seeds follow it up to {LARGEST_SEED}.",
                "Write a smaller seed.",
            )
        return self

    @property
    def network(self) -> Architecture:
        """The network to train."""
        return replace(self.architecture, n_outputs=len(self.model.class_names))

    def learning_settings(self) -> dict[str, Any]:
        """The settings that decide how the network is trained, without its records, in the form that JSON holds."""
        tables = {"images", "architecture", "augmentation", "optimisation", "contamination"}
        return self.model_dump(mode="json", include=tables, exclude={"architecture": set(_NOT_SET_HERE)})

    def document(self) -> dict[str, Any]:
        """The file without its search, in the form that TOML holds, with every default written out."""
        left_out: dict[str, Any] = {"tuning": True, "architecture": set(_NOT_SET_HERE)}
        return self.model_dump(mode="json", exclude_none=True, exclude=left_out)


_FILE = SettingsFile(TypeAdapter(Training), WorkflowError, "docs/reference/training.md", across=(_keys_not_set_here,))


def load_training(path: str | Path) -> Training:
    """Read a training file.

    Parameters
    ----------
    path
        A TOML file; paths in it are relative to the folder of the file.

    Returns
    -------
    Frozen, with absolute paths.

    Raises
    ------
    WorkflowError
        If anything is wrong; the error holds every problem found.
    """
    file = Path(path).absolute()
    return _FILE.load(file, file.name)
