"""The jobs of a run on a cluster with a queue: their text and their submission."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from surveyflow.errors import ProfileError
from surveyflow.inputs.discovery import ReleaseChoice
from surveyflow.output.lock import refuse_if_held
from surveyflow.runs.announcements import announcing_failure, choose_and_announce
from surveyflow.runs.decide import unchanged, work_by_model_group
from surveyflow.runs.newest_release import choose_release
from surveyflow.runs.preflight import open_survey
from surveyflow.settings.findings import line, listed
from surveyflow.settings.workflow import Workflow, load_workflow
from surveyflow.sites.kind import Printed, Profile, RunCommand, RunToRender
from surveyflow.sites.profiles import load_profile, required_keys
from surveyflow.values import remedies
from surveyflow.values.codes import EngineName, Precision
from surveyflow.values.notebooks import notebook_table


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of ``surveyflow run`` that the driver is given.

    Parameters
    ----------
    release
        Name of the release, instead of the workflow's own; ``latest`` for the newest complete one.
    output
        Output folder, instead of the workflow's own.
    engine, precision
        The engine, and the precision of the models' trunks.
    reread
        Whether to read every pixel, also of files that seem unchanged.
    moved
        For a manifest whose files were moved since: where the paths of folders begin now, by where they began.
    """

    release: str | None = None
    output: Path | None = None
    engine: EngineName = EngineName.AUTO
    precision: Precision = Precision.FLOAT32
    reread: bool = False
    moved: Mapping[str, str] = field(default_factory=dict)

    def words(self, release: str | None) -> tuple[str, ...]:
        """The options as arguments, without the output folder; what is the default is left out.

        Parameters
        ----------
        release
            Name of the release, found out.
        """
        named = {
            "--release": release,
            "--engine": None if self.engine == EngineName.AUTO else self.engine,
            "--precision": None if self.precision == Precision.FLOAT32 else self.precision,
        }
        pairs = [word for name, value in named.items() if value is not None for word in (name, str(value))]
        maps = [word for old, new in self.moved.items() for word in ("--map", f"{old}={new}")]
        return (*pairs, *(["--reread"] if self.reread else []), *maps)


@dataclass(frozen=True, slots=True)
class NothingToSubmit:
    """The answer if nothing has changed since a revision, so that no jobs are needed.

    Parameters
    ----------
    revision
        Name of the revision.
    held
        The reasons for which readers do not have it; empty if they do.
    discovery
        How the release was chosen; None if it was named.
    """

    revision: str
    held: tuple[str, ...] = ()
    discovery: ReleaseChoice | None = None

    @property
    def exit_code(self) -> int:
        """As of a run that changes nothing: 3 if the revision is held, 5 if a newer release is broken, otherwise 0."""
        return 3 if self.held else 5 if self.discovery and self.discovery.broken else 0

    def __str__(self) -> str:
        held = f", which is still held. {' '.join(self.held)}" if self.held else "."
        return f"Nothing has changed since {self.revision}{held}\n"

    def as_json(self) -> dict[str, Any]:
        """Its values; ``head`` is null, since no job was submitted."""
        discovery = self.discovery.as_json() if self.discovery else None
        return {"head": None, "revision": self.revision, "held_reasons": list(self.held), "discovery": discovery}

    def _repr_html_(self) -> str:
        return notebook_table(self.as_json())


@dataclass(frozen=True, slots=True)
class Submitted:
    """Jobs that were submitted.

    Parameters
    ----------
    jobs
        The jobs, as their kind of cluster describes them.
    release
        Name of the release.
    root
        The output folder.
    discovery
        How the release was chosen; None if it was named.
    """

    jobs: Printed
    release: str
    root: Path
    discovery: ReleaseChoice | None = None


def render_jobs(workflow: Path, profile: Path, kind: str, options: RunOptions = RunOptions()) -> Printed:
    """Return everything that would be submitted, as text; nothing is changed.

    Parameters
    ----------
    workflow
        The workflow file.
    profile
        File of a profile.
    kind
        The kind of cluster that the profile must be for.
    options
        The run's options.

    Raises
    ------
    WorkflowError
        If the workflow cannot be used or, if workers are divided according to the work, anything that it names.
    ProfileError
        If the profile cannot be used, is of another kind, or does not suit the workflow.
    """
    site = _load(profile, kind)
    choice = choose_release(workflow) if options.release == "latest" else None
    loaded = _loaded(workflow, options, choice)
    return site.render(_run(workflow, profile, options, loaded))


def render_if_changed(workflow: Path, profile: Path, kind: str, options: RunOptions) -> Printed | NothingToSubmit:
    """Check everything that a workflow names, and return what to submit, for a schedule on which another program submits it.

    Parameters
    ----------
    workflow, profile, kind, options
        As in `render_jobs`.

    Raises
    ------
    WorkflowError, ProfileError, LockHeld
        As in `submit_jobs`.
    """
    return _if_free(workflow, profile, kind, options, lambda site, run: site.render(run), if_changed=True)[0]


def submit_jobs(
    workflow: Path,
    profile: Path,
    kind: str,
    options: RunOptions = RunOptions(),
    *,
    if_changed: bool = False,
) -> Submitted | NothingToSubmit:
    """Check everything that a workflow names, and submit its jobs.

    Parameters
    ----------
    workflow, profile, kind, options
        As in `render_jobs`.
    if_changed
        Whether to submit nothing if nothing has changed since a revision; `NothingToSubmit` names it.

    Raises
    ------
    WorkflowError
        If the workflow, or anything that it names, cannot be used.
    ProfileError
        As in `render_jobs`.
    LockHeld
        If a run works on the output folder, or jobs of the workflow are in the queue.
    ClusterError
        If the jobs cannot be submitted; no job is left behind then.
    """
    done, loaded, choice = _if_free(workflow, profile, kind, options, lambda site, run: site.submit(run), if_changed=if_changed)
    return done if isinstance(done, NothingToSubmit) else Submitted(done, loaded.survey.release, loaded.output.root, choice)


def _if_free(
    workflow: Path,
    profile: Path,
    kind: str,
    options: RunOptions,
    act: Callable[[Profile, RunToRender], Printed],
    *,
    if_changed: bool,
) -> tuple[Printed | NothingToSubmit, Workflow, ReleaseChoice | None]:
    """Render or submit a run if nobody works on its output and, if asked, something has changed."""
    with announcing_failure(workflow, options.output):
        site = _load(profile, kind)
        choice = choose_and_announce(workflow, options.output) if options.release == "latest" else None
        loaded = _loaded(workflow, options, choice)
        refuse_if_held(loaded.output.root)
        with open_survey(loaded) as survey:
            survey.log_warnings()
            found = unchanged(survey, options.precision) if if_changed and not options.reread else None
            if found:
                return NothingToSubmit(found.revision.name, found.reasons, choice), loaded, choice
            return act(site, _run(workflow, profile, options, loaded)), loaded, choice


def _load(profile: Path, kind: str) -> Profile:
    site = load_profile(profile)
    if site.kind != kind:
        needed = listed(f"`{key}`" for key in required_keys(kind))
        template = remedies.new_profile(kind)
        remedy = f"Name a file with {line('kind', kind)} and at least {needed}; `{template}` prints one that describes every key."
        raise ProfileError(f"{profile} is of kind {site.kind!r}, expected {kind!r}. {remedy}")
    return site


def _loaded(workflow: Path, options: RunOptions, choice: ReleaseChoice | None) -> Workflow:
    loaded = load_workflow(workflow, choice.release if choice else options.release, options.moved)
    if options.output is None:
        return loaded
    return loaded.model_copy(update={"output": loaded.output.model_copy(update={"root": options.output})})


def _run(workflow: Path, profile: Path, options: RunOptions, loaded: Workflow) -> RunToRender:
    release = loaded.survey.release if options.release is not None else None
    name = f"{loaded.survey.name}-{loaded.survey.release}"
    command = RunCommand(workflow.absolute(), name, options.words(release), options.output)
    model_groups = {f"{name}/{instrument}" for name, field in loaded.fields.items() for instrument in field.mosaics}
    return RunToRender(command, profile, frozenset(model_groups), partial(_count_work, loaded, options.precision))


def _count_work(workflow: Workflow, precision: Precision) -> dict[str, int]:
    with open_survey(workflow) as survey:
        return work_by_model_group(survey, precision)
