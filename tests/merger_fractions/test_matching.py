"""A matrix corrects galaxies that were selected as its test's were, and no others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest

from surveyflow.errors import InputError
from surveyflow.merger_fractions.matrices import read_matrices
from surveyflow.merger_fractions.measured import measure_population
from surveyflow.merger_fractions.questions import Question
from surveyflow.settings.matrices import ClassifierTests, SelectedTest, matrices_to_toml
from surveyflow.stats.fractions import ConfusionMatrix
from surveyflow.values.codes import ClassRule, Flag, WeightsOrigin

MODEL, BESIDE = "merger/COSMOS/F814W@70673e6cde7f", "contamination/COSMOS/F814W@59c46f3f09d6"
CUT = {"p_contaminated_mean": 0.5}
BRIGHT, FAINT = (20.0, 22.0), (22.0, 24.0)


def matrix(completeness, false_positive_rate):
    counts = [[completeness, 1 - completeness], [false_positive_rate, 1 - false_positive_rate]]
    return ConfusionMatrix((1000 * np.array(counts)).round().astype(int))


def known(counts, magnitude=None, **selection):
    return SelectedTest("COSMOS", "F814W", MODEL, counts, magnitude, **selection)


TESTS = ClassifierTests(
    WeightsOrigin.SIMULATED,
    ClassRule.MEAN_OUTPUT,
    "a test",
    tests=(
        known(matrix(0.8, 0.2)),
        known(matrix(0.9, 0.1), BRIGHT, offset_arcsec=0.1),
        known(matrix(0.7, 0.3), FAINT),
        known(matrix(0.75, 0.15), excluded_flags=("OUT_OF_DOMAIN",)),
        known(matrix(0.6, 0.05), limits=CUT, contamination_model_id=BESIDE),
    ),
)


def catalog(n=400, seed=0, **changes):
    rng = np.random.default_rng(seed)
    columns = {
        "field": ["COSMOS"] * n,
        "instrument": ["F814W"] * n,
        "status": ["ok"] * n,
        "weights_origin": ["simulated"] * n,
        "model_id": [MODEL] * n,
        "contamination_model_id": [BESIDE] * n,
        "flags": np.where(rng.random(n) < 0.1, int(Flag.OUT_OF_DOMAIN), 0).astype(np.int32),
        "duplicate_of": ["none"] * n,
        "redshift": rng.uniform(0.5, 1.5, n),
        "mag": rng.uniform(20, 24, n),
        "p_pm_mean": rng.random(n),
        "p_sf_mean": np.full(n, 0.6),
        "p_pm_std": rng.random(n),
        "f_pm": rng.random(n),
        "p_contaminated_mean": rng.random(n),
        "offset_arcsec": rng.rayleigh(0.08, n),
    }
    return ds.dataset(pa.table(columns | changes))


def ask(tests=TESTS, rows=None, **changes):
    asked = {"edges": (0, 9), "bins": "redshift", "where": None, "rule": ClassRule.MEAN_OUTPUT, "limits": {}, "confidence": 0.68}
    return measure_population(rows or catalog(), "r1", Question(**(asked | changes)), tests)


def test_galaxies_that_count_twice_are_told():
    twice = catalog(flags=np.where(np.arange(400) < 7, int(Flag.DUPLICATE), 0).astype(np.int32))
    assert any(note.startswith("7 of the 400 selected galaxies are in an earlier") for note in ask(None, twice).notes)
    assert not any("DUPLICATE" in note for note in ask(None, twice, exclude_flags=("DUPLICATE",)).notes)


def by_hand(rows, rates):
    called = np.asarray(rows["p_pm_mean"]) > 0.6
    completeness, false_positive_rate = np.asarray(rates).T
    return float(((called - false_positive_rate) / (completeness - false_positive_rate)).mean())


def test_every_galaxy_is_corrected_with_the_matrix_of_its_magnitude():
    rows = catalog().to_table()
    rates = [(0.9, 0.1) if magnitude < 22 else (0.7, 0.3) for magnitude in rows["mag"].to_pylist()]
    (found,) = ask(magnitude="mag").bins
    assert found.corrected == pytest.approx(by_hand(rows, rates))
    assert found.corrected != pytest.approx(ask(any_magnitude=True).bins[0].corrected, abs=0.01)


@pytest.mark.parametrize(
    ("changes", "chosen", "rates"),
    [
        ({}, None, (0.8, 0.2)),
        ({"exclude_flags": ("OUT_OF_DOMAIN",)}, pc.field("flags") == 0, (0.75, 0.15)),
        ({"exclude_flags": ("DUPLICATE",)}, None, (0.8, 0.2)),
        ({"where": "duplicate_of == 'none'"}, None, (0.8, 0.2)),
        ({"limits": CUT}, pc.field("p_contaminated_mean") <= 0.5, (0.6, 0.05)),
    ],
)
def test_the_matrix_of_the_same_flags_and_cuts_is_found(changes, chosen, rates):
    rows = catalog().to_table(filter=chosen)
    found = ask(any_magnitude=True, **changes)
    assert any("matrix is of all magnitudes" in note for note in found.notes)
    assert found.n_selected == len(rows)
    assert found.bins[0].corrected == pytest.approx(by_hand(rows, [rates] * len(rows)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, r"rates depend on magnitude, .*\(--magnitude\), .*\(--any-magnitude\)"),
        (
            {"limits": {"p_contaminated_mean": 0.4}, "any_magnitude": True},
            r"Contamination cuts asked for: p_contaminated_mean <= 0.4; of the tests: none; p_contaminated_mean <= 0.5. Ask",
        ),
        ({"limits": CUT, "magnitude": "mag"}, r"Magnitudes asked for: by magnitude; of the tests: together"),
        ({"exclude_flags": ("EDGE",), "any_magnitude": True}, r"Excluded flags asked for: EDGE; of the tests: none; OUT_OF"),
        ({"where": "p_pm_std < 0.2", "any_magnitude": True}, r"uses p_pm_std, and the galaxies .* were not selected by it"),
        ({"where": "flags & OUT_OF_DOMAIN == 0", "any_magnitude": True}, r"uses flags, .* with exclude_flags"),
        ({"where": pc.field("f_pm") > 0.5, "any_magnitude": True}, r"uses f_pm"),
        (
            {"rows": catalog(model_id=["merger/COSMOS/F814W@0"] * 400), "any_magnitude": True},
            r"Model asked for: merger/COSMOS/F814W@0; ",
        ),
        (
            {"rows": catalog(field=["EGS"] * 400), "any_magnitude": True},
            r"no confusion matrix for EGS/F814W: .* COSMOS/F814W",
        ),
        (
            {"rows": catalog(contamination_model_id=["other"] * 400), "limits": CUT, "any_magnitude": True},
            r"Contamination model asked for: other; of the tests: contamination/COSMOS",
        ),
        ({"rows": catalog(mag=np.full(400, 24.5)), "magnitude": "mag"}, r"400 of the 400 .* \(24.5 to 24.5\) outside the tests'"),
        ({"rows": catalog(offset_arcsec=np.full(400, 0.3)), "magnitude": "mag"}, r"lies 0.300 arcsec .* centred in another way"),
        ({"rule": ClassRule.MAJORITY_VOTE, "any_magnitude": True}, "Use the rule mean_output"),
        ({"exclude_flags": ("BLURRED",)}, "there is no flag 'BLURRED'"),
        ({"magnitude": "mag", "any_magnitude": True}, "exclude each other"),
    ],
)
def test_another_selection_is_refused_and_the_difference_is_named(changes, words):
    with pytest.raises(InputError, match=words):
        ask(**changes)


def test_centring_that_an_old_revision_does_not_tell_is_not_taken_for_the_same():
    old = ds.dataset(catalog().to_table().drop_columns(["offset_arcsec"]))
    words = r"were centred, .* no column 'offset_arcsec', since this revision was published before .* Run its workflow again"
    with pytest.raises(InputError, match=words):
        ask(rows=old, magnitude="mag")
    assert ask(rows=old, any_magnitude=True).bins[0].corrected == ask(any_magnitude=True).bins[0].corrected


def test_centring_that_no_row_tells_is_not_taken_for_the_same():
    nowhere = catalog(offset_arcsec=pa.nulls(400, pa.float64()))
    with pytest.raises(InputError, match=r"none of the selected galaxies of COSMOS/F814W 20 to 22 has an offset_arcsec"):
        ask(rows=nowhere, magnitude="mag")
    assert ask(rows=nowhere, any_magnitude=True).bins[0].n_galaxies == 400


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, r"number 2 \(COSMOS/F814W 20 to 22\) and number 6 \(COSMOS/F814W 20 to 22\)"),
        ({"magnitude": (21.5, 23.0), "offset_arcsec": 0.3}, r"number 2 \(COSMOS/F814W 20 to 22\) and number 6 .* 21.5 to 23\)"),
        ({"magnitude": None}, r"number 1 \(COSMOS/F814W\) and number 6 \(COSMOS/F814W\)"),
    ],
)
def test_two_tests_of_the_same_galaxies_are_refused(tmp_path, changes, names):
    another = replace(TESTS.tests[1], counts=matrix(0.6, 0.3), **changes)
    file = tmp_path / "matrices.toml"
    written = [matrices_to_toml(replace(TESTS, tests=tests)) for tests in (TESTS.tests, (another,))]
    file.write_text(written[0] + written[1][written[1].index("[[tests]]") :])
    with pytest.raises(InputError, match=rf"matrices\.toml: .*{names} .*remove one of them"):
        read_matrices(file)


@pytest.mark.parametrize(
    "changes", [{"field": "EGS"}, {"model_id": "other"}, {"excluded_flags": ("EDGE",)}, {"magnitude": (18.0, 20.0)}]
)
def test_tests_of_other_galaxies_stand_side_by_side(changes):
    assert len(replace(TESTS, tests=(*TESTS.tests, replace(TESTS.tests[1], **changes))).tests) == 6


def test_a_cut_with_matrices_of_another_kind_turns_a_tenth_into_nothing_and_is_said_to_be_unchecked():
    old = ClassifierTests(TESTS.weights_origin, TESTS.class_rule, "an old test", matrices={"COSMOS": matrix(0.8, 0.2)})
    found = ask(old, limits=CUT)
    assert any("do not say of which galaxies they were measured" in note for note in found.notes)
    assert not any("do not say of which galaxies" in note for note in ask(any_magnitude=True).notes)


def test_bins_of_what_was_measured_on_the_image_are_not_corrected():
    with pytest.raises(InputError, match=r"the bins are of p_pm_std, which was measured on the image"):
        ask(bins="p_pm_std", edges=(0, 0.5, 1), any_magnitude=True)
    assert ask(None, bins="p_pm_std", edges=(0, 0.5, 1)).n_selected > 100


def test_rows_are_divided_by_model_also_where_there_is_no_contamination_model():
    beside = np.where(np.arange(400) < 100, None, BESIDE).tolist()
    found = ask(rows=catalog(contamination_model_id=beside), any_magnitude=True, where=f"model_id == '{MODEL}'")
    assert found.n_selected == 400
    assert found.bins[0].corrected == pytest.approx(by_hand(catalog().to_table(), [(0.8, 0.2)] * 400))


def test_fields_that_differ_show_it_in_the_field_to_field_error():
    fields = np.repeat(["A", "B", "C", "D"], 100)
    shares = np.repeat([0.2, 0.3, 0.4, 0.5], 100)
    called = np.tile(np.arange(100), 4) < 100 * shares
    rows = catalog(field=fields, p_pm_mean=np.where(called, 0.9, 0.1))
    old = ClassifierTests(TESTS.weights_origin, TESTS.class_rule, "old", matrices=dict.fromkeys("ABCD", matrix(0.8, 0.2)))
    raw, corrected = ask(None, rows=rows), ask(old, rows=rows)
    expected = np.std([0.2, 0.3, 0.4, 0.5], ddof=1) / 2
    assert raw.bins[0].field_to_field == pytest.approx(expected)
    assert corrected.bins[0].field_to_field == pytest.approx(expected / 0.6)
    assert any("with 4 fields it is itself known to about 41 %" in note for note in raw.notes)
    assert np.isnan(ask(None, rows=rows, where="field in ['A', 'B']").bins[0].field_to_field)


def test_selection_by_place_redshift_and_own_columns_is_allowed():
    assert ask(where="redshift < 1 and mag < 23", magnitude="mag").n_selected > 100


def test_a_fraction_outside_0_to_1_is_said_so_and_not_clipped():
    rows = catalog(p_pm_mean=np.where(np.arange(400) < 76, 0.9, 0.1))
    found = ask(any_magnitude=True, rows=rows)
    assert found.bins[0].corrected < 0 < found.bins[0].corrected_high
    assert any("of [0, 9) lies outside 0 to 1, its interval partly inside" in note for note in found.notes)


def test_bins_with_too_few_galaxies_for_each_matrix_are_not_corrected():
    found = ask(magnitude="mag", bins="mag", edges=(20, 24), where="redshift < 0.53")
    assert 0 < found.bins[0].n_galaxies < 20
    assert np.isnan(found.bins[0].corrected)
    assert any("[20, 24): not corrected, since there are fewer than 10 galaxies for each matrix" in note for note in found.notes)


def test_the_file_holds_every_selection(tmp_path):
    (tmp_path / "matrices.toml").write_text(matrices_to_toml(TESTS))
    read = read_matrices(tmp_path / "matrices.toml")
    assert matrices_to_toml(read) == matrices_to_toml(TESTS)
    assert [replace(one, counts=None) for one in read.tests] == [replace(one, counts=None) for one in TESTS.tests]


@pytest.mark.parametrize(
    ("found", "put", "words"),
    [
        ('model_id = "merger', 'modle_id = "merger', "modle_id: is not a key"),
        ('excluded_flags = ["OUT_OF_DOMAIN"]', 'excluded_flags = ["ODD"]', "excluded_flags names ODD"),
        ("p_contaminated_mean = 0.5", "p_pm_mean = 0.5", "limits names p_pm_mean"),
        ("[20.0, 22.0]", "[22.0, 22.0]", "low < high"),
        ("contamination_model_id", "# contamination_model_id", "must be stated together"),
        ("[[800, 200], [200, 800]]", "[[800, 200], [900, 100]]", "cannot correct a fraction"),
        ("[[800, 200], [200, 800]]", "[[0.8, 0.2], [0.2, 0.8]]", "2 x 2 integers"),
        ('source = "a test"', 'source = "a test"\n[matrices]\nEGS = [[8, 2], [1, 9]]\n', "either in [matrices] or in [[tests]]"),
    ],
)
def test_a_broken_selection_is_refused(tmp_path, found, put, words):
    text = matrices_to_toml(TESTS)
    assert found in text
    (tmp_path / "matrices.toml").write_text(text.replace(found, put, 1))
    with pytest.raises(InputError) as caught:
        read_matrices(tmp_path / "matrices.toml")
    assert words in str(caught.value)
