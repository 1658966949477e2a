"""The page as headless Chromium shows it: facts in the DOM, no error, no request, pictures that load, no sideways scrolling."""

import html
import json
import re
import shutil
import subprocess

import pytest

from revisions import field_rows
from surveyflow.reports.page import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
QUIETER = "--disable-component-update --disable-sync --disable-dev-shm-usage --enable-logging=stderr"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (on Debian: apt-get install chromium)"),
]

PROBE = """<!DOCTYPE html><meta charset="utf-8"><body style="margin:0">
<iframe id="page" style="border:0;width:{width}px;height:9000px" srcdoc="{page}"></iframe>
<script>
addEventListener("load", () => {{
  const frame = document.getElementById("page"), seen = frame.contentDocument, view = frame.contentWindow;
  const shown = (element) => view.getComputedStyle(element);
  const found = {{
    text: seen.body.innerText,
    images: [...seen.images].map((image) => [image.complete, image.naturalWidth, image.naturalHeight]),
    plots: [...seen.querySelectorAll(".plot svg")].map((svg) => [svg.clientWidth, svg.clientHeight]),
    requests: view.performance.getEntriesByType("resource").map((entry) => entry.name).filter((name) => !/^data:/.test(name)),
    width: seen.documentElement.scrollWidth,
    banner: seen.querySelector(".warning") && seen.querySelector(".warning").getBoundingClientRect().top,
    scripts: seen.scripts.length,
    textSizes: [...seen.querySelectorAll(".plot text")].map((text) => text.getBoundingClientRect().height),
  }};
  document.body.innerHTML = "<pre></pre>";
  document.querySelector("pre").textContent = JSON.stringify(found);
}});
</script>"""


@pytest.fixture
def browse(make_revision, tmp_path):
    """Write a revision's page, load it at a width, and give what the browser found and what it complained of."""

    def load(*tables, width=1200, **manifest):
        write_report(make_revision(*tables, **manifest), tmp_path / "report.html")
        page = (tmp_path / "report.html").read_text(encoding="utf-8")
        (tmp_path / "probe.html").write_text(PROBE.format(page=html.escape(page), width=width), encoding="utf-8")
        command = [CHROMIUM, *QUIET.split(), *QUIETER.split(), f"--user-data-dir={tmp_path / 'profile'}"]
        command += ["--virtual-time-budget=3000", "--dump-dom", (tmp_path / "probe.html").as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(html.unescape(re.search(r"<pre>(.*)</pre>", done.stdout, re.DOTALL)[1]))
        return found, [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    return load


@pytest.mark.parametrize("width", [1200, 400])
def test_the_page_is_whole_at_any_width(browse, make_revision, width):
    make_revision.add_mosaic("EGS", "F814W")
    found, complaints = browse(field_rows("COSMOS", 60, 1), field_rows("EGS", 60, 2), width=width)
    assert complaints == []
    assert found["requests"] == []
    assert found["width"] <= width
    assert found["images"]
    assert all(complete and (wide, high) == (128, 128) for complete, wide, high in found["images"])
    assert all(wide > 200 and high > 100 for wide, high in found["plots"])
    assert min(found["textSizes"]) > 8
    assert 0 < found["banner"] < 300
    for fact in ("mini v1.0", "mean nothing scientifically", "COSMOS F814W", "Most probable post-mergers", "0123456789ab"):
        assert fact in found["text"]


def test_hostile_texts_do_nothing(browse):
    hostile = """<script>console.error("run")</script><img src=x onerror='console.error("run")'>"""
    found, complaints = browse(field_rows(hostile, 30), survey=hostile, failed_units=[{"name": hostile, "error": hostile}])
    assert complaints == []
    assert found["scripts"] == 0
    assert hostile in found["text"]
