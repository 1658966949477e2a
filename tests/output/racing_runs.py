"""Let many processes take one output folder's lock at the same instant; leave it dead each time.

Run by ``test_lock.py`` in a process of its own, since it forks. Prints the number of winners of each round as JSON.
"""

import json
import multiprocessing
import os
import sys
from pathlib import Path

from surveyflow.errors import LockHeld
from surveyflow.output.lock import RunLock

N_RUNS = 6
N_ROUNDS = 12


def race(root, ready, finished, outcomes):
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


def winners(root, context):
    ready, finished, outcomes = context.Barrier(N_RUNS), context.Barrier(N_RUNS), context.Queue()
    runs = [context.Process(target=race, args=(root, ready, finished, outcomes)) for _ in range(N_RUNS)]
    for run in runs:
        run.start()
    found = [outcomes.get(timeout=240) for _ in runs]
    for run in runs:
        run.join()
    return found.count("held")


def main(root):
    context = multiprocessing.get_context("fork")
    print(json.dumps([winners(root, context) for _ in range(N_ROUNDS)]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
