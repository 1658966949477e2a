import pytest

from surveyflow.errors import WorkflowError
from surveyflow.inputs.training_file import load_training
from surveyflow.types import CONTAMINATION_OUTPUTS, Architecture, ModelKey, Stretch
from training_sets import training_text


def load(folder, text):
    file = folder / "train.toml"
    file.write_text(text)
    return load_training(file)


def test_a_training_file_names_model_records_and_network(tmp_path):
    training = load(tmp_path, training_text())
    assert training.model.key == ModelKey("merger", "COSMOS", "F814W")
    assert training.data.train == (tmp_path / "train",)
    assert training.images.stretch is Stretch.ASINH_NOISE
    assert training.network.map_sizes[0] == 12
    assert training.network.n_outputs == 2


def test_without_a_shape_the_network_is_the_published_one(tmp_path):
    text = training_text()
    begin, end = text.index("[architecture]"), text.index("[optimisation]")
    assert load(tmp_path, text[:begin] + text[end:]).network == Architecture()


def test_a_contamination_network_has_its_outputs(tmp_path):
    training = load(tmp_path, training_text("contamination"))
    assert training.network.n_outputs == len(CONTAMINATION_OUTPUTS)
    assert training.model.class_names == CONTAMINATION_OUTPUTS


def test_several_sets_of_records_may_be_named(tmp_path):
    training = load(tmp_path, training_text().replace('train = "train"', 'train = ["one", "two"]'))
    assert training.data.train == (tmp_path / "one", tmp_path / "two")


@pytest.mark.parametrize(
    ("found", "instead", "message"),
    [
        ("epochs = 3", "epocs = 3", r"\[optimisation\] epocs: is not a key that surveyflow knows. Did you mean `epochs`"),
        ("epochs = 3", "epochs = 0", r"\[optimisation\] epochs: found 0, expected no number outside 1"),
        ('"asinh_noise"', '"log"', r"expected one of asinh_minmax, .*asinh_noise"),
        ("kernel_sizes = [3]", "kernel_sizes = [4]", r"\[architecture\]: describes no network: kernel sizes must be odd"),
        ("filters = [4]", "filters = 4", r"\[architecture\] filters: found 4, expected a list"),
        ("seed = 5", "seed = 5\nxla = true", r"exclude each other. State `deterministic = false`"),
        ('origin = "simulated"', 'origin = "ferreira2022"', r"\[model\] origin"),
        ("[output]", "[augmentation]\ngain = 2.0\n[output]", r"\[augmentation\] gain: found 2.0, expected two numbers"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path, found, instead, message):
    text = training_text()
    assert found in text
    with pytest.raises(WorkflowError, match=message):
        load(tmp_path, text.replace(found, instead))


def test_noise_is_not_raised_under_the_truth_of_contamination(tmp_path):
    text = training_text("contamination", extra="[augmentation]\ndepth = 2.0")
    with pytest.raises(WorkflowError, match="simulate records with `depth_range`"):
        load(tmp_path, text)
