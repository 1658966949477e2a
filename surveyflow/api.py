"""What can be asked of surveyflow from Python; the command line is a thin layer over these functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import ArrayLike

from surveyflow.errors import InputError
from surveyflow.inputs.discovery import ReleaseChoice
from surveyflow.inputs.mosaics import open_mosaic
from surveyflow.measuring.worker import FACTORY
from surveyflow.merger_fractions.matrices import read_matrices
from surveyflow.merger_fractions.measured import Population, Question, measure_population
from surveyflow.models.store import ModelStore, read_card, read_weights
from surveyflow.output.digest_cache import forget_digests
from surveyflow.output.heartbeats import SILENT_AFTER_S, Heartbeat, read_heartbeats
from surveyflow.output.lock import lock_holder
from surveyflow.output.run_folders import RunStatus, last_run
from surveyflow.planning.plan import Plan
from surveyflow.releases.draws import open_draws
from surveyflow.releases.publish import Revision, find, latest, open_catalog, read_catalog
from surveyflow.runs.decide import make_plan
from surveyflow.runs.execute import LateExecutor
from surveyflow.runs.newest_release import choose_release
from surveyflow.runs.preflight import OpenedSurvey, check_engine, open_survey
from surveyflow.runs.progress import Listener, Reporter
from surveyflow.runs.rerun import check_inputs, check_plan
from surveyflow.runs.run import RunResult, run_survey
from surveyflow.runs.stretch_check import StretchCheck, check_stretches
from surveyflow.settings.workflow import Output, is_manifest, load_workflow, read_manifest_file
from surveyflow.sites.opening import Profile, load_profile, open_executor
from surveyflow.sky.scattered import cut_from_mosaic
from surveyflow.stats.fractions import ClassRule
from surveyflow.tasks.card import Model, ModelCard, ModelKey
from surveyflow.values.images import CutoutStack
from surveyflow.values.sampling import EngineChoice

if TYPE_CHECKING:
    from surveyflow.models.legacy.parity import ParityReport
    from surveyflow.simulation.survey import SurveySpec
    from surveyflow.training.evaluation.evaluate import Evaluated
    from surveyflow.training.fitting.fit import Trained
    from surveyflow.training.fitting.tuning import Trial, Tuned
    from surveyflow.training.records.record_index import RecordIndex
    from surveyflow.training.records.simulating import SimulationProgress

__all__ = [
    "Imported",
    "ReleaseChoice",
    "SurveyStatus",
    "ValidSurvey",
    "check_models",
    "cutouts",
    "demo",
    "evaluate",
    "find_release",
    "import_legacy",
    "import_models",
    "list_models",
    "load_model",
    "open_catalog",
    "open_draws",
    "plan",
    "read_catalog",
    "report",
    "run",
    "simulate_records",
    "status",
    "train",
    "tune",
    "validate",
    "verified_card",
]


@dataclass(frozen=True, slots=True)
class ValidSurvey:
    """What a workflow names, found fit to use.

    Parameters
    ----------
    name, release
        Of the survey.
    sources
        Number of sources by field.
    mosaics
        Rows and columns of the mosaics by ``FIELD/INSTRUMENT``.
    models
        Ids of the merger models by ``FIELD/INSTRUMENT``.
    contamination_models
        Ids of the contamination models by ``FIELD/INSTRUMENT``.
    warnings
        What should be known, though it stops nothing.
    """

    name: str
    release: str
    sources: dict[str, int]
    mosaics: dict[str, tuple[int, int]]
    models: dict[str, str]
    contamination_models: dict[str, str]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SurveyStatus:
    """What is known of an output folder.

    Parameters
    ----------
    root
        The folder.
    published
        Its latest revision; None before the first.
    last_run
        What its newest run reported last.
    at_work
        Whether that run still holds the folder; a run that neither is at work nor has ended was killed.
    workers
        What its workers last said of themselves; those that have ended in order are not among them.
    """

    root: Path
    published: Revision | None
    last_run: RunStatus
    at_work: bool
    workers: tuple[Heartbeat, ...] = ()

    def as_json(self, now: float) -> dict[str, Any]:
        """The object that ``status --json`` prints.

        Parameters
        ----------
        now
            The time, seconds since 1970: workers that have not written for long are ``silent``.
        """
        progress = self.last_run.progress
        rates = {"cutouts_per_second": progress.cutouts_per_second, "seconds_left": progress.seconds_left}
        workers = [asdict(beat) | {"silent": beat.is_silent(now)} for beat in self.workers]
        return asdict(self) | {"rates": rates, "workers": workers}


def find_release(workflow: str | Path) -> ReleaseChoice:
    """Find the newest release of which every file that a workflow names is there, complete and at rest.

    Parameters
    ----------
    workflow
        Path of a workflow file with ``{release}`` in its paths.

    Returns
    -------
    Its name, and what is newer and was skipped, with the reasons.

    Raises
    ------
    WorkflowError
        If there is none; it holds every reason.
    """
    return choose_release(Path(workflow))


def validate(workflow: str | Path, *, release: str | None = None) -> ValidSurvey:
    """Check a workflow and everything that it names, without changing anything.

    Parameters
    ----------
    workflow
        Path of the workflow file, or of a published revision's ``manifest.json``.
    release
        Name of the release, in the place of the workflow's own; ``latest`` for the newest complete one.

    Raises
    ------
    WorkflowError
        If anything cannot be used; it holds every problem found.
    """
    with _opened(workflow, release) as (survey, _):
        fields = survey.fields
        return ValidSurvey(
            name=survey.workflow.survey.name,
            release=survey.workflow.survey.release,
            sources={name: len(field.sources) for name, field in fields.items()},
            mosaics={f"{name}/{key}": item.shape for name, field in fields.items() for key, item in field.mosaics.items()},
            models=_model_ids({name: field.cards for name, field in fields.items()}),
            contamination_models=_model_ids({name: field.contamination_cards for name, field in fields.items()}),
            warnings=survey.warnings + survey.notices,
        )


def plan(
    workflow: str | Path,
    *,
    release: str | None = None,
    profile: str | Path | None = None,
    precision: str = "float32",
    reread: bool = False,
    listeners: Sequence[Listener] = (),
) -> Plan:
    """Say what a run would do, and why; pixels that were never read before are read.

    Parameters
    ----------
    workflow, release
        As in `validate`.
    profile
        Name or path of the profile that says where to read them; the built-in ``local`` if left out.
    precision
        Of the models' trunks: ``float32``, ``tf32`` or ``bf16``.
    reread
        Read every pixel, whatever is remembered of files that seem unchanged.
    listeners
        Called with every `Progress`.

    Raises
    ------
    WorkflowError
        If anything cannot be used.
    """
    with _opened(workflow, release) as (survey, original), ExitStack() as stack:
        if reread:
            forget_digests(survey.workflow.output.root)
        executor = LateExecutor(stack, lambda: _executor(survey, load_profile(profile or "local")))
        planned = make_plan(survey, executor, Reporter(listeners), precision)
        if original is not None:
            check_plan(original, survey, planned)
        return planned


def run(
    workflow: str | Path,
    *,
    release: str | None = None,
    output: str | Path | None = None,
    profile: str | Path | None = None,
    client: Any = None,
    engine: str = "auto",
    precision: str = "float32",
    reread: bool = False,
    listeners: Sequence[Listener] = (),
) -> RunResult:
    """Turn a survey into a published catalog; what has been done before is kept.

    Parameters
    ----------
    workflow, release
        As in `validate`. A manifest is run only if its tables can be made again: its inputs and models must be as they were.
    output
        Folder for the results, in the place of the workflow's own.
    profile
        Name or path of the profile that says where to run; the built-in ``local`` if left out.
    client
        A ``distributed.Client`` to use instead of the profile's cluster; it is not closed.
    engine
        ``keras``, ``fft``, or ``auto`` for the fastest one on each worker.
    precision
        Of the models' trunks: ``float32``; on GPUs also ``tf32`` and ``bf16``, faster and less precise.
    reread
        Read every pixel, whatever is remembered of files that seem unchanged.
    listeners
        Called with every `Progress`.

    Raises
    ------
    WorkflowError
        If anything cannot be used; nothing was changed.
    ModelError
        If the engine cannot run the models on this machine; nothing was changed.
    InputsChanged
        If a file changed while it was read; nothing was published.
    LockHeld
        If another run works on the same output.
    """
    chosen = load_profile(profile or "local")
    with _opened(workflow, release, output) as (survey, original):
        choice = EngineChoice(engine, precision)
        check_engine(choice, survey.cards.values())
        if reread:
            forget_digests(survey.workflow.output.root)
        return run_survey(survey, chosen, client=client, engine=choice, listeners=listeners, original=original)


def demo(
    folder: str | Path,
    *,
    spec: SurveySpec | None = None,
    models: str | Path | None = None,
    profile: str | Path | None = None,
    engine: str = "auto",
    listeners: Sequence[Listener] = (),
) -> RunResult:
    """Simulate a small survey and run it, with models that were trained on such simulations.

    Parameters
    ----------
    folder
        Where to put it: absent, empty, or an earlier demo's.
    spec
        Size and seed of the survey.
    models
        A model store to use instead of the package's own.
    profile, engine, listeners
        As in `run`.

    Raises
    ------
    InputError
        If the folder holds something else.
    """
    from surveyflow.runs.demo import PACKAGED_MODELS, make_demonstration

    folder = Path(folder)
    workflow = folder / "workflow.toml"
    if not workflow.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder} exists and holds no demo. Name a new folder: surveyflow demo DIR.")
        make_demonstration(folder, spec, Path(models or PACKAGED_MODELS))
    return run(workflow, profile=profile, engine=engine, listeners=listeners)


def status(root: str | Path) -> SurveyStatus:
    """Say what is published in an output folder, how far its newest run has come, and what its workers are at.

    All of it is read from files, so any machine that sees the folder can ask.

    Parameters
    ----------
    root
        The output folder.

    Raises
    ------
    InputError
        If it holds no runs.
    """
    root = Path(root)
    newest = last_run(root)
    if newest is None:
        raise InputError(f"{root} holds no runs: expected the [output] root of a workflow that was run.")
    holder = lock_holder(root)
    at_work = holder is not None and not holder.is_dead and holder.run_id == newest.run_id
    workers = read_heartbeats(root, since=newest.started - SILENT_AFTER_S)  # their clocks may differ from the driver's
    return SurveyStatus(root, latest(root), newest, at_work, tuple(workers))


def report(root: str | Path, *, release: str = "latest", output: str | Path | None = None) -> Path:
    """Write the report page of a published revision anew.

    Parameters
    ----------
    root
        The output folder.
    release
        ``latest``, a release or a revision.
    output
        The page's path; ``ROOT/reports/<revision>.html`` if left out.

    Returns
    -------
    The page's path.
    """
    from surveyflow.reports.page import write_report

    revision = find(Path(root), release)
    page = Path(output) if output is not None else Path(root) / "reports" / f"{revision.name}.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    write_report(revision.path, page)
    return page


def fractions(
    root: str | Path,
    *,
    edges: Sequence[float],
    bins: str = "redshift",
    where: str | pc.Expression | None = None,
    rule: str = ClassRule.MEAN_OUTPUT,
    matrix: str | Path | None = None,
    max_coverage_pct: float | None = None,
    max_flux_pp: float | None = None,
    max_p_contaminated: float | None = None,
    confidence: float = 0.6827,
    release: str = "latest",
) -> Population:
    """Measure the fraction of galaxies called post-merger, in bins.

    What the number is not: the fraction of mergers. The networks know post-mergers and star-forming galaxies only; ellipticals,
    stars and pairs are counted as one of the two, and the published rates are for asymmetric galaxies, so a fraction of all
    catalogued sources is not the quantity of Ferreira et al. (2022): select. Tests are balanced; where post-mergers are rare,
    most galaxies called so are not, so give a matrix. Results of weights of another origin than ``ferreira2022`` are not those
    of the paper, and those of ``untrained`` weights mean nothing. The notes of the result say which of this applies.

    Parameters
    ----------
    root
        The output folder.
    edges
        Edges of the bins, increasing; bins are half-open, [low, high).
    bins
        The numeric column that they are of; ``z`` stands for ``redshift``.
    where
        Which galaxies to count: an expression such as ``"field == 'EGS' and flags & OUT_OF_DOMAIN == 0"``, or a
        `pyarrow.compute.Expression`. Only rows with a result are counted.
    rule
        When a galaxy counts as post-merger: ``mean_output`` if its mean p_pm exceeds its mean p_sf (the authors' rule),
        ``majority_vote`` if f_pm exceeds 0.5.
    matrix
        Confusion matrices to correct with: a TOML file, or ``ferreira2022`` for the published ones; none if left out.
    max_coverage_pct, max_flux_pp, max_p_contaminated
        Contamination cuts: the largest ``coverage_pct_mean`` (percent), ``flux_pp_mean`` (e-/s/pixel) and
        ``p_contaminated_mean`` that count.
    confidence
        Probability that an interval holds the truth, in (0, 1); the default is one standard deviation of a normal.
    release
        ``latest``, a release or a revision.

    Raises
    ------
    CatalogNotFound
        If there is no such revision.
    InputError
        If bins, selection, cuts or matrix cannot be used with this catalog; matrices of other weights are refused.

    Examples
    --------
    >>> found = fractions("catalogs/candels", edges=[0.5, 1, 1.5, 2, 3], matrix="ferreira2022")  # doctest: +SKIP
    >>> [(item.low, item.corrected) for item in found.bins]  # doctest: +SKIP
    """
    if rule not in list(ClassRule):
        raise InputError(f"there is no rule {rule!r}. Use {' or '.join(ClassRule)}.")
    cuts = {"coverage_pct_mean": max_coverage_pct, "flux_pp_mean": max_flux_pp, "p_contaminated_mean": max_p_contaminated}
    limits = {column: limit for column, limit in cuts.items() if limit is not None}
    question = Question(edges, bins, where, ClassRule(rule), limits, confidence)
    tests = read_matrices(matrix) if matrix is not None else None
    revision = find(Path(root), release)
    return measure_population(open_catalog(root, revision.name), revision.name, question, tests)


def cutouts(
    mosaic: str | Path, ra_deg: ArrayLike, dec_deg: ArrayLike, size: int = 128, *, weight: str | Path | None = None
) -> CutoutStack:
    """Cut squares around positions out of a mosaic.

    Parameters
    ----------
    mosaic
        FITS image, with the extension in brackets if it is not the only one: ``image.fits[SCI]``.
    ra_deg, dec_deg
        (n,) positions, degrees.
    size
        Side of the cutouts, pixels.
    weight
        Weight map; without one, pixels that are 0 or NaN count as empty.

    Returns
    -------
    Cutouts in native pixel orientation, at their true offsets: what lies beyond the mosaic is 0 and not valid.

    Raises
    ------
    MosaicError
        If the image cannot be used.

    Examples
    --------
    >>> stack = cutouts("egs_f814w_sci.fits", [214.82, 214.83], [52.78, 52.79])  # doctest: +SKIP
    >>> stack.pixels.shape  # doctest: +SKIP
    (2, 128, 128)
    """
    with open_mosaic(mosaic, weight) as opened:
        x_pix, y_pix = opened.to_pixels(np.atleast_1d(np.asarray(ra_deg, float)), np.atleast_1d(np.asarray(dec_deg, float)))
        return cut_from_mosaic(opened, x_pix, y_pix, size)


def load_model(path: str | Path, engine: str = "auto") -> Model:
    """Load a model's folder for sampling.

    Parameters
    ----------
    path
        Folder with ``card.toml`` and ``weights.safetensors``.
    engine
        ``auto``, ``keras`` or ``fft``.

    Raises
    ------
    ModelError
        If the folder is not a sound model, or the engine is not installed.
    """
    from surveyflow.models.engines.choice import load_model as load

    return load(Path(path), engine=engine)


@dataclass(frozen=True, slots=True)
class Imported:
    """A model that was imported.

    Parameters
    ----------
    card
        Its card.
    parity
        How its features compare with the original's; None unless the original was run.
    """

    card: ModelCard
    parity: ParityReport | None


def import_legacy(
    saved_model_dir: str | Path, store: str | Path, *, stretch: str, softening: float = 1.0, **card: Any
) -> ModelCard:
    """Bring one of the authors' SavedModels into a store; only its variables are read, nothing in it is run.

    Parameters
    ----------
    saved_model_dir
        Folder with ``saved_model.pb``.
    store
        The model store; it is made where it does not exist.
    stretch, softening
        How the training images were prepared, which the release does not say.
    **card
        What the card shall say instead of what the folders say: ``field``, ``instrument``, ``pixel_scale_arcsec``, ...

    Raises
    ------
    ModelError
        If the files cannot be used.
    """
    from surveyflow.models.legacy import importing as legacy

    return legacy.import_legacy(saved_model_dir, store, stretch=stretch, softening=softening, **card)


def import_models(
    folder: str | Path,
    store: str | Path,
    *,
    stretch: str,
    softening: float = 1.0,
    overwrite: bool = False,
    run_original: bool = False,
    **card: Any,
) -> list[Imported]:
    """Bring every SavedModel below a folder into a store; none is written unless all can be.

    Parameters
    ----------
    folder
        Searched for SavedModels, all the way down.
    store, stretch, softening
        As in `import_legacy`.
    overwrite
        Whether models that are there are replaced.
    run_original
        Whether to run each file's own graph, too, and compare features. A graph is code: only for files that you trust.
    **card
        As in `import_legacy`, for all of them.

    Raises
    ------
    ModelError
        If any of them cannot be used; all problems are reported.
    """
    from surveyflow.models.legacy import importing as legacy
    from surveyflow.models.legacy.parity import check_parity

    found = legacy.find_saved_models(folder)
    cards = legacy.import_all(found, store, stretch=stretch, softening=softening, overwrite=overwrite, **card)
    models = ModelStore(Path(store))
    return [
        Imported(new, check_parity(original, models.folder(new.key)) if run_original else None)
        for original, new in zip(found, cards, strict=True)
    ]


def list_models(store: str | Path) -> dict[ModelKey, ModelCard]:
    """Find every model of a store.

    Parameters
    ----------
    store
        The model store.

    Raises
    ------
    ModelError
        If there is no store, or a card cannot be used.
    """
    return ModelStore(Path(store)).cards()


def verified_card(folder: str | Path) -> ModelCard:
    """Read a model's card, and make sure that its weights are those that the card speaks of.

    Parameters
    ----------
    folder
        The model's folder.

    Raises
    ------
    ModelError
        If card or weights cannot be used.
    """
    card = read_card(Path(folder))
    read_weights(Path(folder), card)
    return card


def check_models(
    store: str | Path, workflow: str | Path, *, n_cutouts: int = 200, softenings: Sequence[float] = (1.0,)
) -> list[StretchCheck]:
    """Find which stretch the models of a store remember, with real cutouts of a workflow's sources.

    Parameters
    ----------
    store
        The model store, instead of the one that the workflow names.
    workflow
        Path of a workflow file.
    n_cutouts
        Cutouts to look at for each model.
    softenings
        To try beside the card's, in the mosaics' unit.

    Raises
    ------
    WorkflowError
        If anything cannot be used.
    InputError
        If a model has too few sources.
    """
    read = load_workflow(Path(workflow))
    models = read.models.model_copy(update={"store": Path(store).absolute()})
    with open_survey(read.model_copy(update={"models": models})) as survey:
        return list(check_stretches(survey, n_cutouts, softenings))


def simulate_records(
    simulation: str | Path,
    *,
    n_processes: int | None = None,
    listener: Callable[[SimulationProgress], None] | None = None,
) -> RecordIndex:
    """Simulate galaxies with known truth as records to train on; what is whole already is kept.

    Parameters
    ----------
    simulation
        A simulation file (TOML).
    n_processes
        Processes that draw; as many as there are cores if None. More than one need a script whose work stands under
        ``if __name__ == "__main__":``.
    listener
        Told how many images are done.

    Returns
    -------
    The records' index: size, unit, digest and checksums of the shards, which lie in the file's ``[simulation] output``.

    Raises
    ------
    WorkflowError
        If the file cannot be used.
    InputError
        If what it names cannot, or the folder holds other records.
    """
    from surveyflow.settings.simulation import load_simulation
    from surveyflow.training.records.simulating import simulate

    return simulate(load_simulation(simulation), n_processes=n_processes, listener=listener)


def train(
    training: str | Path, *, overwrite: bool = False, listener: Callable[[Mapping[str, float]], None] | None = None
) -> Trained:
    """Train a model on records and write it into its store; one that was stopped goes on where it was.

    Parameters
    ----------
    training
        A training file (TOML).
    overwrite
        Whether another model of the same key is replaced.
    listener
        Called with each epoch's entry of the history.

    Raises
    ------
    WorkflowError
        If the file cannot be used.
    InputError
        If records and model do not belong together, records to learn from and to judge by overlap, or the run's folder holds
        another training.
    RecordError
        If records are incomplete or damaged.
    ModelError
        If the store holds another model of the key.
    """
    from surveyflow.settings.training import load_training
    from surveyflow.training.fitting.fit import train as train_model

    return train_model(load_training(training), overwrite=overwrite, listener=listener)


def evaluate(training: str | Path, *, engine: str = "auto") -> Evaluated:
    """Judge a trained model on records that it never saw, beside a gradient-boosted tree.

    Parameters
    ----------
    training
        A training file (TOML) with ``[evaluation]``.
    engine
        As in `run`.

    Returns
    -------
    The numbers as they were written, and the paths of numbers and page.

    Raises
    ------
    WorkflowError
        If the file cannot be used.
    InputError
        If model and records do not belong together, or the records were learned from.
    ModelError
        If the model is missing or cannot be used.
    RecordError
        If records are incomplete or damaged.
    """
    from surveyflow.settings.training import load_training
    from surveyflow.training.evaluation.evaluate import evaluate as evaluate_training

    return evaluate_training(load_training(training), engine=engine, command=f"surveyflow evaluate {training}")


def tune(training: str | Path, *, profile: str | Path = "serial", listener: Callable[[Trial], None] = lambda _: None) -> Tuned:
    """Search for settings that train a better model; a search that was stopped goes on where it was.

    Parameters
    ----------
    training
        A training file (TOML) with ``[tuning]``.
    profile
        Where trials run; name or path of a profile.
    listener
        Called with each trial as it ends.

    Raises
    ------
    WorkflowError
        If the file cannot be used.
    ProfileError
        If the profile cannot be used.
    InputError
        If its folder holds another search.
    """
    from surveyflow.settings.training import load_training
    from surveyflow.training.fitting.tuning import tune as tune_training

    return tune_training(load_training(training), Path(training), load_profile(profile), listener)


def _model_ids(cards: Mapping[str, Mapping[str, ModelCard]]) -> dict[str, str]:
    """Model ids by ``FIELD/INSTRUMENT``, of cards by field and instrument."""
    return {f"{name}/{instrument}": card.model_id for name, own in cards.items() for instrument, card in own.items()}


@contextmanager
def _executor(survey: OpenedSurvey, profile: Profile) -> Iterator[Any]:
    context = {"root": str(survey.workflow.output.root), "engine": "auto", "precision": "float32"}
    with open_executor(profile, FACTORY, context) as executor:
        yield executor


@contextmanager
def _opened(
    workflow: str | Path, release: str | None = None, output: str | Path | None = None
) -> Iterator[tuple[OpenedSurvey, dict[str, Any] | None]]:
    """The inputs, open and checked, with the manifest if they are to make a revision again."""
    file = Path(workflow)
    name = choose_release(file).release if release == "latest" else release
    loaded = load_workflow(file, name)
    if output is not None:
        loaded = loaded.model_copy(update={"output": Output(root=Path(output).absolute())})
    original = read_manifest_file(file) if is_manifest(file) else None
    with open_survey(loaded) as survey:
        if original is not None:
            check_inputs(original, survey)
        yield survey, original
