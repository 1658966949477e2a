"""Fractions measured on a published catalog: who is counted, what is refused, and what is said beside the numbers."""

from __future__ import annotations

import hashlib
import json
import re
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from astropy.cosmology import FlatLambdaCDM
from astropy.stats import binom_conf_interval

import surveyflow
from revisions import RevisionMaker, field_rows
from surveyflow.commands import main as cli
from surveyflow.errors import CatalogNotFound, InputError
from surveyflow.values.codes import ClassRule

EDGES = [0.5, 1.0, 1.5, 2.5]
MATRICES = """
weights_origin = "{origin}"
class_rule = "mean_output"
source = "a test"
[matrices]
COSMOS = [[800, 200], [100, 900]]
EGS = [[700, 300], [150, 850]]
"EGS/F125W_F160W" = [[60, 40], [30, 70]]
"""


def rows_of_two_fields(origin="user"):
    return pa.concat_tables([field_rows("EGS", 300, origin=origin), field_rows("COSMOS", 200, seed=1, origin=origin)])


def with_contamination(rows):
    """The rows with contamination estimates in EGS only."""
    known = pc.and_(pc.equal(rows["status"], "ok"), pc.equal(rows["field"], "EGS"))
    values = pa.array(np.random.default_rng(5).uniform(0, 100, len(rows)), pa.float32())
    for name in ("coverage_pct_mean", "p_contaminated_mean", "flux_pp_mean"):
        column = pc.if_else(known, pc.divide(values, pa.scalar(100 if name == "p_contaminated_mean" else 1, pa.float32())), None)
        rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), column)
    return rows


@pytest.fixture(scope="module")
def rows():
    return rows_of_two_fields()


@pytest.fixture(scope="module")
def root(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("population")
    RevisionMaker(folder)(with_contamination(rows))
    return folder / "catalog"


@pytest.fixture(scope="module")
def frame(rows):
    """The rows with a result, for brute force."""
    return with_contamination(rows).to_pandas().query("status == 'ok'")


@pytest.fixture
def matrix(tmp_path):
    path = tmp_path / "matrices.toml"
    path.write_text(MATRICES.format(origin="user"))
    return path


def test_counts_and_intervals_are_those_of_brute_force(root, frame):
    found = surveyflow.fractions(root, edges=EDGES)
    assert (found.n_rows, found.n_measured, found.n_selected) == (500, len(frame), len(frame))
    for item in found.bins:
        inside = frame[(frame["redshift"] >= item.low) & (frame["redshift"] < item.high)]
        called = int((inside["p_pm_mean"] > inside["p_sf_mean"]).sum())
        assert (item.n_galaxies, item.n_called) == (len(inside), called)
        expected = binom_conf_interval(called, len(inside), 0.6827, interval="wilson")
        np.testing.assert_allclose([item.fraction_low, item.fraction_high], expected)
        assert item.monte_carlo_mean == pytest.approx(inside["f_pm"].mean(), rel=1e-6)
        assert item.monte_carlo_std == pytest.approx(np.sqrt((inside["f_pm"] * (1 - inside["f_pm"])).sum()) / len(inside))
        assert np.isnan(item.corrected)


def test_majority_vote_counts_votes(root, frame):
    (item,) = surveyflow.fractions(root, edges=[0, 9], rule="majority_vote").bins
    assert item.n_called == (frame["f_pm"] > 0.5).sum()
    assert item.n_called != (frame["p_pm_mean"] > frame["p_sf_mean"]).sum()


def test_correction_takes_each_galaxy_s_own_matrix(root, frame, matrix):
    (item,) = surveyflow.fractions(root, edges=[0, 9], matrix=matrix).bins
    rates = {"COSMOS": (0.8, 0.1), "EGS/F814W": (0.7, 0.15), "EGS/F125W_F160W": (0.6, 0.3)}
    called = (frame["p_pm_mean"] > frame["p_sf_mean"]).astype(float)
    names = np.where(frame["field"] == "COSMOS", "COSMOS", frame["field"] + "/" + frame["instrument"])
    completeness, false_positive_rate = np.array([rates[name] for name in names]).T
    expected = ((called - false_positive_rate) / (completeness - false_positive_rate)).mean()
    assert item.corrected == pytest.approx(expected)
    assert item.corrected_low < expected < item.corrected_high
    assert item.corrected_monte_carlo_std > item.monte_carlo_std
    assert 0 < item.purity < 1


def test_the_json_holds_the_whole_question_which_can_be_asked_again(root, matrix):
    options = {"max_coverage_pct": 60, "where": "field == 'EGS'", "exclude_flags": ["EDGE"], "confidence": 0.9}
    told = json.loads(json.dumps(surveyflow.fractions(root, edges=EDGES, matrix=matrix, **options).as_json()))
    assert told["question"].items() >= options.items()
    assert told["question"]["release"] == told["revision"]
    assert told["matrices_sha256"] == hashlib.sha256(matrix.read_bytes()).hexdigest()
    again = surveyflow.fractions(root, **told["question"])
    assert json.loads(json.dumps(again.as_json())) == told


def test_the_command_asks_an_earlier_question_again(root, matrix, command, tmp_path):
    options = ("--edges", "0.5,1,5", "--matrix", matrix, "--complete", "dec <= 90,90", "--weight", "n_draws")
    code, first, _ = command(root, *options, "--json")
    assert code == 0
    (tmp_path / "answer.json").write_text(first)
    assert command(root, "--again", tmp_path / "answer.json", "--json") == (0, first, "")
    matrix.write_text(matrix.read_text().replace("a test", "another test"))
    code, _, err = command(root, "--again", tmp_path / "answer.json")
    assert (code, "the matrices are others now" in err) == (2, True)
    assert command(root, "--again", tmp_path / "answer.json", "--edges", "0,1")[0] == 2
    assert command(root)[0] == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "does not exist"),
        ("[]", "JSON of an answer"),
        ('{"question": {"edges": [0, 1], "edgez": 1}}', "edgez"),
        ("{", "JSON"),
    ],
)
def test_what_is_no_earlier_answer_is_refused(root, tmp_path, text, words):
    path = tmp_path / "answer.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=words):
        surveyflow.repeat_fractions(root, path)


def test_equal_weights_change_nothing_and_others_count_as_in_brute_force(root, frame, matrix):
    plain = surveyflow.fractions(root, edges=EDGES, matrix=matrix)
    equal = surveyflow.fractions(root, edges=EDGES, matrix=matrix, weight="n_draws")
    numbers = [pd.DataFrame(found.bins).drop(columns="n_effective") for found in (plain, equal)]
    pd.testing.assert_frame_equal(*numbers, rtol=1e-12)
    assert [item.n_effective for item in plain.bins] == [item.n_galaxies for item in plain.bins]
    for item in surveyflow.fractions(root, edges=EDGES, weight="redshift").bins:
        inside = frame[(frame["redshift"] >= item.low) & (frame["redshift"] < item.high)]
        w, called = inside["redshift"], inside["p_pm_mean"] > inside["p_sf_mean"]
        assert item.fraction == pytest.approx((w * called).sum() / w.sum())
        assert item.n_effective == pytest.approx(w.sum() ** 2 / (w**2).sum())
        limits = binom_conf_interval(item.fraction * item.n_effective, item.n_effective, 0.6827, interval="wilson")
        np.testing.assert_allclose([item.fraction_low, item.fraction_high], limits)
        assert item.monte_carlo_mean == pytest.approx((w * inside["f_pm"]).sum() / w.sum(), rel=1e-6)


def test_weighted_fractions_are_corrected_group_by_group(root, frame, matrix):
    (item,) = surveyflow.fractions(root, edges=[0, 9], matrix=matrix, weight="redshift").bins
    rates = {"COSMOS": (0.8, 0.1), "EGS/F814W": (0.7, 0.15), "EGS/F125W_F160W": (0.6, 0.3)}
    known = frame[frame["redshift"].notna()]
    called = (known["p_pm_mean"] > known["p_sf_mean"]).astype(float)
    names = np.where(known["field"] == "COSMOS", "COSMOS", known["field"] + "/" + known["instrument"])
    completeness, mistaken = np.array([rates[name] for name in names]).T
    expected = np.average((called - mistaken) / (completeness - mistaken), weights=known["redshift"])
    assert item.corrected == pytest.approx(expected)


def test_only_galaxies_within_the_limit_of_their_bin_are_counted(root, frame):
    found = surveyflow.fractions(root, edges=[0.5, 1, 2], complete="p_pm_mean <= 0.4,0.8")
    for item, limit in zip(found.bins, (0.4, 0.8), strict=True):
        inside = (frame["redshift"] >= item.low) & (frame["redshift"] < item.high) & (frame["p_pm_mean"] <= limit)
        assert item.n_galaxies == inside.sum() > 0
    assert found.n_selected == sum(item.n_galaxies for item in found.bins)


def test_rates_are_corrected_fractions_over_a_stated_time(root, matrix):
    found = surveyflow.fractions(root, edges=EDGES, matrix=matrix, time_scale_gyr=0.4)
    for item in found.bins:
        assert (item.rate_per_gyr, item.rate_low) == pytest.approx((item.corrected / 0.4, item.corrected_low / 0.4))
    assert any("0.4 Gyr" in note for note in found.notes)
    assert np.isnan(surveyflow.fractions(root, edges=EDGES, matrix=matrix).bins[0].rate_per_gyr)


def test_selection_as_text_and_as_expression_choose_the_same(root, frame):
    text = surveyflow.fractions(root, edges=[0, 9], where="field == 'EGS' and flags & PARTIAL_COVERAGE == 0")
    expression = (pc.field("field") == "EGS") & (pc.bit_wise_and(pc.field("flags"), pa.scalar(2)) == 0)
    same = surveyflow.fractions(root, edges=[0, 9], where=expression)
    pd.testing.assert_frame_equal(pd.DataFrame(text.bins), pd.DataFrame(same.bins))
    assert text.n_selected == len(frame[(frame["field"] == "EGS") & (frame["flags"] & 2 == 0)])


def test_any_numeric_column_can_be_binned_and_nulls_lie_in_no_bin(root, frame):
    found = surveyflow.fractions(root, bins="coverage_pct_mean", edges=[0, 50, 101])
    assert sum(item.n_galaxies for item in found.bins) == frame["coverage_pct_mean"].notna().sum() < found.n_selected


def test_contamination_cuts_keep_what_lies_at_or_below_them(root, frame):
    egs = frame[frame["field"] == "EGS"]
    for option, column, limit in (
        ("max_coverage_pct", "coverage_pct_mean", 30),
        ("max_flux_pp", "flux_pp_mean", 70),
        ("max_p_contaminated", "p_contaminated_mean", 0.4),
    ):
        found = surveyflow.fractions(root, edges=[0, 9], where="field == 'EGS'", **{option: limit})
        assert found.n_selected == (egs[column] <= limit).sum()


def test_a_cut_by_what_was_not_estimated_is_refused(root, frame):
    n_cosmos = (frame["field"] == "COSMOS").sum()
    with pytest.raises(InputError, match=rf"{n_cosmos} of the {len(frame)} .* select the galaxies that have it"):
        surveyflow.fractions(root, edges=[0, 9], max_coverage_pct=10)
    with pytest.raises(InputError, match=r"no flux_pp_mean.*run again or omit the cut\.$"):
        surveyflow.fractions(root, edges=[0, 9], max_flux_pp=1, where="field == 'COSMOS'")


def test_matrices_of_other_weights_rules_or_fields_are_refused(root, matrix, tmp_path):
    with pytest.raises(InputError, match="were measured with ferreira2022 weights, but the catalog has user weights"):
        surveyflow.fractions(root, edges=EDGES, matrix="ferreira2022")
    with pytest.raises(InputError, match="Use the rule mean_output"):
        surveyflow.fractions(root, edges=EDGES, matrix=matrix, rule="majority_vote")
    matrix.write_text(MATRICES.format(origin="user").replace("COSMOS", "UDS"))
    with pytest.raises(InputError, match="no confusion matrix for COSMOS/F125W_F160W, COSMOS/F814W: 'a test' has UDS"):
        surveyflow.fractions(root, edges=EDGES, matrix=matrix)
    assert surveyflow.fractions(root, edges=EDGES, matrix=matrix, where="field == 'EGS'").corrected_with == "a test"


def test_published_matrices_serve_the_authors_weights(tmp_path):
    RevisionMaker(tmp_path)(rows_of_two_fields("ferreira2022"))
    found = surveyflow.fractions(tmp_path / "catalog", edges=EDGES, matrix="ferreira2022")
    assert all(item.corrected_low < item.corrected < item.corrected_high for item in found.bins)
    assert any("EGS: completeness (recall) 0.807" in note for note in found.notes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"edges": [1.0]}, "edges must be"),
        ({"bins": "field"}, "numeric column, but field holds string"),
        ({"bins": "redshfit"}, "Did you mean redshift?"),
        ({"confidence": 68}, "confidence must lie between"),
        ({"rule": "p>0.5"}, "Choose one of mean_output, majority_vote"),
        ({"where": "import os"}, "not an expression"),
        ({"time_scale_gyr": 0.5}, "corrected for misclassification"),
        ({"time_scale_gyr": float("nan")}, "expected Gyr"),
        ({"complete": "redshift > 3"}, "expected a column"),
        ({"complete": "redshift >= 3"}, "found 1 limits for 3 bins"),
        ({"complete": "field >= 3,3,3"}, "numeric column"),
        ({"weight": "field"}, "numeric column"),
        ({"weight": "coverage_pct_mean"}, "is no weight"),
        ({"over_redshifts": True}, "no row has a p_range"),
    ],
)
def test_impossible_questions_are_refused(root, changes, words):
    with pytest.raises(InputError, match=re.escape(words)):
        surveyflow.fractions(root, **({"edges": EDGES} | changes))


def test_no_catalog_is_not_found(tmp_path):
    with pytest.raises(CatalogNotFound):
        surveyflow.fractions(tmp_path, edges=EDGES)


@pytest.mark.parametrize(
    ("origin", "words"), [("untrained", "they mean nothing"), ("simulated", "own simulations"), ("user", None)]
)
def test_weights_that_are_not_the_authors_are_labelled(tmp_path, origin, words):
    RevisionMaker(tmp_path)(field_rows("EGS", 40, origin=origin))
    found = surveyflow.fractions(tmp_path / "catalog", edges=EDGES)
    assert found.weights_origin == (origin,)
    assert any(words in found.notes[0] for words in [words] if words) == (words is not None)


def test_notes_say_what_the_number_is_not(root):
    notes = " ".join(surveyflow.fractions(root, edges=EDGES).notes)
    for words in ("not a merger fraction", "ellipticals, stars and pairs", "asymmetric galaxies", "Not corrected"):
        assert words in notes


def test_out_of_domain_galaxies_are_counted_in_a_note(tmp_path):
    RevisionMaker(tmp_path)(field_rows("EGS", 100, flags=np.full(100, 4 | 16)))
    found = surveyflow.fractions(tmp_path / "catalog", edges=EDGES)
    assert any(note.startswith(f"{found.n_selected} of the {found.n_selected} selected") for note in found.notes)


def test_rates_that_cannot_hold_for_these_galaxies_are_reported(root, tmp_path):
    (tmp_path / "m.toml").write_text(
        'weights_origin = "user"\nclass_rule = "mean_output"\nsource = "a test"\n'
        "[matrices]\nEGS = [[990, 10], [800, 200]]\nCOSMOS = [[990, 10], [800, 200]]\n"
    )
    found = surveyflow.fractions(root, edges=[0, 9], matrix=tmp_path / "m.toml")
    assert found.bins[0].corrected_high < 0
    assert any("do not hold for these galaxies" in note for note in found.notes)


VARIANCE = """version = 1
source = "a formula of this test"
[formula]
at_reference = 0.5
density_mpc3 = 1e-3
density_exponent = -0.5
volume_mpc3 = 1e5
volume_exponent = -0.5
ratio_exponent = -0.4
[sample]
ratio = 1.0
area_deg2 = { EGS = 0.05, COSMOS = 0.07 }
[cosmology]
h0 = 70.0
omega_m = 0.3
"""


@pytest.fixture
def variance(tmp_path):
    """Write the file on cosmic variance, with some words of it replaced."""

    def written(*replaced):
        text = VARIANCE
        for before, after in replaced:
            assert before in text
            text = text.replace(before, after)
        (tmp_path / "variance.toml").write_text(text)
        return tmp_path / "variance.toml"

    return written


def test_cosmic_variance_follows_from_counts_volumes_and_the_stated_formula(root, frame, matrix, variance):
    raw = surveyflow.fractions(root, edges=EDGES, cosmic_variance=variance())
    corrected = surveyflow.fractions(root, edges=EDGES, cosmic_variance=variance(), matrix=matrix)
    for item, other in zip(raw.bins, corrected.bins, strict=True):
        inside = frame[(frame["redshift"] >= item.low) & (frame["redshift"] < item.high)]
        shell = np.diff(FlatLambdaCDM(70, 0.3).comoving_volume([item.low, item.high]).value)[0] / (4 * np.pi)
        volumes = {"EGS": 0.05 * shell * np.radians(1) ** 2, "COSMOS": 0.07 * shell * np.radians(1) ** 2}
        density = len(inside) / sum(volumes.values())
        each = [
            (inside["field"] == name).mean() * 0.5 * (density / 1e-3) ** -0.5 * (volume / 1e5) ** -0.5
            for name, volume in volumes.items()
        ]
        assert item.cosmic_variance == pytest.approx(np.hypot(*each))
        assert item.cosmic_error == pytest.approx(item.cosmic_variance * item.fraction)
        assert other.cosmic_variance == item.cosmic_variance
        expected = item.cosmic_variance * other.corrected if other.corrected > 0 else np.nan
        assert other.cosmic_error == pytest.approx(expected, nan_ok=True)
    assert 0 < np.isnan([item.cosmic_error for item in corrected.bins]).sum() < len(raw.bins)
    assert any("cosmic variance, by the formula of a formula of this test" in note for note in raw.notes)


def test_without_a_formula_there_is_no_cosmic_variance(root):
    (item,) = surveyflow.fractions(root, edges=[0, 9]).bins
    assert np.isnan([item.cosmic_variance, item.cosmic_error]).all()


def test_bins_of_another_column_take_density_and_redshifts_as_stated(root, variance):
    edges, where = [0, 45, 60], "z >= 0.5 and z < 1.5"
    stated = variance(("ratio = 1.0", "ratio = 1.0\nredshifts = [0.5, 1.5]\ndensities_mpc3 = [0.002, 0.008]"))
    low, high = surveyflow.fractions(root, bins="dec", edges=edges, where=where, cosmic_variance=stated).bins
    assert low.n_galaxies > 0
    assert high.n_galaxies > 0  # COSMOS lies in the first bin, EGS in the second
    volume = {0.07: low, 0.05: high}
    shell = np.diff(FlatLambdaCDM(70, 0.3).comoving_volume([0.5, 1.5]).value)[0] / (4 * np.pi) * np.radians(1) ** 2
    for (area, item), density in zip(volume.items(), (0.002, 0.008), strict=True):
        assert item.cosmic_variance == pytest.approx(0.5 * (density / 1e-3) ** -0.5 * (area * shell / 1e5) ** -0.5)


@pytest.mark.parametrize(
    ("replaced", "options", "words"),
    [
        ((", COSMOS = 0.07", ""), {}, r"no area of COSMOS\. Add it to \[sample\.area_deg2\]"),
        (("ratio = 1.0", "ratio = 1.0\nredshifts = [0, 9]"), {}, "redshifts is stated for bins of redshift. Remove it"),
        (("ratio = 1.0", "ratio = 1.0"), {"bins": "dec"}, "redshifts is missing for bins of dec. Add it"),
        (("ratio = 1.0", "ratio = 1.0\nredshifts = [0.5, 1]"), {"bins": "dec"}, r"no redshift in .*\[0\.5, 1\)\. Select"),
        (("ratio = 1.0", "ratio = 1.0"), {"weight": "n_draws"}, "weighted, .* State .sample. densities_mpc3"),
        (("ratio = 1.0", "ratio = 1.0\ndensities_mpc3 = [1]"), {}, "1 values for 2 bins"),
        (("ratio = 1.0", "ratio = 1.0"), {"edges": [-1, 1, 3]}, "begins at redshift -1"),
        (("omega_m = 0.3", "omega_m = 3"), {}, "omega_m: found 3"),
        (("at_reference = 0.5\n", ""), {}, "at_reference: is missing"),
    ],
)
def test_a_formula_that_does_not_fit_the_galaxies_is_refused(root, variance, replaced, options, words):
    with pytest.raises(InputError, match=words):
        surveyflow.fractions(root, **{"edges": [0, 1, 3], "cosmic_variance": variance(replaced), **options})


def test_the_formula_is_part_of_the_question(root, command, variance, tmp_path):
    code, first, _ = command(root, "--edges", "0.5,1,5", "--cosmic-variance", variance(), "--json")
    assert code == 0
    (tmp_path / "answer.json").write_text(first)
    assert command(root, "--again", tmp_path / "answer.json", "--json") == (0, first, "")
    variance(("at_reference = 0.5", "at_reference = 0.6"))
    code, _, err = command(root, "--again", tmp_path / "answer.json")
    assert (code, "variance.toml" in err, "the numbers are others now" in err) == (2, True, True)


def test_bins_make_a_table(root):
    table = pd.DataFrame(surveyflow.fractions(root, edges=EDGES).bins)
    assert table["low"].tolist() == EDGES[:-1]


@pytest.fixture
def command(monkeypatch, capsys):
    """Run ``surveyflow fractions``: returns exit code, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["surveyflow", "fractions", *map(str, arguments)])
        monkeypatch.setattr("signal.signal", lambda *_: None)
        try:
            cli.main()
        except SystemExit as end:
            return end.code or 0, *capsys.readouterr()
        return 0, *capsys.readouterr()

    return run


def test_command_prints_a_table_and_what_it_is_not(root, command, matrix):
    code, out, _ = command(root, "--bins", "z", "--edges", "0.5,1,1.5,2.5,9", "--matrix", matrix)
    found = surveyflow.fractions(root, edges=[0.5, 1, 1.5, 2.5, 9], matrix=matrix)
    lines = out.splitlines()
    assert code == 0
    assert lines[1].split() == ["weights", "user"]
    for counts, corrected, item in zip(lines[4:8], lines[10:14], found.bins, strict=True):
        span = f"[{item.low:g}, {item.high:g})"
        assert counts.split("  ")[0] == corrected.split("  ")[0] == span
        interval = f" {item.corrected:.3f} ({item.corrected_low:.3f} to {item.corrected_high:.3f})"
        assert item.n_galaxies == 0 or interval in corrected
    assert "note: This is not a merger fraction" in out


def test_every_column_of_the_table_fits_80_characters(root, command, matrix, variance):
    stated = variance(("ratio = 1.0", "ratio = 1.0\ndensities_mpc3 = [0.01, 0.01, 0.01]"))
    options = ("--matrix", matrix, "--cosmic-variance", stated, "--time-scale-gyr", "0.5", "--weight", "p_pm_mean")
    _, out, _ = command(root, "--edges", "0.5,1.123456,1.5,2.5", *options)
    assert max(map(len, out.splitlines())) <= 80
    headings = [line for line in out.splitlines() if line.startswith("redshift")]
    shown = [word for line in headings for word in re.split("  +", line)[1:]]
    expected = ["galaxies", "effective", "called", "fraction", "monte carlo", "corrected", "purity", "rate per Gyr", "cosmic"]
    assert shown == expected


def test_command_answers_in_json_without_nan(root, command):
    code, out, _ = command(root, "--edges", "0.5,1,5,9", "--json")
    answer = json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert code == 0
    assert answer["bins"][2]["fraction"] is None
    assert answer["rule"] == ClassRule.MEAN_OUTPUT
    assert answer["bins"][0]["n_galaxies"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--edges", "0.5,x"), "--edges: expected numbers"),
        (("--edges", "0,9", "--matrix", "ferreira2022"), "ferreira2022 weights"),
        (("--edges", "0,9", "--where", "ra >"), "not an expression"),
        (("--edges", "0,9", "--max-coverage-pct", "5"), "coverage_pct_mean"),
    ],
)
def test_command_ends_with_2_and_says_why(root, command, arguments, words):
    code, out, err = command(root, *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err
