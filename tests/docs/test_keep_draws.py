"""The page about draws: its example runs on a published folder."""

import re
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds

from catalog_rows import make_rows
from surveyflow.catalog.draws import build_draws
from surveyflow.output.units import write_unit
from surveyflow.releases.publish import publish
from surveyflow.values.codes import WeightsOrigin

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "keep-draws.md"


def test_the_example_gives_one_expected_number_of_mergers_a_draw(tmp_path, monkeypatch):
    root, rows = tmp_path / "catalogs" / "candels", make_rows(120)
    ok = rows.filter(rows["status"].to_numpy(zero_copy_only=False) == "ok")
    p_pm = np.random.default_rng(1).random((len(ok), 25), np.float32)
    draws = build_draws("EGS", ok["source_id"].to_numpy(), p_pm, WeightsOrigin.SIMULATED)
    receipt = write_unit(root, "0" * 64, "EGS/F814W/y000x000", {}, rows, seconds=0.0, worker="", draws=draws)
    publish(root, "v1.0", [receipt], None, {})
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    namespace = {}
    exec(compile(example, PAGE, "exec"), namespace)
    near = ok["redshift"].to_numpy() < 1
    assert 0 < near.sum() < len(ok)
    np.testing.assert_allclose(namespace["expected_number"], p_pm[near].sum(axis=0), rtol=1e-6)
    found = namespace["near"]
    place = {source: row for row, source in enumerate(ok["source_id"].to_pylist())}
    np.testing.assert_array_equal(found.p_pm, p_pm[[place[source] for source in found.rows["source_id"]]])
    assert list(found.rows.columns) == ["field", "source_id", "redshift", "flags_text"]
    assert ds.dataset("catalogs/candels/latest/draws").count_rows() == len(ok)
