"""The pages hold what the catalog holds, and nothing in it breaks out of them."""

import html
import io
import json
import re
import shlex
import shutil
from contextlib import ExitStack
from html.parser import HTMLParser
from urllib.parse import urlencode

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from asgi_client import ask
from browsing.conftest import HOSTILE
from surveyflow.api import browse
from surveyflow.browsing import site
from surveyflow.browsing.pictures import View
from surveyflow.browsing.site import Site, application
from surveyflow.browsing.survey import BrowsedSurvey
from surveyflow.browsing.vetting_site import VettingSite
from surveyflow.errors import InputError
from surveyflow.releases.revisions import find, open_catalog
from surveyflow.vetting.records import read_records
from surveyflow.vetting.samples import Design, draw


@pytest.fixture(scope="module")
def app(catalog):
    with BrowsedSurvey(catalog, "latest") as survey:
        pages = Site(survey)
        yield application(pages.routes(), pages.refused)


def page(app, path, **query):
    return ask(app, f"{path}?{urlencode(query)}")


class Tags(HTMLParser):
    """The tags and attributes of a page, as a browser reads them."""

    def __init__(self, text):
        super().__init__()
        self.found, self.attributes = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append(tag)
        self.attributes += [name for name, _ in attributes]


def cards(text):
    return re.findall(r'<a class="card" href="([^"]+)"', text)


def on_mosaic(table):
    """A galaxy of EGS with a result and a picture."""
    place = ("EGS", "ok", "F814W")
    return next(row for row in table.to_pylist() if (row["field"], row["status"], row["instrument"]) == place)


def key_of_hostile(table):
    return next(row["source_id"] for row in table.to_pylist() if row["source_name"] == HOSTILE)


def test_a_sheet_shows_the_selection_in_order(app, table):
    answer = page(app, "/", where="status == 'ok'", sort="p_pm_mean", n=12)
    ok = table.to_pandas().query("status == 'ok'")
    shown = re.findall(r'class="figure">(\d\.\d\d)<', answer.text)
    assert shown == [f"{value:.2f}" for value in sorted(ok.p_pm_mean, reverse=True)[:12]]
    assert f"{len(ok)} of 170 galaxies; sheet 1 of {-(-len(ok) // 12)}" in answer.text
    assert "mean nothing scientifically" in answer.text


def test_a_sheet_says_how_to_export_it(app, catalog):
    text = html.unescape(page(app, "/", where="field == 'EGS' and z < 1").text)
    command = re.search(r"<code>(surveyflow export .*?)</code>", text)[1]
    words = shlex.split(command)
    assert words[2] == str(catalog)
    assert words[words.index("--where") + 1] == "field == 'EGS' and z < 1"


def test_flags_and_contamination_are_marks_with_words(app):
    text = page(app, "/", where="flags & PARTIAL_COVERAGE != 0").text
    assert "⚑ PARTIAL_COVERAGE" in text


@pytest.mark.parametrize("path", ["/", "/sky", "/plot", "/at"])
@pytest.mark.parametrize(
    "query",
    [{"where": "nothing > 1"}, {"where": "__import__('os').system('true')"}, {"where": "x" * 5000}, {"n": "13"}, {"page": "-1"}],
)
def test_what_cannot_be_asked_is_explained(app, path, query):
    answer = page(app, path, **({"at": "0"} | query))
    assert answer.status == 400
    assert 'role="alert"' in answer.text


def test_a_galaxy_has_pictures_numbers_and_its_history(app, table):
    row = on_mosaic(table)
    text = page(app, "/galaxy", field="EGS", id=row["source_id"]).text
    views = re.findall(r"<figcaption><b>(\w+)</b>", text)
    assert views == ["asinh", "linear", "log", "input", "network", "valid", "surroundings"]
    assert "N</text>" in text
    assert "200 draws, mean" in text
    assert "egs_f814w_drz.fits" in text
    assert "merger/EGS/F814W@0123456789ab" in text
    assert "<th>v1.0-r1</th>" in text
    assert f"{row['p_pm_mean']:.6g}" in text
    assert "aladin.cds.unistra.fr" in text
    assert "More like this" in text
    part = ask(app, html.unescape(re.search(r'data-part="([^"]+)"', text)[1])).text
    assert len(cards(part)) == 12
    assert "The features of the network were not compared: the manifest does not say where the model" in part
    assert "<html" not in part


def test_in_a_large_catalog_similar_galaxies_are_found_when_they_are_asked_for(app, table, monkeypatch):
    row = on_mosaic(table)
    monkeypatch.setattr(site, "MOST_ROWS_COMPARED_AT_ONCE", 100)
    text = page(app, "/galaxy", field="EGS", id=row["source_id"]).text
    assert "data-part" not in text
    alone = ask(app, html.unescape(re.search(r'href="(/alike[^"]+)"', text)[1])).text
    assert len(cards(alone)) == 12
    assert "<html" in alone


def changed(root, tmp_path, change):
    """The pages about a catalog whose manifest is changed."""
    copy = tmp_path / "changed"
    shutil.copytree(root, copy, symlinks=True)
    manifest = copy / "latest" / "manifest.json"
    manifest.write_text(json.dumps(change(json.loads(manifest.read_text()))))
    return BrowsedSurvey(copy, "latest")


def test_pages_say_why_a_resampled_mosaic_has_no_pictures(catalog, table, tmp_path):
    def resampled(manifest):
        return manifest | {"inputs": [one | {"resampled_arcsec": 0.03} for one in manifest["inputs"]]}

    row = on_mosaic(table)
    with changed(catalog, tmp_path, resampled) as survey:
        pages = Site(survey)
        app = application(pages.routes(), pages.refused)
        sheet = page(app, "/", where=f"field == 'EGS' and instrument == 'F814W' and source_id == {row['source_id']}").text
        assert "egs_f814w_drz.fits was resampled in the run" in sheet
        assert "<img" not in sheet
        assert "was resampled in the run" in page(app, "/galaxy", field="EGS", id=row["source_id"]).text
        sample = draw(open_catalog(catalog), Design("field == 'EGS' and instrument == 'F814W'", 1))
        vetting = VettingSite(survey, sample, "Ana", blind=True)
        text = ask(application(vetting.routes(), vetting.refused), "/vet").text
        assert "was resampled in the run" in text
        assert "<img" not in text


def test_borders_of_mosaics_are_on_the_map_and_missing_ones_are_named(app, catalog, tmp_path):
    text = page(app, "/sky", field="EGS").text
    assert "F814W egs_f814w_drz.fits" in text
    assert "No outline" not in text
    cells = json.loads(ask(app, html.unescape(re.search(r'data-cells="([^"]+)"', text)[1])).text)
    centre = float(re.search(r'data-centre="([^"]+)"', text)[1])
    assert [one["instrument"] for one in cells["outlines"]] == ["F814W", "F125W_F160W"]
    for one in cells["outlines"]:
        header = fits.getheader(catalog.parent / f"egs_{one['instrument'].lower()}_drz.fits")
        x, y = WCS(header).wcs_world2pix(np.array(one["x"]) + centre, one["y"], 0)
        assert np.abs(np.minimum.reduce([x + 0.5, y + 0.5, header["NAXIS1"] - 0.5 - x, header["NAXIS2"] - 0.5 - y])).max() < 1e-3
        ends = dict(re.findall(r'name="([xy][01])" value="([^"]+)"', text))
        assert float(ends["x0"]) <= min(one["x"]) < max(one["x"]) <= float(ends["x1"])

    def lost(manifest):
        return manifest | {"inputs": [one | {"path": one["path"] + ".lost"} for one in manifest["inputs"]]}

    with changed(catalog, tmp_path, lost) as survey:
        pages = Site(survey)
        text = page(application(pages.routes(), pages.refused), "/sky", field="EGS").text
        assert "No outline: F814W: " in text
        assert "egs_f814w_drz.fits.lost was not found" in text


def test_a_new_galaxy_and_one_without_a_mosaic_say_so(app, table):
    assert "v1.0-r1 does not have this galaxy" in page(app, "/galaxy", field="EGS", id=80).text
    assert "No picture" in page(app, "/galaxy", field=HOSTILE, id=key_of_hostile(table)).text
    assert page(app, "/galaxy", field="EGS", id=8000).status == 404


def test_pictures_are_the_mosaics_pixels_the_right_way_up(app, table, catalog):
    row = on_mosaic(table)
    place = {"field": "EGS", "instrument": "F814W", "x": repr(row["x_pix"]), "y": repr(row["y_pix"]), "size": "64"}
    answer = page(app, "/cutout.png", **place, view="linear")
    shown = np.asarray(Image.open(io.BytesIO(answer.body)))
    mosaic = fits.getdata(catalog.parent / "egs_f814w_drz.fits")
    x0, y0 = (int(np.ceil(row[name] - 32)) for name in ("x_pix", "y_pix"))
    expected = mosaic[y0 : y0 + 64, x0 : x0 + 64][::-1]
    assert shown.shape == (64, 64, 2)
    assert np.corrcoef(shown[..., 0].ravel(), np.clip(expected, None, np.quantile(expected, 0.997)).ravel())[0, 1] > 0.99
    edge = page(app, "/cutout.png", **(place | {"x": "0", "y": "0"}), view="valid")
    alpha = np.asarray(Image.open(io.BytesIO(edge.body)))[..., 0]
    assert alpha[-1, -1] == alpha[0, 0] or alpha[0, 0] < 100


@pytest.mark.parametrize("view", list(View))
def test_views_are_pictures_or_absent(app, view):
    place = {"field": "EGS", "instrument": "F814W", "x": "200", "y": "200", "view": view}
    answer = page(app, "/cutout.png", **place, size=128, model="merger/EGS/F814W@0123456789ab")
    assert answer.status == (404 if view is View.ASYMMETRY else 200)


@pytest.mark.parametrize(
    "query",
    [{"x": "nan"}, {"x": ""}, {"size": "100000"}, {"view": "../../etc"}, {"y": "inf"}, {"size": "1e3"}],
)
def test_strange_cutouts_are_refused(app, query):
    place = {"field": "EGS", "instrument": "F814W", "x": "200", "y": "200"}
    assert page(app, "/cutout.png", **(place | query)).status == 400


@pytest.mark.parametrize("field", ["../../etc", HOSTILE, "COSMOS"])
def test_a_mosaic_that_is_not_there_is_no_picture(app, field):
    instrument = "F125W_F160W" if field == "COSMOS" else "F814W"
    assert page(app, "/cutout.png", field=field, instrument=instrument, x="200", y="200").status == 404


def test_a_search_for_one_galaxy_leads_to_it(app, table):
    row = table.slice(3, 1).to_pylist()[0]
    for text in (f"{row['field']} {row['source_id']}", f"{row['ra']:.7f} {row['dec']:.7f} 0.1"):
        location = page(app, "/search", q=text).headers["location"]
        assert location == "/galaxy?" + urlencode({"field": row["field"], "id": row["source_id"]})
    assert page(app, "/search", q="gal-5").headers["location"].startswith("/galaxy?field=%3Cimg")
    assert "0 galaxies for" in page(app, "/search", q="nobody").text


def test_neighbours_in_a_selection_lead_on(app):
    sheet = page(app, "/", where="status == 'ok'", sort="p_pm_mean", n=12)
    first, second = (html.unescape(link) for link in cards(sheet.text)[:2])
    text = ask(app, first).text
    step = html.unescape(re.search(r'href="([^"]+)" data-key="j"', text)[1])
    assert ask(app, step).headers["location"] == second


def test_cells_hold_every_galaxy_of_the_selection_and_the_footprint(app, table):
    ends = {"x0": "0", "x1": "9", "y0": "0", "y1": "1"}
    found = json.loads(page(app, "/cells.json", x="redshift", y="p_pm_mean", where="status == 'ok'", **ends).text)
    assert sum(n for *_, n in found["cells"]) == table["status"].to_pylist().count("ok")
    found = json.loads(page(app, "/cells.json", x="redshift", y="dec", base='field == "EGS"', **(ends | {"y1": "90"})).text)
    assert sum(n for *_, n in found["base"]) > 40
    assert page(app, "/cells.json", x="redshift").status == 400


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/", {"where": f"source_name == {json.dumps(HOSTILE)}"}),
        ("/", {"where": HOSTILE}),
        ("/search", {"q": "gal-7"}),
        ("/galaxy", {"field": HOSTILE, "id": HOSTILE}),
        ("/search", {"q": HOSTILE}),
        ("/sky", {"field": HOSTILE}),
        ("/plot", {"x": HOSTILE}),
        ("/plot", {"where": "field == " + json.dumps(HOSTILE)}),
    ],
)
def test_hostile_texts_stay_texts(app, path, query):
    answer = page(app, path, **query)
    tags = Tags(answer.text)
    assert "onerror" not in tags.attributes
    assert not [name for name in tags.attributes if name.startswith("on")]
    assert set(re.findall(r"<script[^>]*>", answer.text)) <= {
        '<script src="/static/browse.js" defer>',
        '<script src="/static/chart.js" defer>',
    }
    assert "style" not in tags.attributes
    if query.get("where") == HOSTILE:
        assert "&lt;img src=x" in answer.text


def test_names_are_shown_as_they_are_and_do_nothing(app, table):
    text = page(app, "/galaxy", field=HOSTILE, id=key_of_hostile(table)).text
    assert html.unescape(text).count(HOSTILE) > 3
    assert "onerror" not in Tags(text).attributes


@pytest.mark.parametrize("path", ["/static/../site.py", "/static/%2e%2e/site.py", "/static/../../../../etc/passwd", "/static/"])
def test_only_static_files_are_given(app, path):
    assert ask(app, path).status == 404


@pytest.fixture
def vetting(own):
    """Makes the pages of a person who vets ten galaxies, and gives the sample beside them."""
    with ExitStack() as stack:

        def make(person="Ana", blind=True):
            sample = draw(open_catalog(own), Design("status == 'ok'", 10))
            pages = VettingSite(stack.enter_context(BrowsedSurvey(own, "latest")), sample, person, blind=blind)
            return application(pages.routes(), pages.refused), sample

        yield make


def answer(app, sample, place, label="pair", note="", **changes):
    one = sample.galaxies[place]
    given = {"at": place, "field": one.field, "source_id": str(one.source_id), "label": label, "note": note} | changes
    return ask(app, "/vet/answer", method="POST", body=json.dumps(given).encode())


def test_answers_are_on_disk_before_the_next_galaxy(own, vetting):
    app, sample = vetting()
    assert "Galaxy 1 of 10; 0 answered by Ana" in ask(app, "/vet").text
    assert json.loads(answer(app, sample, 0, note=HOSTILE).text) == {"next": "/vet?at=1"}
    found = read_records(own).answers[0]
    one = sample.galaxies[0]
    assert (found.galaxy, found.label, found.note, found.blind) == ((one.field, one.source_id), "pair", HOSTILE, True)
    assert (found.stratum, found.revision) == (one.stratum, find(own).name)
    again, _ = vetting()
    assert "Galaxy 2 of 10; 1 answered by Ana" in ask(again, "/vet").text
    shown = ask(again, "/vet?at=0").text
    assert html.unescape(re.search(r"<textarea[^>]*>(.*?)</textarea>", shown, re.DOTALL)[1]) == HOSTILE
    assert 'data-label="pair" data-key="d" aria-pressed="true"' in shown


def test_everything_is_answered_once(own, vetting):
    app, sample = vetting(person="Bo")
    for at in (1, 0, *range(2, 10)):
        last = json.loads(answer(app, sample, at).text)["next"]
    assert last == "/vet?at=10"
    assert "Every galaxy of the sample is answered" in ask(app, last).text


def test_blind_pages_do_not_tell_the_models_answer(own, vetting):
    app, _ = vetting()
    for at in range(10):
        text = ask(app, f"/vet?at={at}").text
        assert "p_pm" not in text
        assert 'href="/galaxy' not in text
        assert "contaminated" not in text
    for path in ("/galaxy?field=EGS&id=1", "/search?q=1", "/sky", "/plot", "/cells.json"):
        assert ask(app, path).status == 404
    assert ask(app, "/").headers["location"] == "/vet"
    seeing, _ = vetting(blind=False)
    assert "p_pm = " in ask(seeing, "/vet?at=0").text


@pytest.mark.parametrize(
    "changes",
    [{"label": "star"}, {"note": "x" * 2001}, {"source_id": "77"}, {"field": "other"}, {"at": 99}, {"at": -1}, {"extra": 1}],
)
def test_answers_that_are_none_are_refused_and_not_written(own, vetting, changes):
    app, sample = vetting()
    assert answer(app, sample, 0, **changes).status == 400
    assert ask(app, "/vet/answer", method="POST", body=b"[" * 9000).status == 400
    assert ask(app, "/vet/answer", method="POST", body=b"x" * 30_000).status == 400
    assert read_records(own).answers == ()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"vet": ""}, "Add --as"),
        ({"vet": "", "person": "../x"}, "cannot be that of a file"),
        ({"person": "Ana"}, "belong to vetting"),
        ({"vet": "", "person": "Ana", "find": "EGS 1"}, "find and vet"),
        ({"sample": 5}, "belong to vetting"),
        ({"vet": "nothing > 1", "person": "Ana"}, "no column"),
        ({"vet": "", "person": "Ana", "sample": 0}, "1 to"),
        ({"vet": "", "person": "Ana", "strata": "z"}, "column and edges"),
        ({"port": -1}, "expected 0"),
    ],
)
def test_what_cannot_be_begun_is_refused_before_anything_listens(catalog, asked, told):
    with pytest.raises(InputError, match=told):
        browse(catalog, open_browser=False, announce=pytest.fail, **asked)
