"""The profile of kind ``kubernetes``."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, NoReturn

from surveyflow.errors import ClusterError
from surveyflow.sites.kind import Question, RunToRender
from surveyflow.sites.kubernetes.settings import KubernetesSettings
from surveyflow.values import remedies

if TYPE_CHECKING:
    from surveyflow.sites.kubernetes.jobs import Manifests


class KubernetesProfile(KubernetesSettings):
    """Pods of Kubernetes, with what can be done with them."""

    def open(self, _factory: str, _settings: Hashable, _on_message: Callable[[str], None]) -> NoReturn:
        """Refuse: the workers are pods.

        Raises
        ------
        ClusterError
            Always; it names the command to use.
        """
        raise ClusterError(
            f"a profile of kind 'kubernetes' is for pods. Print their manifests: `{remedies.render_for_kubernetes()}`."
        )

    def inspect(self, _question: Question) -> NoReturn:
        """Refuse: there are no workers before the pods run.

        Raises
        ------
        ClusterError
            Always; it names the command to use.
        """
        raise ClusterError(
            "a profile of kind 'kubernetes' has workers only while its pods run. Look from the driver's: "
            f"`kubectl exec NAME-runner -- {remedies.inspect_workers('/driver/driver.toml')}`."
        )

    def render(self, run: RunToRender) -> Manifests:
        """Write the manifests of a run: see `surveyflow.sites.kind.Profile`."""
        from surveyflow.sites.kubernetes.jobs import render_run

        return render_run(self, run)

    def submit(self, _run: RunToRender) -> NoReturn:
        """Refuse: kubectl submits the manifests.

        Raises
        ------
        ClusterError
            Always; it names the command to use.
        """
        raise ClusterError(f"manifests are submitted by kubectl: `{remedies.render_for_kubernetes()} | kubectl apply -f -`")
