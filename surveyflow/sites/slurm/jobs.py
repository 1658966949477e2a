"""The scripts of a run's Slurm jobs, as text that depends only on the arguments.

One job runs Dask's scheduler and the driver (the *head*); an array of jobs for each pool runs the workers. They find each other
by a file in the submission's folder. A worker whose time is up goes back into the queue as long as the head is there; the head,
when its own time is up, goes back and continues, since a run does only what the receipts lack.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import tomlkit

from surveyflow import __version__
from surveyflow.errors import LockHeld
from surveyflow.execution.jobs import JOBS_AT_A_TIME
from surveyflow.execution.limits import CLOSED_HTTP, DASK_ENVIRONMENT, WORKER_PRELOADS
from surveyflow.execution.memory_kills import MEMORY, PREFIX, SEEN
from surveyflow.execution.routing import Routing, declared
from surveyflow.execution.worker_logs import FOLDER_VARIABLE, POOL_VARIABLE
from surveyflow.output.lock import LEASE_S
from surveyflow.sites.certificates import dask_environment
from surveyflow.sites.kind import RunCommand, RunToRender
from surveyflow.sites.slurm.pools import route_pools
from surveyflow.sites.slurm.settings import Allocation, Environment, Pool, SlurmSettings
from surveyflow.values.notebooks import notebook_table

CERTIFICATES, DRIVER_PROFILE, LOGS, RESULT = "certificates", "driver.toml", "logs", "result.json"
SCHEDULER_FILE, HEAD_ID, POOL_IDS, FINISHED = "scheduler.json", "head.id", "pools.id", "finished"

_SIGNALLED = 128
"""Exit codes from here on mean that a signal ended the driver."""

_BETWEEN_TRIES_S = 60
_HELD_TRIES = math.ceil(LEASE_S / _BETWEEN_TRIES_S) + 2
"""How often a driver that finds the lock held tries again: longer than the lock of a machine that died lasts."""

_AT_ONCE_S = 60
"""A worker that fails sooner, seconds, has done no work."""

_LONGEST_PAUSE_S = 30
"""Seconds between two questions to Slurm while a worker waits for the head."""

OF_THE_SITE = ("SLURM_CLUSTERS", "SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT")
"""Variables of Slurm's that say nothing of a job; the others of the job that submits would be taken for those of the new one."""

_BETWEEN_MEMORY_S = 30
"""Seconds between two looks of the head for jobs that were out of memory."""
_MEMORY_WAIT_S = 3.0 * _BETWEEN_MEMORY_S
"""How long the driver waits to hear that a worker was out of memory, seconds."""
_SAID_BY_SLURM = "-e 'exceeded memory limit' -e 'oom_kill event'"
"""What ``slurmstepd`` writes to the log of a job that was out of memory, also where the state of the job is FAILED then."""
_KILLED = 137
"""Exit code of a worker that was killed (SIGKILL), as the kernel does when a job is out of memory."""

_MOST_RESTARTS = 20
"""How often a killed driver is started again, and how often the head may start before a dead scheduler ends the run."""


@dataclass(frozen=True, slots=True)
class Submission:
    """Everything that is submitted for one run.

    Parameters
    ----------
    folder
        Folder of its files, on the shared file system.
    head
        Name of the head's script.
    pools
        Names of the pools' scripts, by the pools' names.
    files
        Text of every file, by name.
    certificates
        Folder of its certificates.
    keep_logs_days
        How long logs and folders of earlier submissions of the workflow are kept, days.
    routing
        The routing and the reason for it, in words; empty if the profile states it.
    """

    folder: Path
    head: str
    pools: Mapping[str, str]
    files: Mapping[str, str]
    certificates: Path
    keep_logs_days: int = 90
    routing: str = ""

    def __str__(self) -> str:
        routing = f"# {self.routing}\n\n" if self.routing else ""
        return routing + "\n".join(f"# ==> {self.folder / name}\n{text}" for name, text in self.files.items())

    def as_json(self) -> dict[str, Any]:
        """The folder, and the text of every file by name."""
        return {"folder": str(self.folder), "files": dict(self.files)}

    def _repr_html_(self) -> str:
        return notebook_table(self.as_json())


def render_run(profile: SlurmSettings, run: RunToRender) -> Submission:
    """Write the scripts of a run, with its pools divided between the models where routing asks for it.

    Parameters
    ----------
    profile
        The settings.
    run
        The run; its work is counted only if the routing depends on it.

    Raises
    ------
    ProfileError
        If some units would have no worker.
    """
    if profile.routing is Routing.ANY:
        return render(profile, run.command)
    routed, route = route_pools(profile, run.count_work())
    return replace(render(routed, run.command), routing=str(route))


def render(profile: SlurmSettings, command: RunCommand) -> Submission:
    """Write the scripts of a submission.

    Parameters
    ----------
    profile
        The settings.
    command
        The command of the driver.
    """
    folder = profile.directories.shared / _folder_name(command)
    scripts = {name: f"pool-{name}.sh" for name in profile.pools}
    files = {"head.sh": _head_script(profile, command, folder)}
    files |= {scripts[name]: _pool_script(profile, command, folder, name, pool) for name, pool in profile.pools.items()}
    files[DRIVER_PROFILE] = _driver_profile(profile, folder)
    return Submission(folder, "head.sh", scripts, files, folder / CERTIFICATES, profile.directories.keep_logs_days)


def _folder_name(command: RunCommand) -> str:
    """Name the folder of a submission: the same each time, and different from those of other workflows and releases."""
    return f"{_slug(command.name)}-{command.digest}"


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "survey"


def _driver_profile(profile: SlurmSettings, folder: Path) -> str:
    """The driver's profile: it connects to the scheduler beside it by kind ``address``."""
    return tomlkit.dumps(
        {
            "kind": "address",
            "scheduler_file": str(folder / SCHEDULER_FILE),
            "certificates": str(folder / CERTIFICATES),
            "logs": str(folder / LOGS),
            "routing": str(profile.routing),
            "models_in_memory": profile.models_in_memory,
            "jobs_per_worker": profile.jobs_per_worker,
            "max_deaths": profile.max_deaths,
            "worker_wait_s": profile.gives_up_after_s,
            "unit_silence_s": profile.unit_silence_s,
        }
        | ({"memory_wait_s": _MEMORY_WAIT_S} if profile.grows else {})
    )


def _head_script(profile: SlurmSettings, command: RunCommand, folder: Path) -> str:
    environment = profile.environment_of(profile.head)
    python = environment.python
    over = (f'echo 1 >"$folder/{FINISHED}"', f'scancel --quiet $(cat "$folder/{POOL_IDS}")')
    run = shlex.join(command.arguments(folder / DRIVER_PROFILE))
    return _script(
        environment,
        _directives(profile.head, _slug(command.name), folder / LOGS / "head-%j.log"),
        _signal(profile.head),
        *_preparations(environment, folder, _scheduler_environment(profile, folder), over),
        "",
        f'again() {{ rm -f "$folder/{SCHEDULER_FILE}"; scontrol requeue "$SLURM_JOB_ID"; exit; }}',
        "trap again USR1  # walltime is near",
        f'rm -f "$folder/{SCHEDULER_FILE}"',
        f'{python} -m dask scheduler --scheduler-file "$folder/{SCHEDULER_FILE}" --interface {profile.interface} --port 0 \\',
        f"    --protocol tls --dashboard-address {profile.dashboard} --preload {CLOSED_HTTP} &",
        "scheduler=$!",
        f'until [ -s "$folder/{SCHEDULER_FILE}" ]; do kill -0 "$scheduler" || exit 1; sleep 0.5; done',
        *(_growth(profile, command) if profile.grows else ()),
        *_driver_loop(f'{python} -m surveyflow {run} >"$folder/{RESULT}"'),
        f'echo "$code" >"$folder/{FINISHED}"',
        *(['kill "$growth"'] if profile.grows else []),
        f'scancel --quiet $(cat "$folder/{POOL_IDS}")',
        'kill "$scheduler"',
        'wait "$scheduler"',
        'exit "$code"',
    )


def _growth(profile: SlurmSettings, command: RunCommand) -> Iterator[str]:
    """Let another job take the place of one that was out of memory, whether it said so itself or Slurm ended it as a whole."""
    logs = f'"$folder/{LOGS}"'
    yield "note_memory_kills() {  # of jobs that Slurm ended"
    yield "    local state name job task asked"
    yield "    squeue --me --noheader --array --states=OUT_OF_MEMORY,FAILED --format='%T %j %F %K %m' |"
    yield "    while read -r state name job task asked; do"
    yield f'        grep -qx "$job" "$folder/{POOL_IDS}" && [ ! -e {logs}/{PREFIX}"$name-${{job}}_${{task}}_" ] || continue'
    yield '        case "$name" in'
    for name, pool in profile.pools.items():
        if pool.memory_max:
            yield f"            surveyflow-{_slug(command.name)}-{name}) pool={name} most={_mib(pool.memory_max)} ;;"
    yield "            *) continue ;;"
    yield "        esac"
    yield f'        [ "$state" = OUT_OF_MEMORY ] || grep -q {_SAID_BY_SLURM} {logs}/"$pool-${{job}}_$task.log" || continue'
    yield '        echo "pool-$pool.sh $(($(numfmt --from=iec "${asked%[cn]}") / 1048576)) $most" >"$folder/memory.new"'
    yield f'        mv "$folder/memory.new" {logs}/{PREFIX}"$name-${{job}}_${{task}}_"'
    yield "    done"
    yield "}"
    yield "replace_jobs() {"
    yield "    local file script memory most job"
    yield f"    for file in {logs}/{PREFIX}*_; do"
    yield f'        [ -s "$file" ] && [ ! -e "$file{SEEN}" ] || continue'
    yield '        read -r script memory most <"$file"'
    yield '        case "$script" in'
    for name, pool in profile.pools.items():
        if pool.memory_growth:
            yield f"            pool-{name}.sh) memory=$((memory * {round(100 * pool.memory_growth)} / 100)) ;;"
    yield "            *) continue ;;"
    yield "        esac"
    yield '        [ "$memory" -le "$most" ] || memory=$most'
    yield '        job=$(outside sbatch --parsable --array=1 --mem="${memory}M" "$folder/$script" "$memory") || continue'
    yield f'        echo "${{job%%;*}}" >>"$folder/{POOL_IDS}"'
    yield f'        touch "$file{SEEN}"'
    yield '        echo "surveyflow: job $job asks for $memory MiB: one with less was out of memory (${file##*/})"'
    yield "    done"
    yield "}"
    yield "outside() ("
    yield "    for variable in ${!SLURM_@}; do"
    yield f'        case "$variable" in {"|".join(OF_THE_SITE)}) ;; *) unset "$variable" ;; esac'
    yield "    done"
    yield '    "$@"'
    yield ")"
    yield f"while sleep {_BETWEEN_MEMORY_S}; do note_memory_kills; replace_jobs; done &"
    yield "growth=$!"


def _mib(amount: int | None) -> int:
    return (amount or 0) // 2**20


def _driver_loop(run: str) -> Iterator[str]:
    """Run the driver, again if a signal ended it (then its lock is known to be void), or if the lock's holder may be dead."""
    yield "held=0"
    yield f"for try in {{1..{_MOST_RESTARTS}}}; do"
    yield f"    {run} &"
    yield "    driver=$!"
    yield '    wait -n "$driver" "$scheduler"'
    yield "    code=$?"
    yield '    if ! kill -0 "$scheduler" 2>/dev/null; then'
    yield f'        [ "${{SLURM_RESTART_COUNT:-0}}" -ge {_MOST_RESTARTS} ] || again'
    yield "        code=1"
    yield "        break"
    yield "    fi"
    yield f'    if [ "$code" -eq {LockHeld.exit_code} ] && [ "$((held += 1))" -le {_HELD_TRIES} ]; then'
    yield f"        sleep {_BETWEEN_TRIES_S} &"
    yield '        wait "$!"  # a signal is heard at once, unlike during sleep'
    yield "        continue"
    yield "    fi"
    yield f'    [ "$code" -ge {_SIGNALLED} ] || break'
    yield "done"


def _pool_script(profile: SlurmSettings, command: RunCommand, folder: Path, name: str, pool: Pool) -> str:
    return _script(
        profile.environment_of(pool),
        # The head is released last, and a queue by age would start it last. Workers that wait for it may not keep it waiting.
        _directives(pool, f"{_slug(command.name)}-{name}", folder / LOGS / f"{name}-%A_%a.log", nice=len(profile.pools) + 1),
        f"#SBATCH --array=1-{pool.jobs}{f'%{pool.at_once}' if pool.at_once else ''}",
        _signal(pool),
        *([f"#SBATCH --gres={pool.gres}"] if pool.gres else []),
        *([f"#SBATCH --gpus-per-node={pool.gpus_per_node}"] if pool.gpus_per_node else []),
        *_preparations(profile.environment_of(pool), folder, _worker_environment(folder, name, pool), ()),
        "",
        "head_is() {  # is the head's job in one of these states?",
        f'    [ ! -e "$folder/{FINISHED}" ] || return 1',
        "    local jobs",
        '    jobs=$(squeue --me --noheader --format="%F %T") || return 0  # nobody can tell just now',
        f'    grep -qxE "$(cat "$folder/{HEAD_ID}") ($1)" <<<"$jobs"',
        "}",
        "head_is_there() { head_is '.*'; }",
        'again() { if head_is_there; then scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"; fi; }',
        'leave() { [ "${#workers[@]}" -eq 0 ] || { kill "${workers[@]}"; wait "${workers[@]}"; }; again; exit; }',
        "workers=()",
        "trap leave USR1  # walltime is near: a worker that had to start anew counts its lifetime anew",
        "head_is_there || exit 0",
        "pause=2",
        f'until [ -s "$folder/{SCHEDULER_FILE}" ] && head_is RUNNING; do  # a head that lost its node leaves this file behind',
        "    head_is_there || exit 0",
        f'    sleep "$pause"; [ "$((pause += 2))" -le {_LONGEST_PAUSE_S} ] || pause={_LONGEST_PAUSE_S}',
        "done",
        f'scratch=$(mktemp -d "{profile.directories.node_local}/surveyflow-XXXXXXXX") || exit 1  # only you can read it',
        """trap 'rm -rf "$scratch"' EXIT""",
        *([f"memory=${{1:-{_mib(pool.memory)}}}  # MiB"] if pool.memory_growth else []),
        *_worker_command(profile, pool),
        *_start_workers(pool),
        "began=$SECONDS",
        "code=0",
        *(_wait_for_growing(name, pool) if pool.memory_growth else _WAIT),
        f'if [ "$code" -ne 0 ] && [ $((SECONDS - began)) -lt {_AT_ONCE_S} ] '
        f'&& [ "${{SLURM_RESTART_COUNT:-0}}" -ge {_MOST_RESTARTS} ]; then',
        f'    echo "no worker lives here: this one ended at once, after {_MOST_RESTARTS} before it; see above why"',
        '    exit "$code"',
        "fi",
        "again",
        'exit "$code"',
    )


_WAIT = ('for worker in "${workers[@]}"; do wait "$worker" || code=$?; done',)


def _wait_for_growing(name: str, pool: Pool) -> Iterator[str]:
    """Wait for workers; if one is killed, say that it was out of memory, and leave the place to a job with more."""
    yield f'for worker in "${{workers[@]}}"; do wait -n || code=$?; [ "$code" -ne {_KILLED} ] || break; done'
    yield f'if [ "$code" -eq {_KILLED} ]; then'
    yield f'    said="$folder/{LOGS}/{PREFIX}$SLURM_JOB_NAME-${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}_"'
    yield f'    echo "pool-{name}.sh $memory {_mib(pool.memory_max)}" >"$said.new" && mv "$said.new" "$said"'
    yield '    kill "${workers[@]}" 2>/dev/null'
    yield "    wait"
    yield '    exit "$code"'
    yield "fi"


def _worker_command(profile: SlurmSettings, pool: Pool) -> Iterator[str]:
    lifetime, stagger = (f"{time.total_seconds():.0f}s" for time in (pool.lifetime, pool.stagger))
    yield "start_worker() {"
    yield f'    {profile.environment_of(pool).python} -m dask worker --scheduler-file "$folder/{SCHEDULER_FILE}" \\'
    yield f"        --interface {profile.interface} --protocol tls --dashboard-address 127.0.0.1:0 \\"
    yield '        --name "$SLURM_JOB_NAME-${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}_${SLURM_RESTART_COUNT:-0}-$1" \\'
    yield f"        --nworkers 1 --nthreads {min(JOBS_AT_A_TIME, profile.jobs_per_worker)} --memory-limit 0 \\"
    offered = [shlex.quote(declared(pool.models))] if pool.models else []
    if resources := ",".join([*offered, *([f"{MEMORY}=$memory"] if pool.memory_growth else [])]):
        yield f"        --resources {resources} \\"
    if pool.memory_growth:  # a nanny would start a killed worker again, with the same memory
        yield "        --no-nanny \\"
    yield f"        --lifetime {lifetime} --lifetime-stagger {stagger} --death-timeout 60s \\"
    preloads = " ".join(f"--preload {module}" for module in WORKER_PRELOADS)
    yield f'        --local-directory "$scratch" {preloads} &'
    yield '    workers+=("$!")'
    yield "}"


def _start_workers(pool: Pool) -> Iterator[str]:
    """Start the workers of a job, each with one of its GPUs."""
    numbers = " ".join(str(number) for number in range(pool.n_workers))
    if pool.n_gpus < 2:
        yield f"for number in {numbers}; do start_worker $number; done"
        return
    yield 'IFS=, read -ra gpus <<<"${CUDA_VISIBLE_DEVICES:-}"'
    found = f"expected {pool.n_gpus} GPUs in CUDA_VISIBLE_DEVICES, found '${{CUDA_VISIBLE_DEVICES:-}}'"
    yield f'[ "${{#gpus[@]}}" -eq {pool.n_gpus} ] || refuse "{found}: correct gres or gpus_per_node of the pool"'
    yield f'for number in {numbers}; do CUDA_VISIBLE_DEVICES="${{gpus[number]}}" start_worker $number; done'


def _directives(allocation: Allocation, name: str, log: Path, nice: int | None = None) -> str:
    """The job's resources, as ``sbatch`` reads them; ``nice`` is a number of places that it gives way in the queue."""
    memory = {name: f"{amount // 2**20}M" if amount else amount for name, amount in allocation.memory_options.items()}
    values = {
        "job-name": f"surveyflow-{name}",
        "partition": allocation.partition,
        "account": allocation.account,
        "qos": allocation.qos,
        "nodes": 1,
        "ntasks": 1,
        "cpus-per-task": allocation.cores,
        **memory,
        "time": _slurm_time(allocation.walltime),
        "output": log,
        "open-mode": "append",
        "nice": nice,
    }
    options = [f"--{key}={value}" for key, value in values.items() if value is not None]
    own = [*options, "--requeue", *(["--exclusive"] if allocation.whole_node else [])]
    return "\n".join(f"#SBATCH {option}" for option in [*own, *map(_quoted, allocation.options)])


def _signal(allocation: Allocation) -> str:
    return f"#SBATCH --signal=B:USR1@{allocation.signal_before.total_seconds():.0f}"


def _quoted(option: str) -> str:
    """An option as a line of ``#SBATCH`` holds it: in quotes if sbatch would split it or take a part of it for a comment."""
    name, equals, value = option.partition("=")
    if not re.search(r"[\s\"'\\#]", value):
        return option
    escaped = re.sub(r'(["\\])', r"\\\1", value)
    return f'{name}{equals}"{escaped}"'


def _slurm_time(time: timedelta) -> str:
    minutes, seconds = divmod(time.seconds, 60)
    return f"{time.days}-{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}"


def _preparations(own: Environment, folder: Path, environment: Mapping[str, str], at_end: Iterable[str]) -> Iterator[str]:
    """The first lines of both kinds of job: the environment, and the end of a job whose environment is not as it should be.

    Parameters
    ----------
    own
        How the job finds Python and surveyflow.
    folder
        Folder of the submission.
    environment
        Variables that surveyflow sets.
    at_end
        What to do before the job ends.
    """
    yield ""
    yield f"folder={shlex.quote(str(folder))}"
    yield "refuse() {"
    yield '    echo "surveyflow: $*" >&2'
    yield from (f"    {line}" for line in at_end)
    yield "    exit 1"
    yield "}"
    if own.prologue:
        yield """trap 'refuse "the prologue failed at: $BASH_COMMAND"' ERR"""
        yield from own.prologue
        yield "trap - ERR"
    for name, value in (dict(own.variables) | dict(environment)).items():
        yield f"export {name}={shlex.quote(value)}"
    yield f'found=$({own.python} -m surveyflow --version) || refuse "no surveyflow: see above what its interpreter says"'
    yield f'[ "$found" = "surveyflow {__version__}" ] || refuse "found $found, expected {__version__}, which submitted the jobs"'


def _scheduler_environment(profile: SlurmSettings, folder: Path) -> dict[str, str]:
    """Dask's settings for scheduler and driver: `surveyflow.sites.local.cluster` says why deaths are reported one by one."""
    return dask_environment(folder / CERTIFICATES) | {
        **DASK_ENVIRONMENT,
        "DASK_DISTRIBUTED__DASHBOARD__LINK": "https://{host}:{port}/status",
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
        "DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT": f"{profile.gives_up_after_s:g}s",
        "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": f"{profile.silence_s:g}s",
    }


def _worker_environment(folder: Path, name: str, pool: Pool) -> dict[str, str]:
    cores = str(pool.cores // pool.n_workers)
    return dask_environment(folder / CERTIFICATES) | {
        **DASK_ENVIRONMENT,
        FOLDER_VARIABLE: str(folder / LOGS),
        POOL_VARIABLE: name,
        "OMP_NUM_THREADS": cores,
        "OPENBLAS_NUM_THREADS": cores,
        "MKL_NUM_THREADS": cores,
        "TF_NUM_INTRAOP_THREADS": cores,
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    }


def _script(environment: Environment, *lines: str) -> str:
    """A script of a login shell, which has what the site provides (``module``), or one with the submitter's environment."""
    first = ["#!/bin/bash"] if environment.inherit else ["#!/bin/bash -l", "#SBATCH --export=NONE"]
    return "\n".join([*first, *lines]) + "\n"
