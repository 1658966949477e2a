"""The manifests of a run's pods, as text that depends only on the arguments.

A ``DaskJob`` of the Dask operator holds scheduler, driver and the first pool of workers; a ``DaskWorkerGroup`` each further pool.
They end with the driver. A killed driver is started again in its pod and continues, since a run does only what the receipts lack;
the pod's containers share a process namespace, so that the lock of the one that died is known to be void.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath, PurePosixPath
from typing import Any

import tomlkit
import yaml

from surveyflow.errors import ProfileError
from surveyflow.execution.jobs import JOBS_AT_A_TIME, listed
from surveyflow.execution.limits import DASK_ENVIRONMENT
from surveyflow.execution.routing import declared
from surveyflow.execution.worker_logs import FOLDER_VARIABLE, POOL_VARIABLE
from surveyflow.sites.certificates import dask_environment
from surveyflow.sites.kind import RunCommand, RunToRender
from surveyflow.sites.kubernetes.settings import KubernetesSettings, PodPool, Resources
from surveyflow.values import remedies

Manifest = dict[str, Any]

_GROUP = "kubernetes.dask.org/v1"
_PORT = 8786
_CERTIFICATES = PurePosixPath("/certificates")
_DRIVER = PurePosixPath("/driver")
_SCRATCH = PurePosixPath("/tmp")  # noqa: S108 - the pod's own
_GRACE_S = 120
"""Seconds that a driver has to release its lock when its pod is moved."""

_SIGNALLED = 128
"""Exit codes from here on mean that a signal ended the driver."""

_DRIVER_SCRIPT = """\
trap 'kill -TERM $!' TERM
{command} &
wait $!; wait $!
code=$?
echo "surveyflow ended with exit code $code" | tee /dev/termination-log
[ $code -lt {signalled} ] || exit $code
"""
"""It succeeds whatever the driver's exit code, unless a signal ended the driver: then the pod starts it again. The trap ends the
first wait, too."""

_MOST_LETTERS = 40
"""Of a name: Dask's operator appends to it, and Kubernetes allows 63."""


@dataclass(frozen=True, slots=True)
class Manifests:
    """The manifests of a run.

    Parameters
    ----------
    text
        YAML, for ``kubectl apply``.
    """

    text: str

    def __str__(self) -> str:
        return self.text

    def as_json(self) -> dict[str, Any]:
        """Every manifest, as Kubernetes takes it."""
        return {"manifests": list(yaml.safe_load_all(self.text))}


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines in block style."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def render_run(profile: KubernetesSettings, run: RunToRender) -> Manifests:
    """Write the manifests of a run.

    Parameters
    ----------
    profile
        The settings.
    run
        The run; its workflow file lies on the profile's volume.

    Raises
    ------
    ProfileError
        If the workflow file or the output folder does not lie on the volume, or the pools' models are not those of the workflow.
    """
    _check_model_groups(profile, run)
    workflow = _in_the_pod(profile, run, run.command.workflow)
    output = _in_the_pod(profile, run, run.command.output) if run.command.output else None
    return Manifests(render_manifests(profile, replace(run.command, workflow=workflow, output=output)))


def _in_the_pod(profile: KubernetesSettings, run: RunToRender, path: PurePath) -> PurePosixPath:
    """Where the pods see a path of this machine."""
    seen_here = profile.volume.seen_here
    if not path.is_relative_to(seen_here):
        raise ProfileError(
            f"{path} does not lie on the profile's volume, which this machine sees at {seen_here}. Move it "
            f"there, or correct [volume] here in {run.profile_file}."
        )
    return PurePosixPath(profile.volume.path, path.relative_to(seen_here))


def _check_model_groups(profile: KubernetesSettings, run: RunToRender) -> None:
    """Compare the models of the pools with those of the workflow, before pods wait for units that never come."""
    needed = run.model_groups
    offered = {group for pool in profile.pools.values() for group in pool.models}
    if offered and (unknown := offered - needed or needed - offered):
        raise ProfileError(
            f"{run.profile_file}: the pools hold the models of {listed(offered)}, but the workflow has {listed(needed)}. "
            f"Correct models of the pools: {listed(unknown)}."
        )


def manifests(profile: KubernetesSettings, command: RunCommand) -> list[Manifest]:
    """Make all manifests of a run: the driver's profile, the job, and one worker group for each further pool."""
    name = resource_name(command)
    first, *further = profile.pools.items()
    return [
        _driver_profile(profile, command, name),
        _job(profile, command, name, first),
        *(_worker_group(profile, command, name, pool_name, pool) for pool_name, pool in further),
    ]


def render_manifests(profile: KubernetesSettings, command: RunCommand) -> str:
    """Write the manifests as YAML, with a comment on how to use them."""
    return _preface(profile) + "".join(
        f"---\n{yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, width=120)}" for manifest in manifests(profile, command)
    )


def resource_name(command: RunCommand) -> str:
    """Name a workflow's resources: the same each time, and different from those of all others."""
    slug = re.sub(r"[^a-z0-9]+", "-", command.name.lower()).strip("-") or "survey"
    return f"{f'surveyflow-{slug}'[: _MOST_LETTERS - 9].rstrip('-')}-{command.digest}"


def _preface(profile: KubernetesSettings) -> str:
    namespace = f" --namespace {profile.namespace}" if profile.namespace else ""
    lines = ["# Once: the Dask operator must be there (https://kubernetes.dask.org)."]
    lines += [
        f"# Before each run: {remedies.make_certificates('DIR')}",
        f"#   kubectl create secret generic {profile.certificates} --from-file=DIR{namespace}",
        f"# Then: kubectl apply -f THIS-FILE{namespace}; in the end: kubectl delete -f THIS-FILE{namespace}",
    ]
    return "\n".join(lines) + "\n"


def _metadata(profile: KubernetesSettings, name: str) -> Manifest:
    where = {"namespace": profile.namespace} if profile.namespace else {}
    return {"name": name, **where, "labels": {"app.kubernetes.io/name": "surveyflow"}}


def _driver_profile(profile: KubernetesSettings, command: RunCommand, name: str) -> Manifest:
    """The driver's profile: it connects to the scheduler's service by kind ``address``."""
    text = tomlkit.dumps(
        {
            "kind": "address",
            "address": _address(name),
            "connect_timeout_s": profile.worker_wait_s,
            "logs": str(_logs(command)),
            "jobs_per_worker": profile.jobs_per_worker,
            "max_deaths": profile.max_deaths,
            "models_in_memory": profile.models_in_memory,
            "routing": "pinned" if any(pool.models for pool in profile.pools.values()) else str(profile.routing),
            "unit_silence_s": profile.unit_silence_s,
            "worker_wait_s": profile.worker_wait_s,
        }
    )
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(profile, f"{name}-driver"),
        "data": {"driver.toml": text},
    }


def _job(profile: KubernetesSettings, command: RunCommand, name: str, first_pool: tuple[str, PodPool]) -> Manifest:
    cluster = {"scheduler": _scheduler(profile, name), "worker": _workers(profile, command, name, *first_pool)}
    return {
        "apiVersion": _GROUP,
        "kind": "DaskJob",
        "metadata": _metadata(profile, name),
        "spec": {"job": {"spec": _driver_pod(profile, command, name)}, "cluster": {"spec": cluster}},
    }


def _worker_group(profile: KubernetesSettings, command: RunCommand, name: str, pool_name: str, pool: PodPool) -> Manifest:
    return {
        "apiVersion": _GROUP,
        "kind": "DaskWorkerGroup",
        "metadata": _metadata(profile, f"{name}-{pool_name}"),
        "spec": {"cluster": name, "worker": _workers(profile, command, name, pool_name, pool)},
    }


def _driver_pod(profile: KubernetesSettings, command: RunCommand, name: str) -> Manifest:
    words = ["surveyflow", *command.arguments(_DRIVER / "driver.toml")]
    script = _DRIVER_SCRIPT.format(command=shlex.join(words), signalled=_SIGNALLED)
    container = _container(profile, "job", ["bash", "-c", script], profile.driver, dask_environment(_CERTIFICATES))
    container["volumeMounts"].append({"name": "driver", "mountPath": str(_DRIVER), "readOnly": True})
    pod = _pod(profile, [container], "OnFailure")
    pod["volumes"].append({"name": "driver", "configMap": {"name": f"{name}-driver"}})
    return {**pod, "shareProcessNamespace": True, "terminationGracePeriodSeconds": _GRACE_S}


def _scheduler(profile: KubernetesSettings, name: str) -> Manifest:
    command = ["dask", "scheduler", "--protocol", "tls", "--port", str(_PORT)]
    command += ["--dashboard-address", "127.0.0.1:8787"]
    settings = {
        "ALLOWED_FAILURES": "0",
        "NO_WORKERS_TIMEOUT": f"{profile.worker_wait_s:g}s",
        "WORKER_TTL": f"{profile.silence_s:g}s",
    }
    environment = {f"DASK_DISTRIBUTED__SCHEDULER__{key}": value for key, value in settings.items()}
    container = _container(
        profile, "scheduler", command, profile.scheduler, dask_environment(_CERTIFICATES) | DASK_ENVIRONMENT | environment
    )
    container["ports"] = [{"name": "tcp-comm", "containerPort": _PORT, "protocol": "TCP"}]
    health = "import urllib.request as r; r.urlopen('http://127.0.0.1:8787/health', timeout=5)"
    container["readinessProbe"] = {
        "exec": {"command": ["python", "-c", health]},
        "initialDelaySeconds": 5,
        "periodSeconds": 10,
        "timeoutSeconds": 10,
    }
    return {"spec": _pod(profile, [container], "Always"), "service": _service(name)}


def _service(name: str) -> Manifest:
    return {
        "type": "ClusterIP",
        "selector": {"dask.org/cluster-name": name, "dask.org/component": "scheduler"},
        "ports": [{"name": "tcp-comm", "protocol": "TCP", "port": _PORT, "targetPort": "tcp-comm"}],
    }


def _workers(profile: KubernetesSettings, command: RunCommand, name: str, pool_name: str, pool: PodPool) -> Manifest:
    arguments = ["dask", "worker", "--name", "$(DASK_WORKER_NAME)", "--protocol", "tls"]
    arguments += ["--dashboard-address", "127.0.0.1:0", "--nworkers", "1", "--memory-limit", "0"]
    arguments += ["--nthreads", str(min(JOBS_AT_A_TIME, profile.jobs_per_worker))]
    arguments += ["--local-directory", str(_SCRATCH), "--preload", "surveyflow.execution.worker_process"]
    if pool.models:
        arguments += ["--resources", declared(pool.models)]
    container = _container(profile, "worker", arguments, pool, _worker_environment(command, name, pool_name, pool))
    if pool.gpus:
        container["resources"]["limits"]["nvidia.com/gpu"] = str(pool.gpus)
    pod = _pod(profile, [container], "Always")
    if pool.node_selector:
        pod["nodeSelector"] = dict(pool.node_selector)
    if pool.tolerations:
        pod["tolerations"] = [{"key": key, "operator": "Exists"} for key in pool.tolerations]
    return {"replicas": pool.workers, "spec": pod}


def _container(
    profile: KubernetesSettings, name: str, command: Sequence[str], resources: Resources, environment: Mapping[str, str]
) -> Manifest:
    """A container without privileges."""
    memory = f"{resources.memory // 2**20}Mi"
    return {
        "name": name,
        "image": profile.image,
        "args": list(command),
        "env": [{"name": key, "value": value} for key, value in ({"HOME": str(_SCRATCH)} | dict(environment)).items()],
        "resources": {"requests": {"cpu": str(resources.cores), "memory": memory}, "limits": {"memory": memory}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": list(_mounts(profile)),
    }


def _mounts(profile: KubernetesSettings) -> Iterator[Manifest]:
    yield {"name": "survey", "mountPath": str(profile.volume.path)}
    yield {"name": "scratch", "mountPath": str(_SCRATCH)}
    yield {"name": "certificates", "mountPath": str(_CERTIFICATES), "readOnly": True}


def _pod(profile: KubernetesSettings, containers: Sequence[Manifest], restart: str) -> Manifest:
    volumes: list[Manifest] = [
        {"name": "survey", "persistentVolumeClaim": {"claimName": profile.volume.claim}},
        {"name": "scratch", "emptyDir": {}},
        {"name": "certificates", "secret": {"secretName": profile.certificates, "defaultMode": 0o400}},
    ]
    return {
        "restartPolicy": restart,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": profile.user,
            "runAsGroup": profile.user,
            "fsGroup": profile.user,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": list(containers),
        "volumes": volumes,
    }


def _worker_environment(command: RunCommand, name: str, pool_name: str, pool: PodPool) -> dict[str, str]:
    cores = str(pool.cores)
    return dask_environment(_CERTIFICATES) | {
        **DASK_ENVIRONMENT,
        "DASK_SCHEDULER_ADDRESS": _address(name),
        FOLDER_VARIABLE: str(_logs(command)),
        POOL_VARIABLE: pool_name,
        "OMP_NUM_THREADS": cores,
        "OPENBLAS_NUM_THREADS": cores,
        "MKL_NUM_THREADS": cores,
        "TF_NUM_INTRAOP_THREADS": cores,
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    }


def _logs(command: RunCommand) -> PurePosixPath:
    return PurePosixPath(command.workflow.parent, "worker-logs")


def _address(name: str) -> str:
    return f"tls://{name}-scheduler:{_PORT}"
