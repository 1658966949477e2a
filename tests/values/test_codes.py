"""What codes mean, in a reader's words."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel

from surveyflow.errors import InputError
from surveyflow.sky.stretch import Stretch
from surveyflow.values.codes import (
    ClassRule,
    Code,
    EngineName,
    Flag,
    Precision,
    Status,
    WeightsOrigin,
    flags_text,
    warnings_about,
)

CODES = [Status, WeightsOrigin, EngineName, Precision, ClassRule, Stretch]
MODELS_PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "models.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("code", [member for kind in [*CODES, Flag] for member in kind])
def test_every_code_has_a_meaning_and_survives_pickling_and_json(code):
    assert code.meaning
    assert pickle.loads(pickle.dumps(code)) is code
    assert type(code)(json.loads(json.dumps(code))) is code


@pytest.mark.parametrize("kind", CODES)
def test_a_word_that_is_not_in_the_list_is_refused_with_the_list(kind: type[Code]):
    with pytest.raises(InputError, match=f"there is no .* 'abacus'. Choose one of {', '.join(kind)}"):
        kind("abacus")


def test_a_file_of_settings_may_hold_the_word_itself_only():
    class Table(BaseModel):
        stretch: Stretch

    assert Table.model_validate_json('{"stretch": "minmax"}', strict=True).stretch is Stretch.MINMAX
    with pytest.raises(ValueError, match="'asinh_minmax', 'minmax'"):
        Table.model_validate_json('{"stretch": "sqrt"}', strict=True)


@pytest.mark.parametrize("origin", WeightsOrigin)
def test_the_reference_of_cards_gives_every_origin_with_its_meaning(origin):
    assert f"| `{origin}` | {origin.meaning} |" in MODELS_PAGE


@pytest.mark.parametrize("stretch", Stretch)
def test_the_reference_of_cards_gives_every_stretch_with_its_formula_and_the_unit_of_its_softening(stretch):
    assert f"| `{stretch}` | {stretch.meaning} | {stretch.softening.value} |" in MODELS_PAGE


def test_only_the_authors_weights_are_called_ferreira22():
    assert [origin for origin in WeightsOrigin if "Ferreira+22" in origin.meaning] == ["ferreira2022"]


@pytest.mark.parametrize(
    ("origins", "warned_of"),
    [({"ferreira2022", "user"}, []), ({"untrained"}, ["untrained"]), ({"simulated", "untrained"}, ["untrained", "simulations"])],
)
def test_the_reader_is_warned_of_numbers_that_mean_nothing(origins, warned_of):
    warnings = warnings_about(origins)
    assert len(warnings) == len(warned_of)
    assert all(word in warning for word, warning in zip(warned_of, warnings, strict=True))


def test_contamination_of_other_weights_has_a_warning_of_its_own():
    assert warnings_about({"ferreira2022"}, {"contamination": {"ferreira2022", "user"}}) == []
    (warning,) = warnings_about({"ferreira2022"}, {"contamination": {"simulated"}})
    assert warning.startswith("The contamination columns come from weights trained on surveyflow's own simulations")
    assert len(warnings_about({"simulated"}, {"contamination": {"simulated"}})) == 1
    assert len(warnings_about({"simulated"}, {"contamination": {"untrained"}})) == 2


def test_flags_are_written_out_by_name_in_the_order_of_their_bits():
    assert flags_text([0, 1, 128 + 8 + 2]).tolist() == ["", "EDGE", "PARTIAL_COVERAGE|UNIT_DOMAIN|NO_MOSAIC"]
    assert flags_text(4).item() == "OUT_OF_DOMAIN"
    assert flags_text(np.array([[1], [0]], np.int32)).shape == (2, 1)
    assert flags_text([]).shape == (0,)


def test_a_bit_of_a_newer_version_is_written_as_a_number():
    newer = 1 << 40
    assert flags_text([newer, newer + 1]).tolist() == [str(newer), f"EDGE|{newer}"]


def test_flags_that_are_not_integers_are_refused():
    with pytest.raises(InputError, match="float64, expected integers"):
        flags_text([1.5])


def test_pandas_takes_a_flag_as_a_number():
    flags = pd.Series([0, 1, 3], dtype=np.int32)
    assert (flags & Flag.EDGE).tolist() == [0, 1, 1]
    assert (flags & (Flag.PARTIAL_COVERAGE | Flag.OFF_CENTRE) != 0).tolist() == [False, False, True]
