from __future__ import annotations

import os
import signal

import pytest

from surveyflow.errors import ClusterError
from surveyflow.execution.gpus import visible_gpus
from surveyflow.sites.local_gpu.profile import LocalGpuProfile
from waiting import wait_until


@pytest.fixture
def driver_that_names(monkeypatch, tmp_path):
    """Make a program that answers as NVIDIA's would."""

    def make(*gpus):
        program = tmp_path / "nvidia-smi"
        program.write_text("#!/bin/sh\n" + "".join(f"echo {gpu}\n" for gpu in gpus))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    return make


def test_the_driver_names_the_gpus(driver_that_names):
    driver_that_names("0", "1", "2")

    assert visible_gpus() == ("0", "1", "2")


def test_gpus_that_are_not_visible_are_left_alone(driver_that_names, monkeypatch):
    driver_that_names("0", "1", "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-4f1a")

    assert visible_gpus() == ("2", "GPU-4f1a")


def test_no_gpu_is_reported_before_anything_starts(driver_that_names):
    driver_that_names()

    with pytest.raises(ClusterError, match="no GPU was found: nvidia-smi names none"):
        LocalGpuProfile().open_cluster()


def test_hidden_gpus_are_reported(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    with pytest.raises(ClusterError, match="CUDA_VISIBLE_DEVICES names none"):
        LocalGpuProfile().open_cluster()


def look():
    """What a worker sees."""
    return os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"], os.environ["TF_FORCE_GPU_ALLOW_GROWTH"]


def looks(cluster):
    """What every worker sees that answers."""
    return list(cluster.client.run(look, on_error="ignore").values())


def test_each_worker_has_a_gpu_of_its_own_also_after_it_died_and_strangers_are_kept_out():
    with LocalGpuProfile(gpus=("0", "GPU-4f1a")).open_cluster() as cluster:
        (victim, gpu, growth), (_, other_gpu, _) = looks(cluster)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: victim not in {pid for pid, _, _ in looks(cluster)} and len(looks(cluster)) == 2, "it is back")

        assert cluster.client.scheduler.address.startswith("tls://127.0.0.1:")
        assert growth == "true"
        assert {gpu, other_gpu} == {"0", "GPU-4f1a"}
        assert {name for _, name, _ in looks(cluster)} == {"0", "GPU-4f1a"}
