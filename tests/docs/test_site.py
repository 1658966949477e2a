"""The documentation site is built without a warning: every link between pages and headings leads somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import surveyflow

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"


NOTEBOOKS = {
    "first-catalog": (3, "p_pm_calibrated"),
    "merger-fractions": (1, "corrected_high"),
    "vetting-and-purity": (1, "completeness"),
}
"""The number of pictures that each notebook draws, and a column of one of its tables."""


class Links(HTMLParser):
    """The links of a page, and what is loaded with it."""

    def __init__(self, page):
        super().__init__()
        self.targets, self.loaded = [], []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "a" and values.get("href"):
            self.targets.append(values["href"])
        self.loaded += [values[key] for key in ("src", "href") if tag in {"script", "img", "link"} and values.get(key)]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("furo", reason="needs the extra docs")
    pytest.importorskip("myst_nb", reason="needs the extra docs")
    folder = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-d",
        folder / "trees",
        "-b",
        "html",
        DOCS,
        folder / "html",
    ]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "default"}
    done = subprocess.run(list(map(str, command)), check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return folder / "html"


def test_every_page_is_there_and_its_links_lead_somewhere(site):
    pages = sorted(site.rglob("*.html"))
    sources = {path.relative_to(DOCS).with_suffix("") for path in DOCS.rglob("*.md")}
    assert sources <= {page.relative_to(site).with_suffix("") for page in pages}
    broken = []
    for page in pages:
        for link in Links(page).targets:
            file = link.partition("#")[0].partition("?")[0]
            if file and ":" not in file and not (page.parent / file).exists():
                broken.append((page.name, link))
    assert broken == []


def test_pages_load_nothing_from_elsewhere(site):
    loaded = {link for page in (site / "index.html", site / "reference" / "api.html") for link in Links(page).loaded}
    assert loaded
    assert not {link for link in loaded if "//" in link}


def test_every_function_is_in_the_reference(site):
    page = (site / "reference" / "api.html").read_text(encoding="utf-8")
    names = set(surveyflow.__all__) - {"__version__"}
    assert {name for name in names if f'id="surveyflow.api.{name}"' not in page} == set()


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_are_run_and_show_their_pictures_and_tables(site, name):
    page = (site / "notebooks" / f"{name}.html").read_text(encoding="utf-8")
    n_pictures, column = NOTEBOOKS[name]
    pictures = [
        link for link in Links(site / "notebooks" / f"{name}.html").loaded if re.match(r"\.\./_images|data:image/png", link)
    ]
    assert len(pictures) == n_pictures
    files = [site / "notebooks" / link for link in pictures if not link.startswith("data:")]
    assert all(file.stat().st_size > 5_000 for file in files)
    assert all(len(link) > 5_000 for link in pictures if link.startswith("data:"))
    assert re.search(rf"<th>{column}</th>", page)
    assert "SURVEYFLOW_NOTEBOOKS" not in page


def test_notebooks_hold_no_outputs_and_are_all_listed():
    pages = {page.stem: page.read_text(encoding="utf-8") for page in (DOCS / "notebooks").iterdir()}
    assert set(pages) == set(NOTEBOOKS)
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    for name, text in pages.items():
        assert f"(notebooks/{name}.md)" in index
        assert "```{code-cell} python" in text
        assert "{output}" not in text
