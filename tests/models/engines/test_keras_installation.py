"""What an engine needs is known without importing a framework."""

from __future__ import annotations

import pytest

from surveyflow import api
from surveyflow.errors import ModelError
from surveyflow.models.engines import keras_installation
from surveyflow.models.engines.keras_installation import check_keras, keras_backend, keras_problem


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """A machine with no configuration of Keras, on which the test says what is installed."""
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    packages: set[str] = set()
    monkeypatch.setattr(keras_installation, "find_spec", lambda name: name if name in packages else None)
    return packages


def test_keras_on_tensorflow_is_what_is_asked_for_by_default(installed):
    assert keras_problem() == (
        "keras and tensorflow not installed; `pip install 'surveyflow-mergers[cpu]'`, "
        "or `pip install 'surveyflow-mergers[gpu]'` for GPUs"
    )
    installed.update({"keras", "jax"})
    assert keras_problem().startswith("tensorflow not installed")
    installed.add("tensorflow")
    assert keras_problem() is None


def test_keras_on_jax_needs_no_tensorflow(installed, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    installed.update({"keras", "jax"})
    assert keras_problem() is None


def test_a_backend_that_is_chosen_must_be_there(installed, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    installed.update({"keras", "tensorflow"})
    assert keras_problem() == (
        "jax not installed, but Keras is set to use jax; `pip install 'surveyflow-mergers[jax]'`, or set KERAS_BACKEND"
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [('{"backend": "jax"}', "jax"), ("{}", "tensorflow"), ("[]", "tensorflow"), ("not json", "tensorflow")],
)
def test_keras_own_configuration_counts_after_the_environment(installed, monkeypatch, tmp_path, content, expected):
    (tmp_path / "keras.json").write_text(content)
    assert keras_backend() == expected
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert keras_backend() == "torch"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"floatx": "bfloat16"}', 'found floatx = "bfloat16", which Keras refuses; write "float32" or "float16" or "float64"'),
        ('{"image_data_format": null}', 'found image_data_format = null, which Keras refuses; write "channels_last" or'),
        ('{"epsilon": 0}', "found epsilon = 0, which Keras refuses; write 1e-07, or remove the file"),
    ],
)
def test_a_configuration_that_keras_refuses_is_reported_with_the_file(installed, tmp_path, content, told):
    installed.update({"keras", "tensorflow"})
    (tmp_path / "keras.json").write_text(content)
    assert keras_problem().startswith(f"{tmp_path}/keras.json: {told}")
    with pytest.raises(ModelError, match=r"^Keras cannot be used: .*keras\.json: found"):
        check_keras()


def test_a_configuration_that_keras_takes_is_no_problem(installed, tmp_path):
    installed.update({"keras", "tensorflow"})
    (tmp_path / "keras.json").write_text('{"floatx": "float64", "epsilon": 1e-5, "image_data_format": "channels_first"}')
    assert keras_problem() is None


@pytest.mark.parametrize("verb", [api.train, api.evaluate, api.tune])
def test_what_needs_keras_is_refused_without_it_before_anything_is_read(installed, tmp_path, verb):
    with pytest.raises(ModelError, match=r"^Keras cannot be used: keras and tensorflow not installed; `pip install"):
        verb(tmp_path / "missing.toml")
