"""What a catalog's codes mean, in a reader's words."""

import pytest

from surveyflow.reports import words
from surveyflow.values.codes import Flag, Status, WeightsOrigin


@pytest.mark.parametrize(
    ("meanings", "codes"),
    [(words.STATUS_MEANINGS, Status), (words.FLAG_MEANINGS, Flag), (words.ORIGIN_MEANINGS, WeightsOrigin)],
)
def test_every_code_is_explained(meanings, codes):
    assert list(meanings) == list(codes)


def test_only_the_authors_weights_are_called_ferreira22():
    assert [origin for origin, meaning in words.ORIGIN_MEANINGS.items() if "Ferreira+22" in meaning] == ["ferreira2022"]


@pytest.mark.parametrize(
    ("origins", "warned_of"),
    [({"ferreira2022", "user"}, []), ({"untrained"}, ["untrained"]), ({"simulated", "untrained"}, ["untrained", "simulations"])],
)
def test_the_reader_is_warned_of_numbers_that_mean_nothing(origins, warned_of):
    warnings = words.warnings_about(origins)
    assert len(warnings) == len(warned_of)
    assert all(word in warning for word, warning in zip(warned_of, warnings, strict=True))


def test_contamination_of_other_weights_has_a_warning_of_its_own():
    assert words.warnings_about({"ferreira2022"}, {"ferreira2022", "user"}) == []
    (warning,) = words.warnings_about({"ferreira2022"}, {"simulated"})
    assert warning.startswith("The contamination comes from weights trained on surveyflow's own simulations")
    assert len(words.warnings_about({"simulated"}, {"simulated"})) == 1
    assert len(words.warnings_about({"simulated"}, {"untrained"})) == 2
