"""``surveyflow vetted``: from the answers of people to labels, matrices and what is printed."""

import json
import sys

import pytest
from typer.testing import CliRunner

from surveyflow.api import browse, compare, fractions, open_catalog, vetted
from surveyflow.commands.main import app
from surveyflow.errors import CatalogNotFound, InputError, OutputError
from surveyflow.vetting.labels import Answer
from surveyflow.vetting.records import add_answer
from surveyflow.vetting.samples import Design, draw

WHERE = "status == 'ok' and field == 'EGS' and instrument == 'F125W_F160W'"


def add_answers(root, person, design, blind=True):
    """Answers of a person who calls every second galaxy a post-merger that the network calls so, and every fifth other."""
    rows = {(row["field"], row["source_id"]): row for row in open_catalog(root).to_table().to_pylist()}
    for number, one in enumerate(draw(open_catalog(root), design).galaxies):
        row = rows[one.field, one.source_id]
        called = row["p_pm_mean"] > row["p_sf_mean"]
        label = "post_merger" if number % 5 == 0 or (called and number % 5 < 4) else "star_forming"
        about = {"revision": "v1.0-r2", "field": one.field, "source_id": one.source_id, "ra": row["ra"], "dec": row["dec"]}
        asked = {"sample": design.name, "where": design.where, "stratum": one.stratum, "column": design.column}
        time = f"2026-11-28T18:{number // 60:02}:{number % 60:02}"
        add_answer(root, Answer(person=person, time=time, label=label, note="", blind=blind, **about, **asked))


@pytest.fixture
def root(own):
    for person in ("Ana", "Bo"):
        add_answers(own, person, Design(WHERE), blind=person == "Ana")
    return own


def test_labels_and_matrices_go_where_they_belong(root, tmp_path):
    found = vetted(root, labels=tmp_path / "labels.csv", matrices=tmp_path / "vetted.toml", n_samples=50)
    document = found.document
    assert document["people"] == ["Ana", "Bo"]
    assert document["answers"] == 2 * document["galaxies"]
    assert document["agreement"]["cohen"][0]["value"] == 1
    assert any("saw the model's" in note for note in document["notes"])
    instruments = {one["instrument"]: one for one in document["rates"]}
    of_paper = fractions(root, edges=[0.0, 9.0], where=WHERE, matrix=tmp_path / "vetted.toml")
    assert of_paper.bins[0].corrected == pytest.approx(document["labels"]["post_merger"] / document["galaxies"], abs=0.12)
    columns = {"match": "id", "id": "id", "field_column": "field", "label": "label", "positive": ["post_merger"]}
    compared = compare(root, tmp_path / "labels.csv", **columns, n_samples=20, output=tmp_path / "compared").document
    completeness = [(one["completeness"]["value"], one["counts"]) for one in instruments.values()]
    called = sum(counts["positive_called"] for _, counts in completeness)
    whole = sum(counts["positive_called"] + counts["positive_missed"] for _, counts in completeness)
    assert compared["scores"]["completeness"]["value"] == pytest.approx(called / whole)


def test_the_command_prints_what_the_function_returns(root):
    done = CliRunner().invoke(app, ["vetted", str(root), "--samples", "20"])
    assert done.exit_code == 0
    assert "Cohen's kappa of Ana and Bo: 1.000" in done.output
    assert "completeness (recall)" in done.output
    as_json = CliRunner().invoke(app, ["vetted", str(root), "--samples", "20", "--people", "Ana", "--json"])
    assert json.loads(as_json.output)["people"] == ["Ana"]


def test_of_several_samples_one_must_be_named(root):
    add_answers(root, "Cy", Design(WHERE, 20, seed=2))
    assert vetted(root, n_samples=20).document["rates"] == []
    name = Design(WHERE, 20, seed=2).name
    (counts,) = [sum(sum(one["counts"].values()) for one in vetted(root, sample=name, n_samples=20).document["rates"])]
    assert counts == 20
    with pytest.raises(InputError, match="2 samples fit"):
        vetted(root, matrices=root / "vetted.toml", n_samples=20)
    assert not (root / "vetted.toml").exists()


def test_what_cannot_be_reported_is_refused(root, own, tmp_path):
    with pytest.raises(InputError, match="no record of Nobody"):
        vetted(root, people=["Nobody"])
    with pytest.raises(InputError, match="Correct them"):
        vetted(root, confidence=2)
    with pytest.raises(OutputError, match="is a folder"):
        vetted(root, labels=tmp_path)
    with pytest.raises(CatalogNotFound):
        vetted(tmp_path / "nothing")
    for path in (root / "vetting").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="has no answers"):
        vetted(root)


def test_without_its_packages_the_browser_says_what_to_install(catalog, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    for name in [name for name in sys.modules if name.startswith("surveyflow.browsing")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(InputError, match=r"needs duckdb, which is not installed.*\[browse\]"):
        browse(catalog, open_browser=False)
