"""Labels become agreement, completeness and purity that hold for the selection, whatever the sample's design."""

import tomllib
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from surveyflow.errors import InputError
from surveyflow.inputs.labels import LabelColumns, read_labels
from surveyflow.merger_fractions.matrices import read_matrices
from surveyflow.merger_fractions.measured import measure_population
from surveyflow.merger_fractions.questions import Question
from surveyflow.settings.matrices import matrices_to_toml
from surveyflow.values.codes import ClassRule
from surveyflow.vetting.labels import Answer, Label
from surveyflow.vetting.records import Records
from surveyflow.vetting.results import Bootstrap, agreement, labelled, labels_table, matrices, of_sample, rates
from surveyflow.vetting.samples import Design, draw

MODEL = "merger/EGS/F814W@70673e6cde7f"
WHERE = "redshift < 9"
COMPLETENESS, FALSE_POSITIVE_RATE, FRACTION = 0.8, 0.1, 0.12


def catalog(n=4000, seed=0):
    """A catalog of which the truth is known: one in eight is a post-merger, and the network errs at known rates."""
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < FRACTION
    called = rng.random(n) < np.where(truth, COMPLETENESS, FALSE_POSITIVE_RATE)
    p = np.where(called, rng.uniform(0.5, 1, n), rng.uniform(0, 0.5, n))
    same = {"field": "EGS", "instrument": "F814W", "status": "ok", "model_id": MODEL, "weights_origin": "simulated"}
    columns = {name: pa.array([value] * n) for name, value in same.items()}
    columns |= {"source_id": pa.array(np.arange(n)), "flags": pa.array(np.zeros(n, np.int32)), "redshift": pa.array(np.ones(n))}
    columns |= {"p_pm_mean": pa.array(p), "p_sf_mean": pa.array(1 - p), "f_pm": pa.array(p)}
    columns |= {"contamination_model_id": pa.nulls(n, pa.string()), "source_name": pa.nulls(n, pa.string())}
    return ds.dataset(pa.table(columns)), truth, called


def answers_about(sample, truth, person="Ana", revision="v1.0-r1"):
    label = ("star_forming", "post_merger")
    about = {"revision": revision, "ra": 1.0, "dec": 2.0, "note": "", "blind": True, "sample": sample.design.name}
    return [
        Answer(
            **about,
            person=person,
            time=f"2026-11-28T18:00:{number % 60:02}",
            field=one.field,
            source_id=one.source_id,
            label=label[int(truth[one.source_id])],
            where=sample.design.where,
            stratum=one.stratum,
            column=sample.design.column,
        )
        for number, one in enumerate(sample.galaxies)
    ]


STRATIFIED = Design(WHERE, 600, "p_pm_mean", (0.0, 0.3, 0.5, 0.8, 1.0))


@pytest.mark.parametrize("design", [Design(WHERE, 600), STRATIFIED])
def test_rates_are_those_of_the_selection_and_their_intervals_hold_the_truth(design):
    rows, truth, called = catalog()
    expected = {"completeness": called[truth].mean(), "purity": truth[called].mean()}
    held = {name: [] for name in expected}
    errors = {name: [] for name in expected}
    for seed in range(80):
        (found,) = rates(answers_about(draw(rows, replace(design, seed=seed)), truth), rows, Bootstrap(100, seed))
        for name, value in expected.items():
            number = getattr(found, name)
            held[name].append(number["low"] <= value <= number["high"])
            errors[name].append(number["value"] - value)
    for name in expected:
        assert 0.53 < np.mean(held[name]) < 0.84  # 68 %, 80 samples: three standard errors
        assert abs(np.mean(errors[name])) < 3 * np.std(errors[name]) / np.sqrt(80)


def test_who_stops_early_has_measured_the_same():
    rows, truth, called = catalog()
    answers = answers_about(draw(rows, STRATIFIED), truth)[:250]
    (found,) = rates(answers, rows, Bootstrap(200))
    assert found.completeness["low"] - 0.1 < called[truth].mean() < found.completeness["high"] + 0.1
    assert sum(found.counts.values()) == 250


@pytest.mark.parametrize("design", [Design(WHERE, 900), replace(STRATIFIED, n=900)])
def test_fractions_corrected_with_vetted_matrices_hold_the_truth(design, tmp_path):
    rows, truth, _ = catalog()
    held, values = [], []
    for seed in range(20):
        answers = answers_about(draw(rows, replace(design, seed=seed)), truth)
        tests, notes = matrices(answers, rates(answers, rows, Bootstrap(200, seed)), "v1.0-r1")
        (tmp_path / "matrices.toml").write_text(matrices_to_toml(tests))
        question = Question((0.0, 9.0), "redshift", WHERE, ClassRule.MEAN_OUTPUT, {}, 0.6827)
        (found,) = measure_population(rows, "r1", question, read_matrices(tmp_path / "matrices.toml")).bins
        held.append(found.corrected_low <= truth.mean() <= found.corrected_high)
        values.append(found.corrected)
    assert notes == []
    assert np.mean(held) > 0.5
    assert np.mean(values) == pytest.approx(truth.mean(), abs=0.01)


def test_matrices_hold_for_their_selection_alone(tmp_path):
    rows, truth, _ = catalog()
    answers = answers_about(draw(rows, Design(WHERE, 400)), truth)
    tests, _ = matrices(answers, rates(answers, rows, Bootstrap(20)), "v1.0-r1")
    text = matrices_to_toml(tests)
    assert tomllib.loads(text)["tests"][0]["where"] == WHERE
    (tmp_path / "matrices.toml").write_text(text)
    question = Question((0.0, 9.0), "redshift", "redshift < 1.5", ClassRule.MEAN_OUTPUT, {}, 0.6827)
    with pytest.raises(InputError, match="holds for the selection 'redshift < 9'"):
        measure_population(rows, "r1", question, read_matrices(tmp_path / "matrices.toml"))


@pytest.mark.parametrize(
    ("design", "revision", "told"),
    [
        (Design("p_pm_mean > 0.2", 400), "v1.0-r1", "network's own answer"),
        (Design(WHERE, 400), "v1.0-r2", "selected from v1.0-r1, not from v1.0-r2"),
        (Design(WHERE, 20), "v1.0-r1", "Vet more galaxies"),
    ],
)
def test_matrices_that_would_mislead_are_refused(design, revision, told):
    rows, truth, _ = catalog(2000)
    answers = answers_about(draw(rows, design), truth)
    with pytest.raises(InputError, match=told):
        matrices(answers, rates(answers, rows, Bootstrap(20)), revision)


def test_a_sample_that_is_continued_in_the_next_revision_counts_as_one():
    rows, truth, called = catalog()
    before = ds.dataset(rows.to_table().slice(0, 3900))
    answers = answers_about(draw(before, STRATIFIED), truth)[:400]
    seen = {answer.galaxy for answer in answers}
    later = answers_about(draw(rows, STRATIFIED), truth, revision="v1.0-r2")
    answers += [replace(answer, time="2026-11-29T18:00:00") for answer in later if answer.galaxy not in seen][:30]
    (measured,) = rates(answers, rows, Bootstrap(20))
    assert measured.completeness["value"] == pytest.approx(called[truth].mean(), abs=0.03)
    with pytest.raises(InputError, match=r"from v1.0-r1, v1.0-r2, not from v1.0-r2 alone.* with another --seed"):
        matrices(answers, [measured], "v1.0-r2")


def test_pairs_and_artefacts_are_no_post_mergers_and_unsure_ones_are_left_out():
    rows, truth, called = catalog(2000)
    answers = answers_about(draw(rows, Design("", 100)), truth)
    changed = [replace(one, label="pair") if called[one.source_id] else replace(one, label="unsure") for one in answers]
    (found,) = rates(changed, rows, Bootstrap(20))
    assert found.counts["negative_called"] + found.n_unsure == 100
    assert found.purity["value"] == 0
    assert found.completeness["value"] is None


def test_a_majority_decides_and_a_tie_is_unsure():
    rows, truth, _ = catalog(2000)
    (one,) = answers_about(draw(rows, Design("", 1)), truth)
    given = [replace(one, person=name, label=label) for name, label in (("A", "pair"), ("B", "pair"), ("C", "artefact"))]
    assert next(iter(labelled(given).values())).label is Label.PAIR
    assert next(iter(labelled(given[1:]).values())).label is Label.UNSURE
    again = replace(given[0], label="artefact", time="2027")
    assert next(iter(labelled([*given, again]).values())).label is Label.ARTEFACT


def test_agreement_names_every_two_people_and_all_together():
    rows, truth, _ = catalog(2000)
    sample = draw(rows, Design("", 60))
    answers = [one for name in ("Ana", "Bo", "Cy") for one in answers_about(sample, truth, name)]
    answers[60] = replace(answers[60], label="unsure")
    found = agreement(labelled(answers), Bootstrap(50))
    assert [pair["people"] for pair in found["cohen"]] == [["Ana", "Bo"], ["Ana", "Cy"], ["Bo", "Cy"]]
    assert found["cohen"][1]["value"] == 1
    assert 0.8 < found["cohen"][0]["value"] < 1
    assert 0.8 < found["fleiss"]["value"] < 1
    assert found["fleiss"]["n"] == 60


def test_labels_are_a_table_that_compare_reads(tmp_path):
    rows, truth, _ = catalog(2000)
    answers = answers_about(draw(rows, Design("", 60)), truth)
    (tmp_path / "labels.csv").write_text(labels_table(labelled(answers), rows))
    read = read_labels(tmp_path / "labels.csv", LabelColumns(label="label", id="id", field="field", ra="ra", dec="dec"))
    assert {name: truth[int(name)] for name in read.id} == dict(zip(read.id, read.label == "post_merger", strict=True))


def test_one_of_several_samples_must_be_named():
    rows, truth, _ = catalog(2000)
    answers = [one for seed in (1, 2) for one in answers_about(draw(rows, Design("", 5, seed=seed)), truth)]
    records = Records(tuple(answers))
    with pytest.raises(InputError, match="2 samples fit"):
        of_sample(records, None)
    assert len(of_sample(records, answers[0].sample[:8])) == 5
