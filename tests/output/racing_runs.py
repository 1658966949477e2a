"""Let many processes take one output folder's lock at the same instant; leave it dead each time.

In every other round each process has a host name of its own, and the lease that was left behind has expired. Run by
``test_lock.py`` in a process of its own, since it forks. Prints the number of winners of each round as JSON.
"""

import json
import multiprocessing
import os
import sys
from pathlib import Path

from surveyflow.errors import LockHeld
from surveyflow.output import holders
from surveyflow.output.lock import RunLock, find_lease

N_RUNS = 6
N_ROUNDS = 12


def race(root, host, ready, finished, outcomes):
    if host:
        holders.this_host = lambda: host
    ready.wait()
    try:
        RunLock(root, f"run-{os.getpid()}").__enter__()
        outcomes.put("held")
    except LockHeld:
        outcomes.put("refused")
    finished.wait()
    outcomes.close()
    outcomes.join_thread()
    os._exit(0)  # as if killed: nothing is released


def winners(root, context, hosts):
    ready, finished, outcomes = context.Barrier(N_RUNS), context.Barrier(N_RUNS), context.Queue()
    runs = [context.Process(target=race, args=(root, host, ready, finished, outcomes)) for host in hosts]
    for run in runs:
        run.start()
    found = [outcomes.get(timeout=240) for _ in runs]
    for run in runs:
        run.join()
    return found.count("held")


def expire(root):
    os.utime(find_lease(root).path, (0, 0))


def main(root):
    context = multiprocessing.get_context("fork")
    found = []
    for number in range(N_ROUNDS):
        machines = [f"round{number}-node{run}" for run in range(N_RUNS)]
        found.append(winners(root, context, machines if number % 2 else [""] * N_RUNS))
        expire(root)
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
