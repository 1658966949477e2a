"""What encryption costs: an empty job, to a worker and back, with TLS and without, in turn.

    OMP_NUM_THREADS=1 python benchmarks/encryption.py [--jobs 500] [--rounds 20]

Prints one JSON object. Two local clusters of two workers are open at the same time, one as surveyflow starts it and one without
certificates, and get the same number of empty jobs in turn. CPU time is that of all processes together: a busy machine lengthens
wall time, but not CPU time.
"""

import argparse
import json
import os
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
from distributed import Security

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fakes import FakeSettings, fake_job
from surveyflow.execution.dask_executor import DaskExecutor
from surveyflow.sites.local import cluster as local
from surveyflow.sites.local.profile import LocalProfile

FACTORY = "fakes:make_fake_worker"
PROFILE = LocalProfile(workers=2)


def measure(n_jobs, rounds):
    """Milliseconds for each empty job, by whether its connections are encrypted."""
    with ExitStack() as stack:
        clusters = {"tls": stack.enter_context(PROFILE.open_cluster()), "plain": _open_without_certificates(stack)}
        protocols = {name: cluster.client.scheduler.address.partition(":")[0] for name, cluster in clusters.items()}
        for cluster in clusters.values():
            _job_ms(cluster, n_jobs)  # imports, and connections that stay open
        found = [{name: _job_ms(cluster, n_jobs) for name, cluster in clusters.items()} for _ in range(rounds)]
    medians = {
        name: {kind: statistics.median(one[name][kind] for one in found) for kind in ("wall_ms", "cpu_ms")} for name in clusters
    }
    more = {kind: statistics.median(one["tls"][kind] - one["plain"][kind] for one in found) for kind in ("wall_ms", "cpu_ms")}
    return {"protocols": protocols, "jobs": n_jobs, "rounds": rounds, "load": os.getloadavg()[0], **medians, "tls_costs": more}


def _open_without_certificates(stack):
    """Open a cluster like the other, but for the certificates."""
    closed = local.security
    local.security = lambda _: Security()
    try:
        return stack.enter_context(PROFILE.open_cluster())
    finally:
        local.security = closed


def _job_ms(cluster, n_jobs):
    jobs = [fake_job(f"job {number}", "square", number=number) for number in range(n_jobs)]
    cpu, wall = _cpu_s(), time.perf_counter()
    for result in DaskExecutor(cluster, FACTORY, FakeSettings()).run(jobs):
        assert result.error is None
    return {"wall_ms": 1e3 * (time.perf_counter() - wall) / n_jobs, "cpu_ms": 1e3 * (_cpu_s() - cpu) / n_jobs}


def _cpu_s():
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in family)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    print(json.dumps(measure(options.jobs, options.rounds), indent=1))


if __name__ == "__main__":
    main()
