"""Batches of no, one and many sources: each function answers for a source as if it were alone, and for none with nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, is_dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_mosaics import ArrayMosaic
from networks import card, feature_domain, random_weights
from small_units import CARD, CONTAMINATION_CARD, SIZE, sky, sources, task
from stubs import StubModel
from surveyflow.catalog.schema import healpix_29
from surveyflow.measuring.unit import have_draws, process_unit, sample, settled_rows
from surveyflow.models.engines.fft_engine import FftModel
from surveyflow.models.engines.head import Head, MaskLayout, keep_masks
from surveyflow.models.engines.native_library import absence
from surveyflow.models.framing import framed, not_finite
from surveyflow.models.normalisation import stretch_evidence
from surveyflow.sky.measurements import Sky, centroid_offsets, image_statistics, measured_sky
from surveyflow.sky.scattered import cut_from_mosaic
from surveyflow.sky.stretch import Stretch, prepare
from surveyflow.sky.tiling import centre_pixels, corner, cut, cut_pixels, owning_tiles
from surveyflow.stats.philox import predictive_noise, source_keys
from surveyflow.stats.posterior import DrawStatistics, distribution, sorted_output, summarise
from surveyflow.tasks.card import Architecture
from surveyflow.tasks.registry import TASKS
from surveyflow.tasks.task import Draws
from surveyflow.values.codes import Status
from surveyflow.values.images import Box, CutoutStack
from surveyflow.values.jobs import SamplingSettings

SAMPLING = SamplingSettings(n_draws=6, seed=3)
NETWORK = Architecture(input_size=SIZE, filters=(3,), kernel_sizes=(3,), dense=(5, 4), asymmetry=True)
NETWORK_CARD, WEIGHTS = card(NETWORK, class_names=CARD.class_names), random_weights(NETWORK)
MOSAIC = ArrayMosaic(sky())
WINDOW = MOSAIC.read(Box(0, 100, 0, 120))
EVERY_STRETCH = tuple(Stretch)


class Batch:
    """The inputs of some sources."""

    def __init__(self, n: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.x, self.y = rng.uniform(-30, 150, n), rng.uniform(-30, 130, n)
        self.ids = rng.integers(-(2**62), 2**62, n)
        self.ra, self.dec = rng.uniform(0, 360, n), rng.uniform(-90, 90, n)
        self.pixels = rng.normal(0, 1e-3, (n, SIZE, SIZE)).astype(np.float32)
        self.valid = rng.random((n, SIZE, SIZE)) < 0.9
        self.prepared = rng.random((n, SIZE, SIZE)).astype(np.float32)
        self.features = rng.normal(0, 1, (n, 5)).astype(np.float32)
        self.keys = rng.integers(0, 2**64, n, dtype=np.uint64)
        self.draws, self.six = rng.random((n, 6, 2)).astype(np.float32), rng.random((n, 6, 6)).astype(np.float32)
        self.rms = rng.uniform(1e-4, 1e-2, n).astype(np.float32)

    def take(self, row: int) -> Batch:
        """One of the sources."""
        one = Batch.__new__(Batch)
        one.__dict__ = {name: values[row : row + 1] for name, values in vars(self).items()}
        return one


Answer = Callable[[Batch], Any]
FEATURE_DOMAIN = feature_domain(NETWORK)
HEAD = Head.of(NETWORK_CARD, WEIGHTS)
ANSWERS: dict[str, Answer] = {
    "corner": lambda b: corner(b.x, SIZE),
    "cut": lambda b: cut(WINDOW, b.x, b.y, SIZE),
    "cut_pixels": lambda b: cut_pixels(WINDOW, b.x, b.y, SIZE),
    "cut_from_mosaic": lambda b: cut_from_mosaic(MOSAIC, b.x, b.y, SIZE),
    "centre_pixels": lambda b: centre_pixels(b.x, b.y),
    "owning_tiles": lambda b: owning_tiles(b.x, b.y, (100, 120), 64),
    "measured_sky": lambda b: measured_sky(b.pixels, b.valid),
    "centroid_offsets": lambda b: centroid_offsets(
        b.pixels + np.float32(5e-3),
        b.valid,
        Sky(np.zeros(len(b.x), np.float32), b.rms),
        np.stack([b.y, b.x], axis=1) % 1 + 7,
        0.03,
    ),
    **{f"prepare {stretch}": lambda b, stretch=stretch: prepare(b.pixels, b.valid, stretch, 1e-3) for stretch in EVERY_STRETCH},
    "image_statistics": lambda b: image_statistics(b.prepared),
    "percentiles": lambda b: FEATURE_DOMAIN.percentiles(image_statistics(b.prepared), b.features),
    "framed": lambda b: framed(b.prepared, NETWORK),
    "framed about the galaxy": lambda b: framed(b.prepared, replace(NETWORK, crop=8, about_galaxy=True)),
    "not_finite": lambda b: not_finite(b.prepared),
    "source_keys": lambda b: source_keys("EGS", b.ids),
    "predictive_noise": lambda b: predictive_noise(b.keys, 6, 3, 9, 3),
    "keep_masks": lambda b: keep_masks(MaskLayout(9, 0.3, 5), b.keys, np.arange(4, dtype=np.uint32), 7),
    "Head.draw": lambda b: HEAD.draw(b.features, b.keys, 6, 3),
    "summarise": lambda b: summarise(b.draws),
    "DrawStatistics.of": lambda b: astuple(DrawStatistics.of(b.draws))[1:],
    "sorted_output": lambda b: sorted_output(b.draws, 1),
    "distribution": lambda b: distribution("p", np.sort(b.draws[..., 0], axis=1), ("q05", "q50")),
    "merger": lambda b: TASKS["merger"].summarise(Draws(b.draws, b.keys, 3, CARD)),
    "contamination": lambda b: TASKS["contamination"].summarise(Draws(b.six, b.keys, 3, CONTAMINATION_CARD, b.rms)),
    "sample": lambda b: sample(StubModel(CARD), b.features[:, :1], b.keys, SAMPLING).columns,
    "have_draws": lambda b: have_draws(StubModel(CARD), b.features[:, :1] * np.float32(1e13), b.keys, SAMPLING),
    "healpix_29": lambda b: healpix_29(b.ra, b.dec),
}
if absence() is None:
    ANSWERS |= {
        "fft features": lambda b: native().features(b.prepared),
        "fft draw": lambda b: native().draw(b.features, b.keys, 6, 3),
        "fft summarise": lambda b: native().summarise(b.features, b.keys, 6, 3, (0, 1)),
    }


@pytest.fixture(autouse=True)
def _cache(run_folder, monkeypatch):
    monkeypatch.setenv("SURVEYFLOW_CACHE", str(run_folder / "spectra"))


@cache
def native() -> FftModel:
    return FftModel(NETWORK_CARD, WEIGHTS, n_threads=1)


def arrays(answer: Any) -> list[np.ndarray]:
    """The arrays of an answer, in order."""
    if isinstance(answer, np.ndarray):
        return [answer]
    if isinstance(answer, dict):
        return [array for part in answer.values() for array in arrays(part)]
    parts = astuple(answer) if is_dataclass(answer) else answer
    return [array for part in parts for array in arrays(part)]


@pytest.mark.parametrize("name", ANSWERS)
@settings(max_examples=4, deadline=None)
@given(n=st.sampled_from((0, 1, 9)), seed=st.integers(0, 2**32 - 1))
def test_a_batch_of_any_size_is_its_sources_one_by_one(name, n, seed):
    batch, answer = Batch(n, seed), ANSWERS[name]
    alone = [arrays(answer(batch.take(row))) for row in range(n)] or [arrays(answer(Batch(1, seed)))]
    for number, together in enumerate(arrays(answer(batch))):
        expected = np.concatenate([one[number] for one in alone])[:n]
        assert (together.dtype, together.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(together, expected)


@pytest.mark.parametrize("kept", [False, True])
def test_a_unit_without_sources_has_no_rows(kept):
    models = {"merger": StubModel(CARD), "contamination": StubModel(CONTAMINATION_CARD)}
    nothing = process_unit(task(sources([], []), keep_draws=kept), MOSAIC, models)
    assert len(nothing.rows) == len(settled_rows(sources([], []), "key")) == 0
    assert (nothing.draws is not None) == kept


@pytest.mark.parametrize("stretch", EVERY_STRETCH)
@pytest.mark.parametrize("fill", [0.0, np.nan, -1.0])
def test_a_unit_of_which_no_source_is_measurable_keeps_its_rows(stretch, fill):
    mosaic = ArrayMosaic(sky(), np.full((100, 120), fill, np.float32))
    models = {"merger": StubModel(card(CARD.architecture, class_names=CARD.class_names, stretch=stretch))}
    rows = process_unit(task(sources([50.0, 20.0], [40.0, 30.0])), mosaic, models).rows
    assert rows["status"].to_pylist() == [Status.NO_COVERAGE] * 2
    assert rows["p_pm_mean"].null_count == 2


def test_the_evidence_for_a_stretch_needs_a_cutout():
    images, each = np.zeros((0, SIZE, SIZE), np.float32), np.zeros(0, np.float32)
    empty = CutoutStack(images, images.astype(bool), each, each.astype(bool), each.astype(bool))
    with pytest.raises(ValueError, match="at least one cutout"):
        stretch_evidence(WEIGHTS, empty)


def linear_network(engine):
    """A real network with the linear stretch, and unit features that no bad pixel's neighbour shares."""
    linear = card(NETWORK, class_names=CARD.class_names, stretch=Stretch.LINEAR, softening=1e-3)
    if engine == "fft":
        return FftModel(linear, WEIGHTS, n_threads=1)
    pytest.importorskip("keras", reason="needs an extra: pip install 'surveyflow-mergers[cpu]'", exc_type=ImportError)
    from surveyflow.models.engines.keras_engine import KerasModel

    return KerasModel(linear, WEIGHTS)


@pytest.mark.parametrize("engine", ["fft", "keras"])
def test_a_pixel_that_overflows_the_network_spoils_only_its_own_source(engine):
    if engine == "fft" and absence() is not None:
        pytest.skip(absence())
    model, of = linear_network(engine), task(sources([30.0, 60.0, 90.0], [50.0, 50.0, 50.0]))
    good, spoilt = sky(), sky()
    spoilt[50, 60] = 1e37
    before, after = (process_unit(of, ArrayMosaic(pixels), {"merger": model}).rows.to_pylist() for pixels in (good, spoilt))
    assert [(row["source_id"], row["status"]) for row in sorted(after, key=lambda row: row["source_id"])] == [
        (1, "ok"), (2, "bad_pixels"), (3, "ok")
    ]  # fmt: skip
    assert [row for row in after if row["source_id"] != 2] == [row for row in before if row["source_id"] != 2]


def test_a_model_beside_that_overflows_leaves_the_status():
    class Overflowing(StubModel):
        def features(self, cutouts):
            return np.full((len(cutouts), 1), np.inf, np.float32)

        def draw(self, features, source_keys, n_draws, seed):
            return np.full((len(features), n_draws, 6), np.nan, np.float32)

    models = {"merger": StubModel(CARD), "contamination": Overflowing(CONTAMINATION_CARD)}
    big = sky((200, 200))
    rows = process_unit(task(sources([50.0], [40.0]), (200, 200)), ArrayMosaic(big), models).rows
    assert rows["status"].to_pylist() == ["ok"]
    assert rows["p_pm_mean"].null_count == 0
    assert rows["coverage_pct_mean"].null_count == 1
