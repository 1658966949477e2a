"""One page that tells what a run found."""

import base64
import io
import re
import subprocess
import sys
import tomllib
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from revisions import field_rows, model_entry
from surveyflow.errors import CatalogNotFound
from surveyflow.files import durable
from surveyflow.releases.pruning import prune
from surveyflow.releases.publish import latest, publish, read_manifest
from surveyflow.reports import page
from surveyflow.reports.page import write_report

UNTRAINED = "These numbers come from untrained random weights: they mean nothing scientifically."


class Text(HTMLParser):
    """Collects what a reader sees: texts outside <style>, and the tags."""

    def __init__(self, html):
        super().__init__()
        self.words, self.tags, self._in_style = [], [], False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._in_style = tag == "style"

    def handle_endtag(self, tag):
        self._in_style = False

    def handle_data(self, data):
        if not self._in_style:
            self.words.append(data)

    def __str__(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture
def written(make_revision, tmp_path):
    """Write a revision of these rows and give its page, as HTML."""

    def write(*tables, **manifest):
        write_report(make_revision(*tables, **manifest), tmp_path / "report.html")
        return (tmp_path / "report.html").read_text(encoding="utf-8")

    return write


def test_the_page_tells_whose_numbers_these_are(written):
    text = str(Text(written(field_rows())))
    run = ("20261122T130400Z-1a2b3c", "node017")
    for fact in (
        *run,
        "mini v1.0",
        "Revision v1.0-r1",
        "22 November 2026, 13:05 UTC",
        "surveyflow 0.1.0",
        "20261122T130400Z-1a2b3c",
        "node017",
    ):
        assert fact in text


def test_a_survey_and_a_release_of_one_name_are_named_once(written):
    assert "<h1>v1.0</h1>" in written(field_rows(), survey="v1.0")


def test_untrained_weights_are_announced_before_any_number(written):
    text = str(Text(written(field_rows(origin="untrained"))))
    assert UNTRAINED in text
    assert text.index(UNTRAINED) < text.index("with a result")
    assert "Ferreira+22" not in text


def test_untrained_weights_are_announced_though_the_manifest_forgets_them(written):
    models = [model_entry("EGS", "F814W", origin="ferreira2022")]
    assert UNTRAINED in written(field_rows(origin="untrained"), models=models)


@pytest.mark.parametrize("origin", ["simulated", "user", "untrained"])
def test_only_the_authors_weights_are_called_ferreira22(written, origin):
    assert "Ferreira+22" not in written(field_rows(origin=origin))


def test_the_authors_weights_need_no_warning(written):
    html = written(field_rows(origin="ferreira2022"))
    assert 'class="warning"' not in html
    assert "Ferreira+22" in html


def test_every_status_is_counted_by_field_and_instrument(written):
    tables = [field_rows("COSMOS", 60, 1), field_rows("EGS", 80, 2)]
    html = written(*tables)
    rows = re.findall(r'<th scope="row">(\w+)</th><td>(\w+)</td>(.*?)<td class="bar', html, re.DOTALL)
    totals = {(field, band): int(re.findall(r">([\d,]+)</td>", cells)[-1]) for field, band, cells in rows}
    assert sum(totals.values()) == 140
    for table in tables:
        for row in table.to_pylist():
            totals[row["field"], row["instrument"] or "none"] -= 1
    assert set(totals.values()) == {0}


def contaminated_rows(field_name="EGS", n_sources=40):
    """Rows whose sources with a result have a contamination, too: of every fourth it is certain and wide."""
    rows = field_rows(field_name, n_sources, redshift=np.full(n_sources, 1.0))
    ok = np.array(rows["status"].to_pylist()) == "ok"
    wide = np.cumsum(ok) % 4 == 0
    for name, high, low in (("p_contaminated", 0.9, 0.1), ("coverage_pct", 60.0, 2.0), ("flux_pp", 0.02, 0.004)):
        values = pa.array(np.where(wide, high, low).astype(np.float32), mask=~ok)
        rows = rows.set_column(rows.schema.names.index(f"{name}_mean"), rows.schema.field(f"{name}_mean"), values)
    return rows


def test_contamination_is_shown_with_the_origin_of_its_weights(written):
    origins = [("merger", "ferreira2022"), ("contamination", "simulated")]
    models = [model_entry("EGS", "F814W", origin) | {"key": f"{task}/EGS/F814W"} for task, origin in origins]
    text = str(Text(written(contaminated_rows(), models=models)))
    assert "Contamination by neighbours" in text
    assert "Origin of the weights: trained on surveyflow's own simulations." in text
    assert re.search(r"2\d % are more likely contaminated than not, 2\d % have a mean coverage above 20 %", text)
    assert "median of the mean flux 0.004 e-/s per pixel" in text


def test_a_catalog_without_contamination_models_has_no_section_on_it(written):
    html = written(field_rows())
    assert 'id="contamination"' not in html
    assert 'href="#contamination"' not in html


def test_failed_units_are_listed_with_their_errors(written):
    failed = [{"name": f"EGS/F814W/y{index:03d}x000", "error": f"OSError: sector {index}"} for index in range(150)]
    text = str(Text(written(field_rows(), failed_units=failed)))
    assert "EGS/F814W/y000x000 OSError: sector 0" in text
    assert "sector 99" in text
    assert "sector 100" not in text
    assert "There are 50 more; manifest.json lists all of them." in text


def test_the_gallery_shows_both_ends_with_their_pixels(written, make_revision):
    for band in ("F814W", "F125W_F160W"):
        make_revision.add_mosaic("EGS", band)
    html = written(field_rows("EGS", 100))
    images = [attributes for tag, attributes in Text(html).tags if tag == "img"]
    assert len(images) == 32
    assert all(image["src"].startswith("data:image/webp;base64,") and image["alt"] for image in images)
    assert html.count('class="sparkline"') == html.count('class="marks"') == 32


def test_a_mosaic_that_is_gone_leaves_a_note_and_the_numbers(written, make_revision):
    mosaic = make_revision.add_mosaic("EGS", "F814W")
    mosaic.unlink()
    text = str(Text(written(field_rows("EGS", 100, redshift=np.full(100, 1.0)))))
    assert f"{mosaic} was not found. Its pictures are omitted." in text
    assert text.count("no picture") == 32
    assert re.search(r"EGS \d+ 0\.\d{3} 0\.\d\d\u20130\.\d\d F814W, z = 1\.00", text)


def test_flagged_galaxies_are_shown_and_marked(written):
    html = written(field_rows("EGS", 30, flags=np.full(30, 4)))
    assert html.count('class="galaxy flagged"') == html.count('class="galaxy') > 10
    assert '<abbr class="flag" title="OFF_CENTRE is set' in html
    assert "OUT_OF_DOMAIN 4 30" in str(Text(html))


def test_flags_stand_in_the_order_of_their_bits(written):
    bits = re.findall(r"<code>[A-Z_]+</code></th><td class=\"n\">(\d+)</td>", written(field_rows()))
    assert bits == sorted(bits, key=int)
    assert len(bits) > 8


def test_every_table_can_be_saved(written):
    rows = field_rows("EGS", 60)
    html = written(rows)
    found = re.findall(r'<a download="(\w+)\.csv" href="data:text/csv;charset=utf-8;base64,([^"]+)">', html)
    tables = {name: pd.read_csv(io.BytesIO(base64.b64decode(content))) for name, content in found}
    assert list(tables) == ["sources", "flags", "galaxies"]
    assert tables["sources"].select_dtypes("number").to_numpy().sum() == 60
    expected = [sum(bool(bits & bit) for bits in rows["flags"].to_pylist()) for bit in tables["flags"]["bit"]]
    assert tables["flags"]["n_rows"].tolist() == expected
    known = {(row["source_id"], row["ra"]) for row in rows.to_pylist()}
    assert set(zip(tables["galaxies"]["source_id"], tables["galaxies"]["ra"], strict=True)) <= known


def test_every_galaxy_has_its_position(written):
    rows = field_rows("EGS", 30)
    html = written(rows)
    positions = re.findall(r'<span class="detail">(\d+\.\d{5}) ([+-]\d+\.\d{5})</span>', html)
    known = {(f"{row['ra']:.5f}", f"{row['dec']:+.5f}") for row in rows.to_pylist()}
    assert len(positions) == html.count('<figure class="galaxy') > 10
    assert set(positions) <= known


@pytest.mark.parametrize("n_sources", [pytest.param(0, marks=pytest.mark.filterwarnings("ignore:.*W47")), 3])
def test_a_revision_without_results_has_a_page(written, n_sources):
    tables = [field_rows("EGS", 3, status=np.full(3, "no_redshift", dtype=object))] if n_sources else []
    text = str(Text(written(*tables)))
    assert "No source has a result." in text
    assert f"sources {n_sources} with a result 0" in text


def test_hostile_texts_are_shown_as_they_stand(written):
    hostile = """<script>alert("1")</script>' onload='x $\\frac{1}{2}$ </style> 合并"""
    rows = field_rows(hostile, 30)
    failed = [{"name": hostile, "error": hostile}]
    html = written(rows, survey=hostile, failed_units=failed, host=hostile, workflow={hostile: {"name": hostile}})
    tags = Text(html).tags
    assert not [tag for tag, _ in tags if tag == "script"]
    assert not [attributes for _, attributes in tags if "onload" in attributes]
    assert hostile in str(Text(html))


def test_the_page_asks_for_nothing_from_outside(written, make_revision):
    make_revision.add_mosaic("EGS", "F814W")
    html = written(field_rows("EGS", 100))
    links = re.findall(r"""(?:src|href|action|data|poster)\s*=\s*["']([^"']*)""", html) + re.findall(r"url\(([^)]*)\)", html)
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    assert not re.search(r"@import|<link|<script|<iframe|<object|https?://", html)


def test_no_id_stands_twice_on_the_page(written):
    html = written(*(field_rows(name, 40, seed) for seed, name in enumerate(("COSMOS", "EGS", "UDS"))))
    ids = re.findall(r'\bid="([^"]*)"', html)
    assert len(ids) == len(set(ids))


def test_the_same_revision_gives_the_same_bytes(make_revision, tmp_path):
    revision = make_revision(field_rows())
    outputs = [tmp_path / "first.html", tmp_path / "second.html"]
    for output in outputs:
        write_report(revision, output)
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_an_older_page_is_replaced_as_a_whole_or_not_at_all(make_revision, tmp_path, monkeypatch):
    output = tmp_path / "pages" / "report.html"
    output.parent.mkdir()
    output.write_text("older")
    revision = make_revision(field_rows())
    with monkeypatch.context() as patch:
        patch.setattr(durable.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            write_report(revision, output)
    assert output.read_text() == "older"
    assert list(output.parent.iterdir()) == [output]
    write_report(revision, output)
    assert output.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_many_fields_stay_a_light_page(written, monkeypatch):
    monkeypatch.setattr(page, "MAX_PANELS", 2)
    html = written(*(field_rows(f"FIELD{index}", 20, index) for index in range(5)))
    assert html.count('class="plot"') == 2 + 1 + 2
    assert "Of 5 fields, only the first 2 in alphabetical order are drawn" in str(Text(html))


def test_the_resolved_workflow_can_be_copied_from_the_page():
    workflow = {
        "version": 1,
        "survey": {"name": 'a "b"\n'},
        "routing": {"F814W": [0.5, 1.5]},
        "tiling": None,
        "fields": {"a b": {"x": True}},
    }
    assert tomllib.loads(page.toml_text(workflow)) == {key: value for key, value in workflow.items() if value is not None}


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 bytes"), (999, "999 bytes"), (2_880, "2.9 kB"), (8_143_000_000, "8.1 GB"), (5_100_000, "5.1 MB")]
)
def test_sizes_are_readable(size, words):
    assert page.readable_bytes(size) == words


def test_nothing_is_printed_or_logged_even_with_a_new_font_cache(make_revision, tmp_path):
    revision = make_revision(field_rows("EGS", 10))
    code = "import sys, pathlib, surveyflow.reports.page as p; p.write_report(*map(pathlib.Path, sys.argv[1:]))"
    environment = {"MPLCONFIGDIR": str(tmp_path / "no such" / "folder"), "HOME": "/nonexistent", "PATH": ""}
    command = [sys.executable, "-W", "error", "-c", code, str(revision), str(tmp_path / "report.html")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


def test_a_folder_that_is_no_revision_is_named(tmp_path):
    with pytest.raises(CatalogNotFound, match="is not a revision"):
        write_report(tmp_path, tmp_path / "report.html")


def test_the_manifest_of_a_run_needs_no_timings(written):
    assert "worker seconds 12.5" in str(Text(written(field_rows())))
    assert "worker seconds" not in str(Text(written(field_rows(), timings=None)))


def test_a_revision_gets_its_page_while_it_is_published(tmp_path, make_revision):
    manifest = make_revision.manifest(rows := field_rows())
    revision = publish(tmp_path, "v2", [], rows, manifest, decorate=lambda folder: write_report(folder, folder / "report.html"))
    assert "Revision v2-r1" in str(Text((revision.path / "report.html").read_text(encoding="utf-8")))


@pytest.fixture
def publish_release(tmp_path, make_revision):
    """Publish rows as a release, with its page, as a run does."""

    def publish_release(release, rows, **changes):
        def decorate(folder):
            write_report(folder, folder / page.REPORT, earlier.path if (earlier := latest(tmp_path)) else None)

        return publish(tmp_path, release, [], rows, make_revision.manifest(rows) | changes, decorate=decorate).path

    return publish_release


def test_revisions_of_the_same_results_share_one_page_with_figures(publish_release):
    rows = field_rows()
    first, *others = [publish_release(release, rows, run_id=release) for release in ("v1", "v2", "v3")]
    changed = publish_release("v4", field_rows(seed=1))

    for each in others:
        assert (each / "report-of-v1-r1.html").samefile(first / "report.html")
        text = (each / "report.html").read_text(encoding="utf-8")
        assert f"Revision {each.name}" in str(Text(text))
        assert f"{each.name.removesuffix('-r1')} on node017" in str(Text(text))
        assert 'href="report-of-v1-r1.html"' in text
        assert "<svg" not in text
        assert {"report.html", "report-of-v1-r1.html"} <= read_manifest(each)["files"].keys()
    assert [path.name for path in changed.glob("report*")] == ["report.html"]
    assert "<svg" in (changed / "report.html").read_text(encoding="utf-8")


def test_a_shared_page_outlives_the_revision_that_it_was_made_for(publish_release, tmp_path):
    rows = field_rows()
    first, second = (publish_release(release, rows) for release in ("v1", "v2"))
    content = (first / "report.html").read_bytes()

    assert prune(tmp_path, 1).as_json()["revisions"] == ["v1-r1"]

    assert (second / "report-of-v1-r1.html").read_bytes() == content
    third = publish_release("v3", rows)
    assert (third / "report-of-v1-r1.html").samefile(second / "report-of-v1-r1.html")


@pytest.mark.parametrize("damage", [None, b"\xff\xfe", b"short"])
def test_a_page_that_is_lost_or_damaged_is_not_shared(publish_release, damage):
    rows = field_rows()
    earlier = publish_release("v1", rows) / "report.html"
    earlier.unlink()
    if damage is not None:
        earlier.write_bytes(damage)

    assert "<svg" in (publish_release("v2", rows) / "report.html").read_text(encoding="utf-8")
