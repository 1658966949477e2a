"""Confusion matrices from files, and the published ones."""

from __future__ import annotations

import pytest

from surveyflow.errors import InputError
from surveyflow.merger_fractions.matrices import read_matrices
from surveyflow.values.codes import ClassRule, WeightsOrigin

GOOD = """
weights_origin = "simulated"
class_rule = "majority_vote"
source = "a test"
[matrices]
EGS = [[8, 2], [1, 9]]
"EGS/F814W" = [[7, 3], [2, 8]]
"""


@pytest.fixture
def matrix_file(tmp_path):
    def write(text):
        path = tmp_path / "matrices.toml"
        path.write_text(text)
        return path

    return write


def test_published_accuracies_come_out_of_the_published_matrices():
    published = read_matrices("ferreira2022")
    assert published.weights_origin is WeightsOrigin.FERREIRA2022
    assert published.class_rule is ClassRule.MEAN_OUTPUT
    accuracies = {name: matrix.counts.trace() / matrix.counts.sum() for name, matrix in published.matrices.items()}
    expected = {"COSMOS": 0.7957, "GOODS_N": 0.8237, "GOODS_S": 0.8196, "EGS": 0.8081, "UDS": 0.8070}
    assert accuracies == pytest.approx(expected, abs=6e-5)


def test_an_instrument_s_own_matrix_comes_before_its_field_s(matrix_file):
    tests = read_matrices(matrix_file(GOOD))
    assert tests.class_rule is ClassRule.MAJORITY_VOTE
    assert tests.name_for("EGS", "F814W") == "EGS/F814W"
    assert tests.name_for("EGS", "F125W_F160W") == "EGS"
    assert tests.name_for("UDS", "F814W") is None
    assert tests.matrices["EGS"].counts.tolist() == [[8, 2], [1, 9]]


@pytest.mark.parametrize(
    ("found", "put", "words"),
    [
        ('"simulated"', '"simulatd"', "weights_origin"),
        ('"majority_vote"', '"mode"', "class_rule"),
        ('source = "a test"', "", "source: is missing"),
        ("source", "sauce", "sauce: is not a key"),
        ("[[8, 2], [1, 9]]", "[[8, 2], [1]]", "[matrices] EGS: a confusion matrix must be 2 x 2"),
        ("[[8, 2], [1, 9]]", "[[0.8, 0.2], [0.1, 0.9]]", "2 x 2 integers"),
        ("[[8, 2], [1, 9]]", "[[2, 8], [9, 1]]", "Are rows the truth?"),
        ("[[8, 2], [1, 9]]", "'four'", "2 x 2"),
        ("[matrices]", "[matrices", "is not TOML"),
    ],
)
def test_a_broken_file_is_refused_with_its_name_and_key(matrix_file, found, put, words):
    path = matrix_file(GOOD.replace(found, put, 1))
    with pytest.raises(InputError) as caught:
        read_matrices(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)


def test_a_missing_file_is_refused_and_the_published_name_offered(tmp_path):
    with pytest.raises(InputError, match=r"does not exist.*Or use the published ones: ferreira2022"):
        read_matrices(tmp_path / "ferreira22")
