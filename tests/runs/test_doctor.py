"""What a machine lacks is said with its remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from networks import card
from surveyflow.commands import runs as commands
from surveyflow.errors import ClusterError, ModelError
from surveyflow.execution.gpus import compute_capabilities
from surveyflow.models.engines import choice as sampler
from surveyflow.models.engines import devices, fft_engine, native_library
from surveyflow.models.engines.devices import Framework
from surveyflow.output.heartbeats import GpuUse
from surveyflow.runs import doctor, preflight
from surveyflow.sites.kind import Answer
from surveyflow.tasks.card import Architecture
from surveyflow.values.codes import Precision
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
        "tensorflow cannot be imported: ImportError: libcudart.so.12: cannot open shared object file"
    )


JAX = """
class Device:
    platform, device_kind = "{platform}", "{kind}"
def devices():
    return [Device()]
__version__ = "0.7.2"
"""


@pytest.mark.parametrize(
    ("platform", "kind", "found"),
    [
        ("cpu", "cpu", Framework("jax 0.7.2", "CPUs", ())),
        ("gpu", "NVIDIA H100", Framework("jax 0.7.2", "gpu", ("NVIDIA H100",))),
    ],
)
def test_jax_reports_its_version_and_devices(monkeypatch, tmp_path, platform, kind, found):
    (tmp_path / "jax.py").write_text(JAX.format(platform=platform, kind=kind))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setattr(devices, "keras_problem", lambda: None)

    assert devices.find_framework() == found


def test_the_engine_check_names_the_framework_that_keras_uses(monkeypatch):
    monkeypatch.setattr(doctor, "keras_problem", lambda: None)
    monkeypatch.setenv("KERAS_BACKEND", "jax")

    assert doctor._engine().found.endswith("; Keras uses jax")


def test_a_machine_that_lacks_the_native_core_says_so_at_once_and_in_the_doctor(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(sampler, "keras_problem", lambda: None)
    monkeypatch.setattr(doctor, "keras_problem", lambda: None)
    monkeypatch.setattr(native_library, "LIBRARY", Path("/nowhere/libsurveyflow.so"))

    caution = preflight.core_caution(EngineChoice(), CARDS)
    assert caution.startswith("No GPU is visible, and the native core cannot be used: it was not built: ")
    assert "where there is one: `python " in caution
    assert preflight.core_caution(EngineChoice("keras"), CARDS) is None
    assert not doctor._engine().good


@pytest.mark.parametrize(
    ("capabilities", "precision", "said"),
    [
        ({}, "float32", None),
        ({"NVIDIA V100": 7.0}, "float32", None),
        ({"NVIDIA A100": 8.0}, "tf32", None),
        ({"NVIDIA A100": 8.0}, "bf16", None),
        ({}, "tf32", "--precision tf32 has no effect on this machine: no NVIDIA GPU is visible. It needs GPUs from Ampere on"),
        ({"NVIDIA V100": 7.0, "NVIDIA A100": 8.0}, "tf32", "has no effect on NVIDIA V100 (compute capability 7). It needs"),
        ({}, "bf16", "--precision bf16 saves no time on this machine"),
    ],
)
def test_a_precision_that_a_device_cannot_do_is_warned_of(monkeypatch, capabilities, precision, said):
    monkeypatch.setattr(preflight, "compute_capabilities", lambda: capabilities)
    found = preflight.precision_caution(Precision(precision))

    assert found is None if said is None else said in found


def test_the_driver_is_asked_for_the_compute_capability(monkeypatch, tmp_path):
    (tmp_path / "nvidia-smi").write_text(
        '#!/bin/sh\ncase "$*" in *name,compute_cap*--id=1*) echo "NVIDIA A100-SXM4, 8.0" ;; esac\n'
    )
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")

    assert compute_capabilities() == {"NVIDIA A100-SXM4": 8.0}


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
        doctor.check_workers(Path(__file__).parents[2] / "surveyflow" / "sites" / "slurm" / "profile.toml")
