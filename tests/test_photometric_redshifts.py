"""Sources whose p(z) reaches into two ranges are measured by both instruments: one row in the catalog, one in the alternatives.

The lists have names as ids, kept columns and p(z); the survey has two instruments.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from astropy.table import Column, Table

from pages import QUERIES, TOOLS, counted, run_python
from stubs import TINY
from surveyflow import api
from surveyflow.api.runs import open_inputs
from surveyflow.planning.units import is_alternative
from surveyflow.releases.publish import latest, read_manifest
from surveyflow.releases.revisions import ALTERNATIVES
from surveyflow.releases.verify import check_revision
from surveyflow.runs.run import run_survey
from surveyflow.sites.serial.profile import SerialProfile
from surveyflow.values.listed import key_of_name
from worlds import copied, edit_workflow, write_untrained_models

RANGES = {"F814W": (0.5, 1.5), "F125W_F160W": (1.5, 3.0)}
OTHER = {"F814W": "F125W_F160W", "F125W_F160W": "F814W"}
GRID = np.linspace(0, 6, 601)
WIDE = 0.25
RESULTS = ["status", "flags", "x_pix", "y_pix", "valid_fraction", "model_id", "p_pm_mean", "p_pm_std", "f_pm", "p_sf_mean"]


def write_lists(survey, centres):
    """Both fields' lists with names, a kept column and p(z): bells around centres; NaN where there is none."""
    for name in survey.spec.fields:
        truth = survey.truth[survey.truth["field"] == name]
        ids, rng = truth["source_id"].to_numpy(), np.random.default_rng(3)
        centre = centres(rng, len(ids))
        density = np.exp(-0.5 * ((GRID - centre[:, None]) / WIDE) ** 2)
        table = Table(
            {
                "ID": [f"{name}-{number:03d}" for number in ids],
                "RA": truth["ra_deg"].to_numpy(float),
                "DEC": truth["dec_deg"].to_numpy(float),
                "mag": Column(truth["mag_f160w"].to_numpy(np.float32), unit="mag"),
                "PZ": np.nan_to_num(density).astype(np.float32),
            }
        )
        table.write(survey.folder / f"{name}_pz.fits", overwrite=True)


def some_centres(rng, n):
    centres = rng.uniform(0.3, 3.2, n)
    centres[:3] = np.nan
    return centres


def run(survey):
    with open_inputs(survey.workflow) as (opened, _):
        return run_survey(opened, SerialProfile(), factory="stubs:StubWorker")


@pytest.fixture(scope="module")
def world(shared_worlds, survey_folder):
    """A survey that was run once: only to be read."""

    def make(folder):
        survey = copied(survey_folder, folder)
        write_untrained_models(folder / "models", survey.spec.fields, TINY)
        write_lists(survey, some_centres)
        grid = {"density": "PZ", "start": 0.0, "step": 0.01}
        columns = {"id": "ID", "ra": "RA", "dec": "DEC", "redshift": None, "redshift_grid": grid, "keep": ["mag"]}
        fields = {name: {"sources": {"path": f"{name}_pz.fits", "columns": columns}} for name in survey.spec.fields}
        edit_workflow(survey.workflow, {"fields": fields, "sampling": {"keep_draws": True}})
        run(survey)
        return survey

    return shared_worlds.get("photometric", make)


def root(survey):
    return survey.folder / "catalog"


def catalog(survey):
    return api.read_catalog(root(survey)).set_index(["field", "source_name"]).sort_index()


def alternatives(survey):
    return api.read_alternatives(root(survey)).set_index(["field", "source_name", "instrument"]).sort_index()


@pytest.fixture(scope="module")
def shares(world) -> pd.DataFrame:
    """The share of each source's p(z) in each range, by sums over a fine grid."""
    parts = []
    for name in world.spec.fields:
        table = Table.read(world.folder / f"{name}_pz.fits")
        fine = np.linspace(0, 6, 60_001)
        density = np.stack([np.interp(fine, GRID, row) for row in np.asarray(table["PZ"], float)])
        total = density.sum(axis=1)
        found = {
            one: density[:, (fine >= low) & (fine < high)].sum(axis=1) / np.where(total, total, np.nan)
            for one, (low, high) in RANGES.items()
        }
        parts.append(pd.DataFrame({"field": name, "source_name": [str(one) for one in table["ID"]], **found}))
    return pd.concat(parts).set_index(["field", "source_name"]).sort_index()


def test_the_catalog_has_each_source_once_with_its_most_probable_range(world, shares):
    rows = catalog(world)
    assert rows.index.tolist() == shares.index.tolist()
    outside = 1 - shares.sum(axis=1)
    for instrument, (low, high) in RANGES.items():
        chosen = rows.instrument == instrument
        assert chosen.sum() > 10
        np.testing.assert_allclose(rows.p_range[chosen], shares[instrument][chosen], atol=2e-3)
        assert (shares[instrument][chosen] >= shares[OTHER[instrument]][chosen] - 4e-3).all()
        assert rows.redshift[chosen].between(low, high, inclusive="left").all()
    unknown = shares["F814W"].isna()
    assert (rows.status[unknown] == "no_redshift").all()
    beyond = ~unknown & rows.instrument.isna()
    assert beyond.sum() > 3
    assert (rows.status[beyond] == "no_model").all()
    assert rows.p_range[beyond | unknown].isna().all()
    assert (outside[beyond] > shares[beyond].max(axis=1) / 2 - 4e-3).all()


def test_every_further_instrument_that_p_z_reaches_has_a_row_in_the_alternatives(world, shares):
    rows, further = catalog(world), alternatives(world)
    near = shares.stack().to_frame("share")
    near.index.names = ["field", "source_name", "instrument"]
    chosen = rows.instrument.reindex(near.index.droplevel("instrument")).to_numpy()
    due = near[(near.share >= 0.05) & (near.index.get_level_values("instrument") != chosen)]
    clear = near.index[(near.share - 0.05).abs() > 4e-3]
    assert set(due.index) & set(clear) == set(further.index) & set(clear)
    assert len(further) > 10
    np.testing.assert_allclose(further.p_range, near.share.reindex(further.index), atol=2e-3)
    for (_, name, instrument), row in further.iterrows():
        assert RANGES[instrument][0] <= row.redshift < RANGES[instrument][1]
        assert row.source_id == key_of_name(name)
    assert (further.mag == rows.mag.reindex(further.index.droplevel("instrument")).to_numpy()).all()


def test_an_alternative_says_what_its_instrument_says_of_that_redshift(world, tmp_path):
    """A survey of which the lists give the alternatives' redshifts measures the same."""
    further = alternatives(world)
    plain = copied(world, tmp_path / "plain")
    for name in world.spec.fields:
        table = Table.read(plain.folder / f"{name}_pz.fits")
        redshifts = further.loc[name].reset_index().set_index("source_name").redshift
        table["zbest"] = [redshifts.get(str(one), np.nan) for one in table["ID"]]
        table.write(plain.folder / f"{name}_pz.fits", overwrite=True)
    names = {"redshift": "zbest", "redshift_grid": None, "keep": None}
    edit_workflow(
        plain.workflow,
        {
            "output": {"root": str(tmp_path / "other")},
            "fields": {name: {"sources": {"columns": names}} for name in world.spec.fields},
        },
    )
    run(plain)
    expected = api.read_catalog(tmp_path / "other", filter="instrument in ['F814W', 'F125W_F160W']")
    expected = expected.set_index(["field", "source_name", "instrument"]).sort_index()
    pd.testing.assert_frame_equal(further[RESULTS], expected[RESULTS])


def test_units_draws_and_files_of_the_alternatives_are_their_own(world):
    revision = latest(root(world)).path
    about = read_manifest(revision)
    further = api.read_alternatives(root(world))
    assert about["alternatives"]["rows"] == len(further) == sum(about["alternatives"]["status"].values())
    assert about["rows"] == about["expected_rows"] == len(catalog(world))
    units = [unit for unit in about["unit_keys"] if is_alternative(unit["name"])]
    assert sum(unit["rows"] for unit in units) == len(further)
    assert set(further.unit_key) == {unit["key"] for unit in units}
    draws = api.open_draws(root(world)).to_table()
    assert len(draws) == (catalog(world).status == "ok").sum()
    own = pa.dataset.dataset(revision / ALTERNATIVES / "draws").to_table()
    assert len(own) == (further.status == "ok").sum()
    assert (revision / ALTERNATIVES / "hats.properties").is_file()


def test_a_report_and_fractions_are_those_of_the_catalog_alone(world):
    assert api.report(root(world), output=world.folder / "page.html").stat().st_size > 10_000
    found = api.fractions(root(world), edges=[0.5, 1.5], where="mag > 0 and p_range > 0.5")
    rows = catalog(world)
    counted = (rows.status == "ok") & (rows.p_range > 0.5) & (rows.redshift < 1.5)
    assert sum(item.n_galaxies for item in found.bins) == counted.sum()


def test_a_report_says_what_further_instruments_add(world):
    page = api.report(root(world), output=world.folder / "further.html").read_text(encoding="utf-8")
    (table,) = (part.split("</table>")[0] for part in page.split("<h3>Further instruments</h3>")[1:])
    cells = [re.sub(r"<[^>]+>", " ", row).split() for row in table.split("<tbody>")[1].split("</tr>")[:-1]]
    rows, further = catalog(world), alternatives(world).reset_index()
    expected = []
    for (field, instrument), group in further.groupby(["field", "instrument"], observed=True):
        own = rows.loc[list(zip(group["field"], group["source_name"], strict=True))]
        both = ((group["status"] == "ok").to_numpy()) & ((own["status"] == "ok").to_numpy())
        differ = both & (group["class"].to_numpy() != own["class"].to_numpy())
        share = f"{group['p_range'].mean():.2f}"
        n_ok = (group["status"] == "ok").sum()
        expected.append([field, instrument, str(len(group)), str(n_ok), share, str(differ.sum()), "of", str(both.sum())])
    assert cells == expected
    assert sum(int(row[-1]) for row in cells) > 5


def test_fractions_over_redshifts_count_every_row_with_its_share_of_p_z(world):
    rows = pd.concat(
        [
            api.read_catalog(root(world), filter="status == 'ok'"),
            api.read_alternatives(root(world), filter="status == 'ok'"),
        ]
    )
    found = api.fractions(root(world), edges=[0, 20], over_redshifts=True)
    (item,) = found.bins
    assert found.n_selected == found.n_measured == len(rows) < found.n_rows
    called = rows["p_pm_mean"] > rows["p_sf_mean"]
    assert item.n_galaxies == len(rows) > api.fractions(root(world), edges=[0, 20]).bins[0].n_galaxies
    assert item.fraction == pytest.approx((called * rows["p_range"]).sum() / rows["p_range"].sum(), rel=1e-6)


@pytest.fixture(scope="module")
def published(world, tmp_path_factory):
    """The survey's catalog where the pages on queries look for it, and somebody's list of spectra."""
    folder = tmp_path_factory.mktemp("read")
    (folder / "catalogs").mkdir()
    (folder / "catalogs" / "candels").symlink_to(root(world), target_is_directory=True)
    spectra = api.read_catalog(root(world), ["field", "source_id", "ra", "dec", "redshift"]).head(30)
    spectra.rename(columns={"redshift": "z_spec"}).to_csv(folder / "spectra.csv", index=False)
    return folder


@pytest.mark.parametrize("tool", TOOLS)
def test_every_tool_of_the_pages_reads_names_kept_columns_and_shares(world, published, monkeypatch, tool):
    if importlib.util.find_spec(tool) is None:
        pytest.skip(f"{tool} is not installed")
    monkeypatch.chdir(published)
    answers = run_python(QUERIES / f"{tool}.md")
    assert counted(answers["counts"]) == api.read_catalog(root(world)).groupby(["field", "status"]).size().to_dict()
    assert all(len(answers[name]) == 30 for name in {"joined", "matched"} & set(answers))


@pytest.fixture
def own(world, tmp_path):
    """A copy of the survey, to be changed at will."""
    shutil.copytree(world.folder, tmp_path / "survey", symlinks=True)
    return replace(world, folder=tmp_path / "survey", truth=world.truth.copy())


def test_another_p_z_makes_another_revision_that_can_be_compared_and_taken_back(own):
    first, before = latest(root(own)).name, alternatives(own)
    assert not run(own).published
    write_lists(own, lambda rng, n: some_centres(rng, n) + np.where(np.arange(n) == 20, 0.02, 0))
    result = run(own)
    assert result.published
    found = api.diff_releases(root(own), first).as_json()
    assert found["rows"]["changed"] <= 4
    further = found["alternatives"]
    assert further["changed"] + further["added"] + further["removed"] <= 4
    assert further["unchanged"] + further["changed"] + further["removed"] == len(before)
    assert [verdict.problems for verdict in api.verify_releases(root(own))] == [(), ()]
    api.rollback_releases(root(own), first)
    pd.testing.assert_frame_equal(alternatives(own), before)
    api.prune_releases(root(own), keep=1, apply=True)
    assert check_revision(latest(root(own)).path) > 0
    pd.testing.assert_frame_equal(alternatives(own), before)


def test_damage_to_the_alternatives_is_found(own):
    file = next((latest(root(own)).path / ALTERNATIVES / "dataset").rglob("*.parquet"))
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-9])
    (verdict,) = api.verify_releases(root(own))
    assert any(ALTERNATIVES in problem for problem in verdict.problems)


def test_without_a_least_share_that_is_reached_there_are_no_alternatives(own):
    edit_workflow(own.workflow, {"redshifts": {"least_share": 1.0}})
    run(own)
    assert len(api.read_alternatives(root(own))) == 0
    assert read_manifest(latest(root(own)).path)["alternatives"] is None
    assert not (latest(root(own)).path / ALTERNATIVES).exists()
