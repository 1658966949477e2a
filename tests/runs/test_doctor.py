"""What a machine lacks is said with its remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from networks import card
from surveyflow.commands import runs as commands
from surveyflow.errors import ClusterError, ModelError
from surveyflow.models.engines import choice as sampler
from surveyflow.models.engines import devices, fft_engine
from surveyflow.models.engines.devices import Framework
from surveyflow.output.heartbeats import GpuUse
from surveyflow.runs import doctor, preflight
from surveyflow.sites.kind import Answer
from surveyflow.tasks.card import Architecture
from surveyflow.values.jobs import EngineChoice

CARDS = [card(Architecture())]


def test_machine_without_an_engine_is_reported_with_what_to_install(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "nosuchframework")
    monkeypatch.setattr(fft_engine, "absence", lambda: "it was not built")
    found = {check.name: check for check in doctor.check_this_machine().checks}["engine"]
    assert not found.good
    assert "nosuchframework" in found.found
    assert "not built" in found.found
    with pytest.raises(ModelError, match="nosuchframework not installed"):
        preflight.check_engine(EngineChoice(), CARDS)


def test_machine_without_a_framework_runs_the_native_core(monkeypatch):
    if fft_engine.impossible(Architecture()) is not None:
        pytest.skip("the native core was not built here")
    monkeypatch.setenv("KERAS_BACKEND", "nosuchframework")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = {check.name: check for check in doctor.check_this_machine().checks}["engine"]
    assert found.good
    assert found.found.startswith("fft")
    preflight.check_engine(EngineChoice(), CARDS)


def test_only_the_requested_engine_is_checked(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "nosuchframework")
    monkeypatch.setattr(fft_engine, "absence", lambda: None)
    monkeypatch.setattr(sampler, "_sees_gpu", lambda: True)
    preflight.check_engine(EngineChoice("fft"), CARDS)
    with pytest.raises(ModelError, match=r"'keras' cannot run merger/EGS/F814W in float32 here: nosuchframework not installed"):
        preflight.check_engine(EngineChoice("keras"), CARDS)
    with pytest.raises(ModelError, match=r"No engine can run .* in tf32 here: nosuchframework .* not in tf32"):
        preflight.check_engine(EngineChoice("auto", "tf32"), CARDS)


def test_every_network_of_a_survey_is_checked(monkeypatch):
    monkeypatch.setattr(fft_engine, "absence", lambda: None)
    infeasible = card(Architecture(input_size=300, filters=(2,), kernel_sizes=(3,)))
    with pytest.raises(ModelError, match="the FFT engine cannot compute the network"):
        preflight.check_engine(EngineChoice("fft"), [*CARDS, infeasible])


def test_machine_without_galsim_is_reported_with_what_to_install(monkeypatch):
    monkeypatch.setattr(doctor, "find_spec", lambda _: None)
    found = {check.name: check for check in doctor.check_this_machine().checks}["simulation"]
    assert not found.good
    assert "surveyflow-mergers[simulate]" in found.found


HERE = {"python": "3.11.7", "surveyflow": "0.1.0", "tensorflow-cpu": "2.21.0"}


def test_workers_with_other_packages_are_reported_loudly():
    there = {"python": "3.11.7", "surveyflow": "0.1.0", "tensorflow": "2.20.0"}
    found = doctor.compare_versions(there, HERE)
    assert not found.good
    assert "DIFFER" in found.found
    assert "tensorflow 2.20.0 there, absent here" in found.found
    assert "tensorflow-cpu absent there, 2.21.0 here" in found.found
    assert "surveyflow" not in found.found


def test_workers_with_the_same_packages_are_reported_as_equal():
    assert doctor.compare_versions(HERE, HERE) == doctor.Check(
        "versions", "equal to this machine's: python 3.11.7, surveyflow 0.1.0, tensorflow-cpu 2.21.0", good=True
    )


FINDINGS = doctor.WorkerFindings("node1", "gpu", HERE, (doctor.Check("memory", "64.0 GB available", good=True),))


@pytest.mark.parametrize(("ahead_s", "error_s", "good"), [(0.2, 0.01, True), (-30.0, 0.01, False), (2.0, 1.5, True)])
def test_a_worker_whose_clock_is_wrong_is_reported(ahead_s, error_s, good):
    found = doctor._worker_report(Answer("tls://node1:7", FINDINGS, None, ahead_s, error_s), HERE)
    (clock,) = [check for check in found.checks if check.name == "clock"]
    assert (clock.good, "set both clocks" in clock.found) == (good, not good)
    assert found.good == good


def test_the_models_that_a_worker_holds_are_reported():
    found = doctor._worker_report(Answer("tls://node1:7", FINDINGS, resources={"model:EGS/F814W": 1.0, "GPU": 1.0}), HERE)
    assert doctor.Check("models", "holds EGS/F814W", good=True) in found.checks


def test_a_worker_that_cannot_be_inspected_is_reported_with_the_reason():
    found = doctor._worker_report(Answer("tls://node1:7", None, "ModuleNotFoundError: No module named 'surveyflow'"), HERE)
    assert not found.good
    assert "No module named 'surveyflow'" in found.checks[0].found


def test_a_gpu_that_tensorflow_cannot_use_is_reported(monkeypatch):
    monkeypatch.setattr(doctor, "gpu_use", lambda: (GpuUse("0 NVIDIA A100", 0.0, 1_000.0, 40_000.0),))
    monkeypatch.setattr(doctor, "find_framework", lambda: Framework("tensorflow 2.21.0", "CPUs", ()))
    gpu, framework = doctor._devices()
    assert gpu.found == "0 NVIDIA A100, 39000 of 40000 MB free"
    assert not framework.good
    assert "built for CPUs, sees no GPU; this machine has GPUs that the framework cannot use" in framework.found


def test_a_framework_that_breaks_when_it_is_imported_is_reported(monkeypatch, tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise ImportError('libcudart.so.12: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(devices, "keras_problem", lambda: None)
    assert devices.find_framework() == (
        "TensorFlow cannot be imported: ImportError: libcudart.so.12: cannot open shared object file"
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_doctor_inspects_the_machines_of_the_workers(tmp_path, capsys):
    profile = tmp_path / "site.toml"
    profile.write_text('kind = "local"\nworkers = 1\n')
    (found,) = doctor.check_workers(profile)
    checks = {check.name: check for check in found.checks}
    assert found.worker.startswith("tls://127.0.0.1:")
    assert checks["versions"].good
    assert checks["clock"].good
    assert checks["framework"].found.startswith("tensorflow 2.")
    assert {"models", "engine", "scratch", "memory", "processors"} <= checks.keys()
    commands._print_workers([found])
    assert capsys.readouterr().out.startswith(f"worker {found.worker} on ")


def test_a_serial_profile_is_inspected_here(monkeypatch):
    monkeypatch.setattr(doctor, "find_framework", lambda: "not installed")
    (found,) = doctor.check_workers("serial")
    assert found.worker == "this process"


def test_batch_jobs_are_inspected_while_they_run():
    with pytest.raises(ClusterError, match=r"--profile FOLDER/driver\.toml"):
        doctor.check_workers(Path(__file__).parents[2] / "deploy" / "profiles" / "slurm.toml")
