"""Which engine computes a survey changes nothing in its catalog, not even when it changes on the way."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from surveyflow.models.engines.native_library import absence
from surveyflow.releases.publish import latest, read_catalog, read_manifest
from surveyflow.runs.preflight import open_survey
from surveyflow.runs.run import run_survey
from surveyflow.settings.workflow import load_workflow
from surveyflow.sites.serial.profile import SerialProfile
from surveyflow.tasks.card import Architecture
from surveyflow.tasks.contamination.task import CONTAMINATION
from surveyflow.tasks.merger import MERGER
from surveyflow.values.jobs import EngineChoice
from worlds import copied, write_untrained_juries, write_untrained_models

pytestmark = pytest.mark.skipif(absence() is not None, reason=f"the native core cannot be used: {absence()}")

# As deep as the published one: the maps that Keras averages, in float32, are small.
NETWORK = Architecture(filters=(6, 8, 16), dense=(16, 16))


def run(survey, engine, trouble=""):
    root = survey.folder / "catalog"
    root.mkdir(exist_ok=True)
    (root / "trouble").write_text(trouble)
    with open_survey(load_workflow(survey.workflow)) as opened:
        return run_survey(opened, SerialProfile(), engine=EngineChoice(engine), factory="stubs:make_troubled_worker")


def table(survey) -> pd.DataFrame:
    rows = read_catalog(survey.folder / "catalog")
    return rows.sort_values(["field", "source_id"]).reset_index(drop=True)


def engines(survey) -> dict[str, int]:
    return read_manifest(latest(survey.folder / "catalog").path)["engines"]


def assert_tables_agree(one, other, n_draws=50):
    numbers = [name for name in one.columns if name.startswith(("p_pm_", "p_sf_")) and name != "p_pm_hist"]
    np.testing.assert_allclose(one[numbers].astype(float), other[numbers].astype(float), atol=1e-5)
    # A draw within 1e-5 of a tie or of a bin's edge may fall on either side.
    np.testing.assert_allclose(one.f_pm.astype(float), other.f_pm.astype(float), atol=1.5 / n_draws)
    entropies = ["entropy_predictive", "entropy_expected", "mutual_information"]
    np.testing.assert_allclose(one[entropies].astype(float), other[entropies].astype(float), atol=1e-4)
    ok = one.status == "ok"
    assert_contamination_agrees(one[ok], other[ok])
    moved = np.abs(np.stack(one.p_pm_hist[ok]).astype(int) - np.stack(other.p_pm_hist[ok]).astype(int)).sum(axis=1)
    assert moved.max() <= 2
    floats = {*numbers, *contamination(one), *entropies, "f_pm", "vote_entropy", "p_pm_hist"}
    others = [name for name in one.columns if name not in floats]
    pd.testing.assert_frame_equal(one[others], other[others])


def contamination(rows) -> list[str]:
    return [name for name in rows if name.startswith(("p_contaminated_", "coverage_pct_", "flux_pp_"))]


def assert_contamination_agrees(one, other):
    assert one[contamination(one)].notna().all(axis=None)
    probabilities = ["p_contaminated_mean", "p_contaminated_std"]
    np.testing.assert_allclose(one[probabilities], other[probabilities], atol=1e-5)
    # A draw whose random number lies within 1e-5 of a probability may hold a neighbour or none.
    close = np.isclose(one[contamination(one)], other[contamination(one)], rtol=1e-3, atol=1e-6)
    assert close.all(axis=1).mean() > 0.95


def test_a_run_that_changes_its_engine_on_the_way_publishes_the_same_tables(mini_survey, tmp_path):
    pytest.importorskip("keras", reason="needs an extra: pip install 'surveyflow-mergers[cpu]'", exc_type=ImportError)
    write_untrained_models(mini_survey.folder / "models", mini_survey.spec.fields, NETWORK)
    write_untrained_models(mini_survey.folder / "models", mini_survey.spec.fields, NETWORK, CONTAMINATION.name)
    surveys = {name: copied(mini_survey, tmp_path / name) for name in ("keras", "fft", "both")}
    run(surveys["keras"], "keras")
    run(surveys["fft"], "fft")
    half = run(surveys["both"], "fft", trouble="F125W_F160W x001")
    assert half.failed_units
    rest = run(surveys["both"], "keras")
    assert rest.units["kept"]
    assert rest.units["done"]
    assert not rest.failed_units
    keras_table = table(surveys["keras"])
    assert (keras_table.status == "ok").sum() > 10
    assert_tables_agree(table(surveys["fft"]), keras_table)
    assert set(engines(surveys["keras"])) == {"keras"}
    assert set(engines(surveys["fft"])) == {"fft"}
    both = engines(surveys["both"])
    assert set(both) == {"keras", "fft"}
    assert sum(both.values()) == engines(surveys["fft"])["fft"]
    assert_tables_agree(table(surveys["both"]), keras_table)


def test_both_engines_measure_with_a_jury_alike(mini_survey, tmp_path):
    pytest.importorskip("keras", reason="needs an extra: pip install 'surveyflow-mergers[cpu]'", exc_type=ImportError)
    for task in (MERGER.name, CONTAMINATION.name):
        write_untrained_juries(mini_survey.folder / "models", mini_survey.spec.fields, NETWORK, ["a", "b"], task)
    surveys = {name: copied(mini_survey, tmp_path / name) for name in ("keras", "fft")}
    for name, survey in surveys.items():
        run(survey, name)
    found = {name: table(survey) for name, survey in surveys.items()}
    assert (found["fft"].n_members.dropna() == 2).all()
    assert_tables_agree(found["fft"], found["keras"])
    np.testing.assert_allclose(
        found["fft"].p_pm_member_std.astype(float), found["keras"].p_pm_member_std.astype(float), atol=1e-5
    )
