"""The documentation site: Sphinx on the pages as they stand, which are also read as they are on the forge.

The notebooks are pages, too: text in which outputs have no place, so that changes can be read and no output is ever stale.
myst-nb runs them in every build, and a cell that fails, or writes to stderr unasked, is an error.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import surveyflow

DOCS = Path(__file__).parent

project = "surveyflow"
author = "The surveyflow developers"
project_copyright = f"{author}, BSD-3-Clause"
version = release = surveyflow.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "myst-nb"}
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 900
nb_output_stderr = "warn"
exclude_patterns = ["_build"]
highlight_language = "none"
myst_heading_anchors = 4
napoleon_google_docstring = False
napoleon_use_rtype = False
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
html_theme = "furo"
html_title = f"surveyflow {release}"
html_show_sphinx = False

_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")
_FENCE = re.compile(r"^(```.*?^```\s*?$)", re.DOTALL | re.MULTILINE)


def setup(app):
    """Adapt pages while they are read."""
    app.connect("builder-inited", _name_the_folder_of_the_notebooks)
    app.connect("source-read", _adapt)


def _name_the_folder_of_the_notebooks(app):
    """The notebooks share the survey that the first one makes."""
    folder = Path(app.doctreedir) / "notebooks"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ["SURVEYFLOW_NOTEBOOKS"] = str(folder)


def _adapt(_, name, source):
    page = DOCS / f"{name}.md"
    parts = _FENCE.split(source[0])
    parts[::2] = [_LINK.sub(lambda link: _within_the_site(page, link), part) for part in parts[::2]]
    source[0] = "".join(parts) + _contents(name, source[0])


def _within_the_site(page, link):
    """A link, or the path of a file of the repository that is no page of the site."""
    target = (page.parent / link[2]).resolve()
    if target.is_relative_to(DOCS):
        return link[0]
    return f"{link[1]} (`{target.relative_to(DOCS.parent)}`)"


def _contents(name, text):
    """The navigation: the pages that an index lists, under its headings."""
    if name == "index":
        return "".join(_toctree(section) for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:])
    return _toctree(f"\n{text}") if name == "how-to/queries/README" else ""


def _toctree(section):
    caption, _, text = section.partition("\n")
    targets = [link[2] for link in _LINK.finditer(text) if link[2].endswith(".md") and ".." not in link[2]]
    pages = "\n".join(dict.fromkeys(target.removesuffix(".md") for target in targets))
    head = f":caption: {caption}\n" if caption else ""
    return f"\n\n```{{toctree}}\n:hidden:\n{head}\n{pages}\n```\n"
