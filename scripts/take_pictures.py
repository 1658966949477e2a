"""Take the pictures of the browser's pages that the documentation shows, of a demonstration in a folder.

``python scripts/take_pictures.py FOLDER`` serves the catalog that ``surveyflow demo FOLDER`` made, opens its pages in headless
Chromium, and replaces the pictures in ``docs/how-to/pictures``. It needs Chromium on the path, and the extra ``dev``.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin

from PIL import Image
from playwright.sync_api import sync_playwright

PICTURES = Path(__file__).parents[1] / "docs" / "how-to" / "pictures"
WIDE, NARROW = (1400, 900), (400, 900)
PAGES = {
    "gallery-light": ("/?sort=p_pm_mean&order=desc&n=60", WIDE),
    "gallery-narrow-dark": ("/?sort=p_pm_mean&order=desc&n=60", NARROW),
    "galaxy-dark": ("/galaxy?field=EGS&id=111", WIDE),
    "sky-light": ("/sky?field=EGS", WIDE),
    "plot-light": ("/plot?x=redshift&y=p_pm_mean", WIDE),
    "vet-light": ("/vet?at=4", WIDE),
}
"""Page and window of each picture; its name ends with the color scheme."""
WIDTH = 1000
"""Of a wide picture, in pixels."""


@contextmanager
def served(catalog: Path) -> Iterator[str]:
    """Serve a catalog and a sample to vet; yields the address, with the token."""
    vetting = ("--vet", "", "--as", "Ana", "--sample", "100")
    command = [sys.executable, "-m", "surveyflow", "browse", str(catalog), "--no-open", *vetting]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            if not address:
                raise SystemExit(f"{catalog} could not be served. Make it with: surveyflow demo {catalog.parent}")
            yield address
        finally:
            server.kill()


def take(catalog: Path) -> None:
    """Replace all pictures."""
    with served(catalog) as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page()
        tab.goto(address)
        for name, (page, (width, height)) in PAGES.items():
            tab.set_viewport_size({"width": width, "height": height})
            tab.emulate_media(color_scheme="dark" if name.endswith("dark") else "light")
            answer = tab.goto(urljoin(address, page), wait_until="networkidle")
            if answer is None or not answer.ok:
                raise SystemExit(f"{page} could not be opened")
            picture = Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
            size = (WIDTH, round(WIDTH * height / width)) if width > WIDTH else picture.size
            picture.resize(size, Image.Resampling.LANCZOS).save(PICTURES / f"{name}.webp", quality=60)
        browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Take the pictures of the browser's pages that the documentation shows.")
    parser.add_argument("folder", type=Path, help="the folder of the demonstration")
    take(parser.parse_args().folder / "catalog")
