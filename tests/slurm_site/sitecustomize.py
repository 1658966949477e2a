"""Puts a stub in the model's place in every Python that finds this on its path: batch jobs cannot be handed a factory.

``SURVEYFLOW_TEST_PACE`` is how long a job takes at least, seconds. While the file ``SURVEYFLOW_TEST_HOLD`` exists, no job begins.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path

import stubs
from surveyflow.measuring import worker
from surveyflow.values.jobs import Job, Receipt


class PacedWorker(stubs.StubWorker):
    def do(self, job: Job) -> Mapping[str, str] | Receipt:
        time.sleep(float(os.environ.get("SURVEYFLOW_TEST_PACE", "0")))
        while Path(os.environ.get("SURVEYFLOW_TEST_HOLD", "/nowhere")).exists():
            time.sleep(0.1)
        return super().do(job)


worker.SurveyWorker = PacedWorker
