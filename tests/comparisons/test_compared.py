"""A catalog against labels: made with a known error rate, real ones, and those that cannot be used."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import surveyflow
from catalog_rows import make_rows
from revisions import RevisionMaker, field_rows
from surveyflow.catalog.schema import SORT_ORDER, healpix_29
from surveyflow.commands import main as cli
from surveyflow.errors import InputError, SourceListError
from surveyflow.releases.publish import publish

REAL_LABELS = Path(__file__).parents[3] / "shared" / "data" / "labels" / "ceers_epochs_visual.csv"
ARCSEC = 1 / 3600
TRUE_SHARE_OF_CALLED, TRUE_SHARE_OF_OTHERS = 0.8, 0.1
"""Shares of galaxies that are labelled as mergers, among those called so and among the others."""


@pytest.fixture(scope="module")
def rows():
    return pa.concat_tables(
        [
            with_instrument(make_rows(2400, "EGS", origin="user")),
            with_instrument(make_rows(600, "COSMOS", 1, centre_deg=(150.1, 2.2))),
        ]
    )


def with_instrument(rows):
    return rows.set_column(
        rows.schema.get_field_index("instrument"), "instrument", pa.array(["F814W"] * len(rows), pa.string())
    ).cast(rows.schema)


@pytest.fixture(scope="module")
def root(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("compared")
    publish_rows(folder, rows)
    return folder


def publish_rows(folder, rows):
    publish(folder, "v1", [], rows, {"survey": "mini", "inputs": [], "models": [], "created": "2026-11-22T13:05:00+00:00"})


def labels_of(rows, seed=1, shift_arcsec=0.0):
    """Labels that agree with the catalog's classes at known rates, with ids, positions and magnitudes."""
    rng, frame = np.random.default_rng(seed), rows.to_pandas()
    chance = np.where(frame["p_pm_mean"] > frame["p_sf_mean"], TRUE_SHARE_OF_CALLED, TRUE_SHARE_OF_OTHERS)
    other = rng.choice(["disk", "spheroid", "psf"], len(frame), p=[0.6, 0.3, 0.1])
    return pd.DataFrame(
        {
            "id": [f"{field.lower()}{number:05d}" for field, number in zip(frame["field"], frame["source_id"], strict=True)],
            "number": frame["source_id"],
            "field": frame["field"],
            "RA": frame["ra"] + shift_arcsec * ARCSEC / np.cos(np.radians(frame["dec"])),
            "DEC": frame["dec"],
            "class": np.where(rng.random(len(frame)) < chance, "merger", other),
            "mag": rng.uniform(20, 25, len(frame)),
        }
    )


@pytest.fixture
def write(tmp_path):
    def written(table, name="labels.csv"):
        table.to_csv(tmp_path / name, index=False)
        return tmp_path / name

    return written


def compared(root, path, tmp_path, **changes):
    options = {"match": "sky", "ra": "RA", "dec": "DEC", "label": "class", "positive": ["merger"], "n_samples": 200}
    return surveyflow.compare(root, path, output=tmp_path / "out", **(options | changes)).document


def within(measured, truth, n_sigma=3.5):
    sigma = (measured["high"] - measured["low"]) / 2
    return abs(measured["value"] - truth) < n_sigma * sigma


def test_labels_with_a_known_error_rate_give_these_purities_and_completenesses(root, rows, write, tmp_path):
    found = compared(root, write(labels_of(rows)), tmp_path, label_magnitude="mag")
    ok = rows.to_pandas().query("status == 'ok'")
    called = (ok.p_pm_mean > ok.p_sf_mean).mean()
    positive = called * TRUE_SHARE_OF_CALLED + (1 - called) * TRUE_SHARE_OF_OTHERS
    scores = found["scores"]
    assert found["counts"]["compared"] == len(ok)
    assert within(scores["purity"], TRUE_SHARE_OF_CALLED)
    assert within(scores["completeness"], called * TRUE_SHARE_OF_CALLED / positive)
    assert within(scores["false_positive_rate"], called * (1 - TRUE_SHARE_OF_CALLED) / (1 - positive))
    assert within(scores["positive_share"], positive)
    for bins in found["bins"].values():
        assert len(bins) == 4
        assert sum(one["n"] for one in bins) == len(ok)
        assert all(within(one["purity"], TRUE_SHARE_OF_CALLED) for one in bins)
    assert 0.6 < scores["roc_area"]["low"] < scores["roc_area"]["value"] < scores["roc_area"]["high"]


def test_the_numbers_are_those_of_brute_force(root, rows, write, tmp_path):
    table = labels_of(rows)
    found = compared(root, write(table), tmp_path)
    both = table.assign(**{name: rows[name].to_pandas().to_numpy() for name in ("status", "p_pm_mean", "p_sf_mean")})
    both = both[both["status"] == "ok"]
    called = both["p_pm_mean"] > both["p_sf_mean"]
    assert {one["label"]: (one["post_merger"], one["star_forming"]) for one in found["confusion"]} == {
        word: (int(called[both["class"] == word].sum()), int((~called)[both["class"] == word].sum()))
        for word in set(table["class"])
    }
    negatives = both[called & (both["class"] != "merger")].sort_values("p_pm_mean", ascending=False)
    shown = found["disagreements"]["called"]
    assert [one["source_id"] for one in shown] == negatives["number"].head(8).tolist()
    assert [one["label"] for one in shown] == negatives["class"].head(8).tolist()
    assert all(one["label"] == "merger" and one["p_pm_mean"] < 0.5 for one in found["disagreements"]["missed"])


@pytest.mark.parametrize(
    "how",
    [
        {"match": "id", "id": "number", "field_column": "field"},
        {"match": "sky", "ra": "RA", "dec": "DEC"},
        {"match": "id", "id": "number", "field_column": "field", "ra": None, "dec": None},
    ],
    ids=["id", "sky", "id without positions"],
)
def test_every_way_of_matching_gives_the_same_numbers(root, rows, write, tmp_path, how):
    table = labels_of(rows).sample(frac=1, random_state=3)
    found, expected = (compared(root, write(table), tmp_path, **changes) for changes in (how, {}))
    assert found["scores"]["purity"]["value"] == expected["scores"]["purity"]["value"]
    assert found["confusion"] == expected["confusion"]
    assert found["counts"] == expected["counts"]


def test_ids_that_are_text_lose_their_prefix_and_leading_zeros(root, rows, write, tmp_path):
    table = labels_of(rows).query("field == 'EGS'")
    found = compared(root, write(table), tmp_path, match="id", id="id", id_prefix="egs", field="EGS")
    assert (found["counts"]["matched"], found["counts"]["labels_without_source"], found["match"]["n_far"]) == (2400, 0, 0)
    none = table.assign(id=table["id"].str.replace("egs", "uds"))
    with pytest.raises(InputError, match="Of 2400 labels, 0 have a galaxy in the catalog"):
        compared(root, write(none), tmp_path, match="id", id="id", id_prefix="egs", field="EGS")


def test_what_is_on_one_side_only_is_counted(root, rows, write, tmp_path):
    table = labels_of(rows)
    lost = pd.DataFrame({"RA": [10.0, 11.0], "DEC": [0.0, 0.0], "class": ["disk", "merger"]})
    table.loc[:9, "class"] = None
    found = compared(root, write(pd.concat([table.iloc[:2000], lost])), tmp_path, ignored=["psf"])
    counts = found["counts"]
    assert (counts["labels"], counts["without_label"], counts["labels_without_source"]) == (2002, 10, 2)
    assert counts["sources_without_label"] == 1000
    assert counts["ignored"] == (table["class"].iloc[:2000] == "psf").sum()
    assert sum(counts["matched_by_status"].values()) == counts["matched"] == 2000
    assert {one["means"] for one in found["confusion"] if one["label"] == "psf"} == {"ignored"}
    (only,) = {one["means"] for one in found["confusion"] if one["label"] == "disk"}
    assert only == "negative"


def test_a_shift_between_the_lists_is_said(root, rows, write, tmp_path):
    found = compared(root, write(labels_of(rows, shift_arcsec=-0.3)), tmp_path)
    assert found["match"]["offset_east_arcsec"] == pytest.approx(0.3, abs=0.01)
    assert any("The galaxies lie 0.30 arcsec from their labels" in note for note in found["notes"])


def test_pairs_by_id_that_lie_elsewhere_are_said(root, rows, write, tmp_path):
    table = labels_of(rows).assign(number=lambda one: one.groupby("field")["number"].transform(lambda ids: ids.to_numpy()[::-1]))
    found = compared(root, write(table), tmp_path, match="id", id="number", field_column="field")
    assert found["match"]["n_far"] > 2900
    assert any("the ids may not be those of the catalog's lists" in note for note in found["notes"])


def test_ambiguous_positions_are_counted(root, rows, write, tmp_path):
    table = labels_of(rows)
    twice = table.iloc[:50].assign(RA=lambda one: one["RA"] + 0.2 * ARCSEC)
    found = compared(root, write(pd.concat([table, twice])), tmp_path)
    assert found["match"]["n_ambiguous"] >= 50
    assert found["match"]["n_shared"] == 50
    assert found["counts"]["labels_without_source"] == 50


def test_a_selection_and_a_score_may_be_given(root, rows, write, tmp_path):
    found = compared(
        root, write(labels_of(rows)), tmp_path, where="z < 1 and field == 'EGS'", score="f_pm", redshift_edges=[0.5, 1]
    )
    frame = rows.to_pandas().query("status == 'ok' and redshift < 1 and field == 'EGS'")
    assert found["counts"]["compared"] == len(frame)
    assert [(one["low"], one["high"], one["n"]) for one in found["bins"]["redshift"]] == [(0.5, 1, len(frame))]
    assert found["question"]["score"] == "f_pm"
    by_redshift = compared(root, write(labels_of(rows)), tmp_path, magnitude="z")
    assert by_redshift["bins"]["magnitude"] == by_redshift["bins"]["redshift"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"positive": ["mreger"]}, "column class has no label 'mreger'. Did you mean merger?"),
        ({"positive": ["merger"], "negative": ["merger"]}, "not two of them"),
        ({"positive": []}, "no label is positive"),
        ({"positive": ["merger"], "negative": ["irregular"]}, "no label 'irregular'. It has disk, merger, psf, spheroid"),
        ({"score": "p_pm_maen"}, "Did you mean p_pm_mean?"),
        ({"score": "status"}, "expected numbers"),
        ({"where": "redshfit < 1"}, "Did you mean redshift?"),
        ({"where": "redshift < 0"}, "0 galaxies with a result are labelled positive and 0 negative"),
        ({"match": "name"}, "Choose one of id, sky"),
        ({"ra": None}, "needs the labels' positions"),
        ({"match": "id"}, "needs the labels' ids"),
        ({"match": "id", "id": "number"}, "column number: 600 ids occur more than once: 1, 10, 100"),
        ({"match": "id", "id": "id"}, "the catalog has COSMOS, EGS. Name the labels' field."),
        ({"match": "id", "id": "id", "field": "UDS"}, "of the field 'UDS'; it has COSMOS, EGS"),
        ({"label": "klass"}, "Did you mean klass -> class?"),
        ({"label_magnitude": "class"}, "column class: it holds text, expected numbers"),
        ({"ra": "class"}, "expected numbers"),
        ({"max_separation_arcsec": 0}, "between 0 and 60 arcsec"),
        ({"n_samples": 1}, "10 to 100,000 bootstrap samples"),
        ({"confidence": 1.0}, "confidence must lie between 0 and 1"),
        ({"redshift_edges": [1.0, 0.5]}, "increasing"),
        ({"magnitude": "mag"}, "the catalog has no column 'mag'"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_written(root, rows, write, tmp_path, changes, words):
    with pytest.raises(InputError) as refused:
        compared(root, write(labels_of(rows)), tmp_path, **changes)
    assert words in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_row_without_position_is_counted_and_one_off_the_sky_is_refused(root, rows, write, tmp_path):
    table = labels_of(rows)
    table.loc[3, "RA"] = None
    counts = compared(root, write(table), tmp_path)["counts"]
    assert (counts["without_position"], counts["labels_without_source"], counts["matched"]) == (1, 1, 2999)
    table.loc[7, "DEC"] = 95.0
    with pytest.raises(SourceListError, match=r"labels\.csv, column DEC: row 8 \(95\.0\)"):
        compared(root, write(table), tmp_path)


def test_labels_that_are_numbers_are_words(root, rows, write, tmp_path):
    table = labels_of(rows).assign(merger=lambda one: (one["class"] == "merger").astype(float))
    found = compared(root, write(table), tmp_path, label="merger", positive=["1"])
    assert found["scores"]["purity"] == compared(root, write(table), tmp_path)["scores"]["purity"]


@pytest.fixture(scope="module")
def with_mosaics(tmp_path_factory):
    """A revision of 600 galaxies with mosaics of which pictures can be cut."""
    folder = tmp_path_factory.mktemp("pictured")
    maker, rows = RevisionMaker(folder), field_rows("EGS", 600, origin="simulated")
    maker.add_mosaic("EGS", "F814W")
    maker.add_mosaic("EGS", "F125W_F160W")
    maker(rows)
    return folder / "catalog", rows


def test_the_page_shows_numbers_notes_and_pictures_and_asks_no_other_file(with_mosaics, write, tmp_path):
    root, rows = with_mosaics
    found = surveyflow.compare(
        root, write(labels_of(rows)), match="sky", ra="RA", dec="DEC", label="class", positive=["merger"], label_magnitude="mag"
    )
    assert found.page == root / "comparisons" / "v1.0-r1-labels" / "comparison.html"
    page = found.page.read_text(encoding="utf-8")
    assert json.loads(found.json.read_text()) == json.loads(json.dumps(found.document))
    purity = 100 * found.document["scores"]["purity"]["value"]
    assert f"{purity:.1f} %" in page
    assert page.count("<svg") >= 4
    assert page.count("data:image/webp;base64") == sum(map(len, found.document["disagreements"].values())) > 4
    assert "do not quote them as measurements of real galaxies" in page
    assert "labels are not in them" in page
    assert not re.findall(r"(?:src|href)=\"(?!data:image/webp|#)", page)


def test_the_command_prints_tables_notes_and_the_page_or_json(with_mosaics, write, tmp_path, monkeypatch, capsys):
    root, rows = with_mosaics
    monkeypatch.setattr("signal.signal", lambda *_: None)
    line = ["surveyflow", "compare", str(root), "--labels", str(write(labels_of(rows))), "--match", "sky", "--ra", "RA"]
    line += ["--dec", "DEC", "--label", "class", "--positive", "merger", "--ignored", "psf, spheroid", "--samples", "50"]
    line += ["--redshift-edges", "0.5,1,2.5", "--output", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", line)
    with suppress(SystemExit):
        cli.main()
    printed = capsys.readouterr().out
    assert "area under the ROC curve" in printed
    assert "1 to 2.5" in printed
    assert f"page: {tmp_path / 'out' / 'comparison.html'}" in printed
    monkeypatch.setattr("sys.argv", [*line, "--json"])
    with suppress(SystemExit):
        cli.main()
    assert json.loads(capsys.readouterr().out)["question"]["classes"]["ignored"] == ["psf", "spheroid"]


def test_the_same_comparison_gives_the_same_numbers(with_mosaics, write, tmp_path):
    root, rows = with_mosaics
    path = write(labels_of(rows))
    one, other = (compared(root, path, tmp_path) for _ in range(2))
    assert {key: value for key, value in one.items() if key != "created"} == {
        key: value for key, value in other.items() if key != "created"
    }


def test_real_visual_classes_are_joined_by_id_and_by_position(tmp_path):
    if not REAL_LABELS.is_file():
        pytest.skip("the table of real visual classes is not at ../shared/data")
    table = pd.read_csv(REAL_LABELS)
    in_egs = table["unique_id"].str.startswith("egs")
    root = catalog_at(tmp_path / "real", table[in_egs])
    by_id = {"match": "id", "id": "unique_id", "id_prefix": "egs"}
    by_sky = {"match": "sky", "ra": "RA", "dec": "DEC"}
    classes = {"positive": ["peculiar"], "ignored": ["ambiguous", "psf"], "label": "class"}
    found = [compared(root, REAL_LABELS, tmp_path, **({"ra": "RA", "dec": "DEC"} | how | classes)) for how in (by_id, by_sky)]
    for one in found:
        assert one["counts"]["labels"] == len(table) == 5828
        assert one["counts"]["without_label"] == table["class"].isna().sum() == 733
        assert one["counts"]["ignored"] == table["class"].isin(["ambiguous", "psf"]).sum()
        assert one["counts"]["without_position"] == table["RA"].isna().sum()
    placed = in_egs & table["RA"].notna()
    assert found[0]["counts"]["matched"] == in_egs.sum() == 4265
    assert found[0]["match"]["n_far"] == 0
    assert 0.98 * placed.sum() < found[1]["counts"]["matched"] <= placed.sum()
    assert found[0]["scores"]["purity"]["value"] == pytest.approx(found[1]["scores"]["purity"]["value"], abs=0.03)


def catalog_at(root, table):
    """A published catalog with a galaxy at each position of the table, under its number."""
    rows = with_instrument(make_rows(len(table), "EGS", origin="user"))
    table = table.reset_index(drop=True).assign(RA=lambda one: one["RA"].fillna(10.0), DEC=lambda one: one["DEC"].fillna(0.0))
    new = {
        "source_id": pa.array(table["unique_id"].str.removeprefix("egs").astype(int)),
        "ra": pa.array(table["RA"]),
        "dec": pa.array(table["DEC"]),
        "_healpix_29": pa.array(healpix_29(table["RA"].to_numpy(), table["DEC"].to_numpy())),
    }
    for name, values in new.items():
        rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), values)
    publish_rows(root, rows.sort_by(SORT_ORDER))
    return root
