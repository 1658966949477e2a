"""The gain of two workers of one thread over one worker in a real inference run.

    OMP_NUM_THREADS=1 python benchmarks/two_workers.py [--engine fft | keras] [--sources 1920] [--rounds 5]

Prints one JSON object. A simulated field is run with the published network and untrained weights, which cost as much as trained
ones, on a local cluster of one worker and of two, in turn: with one unit at a time on a worker, which then has one thread, and
with two, of which one reads while the other computes. The timed phase is the measuring of units, from the start of the first unit
to the receipt of the last. Each cluster first runs something small, so that imports and the loading of models do not count.

The limit of the machine itself is measured on the same workers in the same rounds: the network alone, on cutouts in memory, on
one worker and on both at once. Two cores that share a cache and memory do not do twice the work of one.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from surveyflow.models.engines.choice import load_model
from surveyflow.models.store import ModelStore
from surveyflow.runs.preflight import open_survey
from surveyflow.runs.run import run_survey
from surveyflow.settings.workflow import load_workflow
from surveyflow.sites.local.profile import LocalProfile
from surveyflow.tasks.card import Architecture, ModelKey
from surveyflow.values.jobs import EngineChoice
from worlds import MiniSurvey, edit_workflow, write_untrained_models

PUBLISHED = Architecture()
N_ALONE = 240


def measure(folder, n_sources, rounds, engine="auto", architecture=PUBLISHED, side=4_000, n_alone=N_ALONE):
    """Seconds by number of workers and of units at a time on each, for each round, and the gains that follow from them."""
    survey = MiniSurvey(folder, fields=["EGS"], n_sources=n_sources, shape_f814w=(side, side), core_size=512, draws=1_000)
    write_untrained_models(folder / "models", survey.spec.fields, architecture)
    model = ModelStore(folder / "models").folder(ModelKey("merger", "EGS", "F814W"))
    choice = EngineChoice(engine)
    cases = [(workers, at_once) for at_once in (1, 2) for workers in (1, 2)]
    seconds = {case: [] for case in cases}
    alone_s = {1: [], 2: []}
    for number in range(rounds):
        for workers, at_once in cases:
            with LocalProfile(workers=workers, jobs_per_worker=at_once).open_cluster() as cluster:
                cluster.client.wait_for_workers(workers)
                if at_once == 1:
                    alone_s[workers].append(_network_alone_s(cluster.client, model, engine, n_alone))
                name = f"{number}-{workers}-{at_once}"
                seconds[workers, at_once].append(_run_s(survey.workflow, cluster.client, choice, name))
    gains = {at_once: _gains(seconds[1, at_once], seconds[2, at_once]) for at_once in (1, 2)}
    alone = [2 * gain for gain in _gains(alone_s[1], alone_s[2])]  # each of the two did as much as the single worker
    overlap = _gains(seconds[1, 1], seconds[1, 2])
    return {
        "engine": engine,
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "seconds": {f"{workers} workers, {at_once} at a time": found for (workers, at_once), found in seconds.items()},
        "network_alone_s": alone_s,
        "two workers of one unit at a time": gains[1],
        "two workers of two units at a time": gains[2],
        "two workers, network alone": alone,
        "overlap on one worker": overlap,
        "median": {
            "two workers of one unit at a time": statistics.median(gains[1]),
            "two workers of two units at a time": statistics.median(gains[2]),
            "two workers, network alone": statistics.median(alone),
            "overlap on one worker": statistics.median(overlap),
        },
    }


def _gains(slower, faster):
    return [one / two for one, two in zip(slower, faster, strict=True)]


def _run_s(workflow, client, engine, name):
    """Seconds of the phase in a run whose cluster has warmed up with the draws of another seed."""
    for seed in (1, 2):  # another seed gives other keys, so every unit is measured again
        edit_workflow(workflow, {"sampling": {"seed": seed}, "output": {"root": f"catalog-{name}"}})
        phases = {}
        with open_survey(load_workflow(workflow)) as survey:
            run_survey(survey, LocalProfile(), client=client, engine=engine, listeners=[lambda p, into=phases: _note(p, into)])
    return phases["units"]


def _note(progress, phases):
    phases[progress.phase] = max(progress.seconds, phases.get(progress.phase, 0.0))


def _network_alone_s(client, folder, engine, n_cutouts):
    """Seconds until every worker has computed `n_cutouts` cutouts; the slowest counts."""
    for _ in range(2):  # the first time loads the model
        futures = [
            client.submit(_features_s, folder, engine, n_cutouts, workers=[address], pure=False)
            for address in client.scheduler_info()["workers"]
        ]
        seconds = max(client.gather(futures))
    return seconds


def _features_s(folder, engine, n_cutouts):
    model = load_model(folder, engine)
    side = model.card.architecture.input_size
    cutouts = np.random.default_rng(1).random((n_cutouts, side, side), dtype=np.float32)
    model.features(cutouts[:1])
    start = time.perf_counter()
    model.features(cutouts)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--engine", choices=("auto", "fft", "keras"), default="auto")
    parser.add_argument("--sources", type=int, default=1_920)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), arguments.sources, arguments.rounds, arguments.engine), indent=1))


if __name__ == "__main__":
    main()
