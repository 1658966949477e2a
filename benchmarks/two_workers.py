"""How much faster do two workers of one thread finish a real inference run than one?

    OMP_NUM_THREADS=1 python benchmarks/two_workers.py [--sources 600] [--rounds 5]

Prints one JSON object. A simulated field with the published network and untrained weights, which cost what trained ones do, is
run on a local cluster of one worker and of two, in turn. Timed is the phase in which units are measured: from the first unit's
start to the last unit's receipt. Each cluster is asked for something small before, so that imports and model loading, which both
pay once, are paid. The machine should have nothing else to do; where that cannot be had, rounds that take turns and the
medians of their ratios at least treat both alike.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from surveyflow.flow.connections import open_cluster
from surveyflow.flow.profiles import LocalProfile
from surveyflow.inputs.workflow import load_workflow
from surveyflow.runs.preflight import open_survey
from surveyflow.runs.whole import run_survey
from surveyflow.types import Architecture
from worlds import MiniSurvey, edit_workflow, write_untrained_models

PUBLISHED = Architecture()


def measure(folder, n_sources, rounds, architecture=PUBLISHED, side=2_000):
    """Seconds of the measuring phase with one worker and with two, round by round."""
    survey = MiniSurvey(folder, fields=["EGS"], n_sources=n_sources, shape_f814w=(side, side), core_size=256, draws=1_000)
    write_untrained_models(folder / "models", survey.spec.fields, architecture)
    seconds = {1: [], 2: []}
    for number in range(rounds):
        for n_workers, found in seconds.items():
            found.append(_measured_s(survey.workflow, n_workers, f"{number}-{n_workers}"))
    ratios = [one / two for one, two in zip(seconds[1], seconds[2], strict=True)]
    return {
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "one_worker_s": seconds[1],
        "two_workers_s": seconds[2],
        "ratios": ratios,
        "median_ratio": statistics.median(ratios),
    }


def _measured_s(workflow, n_workers, name):
    """Seconds of the phase in a run whose cluster has warmed up on another seed's draws."""
    with open_cluster(LocalProfile(workers=n_workers)) as cluster:
        cluster.client.wait_for_workers(n_workers)
        for seed in (1, 2):  # another seed is another key: every unit is measured again
            edit_workflow(workflow, {"sampling": {"seed": seed}, "output": {"root": f"catalog-{name}"}})
            phases = {}
            with open_survey(load_workflow(workflow)) as survey:
                run_survey(survey, LocalProfile(), client=cluster.client, listeners=[lambda p, into=phases: _note(p, into)])
    return phases["units"]


def _note(progress, phases):
    phases[progress.phase] = max(progress.seconds, phases.get(progress.phase, 0.0))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--sources", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), arguments.sources, arguments.rounds), indent=1))


if __name__ == "__main__":
    main()
