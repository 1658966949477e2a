"""The Protocol of a kind of cluster, and the values that its methods take and return.

Each kind is one folder of `surveyflow.sites`, with the same file names: ``settings`` (its table of a profile), ``profile`` (the
settings with the methods of `Profile`) and, as far as it has them, ``cluster`` (start or connect), ``jobs`` (render) and
``submit``. A method that a kind does not offer raises an error which names the command to use instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, NoReturn, Protocol

from surveyflow.errors import ProfileError
from surveyflow.execution.limits import ClusterProfile
from surveyflow.values import remedies
from surveyflow.values.jobs import Executor

Question = Callable[[], Any]
"""A function of an importable module, called on a worker."""


THIS_PROCESS = "this process"
"""Stands for the address of a worker where there is none."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of one worker.

    Parameters
    ----------
    worker
        Its address; `THIS_PROCESS` if the profile has no workers.
    value
        What the question returned there; None if it failed.
    error
        Why it failed, in words; None if it did not.
    clock_ahead_s
        By how much its clock is ahead of this machine's, seconds.
    clock_error_s
        Uncertainty of that difference: half the time between question and answer, seconds.
    resources
        The Dask resources that it declares, by name.
    """

    worker: str
    value: Any = None
    error: str | None = None
    clock_ahead_s: float = 0.0
    clock_error_s: float = 0.0
    resources: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunCommand:
    """The command that the driver of rendered jobs runs: ``surveyflow run``.

    Parameters
    ----------
    workflow
        Absolute path of the workflow file, as the driver sees it.
    name
        Survey and release; the jobs' names contain it.
    options
        Further arguments of ``surveyflow run``.
    output
        Absolute path of the output folder, as the driver sees it, if it is not the workflow's own.
    """

    workflow: PurePath
    name: str
    options: tuple[str, ...] = ()
    output: PurePath | None = None

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that workflows and output folders do not share, whatever the release."""
        told = str(self.workflow) if self.output is None else f"{self.workflow}\n{self.output}"
        return hashlib.sha256(told.encode()).hexdigest()[:8]

    def arguments(self, profile: PurePath) -> list[str]:
        """The command's words after ``surveyflow``.

        Parameters
        ----------
        profile
            The driver's profile.
        """
        output = [] if self.output is None else ["--output", str(self.output)]
        return ["run", str(self.workflow), "--profile", str(profile), "--json", *self.options, *output]


@dataclass(frozen=True, slots=True)
class RunToRender:
    """A run that is to become jobs.

    Parameters
    ----------
    command
        The command; its workflow is named as this machine sees it.
    profile_file
        File of the profile, for messages.
    model_groups
        Fields and instruments of the workflow, ``EGS/F814W``.
    count_work
        Counts the sources to do of each model group; it opens and checks all inputs.
    """

    command: RunCommand
    profile_file: Path
    model_groups: frozenset[str]
    count_work: Callable[[], Mapping[str, int]]


class Printed(Protocol):
    """A result that the command line prints: as text (``str``) or as JSON."""

    def as_json(self) -> dict[str, Any]: ...


class Profile(Protocol):
    """Settings of one kind of cluster, and what can be done with it.

    Parameters
    ----------
    kind
        Name of the kind, as profiles state it.
    """

    @property
    def kind(self) -> str: ...

    @property
    def limits(self) -> ClusterProfile:
        """How jobs are routed, how many each worker holds, and when something is given up."""
        ...

    def open(self, factory: str, settings: Hashable, on_message: Callable[[str], None], /) -> AbstractContextManager[Executor]:
        """Start or connect to the workers.

        Parameters
        ----------
        factory, settings
            As for `surveyflow.sites.serial.profile.SerialExecutor`.
        on_message
            As for `surveyflow.execution.dask_executor.DaskExecutor`.

        Raises
        ------
        ClusterError
            If no scheduler answers, no worker appears, or the kind runs as jobs only.
        """
        ...

    def inspect(self, question: Question, /) -> list[Answer]:
        """Ask every worker one question.

        Parameters
        ----------
        question
            What is called on each worker.

        Raises
        ------
        ClusterError
            As for `open`.
        """
        ...

    def render(self, run: RunToRender, /) -> Printed:
        """Write everything that a run would submit, as text; nothing is changed.

        Parameters
        ----------
        run
            The run.

        Raises
        ------
        ProfileError
            If the profile does not suit the run, or the kind has no jobs.
        """
        ...

    def submit(self, run: RunToRender, /) -> Printed:
        """Render a run and submit its jobs.

        Parameters
        ----------
        run
            The run.

        Raises
        ------
        ProfileError
            As for `render`.
        ClusterError
            If the jobs are refused, or submitted by another program.
        """
        ...


def refuse_jobs() -> NoReturn:
    """Raise the error of a kind that has no jobs.

    Raises
    ------
    ProfileError
        Always.
    """
    raise ProfileError(f"a profile of this kind has no jobs to submit. Use it with `{remedies.run_with_profile()}`.")
