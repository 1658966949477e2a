"""The browser and vetting as a person uses them, in headless Chromium, with the real command as the server."""

import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest

from surveyflow.vetting.records import read_records

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
AXE = "axe-core@4.14.1"
SCHEMES, WIDTHS = ("light", "dark"), (1400, 400)
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the extra dev")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (on Debian: apt-get install chromium)"),
]


@contextmanager
def serving(root, *options):
    """The command, until the block is over; yields its address and its process."""
    command = [sys.executable, "-m", "surveyflow", "browse", str(root), "--no-open", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server.stdout.readline().strip(), server
        finally:
            server.kill()


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture
def person(chromium):
    """A browser of one person, which notes every request, message and error."""
    context = chromium.new_context(viewport={"width": 1400, "height": 900})
    tab = context.new_page()
    tab.requests, tab.complaints = [], []
    tab.on("request", lambda request: tab.requests.append(request.url))
    tab.on("console", lambda message: tab.complaints.append(message.text))
    tab.on("pageerror", lambda error: tab.complaints.append(str(error)))
    yield tab
    context.close()


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    """The accessibility checker's script, from npm."""
    if shutil.which("npm") is None:
        pytest.skip("needs npm, which installs axe-core")
    folder = tmp_path_factory.mktemp("axe")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", AXE]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"npm could not install {AXE}: {done.stderr.strip().splitlines()[-1]}")
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


def faults(tab, axe):
    """The serious faults of a page."""
    tab.evaluate(axe)
    found = tab.evaluate("axe.run({resultTypes: ['violations']})")
    grave = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
    return [(one["id"], [node["target"] for node in one["nodes"]][:3]) for one in grave]


def test_a_person_filters_sorts_searches_opens_and_walks_with_the_keyboard(catalog, person, axe):
    with serving(catalog) as (address, _):
        base = address.split("/?")[0]
        person.goto(address)
        assert person.url == f"{base}/"
        person.keyboard.press("f")
        person.keyboard.type("status == 'ok'")
        person.select_option("[name=sort]", "p_pm_mean")
        person.keyboard.press("Escape")
        person.click("text=Show")
        person.wait_for_url("**sort=p_pm_mean**")
        values = [float(text) for text in person.locator(".card .mark.pm .figure, .card .mark.sf .figure").all_inner_texts()]
        assert len(values) == 24
        assert values == sorted(values, reverse=True)
        person.evaluate("document.activeElement.blur()")
        for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowUp", "Enter"):
            person.keyboard.press(key)
        person.wait_for_url("**/galaxy?**")
        name = person.inner_text("h1")
        person.keyboard.press("j")
        playwright.expect(person.locator("h1")).not_to_have_text(name)
        person.wait_for_load_state()
        person.keyboard.press("u")
        person.wait_for_url(f"{base}/?**")
        person.keyboard.press("/")
        person.keyboard.type("EGS 12")
        person.keyboard.press("Enter")
        person.wait_for_url("**/galaxy?field=EGS&id=12")
        pages = ["/?n=60", "/galaxy?field=EGS&id=12", "/sky?field=EGS", "/plot", "/search?q=4", "/?where=nothing%3E1"]
        for number, path in enumerate(pages):
            width, scheme = WIDTHS[number % 2], SCHEMES[number // 2 % 2]
            person.emulate_media(color_scheme=scheme)
            person.set_viewport_size({"width": width, "height": 900})
            person.goto(base + path)
            assert person.evaluate("document.documentElement.scrollWidth") <= width, path
            if path.startswith("/galaxy"):
                person.wait_for_selector(".alike[data-loaded=yes] .card")
            assert faults(person, axe) == [], (path, scheme)
        drag(person, base)
        assert [url for url in person.requests if not url.startswith(base)] == []
        assert [line for line in person.complaints if "404" not in line and "400" not in line] == []


def drag(tab, base):
    """Choose a part of a plot with the pointer, and show its galaxies."""
    tab.set_viewport_size({"width": 1400, "height": 900})
    tab.goto(f"{base}/plot?x=redshift&y=p_pm_mean")
    tab.wait_for_selector("[data-drawn=yes]")
    box = tab.locator("canvas").bounding_box()
    tab.mouse.move(box["x"] + 100, box["y"] + 60)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 500, box["y"] + 400, steps=4)
    tab.mouse.up()
    tab.click("text=Show these galaxies")
    tab.wait_for_url("**/?where=**")
    assert "redshift >= " in tab.input_value("#where")
    assert 0 < int(tab.inner_text(".found").split(" of ")[0]) < 170


def test_twenty_galaxies_are_vetted_though_the_server_is_killed_in_between(own, person, axe):
    options = ("--vet", "status == 'ok'", "--as", "Ana", "--blind", "--sample", "20")
    with serving(own, *options) as (address, server):
        person.goto(address)
        assert faults(person, axe) == []
        for number in range(8):
            answer(person, "msdau"[number % 5], number)
        person.wait_for_selector("[data-at='8']")
        person.wait_for_load_state()
        server.kill()
        server.wait()
        person.keyboard.press("n")
        person.keyboard.type("two nuclei <b>")
        person.keyboard.press("Escape")
        person.keyboard.press("m")
        person.wait_for_selector("text=Not saved")
    assert len(read_records(own).answers) == 8
    with serving(own, *options) as (address, _):
        base = address.split("/vet")[0]
        person.goto(address)
        assert person.inner_text(".found").startswith("Galaxy 9 of 20; 8 answered by Ana")
        person.keyboard.press("n")
        person.keyboard.type("two nuclei <b>")
        person.keyboard.press("Escape")
        for number in range(8, 20):
            answer(person, "msdau"[number % 5], number)
        person.wait_for_selector("text=Every galaxy of the sample is answered")
        assert [url for url in person.requests if not url.startswith("http://127.0.0.1:")] == []
        assert person.goto(f"{base}/galaxy?field=EGS&id=1").status == 404
    found = read_records(own)
    labels = [one.label for one in found.answers]
    assert labels == [("post_merger", "star_forming", "pair", "artefact", "unsure")[number % 5] for number in range(20)]
    assert found.answers[8].note == "two nuclei <b>"
    assert found.damaged == {}


def answer(tab, key, number):
    """Press the key of a label, wait for the next galaxy, and let go only there: a key that is held answers once."""
    tab.wait_for_selector(f"[data-at='{number}']")
    tab.wait_for_load_state("domcontentloaded")  # the scripts listen to keys from then on
    tab.keyboard.down(key)
    tab.wait_for_selector(f"[data-at='{number}']", state="detached")
    tab.wait_for_load_state("domcontentloaded")
    tab.keyboard.down(key)
    tab.keyboard.up(key)
