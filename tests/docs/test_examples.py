"""The how-to pages: every example runs, from a published folder alone, and every tool gives the same answer."""

from __future__ import annotations

import doctest
import importlib.util
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table

from pages import HOW_TO, QUERIES, TOOLS, blocks, counted, run_python
from revisions import RevisionMaker, field_rows
from surveyflow.catalog.kept import KeptColumns
from surveyflow.catalog.schema import CATALOG_SCHEMA
from surveyflow.commands import main as cli
from surveyflow.values.listed import KeptColumn, ListedSources
from surveyflow.values.sources import SourceList


@pytest.fixture(scope="module")
def rows():
    return pa.concat_tables([field_rows("EGS", 400, origin="simulated"), field_rows("COSMOS", 300, seed=1, origin="simulated")])


def kept_columns(rows) -> KeptColumns:
    """Columns of every kind that users keep, with nulls."""
    lists = {}
    for name in ("EGS", "COSMOS"):
        ids = rows.filter(pa.compute.equal(rows["field"], name))["source_id"].to_numpy()
        sources = SourceList(name, ids, *np.zeros((3, len(ids))))
        known = ids % 3 != 0
        mag = KeptColumn("mag", pa.array(20 + ids / 100, mask=~known), "mag", "Magnitude in F160W.")
        word = KeptColumn("word", pa.array([f"w{number}" if number % 3 else None for number in ids.tolist()]))
        is_star = KeptColumn("is_star", pa.array(ids % 2 == 0, mask=~known))
        number = KeptColumn("number", pa.array(ids.astype(np.int16), mask=~known))
        lists[name] = ListedSources(sources, {column.name: column for column in (mag, word, is_star, number)})
    return KeptColumns.of(lists)


@pytest.fixture(scope="module")
def published(tmp_path_factory, rows):
    """A folder with nothing but what was published, and somebody's list of spectra."""
    made, folder = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("published")
    RevisionMaker(made, kept=kept_columns(rows))(rows)
    root = folder / "catalogs" / "candels"
    shutil.copytree(made / "catalog" / "releases", root / "releases")
    shutil.copy(made / "catalog" / "latest", root / "latest", follow_symlinks=False)
    spectra = rows.slice(0, 30).select(["field", "source_id", "ra", "dec", "redshift"]).to_pandas()
    spectra = spectra.rename(columns={"redshift": "z_spec"}).assign(dec=lambda table: table["dec"] + 0.2 / 3600)
    spectra.to_csv(folder / "spectra.csv", index=False)
    return folder


@pytest.fixture
def in_published(published, monkeypatch):
    monkeypatch.chdir(published)
    return published


@pytest.fixture
def without_surveyflow(monkeypatch):
    monkeypatch.setitem(sys.modules, "surveyflow", None)


def keys(table) -> set[tuple[str, int]]:
    """The sources of any tool's table."""
    if isinstance(table, Table):
        return set(zip(map(str, table["field"]), map(int, table["source_id"]), strict=True))
    arrow = pa.table(table)
    return set(zip(arrow["field"].to_pylist(), arrow["source_id"].to_pylist(), strict=True))


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.usefixtures("in_published", "without_surveyflow")
def test_every_tool_gives_the_answers_of_brute_force(tool, rows):
    if importlib.util.find_spec(tool) is None:
        pytest.skip(f"{tool} is not installed")
    answers = run_python(QUERIES / f"{tool}.md")
    frame = rows.select([name for name in CATALOG_SCHEMA.names if name != "p_pm_hist"]).to_pandas()

    expected = frame.query("status == 'ok' and p_pm_mean > p_sf_mean and p_pm_q16 > 0.5 and 0.5 <= redshift < 1.5")
    expected = expected[expected["flags"] & 4 == 0]
    assert keys(answers["candidates"]) == keys(expected)
    assert len(expected) > 10

    assert counted(answers["counts"]) == frame.groupby(["field", "status"]).size().to_dict()

    separation = SkyCoord(frame["ra"], frame["dec"], unit="deg").separation(SkyCoord(214.825, 52.825, unit="deg"))
    assert keys(answers["near"]) == keys(frame[separation < 3 * u.arcmin])

    if "above_0_8" in answers:
        measured = rows.filter(pa.compute.equal(rows["status"], "ok"))
        histograms = np.array(measured["p_pm_hist"].to_pylist())
        found = answers["above_0_8"]
        values = found if isinstance(found, np.ndarray) else pa.table(found)["above_0_8"].to_numpy()
        np.testing.assert_allclose(np.sort(values), np.sort(histograms[:, 40:].sum(axis=1) / 200))
    for name in {"joined", "matched"} & set(answers):
        assert len(answers[name]) == 30, f"{name} must hold each of the 30 spectra once"


@pytest.mark.usefixtures("in_published", "without_surveyflow")
def test_votable_metadata_parse_and_describe_every_column(rows):
    answers = run_python(QUERIES / "topcat.md")
    fields = {field.name: field for field in answers["fields"]}
    assert list(fields) == [*CATALOG_SCHEMA.names, "mag", "word", "number"]
    assert all(fields[name].description and fields[name].ucd for name in CATALOG_SCHEMA.names)
    assert (fields["mag"].description, fields["mag"].unit) == ("Magnitude in F160W.", u.mag)
    assert {name: fields[name].unit for name in ("ra", "x_pix")} == {"ra": u.deg, "x_pix": u.pixel}
    written = Table.read("candels.vot")
    assert len(written) == len(rows)
    assert written["ra"].unit == "deg"


@pytest.fixture
def surveyflow(monkeypatch, capsys) -> Callable[[str], str]:
    """Run a command line; returns what it prints, errors last."""

    def run(line: str) -> str:
        monkeypatch.setattr(sys, "argv", shlex.split(line))
        monkeypatch.setattr("signal.signal", lambda *_: None)
        capsys.readouterr()
        with suppress(SystemExit):
            cli.main()
        return "".join(capsys.readouterr())

    return run


def test_page_on_fractions_shows_what_the_command_prints(in_published, surveyflow):
    page, n_commands = HOW_TO / "merger-fractions.md", 0
    for block in blocks(page):
        name = re.match(r"# (\w+\.toml)\n", block.text)
        if name:
            (in_published / name[1]).write_text(block.text)
        for command, shown in re.findall(r"^\$ ((?:.*\\\n)*.*)\n((?:[^$].*\n)*)", block.text, flags=re.MULTILINE):
            printed = surveyflow(command.replace("\\\n", " "))
            flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            assert doctest.OutputChecker().check_output(shown, printed, flags), f"{page.name}: $ {command}\n{printed}"
            n_commands += 1
    assert n_commands > 2
    assert run_python(page)["table"]["corrected"].notna().all()


def test_page_on_pandas_runs_and_gives_the_catalog_s_numbers(in_published, rows):
    names = run_python(HOW_TO / "read-with-pandas.md")
    measured = rows.filter(pa.compute.equal(rows["status"], "ok"))
    assert len(names["catalog"]) == len(rows)
    assert 0 < len(names["candidates"]) < len(measured)
    np.testing.assert_array_equal(names["histograms"], measured["p_pm_hist"].to_pylist())
    assert names["above_0_8"].between(0, 1).all()
    assert (names["at_edge"]["flags_text"].str.startswith("EDGE")).all()
    assert names["table"]["ra"].unit == u.deg


def test_page_on_export_runs(in_published, surveyflow):
    page = HOW_TO / "export.md"
    commands = [line for block in blocks(page) if not block.language for line in block.text.splitlines()]
    printed = [surveyflow(command) for command in commands]
    assert len(commands) == 3
    assert all(re.match(r"(mergers|stamps)[.\w]*: \d+ galaxies of v1.0-r1\n", text) for text in printed), printed
    assert run_python(page)["done"].n_galaxies > 50


def test_page_on_show_runs(in_published, surveyflow, rows):
    page = HOW_TO / "show.md"
    printed = surveyflow(blocks(page)[0].text.strip())
    assert "source_id           1\n" in printed
    assert (in_published / "egs-1.png").is_file()
    assert run_python(page)["galaxy"].row["source_id"] == 1


def test_every_page_is_listed_and_every_link_leads_somewhere():
    listed = set(re.findall(r"\((\w+\.md)\)", (QUERIES / "README.md").read_text()))
    assert listed == {page.name for page in QUERIES.glob("*.md")} - {"README.md"}
    pages = ("merger-fractions", "read-with-pandas", "export", "show")
    for page in [*QUERIES.glob("*.md"), *(HOW_TO / f"{name}.md" for name in pages)]:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"
