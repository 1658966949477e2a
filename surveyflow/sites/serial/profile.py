"""The profile of kind ``serial``."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import closing, contextmanager
from typing import Literal, NoReturn

from surveyflow.execution.limits import ClusterProfile
from surveyflow.execution.serial import SerialExecutor
from surveyflow.settings.checks import SettingsTable
from surveyflow.sites.kind import Answer, Question, RunToRender, refuse_jobs
from surveyflow.values.jobs import Executor


class SerialProfile(SettingsTable):
    """Everything in the process that was started."""

    kind: Literal["serial"] = "serial"

    @property
    def limits(self) -> ClusterProfile:
        """The limits of a user's own cluster, used with this profile: the defaults."""
        return ClusterProfile()

    @contextmanager
    def open(self, factory: str, settings: Hashable, _on_message: Callable[[str], None]) -> Iterator[Executor]:
        """Run jobs one after another in this process: see `surveyflow.sites.kind.Profile`."""
        with closing(SerialExecutor(factory, settings)) as executor:
            yield executor

    def inspect(self, question: Question) -> list[Answer]:
        """Ask this process: see `surveyflow.sites.kind.Profile`."""
        return [Answer("this process", question())]

    def render(self, _run: RunToRender) -> NoReturn:
        """Refuse: the run starts at once, without jobs."""
        refuse_jobs()

    def submit(self, _run: RunToRender) -> NoReturn:
        """Refuse: the run starts at once, without jobs."""
        refuse_jobs()
