import pytest

from surveyflow.errors import WorkflowError
from surveyflow.settings.training import load_training
from surveyflow.sky.stretch import Stretch
from surveyflow.tasks.card import Architecture, ModelKey
from surveyflow.tasks.contamination.parts import OUTPUTS as CONTAMINATION_OUTPUTS
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
        ('field = "COSMOS"', 'field = ""', r"\[model\] field: found the text '', expected a name of letters"),
        (
            'instrument = "F814W"',
            'instrument = "../F814W"',
            r"\[model\] instrument: found the text '\.\./F814W', expected a name",
        ),
        ("[data]", 'also_for = ["E G S"]\n[data]', r"\[model\] also_for.*found the text 'E G S', expected a name"),
        ('train = "train"', "train = []", r"\[data\] train: found an empty list, expected a folder of records or more"),
        ('validation = "validation"', "validation = []", r"\[data\] validation: found an empty list"),
        ("epochs = 3", "epochs = 0", r"\[optimisation\] epochs: found 0, expected a number from 1 to"),
        ('"asinh_noise"', '"log"', r"expected one of asinh_minmax, .*asinh_noise"),
        ("kernel_sizes = [3]", "kernel_sizes = [4]", r"\[architecture\]: kernel sizes must be odd"),
        (
            "filters = [4]",
            "filters = [4]\nn_outputs = 2",
            r"\[architecture\] n_outputs: follows from the task in",
        ),
        ("filters = [4]", "filters = [5000]", r"\[architecture\]: found filters = \(5000,\), expected no number above 4096"),
        ("filters = [4]", "filters = 4", r"\[architecture\] filters: found 4, expected a list"),
        ("seed = 5", "seed = 5\nxla = true", r"exclude each other. State `deterministic = false`"),
        ('origin = "simulated"', 'origin = "ferreira2022"', r"\[model\] origin"),
        ("[output]", "[augmentation]\ngain = 2.0\n[output]", r"\[augmentation\] gain: found 2.0, expected two numbers"),
    ],
)
def test_what_is_wrong_is_reported_with_its_place(tmp_path, found, instead, message):
    text = training_text()
    assert found in text
    with pytest.raises(WorkflowError, match=message):
        load(tmp_path, text.replace(found, instead))


def test_noise_is_not_raised_under_the_truth_of_contamination(tmp_path):
    text = training_text("contamination", extra="[augmentation]\ndepth = 2.0")
    with pytest.raises(WorkflowError, match="simulate records with `depth_range`"):
        load(tmp_path, text)


def test_no_galaxies_are_added_under_the_truth_of_contamination(tmp_path):
    extra = "[augmentation]\nneighbour_chance = 0.4"
    assert load(tmp_path, training_text(extra=extra)).augmentation.neighbour_chance == 0.4
    with pytest.raises(WorkflowError, match="adds galaxies that the truth of contamination does not know"):
        load(tmp_path, training_text("contamination", extra=extra))


def test_a_score_of_another_task_cannot_select_the_epoch(tmp_path):
    with pytest.raises(WorkflowError, match=r"\[optimisation\] objective is 'r2', which no merger model has"):
        load(tmp_path, training_text().replace("seed = 5", 'seed = 5\nobjective = "r2"'))


TUNING = '[tuning]\nfolder = "search"\nepochs = 2\nseed = 5\n'
EVALUATION = '[evaluation]\ntest = "test"\nreport = "report"\n'


def test_a_search_and_a_judgement_may_stand_in_the_same_file(tmp_path):
    training = load(tmp_path, training_text(extra=TUNING + EVALUATION))
    assert training.tuning.folder == tmp_path / "search"
    assert training.evaluation.test == (tmp_path / "test",)


@pytest.mark.parametrize(
    ("table", "found", "instead", "message"),
    [
        (TUNING, 'folder = "search"\n', "", r"\[tuning\] folder: is missing"),
        (TUNING, "epochs = 2", "epoch = 2", r"\[tuning\] epoch: is not a key that surveyflow knows. Did you mean `epochs`"),
        (TUNING, "seed = 5", "seed = -1", r"\[tuning\] seed: found -1, expected a number from 0 to"),
        (TUNING, "seed = 5", 'seed = 5\nobjective = "r2"', r"\[tuning\].*r2"),
        (
            TUNING,
            "seed = 5",
            "seed = 5\n[tuning.space]\nfilters = [8, 16]",
            r"filters: found the list \[8, 16\], expected a list of lists",
        ),
        (
            TUNING,
            "seed = 5",
            "seed = 5\n[tuning.space]\nfilters = [[8, 16]]\nkernel_sizes = [[7, 5, 3]]",
            r"\[tuning.space\].* of 2 and 3 blocks, expected one number",
        ),
        (TUNING, "seed = 5", "seed = 5\n[tuning.space]\ndropout = [0.6, 0.1]", r"\[tuning.space\] dropout: found \[0.6, 0.1\]"),
        (EVALUATION, 'report = "report"\n', "", r"\[evaluation\] report: is missing"),
        (EVALUATION, 'test = "test"', "test = 5", r"\[evaluation\] test: found 5"),
        (EVALUATION, 'test = "test"', 'test = "test"\ndraws = 0', r"\[evaluation\] draws: found 0, expected a number from 1 to"),
        (EVALUATION, 'test = "test"', 'test = "test"\nbaseline_stamps = 5', r"\[evaluation\] baseline_stamps: found 5"),
    ],
)
def test_what_is_wrong_in_a_search_or_a_judgement_is_reported_too(tmp_path, table, found, instead, message):
    assert found in table
    with pytest.raises(WorkflowError, match=message):
        load(tmp_path, training_text(extra=table.replace(found, instead)))


def test_members_of_a_jury_have_seeds_names_and_run_folders_of_their_own(tmp_path):
    jury = load(tmp_path, training_text().replace("[data]", "members = 3\n[data]"))
    assert jury.member_names == ("seed-5", "seed-6", "seed-7")
    second = jury.of_member("seed-6")
    assert (second.optimisation.seed, second.output.run) == (6, tmp_path / "run" / "seed-6")
    assert second.output.store == jury.output.store
    assert load(tmp_path, training_text()).member_names == ()


@pytest.mark.parametrize(
    ("members", "seed", "message"),
    [(0, 5, "expected a number from 1 to 100"), (101, 5, "from 1 to 100"), (2, 2**31 - 1, "leaves no room for 2")],
)
def test_numbers_of_members_that_cannot_be_trained_are_refused(tmp_path, members, seed, message):
    text = training_text().replace("[data]", f"members = {members}\n[data]").replace("seed = 5", f"seed = {seed}")
    with pytest.raises(WorkflowError, match=message):
        load(tmp_path, text)
