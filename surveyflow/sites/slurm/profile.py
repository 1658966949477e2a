"""The profile of kind ``slurm``."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, NoReturn

from surveyflow.errors import ClusterError
from surveyflow.sites.kind import Question, RunToRender
from surveyflow.sites.slurm.settings import SlurmSettings
from surveyflow.values import remedies

if TYPE_CHECKING:
    from surveyflow.sites.slurm.jobs import Submission
    from surveyflow.sites.slurm.submit import SubmittedJobs


class SlurmProfile(SlurmSettings):
    """Batch jobs of a Slurm machine, with what can be done with them."""

    def open(self, _factory: str, _settings: Hashable, _on_message: Callable[[str], None]) -> NoReturn:
        """Refuse: the workers are batch jobs.

        Raises
        ------
        ClusterError
            Always; it names the command to use.
        """
        raise ClusterError(f"a profile of kind 'slurm' is for batch jobs. Submit them: `{remedies.submit_to_slurm()}`.")

    def inspect(self, _question: Question) -> NoReturn:
        """Refuse: there are no workers before the jobs run.

        Raises
        ------
        ClusterError
            Always; it names the commands to use.
        """
        raise ClusterError(
            "a profile of kind 'slurm' has workers only while its jobs run. Submit, then name the driver's profile: "
            f"`{remedies.inspect_workers('FOLDER/driver.toml')}`; or look at one node: `srun ... {remedies.inspect_machine()}`."
        )

    def render(self, run: RunToRender) -> Submission:
        """Write the scripts of a run's jobs: see `surveyflow.sites.kind.Profile`."""
        from surveyflow.sites.slurm.jobs import render_run

        return render_run(self, run)

    def submit(self, run: RunToRender) -> SubmittedJobs:
        """Submit a run's jobs: see `surveyflow.sites.kind.Profile`."""
        from surveyflow.sites.slurm.submit import submit

        return submit(self.render(run))
