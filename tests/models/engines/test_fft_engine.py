"""The FFT engine answers as the reference in float64 does, to the last bit the same in any company, and imports no framework."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from networks import KEY, card, images, random_weights, reference_features, write_small_model
from surveyflow.errors import ModelError
from surveyflow.measuring.unit import SummarisingModel, sample
from surveyflow.models.engines import native_library
from surveyflow.models.engines.choice import jury_of, load_model
from surveyflow.models.engines.fft_engine import FftModel
from surveyflow.models.engines.head import Head
from surveyflow.models.engines.native_library import InstructionSet, absence, usable_instruction_sets
from surveyflow.models.store import ModelStore
from surveyflow.sky.stretch import Stretch, prepare
from surveyflow.stats.posterior import summarise
from surveyflow.tasks.card import Architecture, ContaminationScale, Model, ModelKey
from surveyflow.tasks.contamination.parts import OUTPUTS
from surveyflow.tasks.contamination.task import CONTAMINATION
from surveyflow.tasks.task import Draws
from surveyflow.values.jobs import SamplingSettings

pytestmark = pytest.mark.skipif(absence() is not None, reason=f"the native core cannot be used: {absence()}")

INSTRUCTION_SETS = () if absence() else usable_instruction_sets()
SMALL = Architecture(input_size=40, filters=(5, 17), kernel_sizes=(5, 3), dense=(20, 12))
every_instruction_set = pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS, ids=lambda one: one.name)


@pytest.fixture(autouse=True)
def cache(run_folder, monkeypatch):
    monkeypatch.setenv("SURVEYFLOW_CACHE", str(run_folder / "spectra"))


def model_of(architecture=SMALL, seed=0, **options):
    digest = hashlib.sha256(repr((architecture, seed)).encode()).hexdigest()  # its own masks, and file of spectra
    return FftModel(card(architecture, weights_digest=digest), random_weights(architecture, seed), **options)


def keys_of(n):
    return np.random.default_rng(3).integers(0, 2**64, n, dtype=np.uint64)


def assert_features_are_exact(model, cutouts, architecture, seed=0):
    expected = np.array([reference_features(cutout, random_weights(architecture, seed), architecture) for cutout in cutouts])
    error = np.abs(model.features(cutouts) - expected).max(axis=1)
    assert (error <= 2e-6 * np.abs(expected).max(axis=1)).all()


@st.composite
def architectures(draw):
    """Networks of one to three blocks, any widths, odd kernels and just enough input, or somewhat more."""
    kernels = tuple(draw(st.lists(st.sampled_from([1, 3, 5, 7]), min_size=1, max_size=3)))
    filters = tuple(draw(st.integers(1, 20)) for _ in kernels)
    least = 1
    for kernel in reversed(kernels):
        least = 2 * least + 2 * (kernel - 1)
    size = least + draw(st.integers(0, 12))
    # One feature alone may be 0 by chance; the largest of several is not.
    dense = (draw(st.integers(12, 40)), *draw(st.lists(st.integers(1, 40), max_size=2)))
    rate = draw(st.sampled_from([0.5, 0.0, 0.3]))
    return Architecture(size, filters, kernels, dense, rate, n_outputs=draw(st.integers(1, 5)))


def test_the_engine_is_a_model():
    model = model_of()
    assert isinstance(model, Model)
    features = model.features(images(3, size=40))
    draws = model.draw(features, keys_of(3), n_draws=7, seed=0)
    assert (features.shape, features.dtype) == ((3, 20), np.float32)
    assert (draws.shape, draws.dtype) == ((3, 7, 2), np.float32)


@settings(deadline=None, max_examples=25, derandomize=True)  # see the next test: one in a thousand narrow ones is ill-conditioned
@given(architecture=architectures(), seed=st.integers(0, 99))
def test_any_network_s_features_equal_the_reference(architecture, seed):
    for instruction_set in INSTRUCTION_SETS:
        model = model_of(architecture, seed, instruction_set=instruction_set)
        assert_features_are_exact(model, images(2, size=architecture.input_size, seed=seed), architecture, seed)


@every_instruction_set
def test_an_ill_conditioned_network_s_features_are_as_exact_as_direct_convolution_in_float32(instruction_set):
    architecture, seed = Architecture(72, (4, 4, 3), (7, 1, 7), (21,)), 46  # the worst of 800 random ones of 1 to 4 channels
    weights, cutouts = random_weights(architecture, seed), images(6, size=72, seed=seed)
    expected = np.array([reference_features(cutout, weights, architecture) for cutout in cutouts])
    direct = np.array([reference_features(cutout, weights, architecture, np.float32) for cutout in cutouts])
    found = model_of(architecture, seed, instruction_set=instruction_set).features(cutouts)
    assert np.abs(found - expected).mean() <= 2 * np.abs(direct - expected).mean()


@pytest.mark.parametrize("size", [46, 47, 75, 110])
def test_several_tiles_give_what_one_would(size):
    architecture = Architecture(input_size=size, filters=(3, 4), kernel_sizes=(7, 5), dense=(9,))
    for instruction_set in INSTRUCTION_SETS:
        assert_features_are_exact(model_of(architecture, instruction_set=instruction_set), images(1, size=size), architecture)


@every_instruction_set
@pytest.mark.parametrize("stretch", Stretch)
def test_features_of_stretched_images_equal_the_reference(instruction_set, stretch):
    raw = np.random.default_rng(5).normal(scale=1e-3, size=(4, 40, 40)).astype(np.float32)
    raw[1, 20, 20] = 50
    raw[2] = 0.25
    prepared = prepare(raw, np.ones(raw.shape, dtype=bool), stretch, 1e-3)
    assert_features_are_exact(model_of(instruction_set=instruction_set), prepared, SMALL)


@every_instruction_set
@pytest.mark.parametrize("scale", [1e-40, 1e-6, 1.0, 1e6])
def test_features_of_faint_and_bright_images_equal_the_reference(instruction_set, scale):
    cutouts = (scale * images(3, size=40)).astype(np.float32)
    cutouts[2] = scale
    assert_features_are_exact(model_of(instruction_set=instruction_set), cutouts, SMALL)


@pytest.fixture(scope="module")
def company():
    """257 cutouts, and what each set of instructions makes of them on one thread."""
    cutouts, keys = images(257, size=40), keys_of(257)
    alone = {}
    for instruction_set in INSTRUCTION_SETS:
        model = model_of(instruction_set=instruction_set, n_threads=1)
        features = model.features(cutouts)
        alone[instruction_set] = (
            features,
            model.draw(features, keys, 200, seed=4),
            model.summarise(features, keys, 200, 4, (1, 0)),
        )
    return cutouts, keys, alone


@every_instruction_set
@settings(deadline=None, max_examples=15)
@given(n=st.integers(1, 257), order=st.integers(0, 2**32 - 1), n_threads=st.integers(1, 4), n_draws=st.integers(1, 200))
@example(n=1, order=0, n_threads=4, n_draws=1)
@example(n=257, order=0, n_threads=3, n_draws=64)
def test_any_batch_order_and_threads_give_the_same_bits(company, instruction_set, n, order, n_threads, n_draws):
    cutouts, keys, alone = company
    features, draws, summary = alone[instruction_set]
    rows = np.random.default_rng(order).permutation(257)[:n]
    model = model_of(instruction_set=instruction_set, n_threads=n_threads)
    np.testing.assert_array_equal(model.features(cutouts[rows]), features[rows])
    np.testing.assert_array_equal(model.draw(features[rows], keys[rows], n_draws, seed=4), draws[rows, :n_draws])
    for name, values in model.summarise(features[rows], keys[rows], 200, 4, (1, 0)).columns().items():
        np.testing.assert_array_equal(values, summary.columns()[name][rows], err_msg=name)


@settings(deadline=None, max_examples=40)
@given(architecture=architectures(), seed=st.integers(0, 2**32 - 1), n_draws=st.integers(1, 150))
def test_draws_equal_the_numpy_head(architecture, seed, n_draws):
    weights = random_weights(architecture)
    features = np.random.default_rng(seed).normal(size=(3, architecture.dense[0])).astype(np.float32)
    for instruction_set in INSTRUCTION_SETS:
        model = model_of(architecture, instruction_set=instruction_set)
        expected = Head.of(model.card, weights).draw(features, keys_of(3), n_draws, seed)
        np.testing.assert_allclose(model.draw(features, keys_of(3), n_draws, seed), expected, atol=1e-6, rtol=0)


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_draws=st.integers(1, 70) | st.sampled_from([1000, 4097]),
    scale=st.sampled_from([0.0, 1e-6, 0.1, 1.0, 10.0, 1e4]),  # from draws that are all the same to saturated ones
    rate=st.sampled_from([0.5, 0.3]),
)
def test_the_summary_is_that_of_the_draws(seed, n_draws, scale, rate):
    architecture = Architecture(input_size=40, filters=(5,), kernel_sizes=(5,), dense=(20, 12), dropout=rate, n_outputs=3)
    features = (scale * np.random.default_rng(seed).normal(size=(4, 20))).astype(np.float32)
    for instruction_set in INSTRUCTION_SETS:
        model = model_of(architecture, instruction_set=instruction_set)
        expected = summarise(model.draw(features, keys_of(4), n_draws, seed)[..., [2, 0]]).columns()
        for name, values in model.summarise(features, keys_of(4), n_draws, seed, (2, 0)).columns().items():
            if name.endswith(("_mean", "_std")):  # sums, in another order
                np.testing.assert_array_max_ulp(values, expected[name], maxulp=1)
            elif name.startswith(("entropy_", "mutual_")):  # likewise, and a difference of two of them
                np.testing.assert_allclose(values, expected[name], rtol=2e-7, atol=1e-13, err_msg=name)
            else:
                np.testing.assert_array_equal(values, expected[name], err_msg=name)


def contamination_model(rate, n_members, instruction_set):
    """A model, or a jury, whose outputs stand in another order than the task's, each member with its own scale."""
    architecture = Architecture(input_size=40, filters=(5,), kernel_sizes=(5,), dense=(20, 12), dropout=rate, n_outputs=6)
    cards = [
        card(
            architecture,
            key=ModelKey(CONTAMINATION.name, "EGS", "F814W"),
            class_names=OUTPUTS[::-1],
            weights_digest=hashlib.sha256(f"{rate} {number}".encode()).hexdigest(),
            contamination=ContaminationScale(
                "sky_sigma", flux_range=5.5 + number, scatter_limit=0.5, interval_scale_coverage=0.9
            ),
        )
        for number in range(n_members)
    ]
    models = [
        FftModel(one, random_weights(architecture, number), instruction_set=instruction_set) for number, one in enumerate(cards)
    ]
    return models[0] if n_members == 1 else jury_of("models", list("abc")[:n_members], models)


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_draws=st.integers(3, 140) | st.sampled_from([1000, 4097]),
    scale=st.sampled_from([0.0, 0.1, 1.0, 10.0, 1e4]),  # from draws that are all the same to saturated ones
    rate=st.sampled_from([0.5, 0.3]),
    n_members=st.integers(1, 3),
)
def test_the_summary_of_contamination_is_that_of_its_physical_draws(seed, n_draws, scale, rate, n_members):
    numbers = np.random.default_rng(seed)
    features = (scale * numbers.normal(size=(4, 20 * n_members))).astype(np.float32)
    rms = np.float32(10.0) ** numbers.uniform(-4, 1, 4).astype(np.float32)
    for instruction_set in INSTRUCTION_SETS:
        model = contamination_model(rate, n_members, instruction_set)
        outputs = model.draw(features, keys_of(4), n_draws, seed)[..., ::-1]
        expected = CONTAMINATION.summarise(Draws(outputs, keys_of(4), seed, model.card, rms))
        found = sample(model, features, keys_of(4), SamplingSettings(n_draws, seed), rms).columns
        assert found.keys() == expected.keys()
        for name, values in found.items():
            assert values.dtype == np.float32
            # A standard deviation of equal draws is rounding alone.
            smallest = 1e-12 * np.abs(expected[name.rsplit("_", 1)[0] + "_mean"]).max()
            np.testing.assert_allclose(values, expected[name], rtol=2.5e-7, atol=smallest, err_msg=name)


def test_amounts_are_refused_where_they_cannot_be_summarised():
    model, features = contamination_model(0.5, 1, None), np.ones((3, 20), np.float32)
    amounts = CONTAMINATION.amounts.outputs(model.card)
    with pytest.raises(ValueError, match=r"outputs \(5, 9, 3.*\) were requested, but contamination/EGS/F814W has 6"):
        model.summarise_amounts(features, keys_of(3), 10, 0, [[replace(amounts[0], location=9), amounts[1]]])
    with pytest.raises(ValueError, match="1 to 65535 draws can be summarised, not 65536"):
        model.summarise_amounts(features, keys_of(3), 65_536, 0, [amounts])
    features[1, 3] = np.nan
    with pytest.raises(ValueError, match="those of source 1 are not numbers"):
        sample(model, features, keys_of(3), SamplingSettings(10, 0), np.ones(3, np.float32))


_ODD_CUTOUTS = {
    "equal pixels": lambda pixels, valid: (np.full_like(pixels, 0.3), valid),
    "no valid pixel": lambda pixels, valid: (pixels, np.zeros_like(valid)),
    "one valid pixel": lambda pixels, valid: (pixels, np.arange(valid.size).reshape(valid.shape) == 77),
    "some valid pixels": lambda pixels, valid: (pixels, pixels > 0.1),
    "an invalid pixel that is NaN": lambda pixels, valid: (
        np.where(pixels == pixels[0, 0], np.nan, pixels),
        pixels != pixels[0, 0],
    ),
    "faint": lambda pixels, valid: (np.float32(1e-30) * pixels, valid),
    "bright": lambda pixels, valid: (np.float32(1e30) * pixels, valid),
    "unchanged": lambda pixels, valid: (pixels, valid),
}


@every_instruction_set
@pytest.mark.parametrize("stretch", [Stretch.ASINH_MINMAX, Stretch.ASINH_NOISE, Stretch.ASINH_SKY])
@pytest.mark.parametrize("softening", [1e-3, 1.0, 30.0])
def test_native_preparation_is_numpys_bit_for_bit(monkeypatch, instruction_set, stretch, softening):
    monkeypatch.setattr(native_library, "usable_instruction_sets", lambda: (instruction_set,))
    bare = images(len(_ODD_CUTOUTS), size=33)  # an odd number of pixels, which no vector divides
    cutouts = [change(image, np.ones(image.shape, bool)) for image, change in zip(bare, _ODD_CUTOUTS.values(), strict=True)]
    pixels, valid = (np.stack(each) for each in zip(*cutouts, strict=True))
    expected = prepare(pixels, valid, stretch, softening)
    found = prepare(pixels, valid, stretch, softening, arcsinh=native_library.arcsinh_kernel())
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(expected)) > 1000


def test_what_cannot_be_summarised_is_refused():
    model, features = model_of(), np.ones((3, 20), np.float32)
    assert isinstance(model, SummarisingModel)
    with pytest.raises(ValueError, match=r"outputs \(0, 2\) were requested, but merger/EGS/F814W has 2"):
        model.summarise(features, keys_of(3), 10, 0, (0, 2))
    with pytest.raises(ValueError, match="1 to 65535 draws can be summarised, not 65536"):
        model.summarise(features, keys_of(3), 65_536, 0, (0, 1))
    features[1, 3] = np.nan
    with pytest.raises(ValueError, match="output 0 of source 1 ranges from nan to nan"):
        model.summarise(features, keys_of(3), 10, 0, (0, 1))


@every_instruction_set
def test_saturated_outputs_stay_in_the_unit_interval(instruction_set):
    features = np.array([[3e4], [-3e4], [1e30]], np.float32) * np.ones((3, 20), np.float32)
    draws = model_of(instruction_set=instruction_set).draw(features, keys_of(3), 50, seed=0)
    assert ((draws >= 0) & (draws <= 1)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_pixel_that_is_not_finite_spoils_its_own_features_alone_in_both_engines(keras, tmp_path, value):
    write_small_model(tmp_path, SMALL)
    cutouts = images(5, size=40)
    finite = cutouts.copy()
    cutouts[1, 8, 8] = cutouts[3, 39, 0] = value
    models = [load_model(ModelStore(tmp_path).folder(KEY), "keras"), *(model_of(instruction_set=one) for one in INSTRUCTION_SETS)]
    for model in models:
        features = model.features(cutouts)
        assert np.isnan(features[[1, 3]]).all()
        np.testing.assert_array_equal(features[[0, 2, 4]], model.features(finite)[[0, 2, 4]])


def test_features_that_are_not_finite_give_no_draws():
    features = np.ones((4, 20), np.float32)
    features[[1, 2], 5] = np.nan, np.inf
    features[3, 5] = -np.inf  # below 0, like any other: the ReLU makes it 0
    draws = model_of().draw(features, keys_of(4), 30, seed=0)
    np.testing.assert_array_equal(np.isnan(draws).all(axis=(1, 2)), [False, True, True, False])
    np.testing.assert_array_equal(np.isnan(draws).any(axis=(1, 2)), [False, True, True, False])


def test_no_cutouts_give_no_features():
    model = model_of()
    assert model.features(images(0, size=40)).shape == (0, 20)
    assert model.draw(model.features(images(0, size=40)), keys_of(0), 3, seed=0).shape == (0, 3, 2)


def test_cutouts_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"shape \(2, 48, 48\), but the network takes \(n, 40, 40\)"):
        model_of().features(images(2, size=48))


def test_features_and_keys_must_belong_together():
    with pytest.raises(ValueError, match=r"features have shape \(2, 20\), but there are 3 keys"):
        model_of().draw(np.ones((2, 20), np.float32), keys_of(3), 1, seed=0)


def test_cutouts_in_any_order_of_memory_are_understood():
    cutouts = images(4, size=40)
    np.testing.assert_array_equal(model_of().features(np.asfortranarray(cutouts)), model_of().features(cutouts))
    np.testing.assert_array_equal(model_of().features(cutouts[::2]), model_of().features(cutouts)[::2])


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_other_precisions_are_refused(precision):
    with pytest.raises(ModelError, match=rf"computes in float32, not in {precision}\. Use engine = 'keras'"):
        model_of(precision=precision)


def test_a_network_that_is_too_large_is_refused():
    with pytest.raises(ModelError, match=r"needs a transform of at least 300 points; 256 are possible\. Use engine = 'keras'"):
        model_of(Architecture(input_size=300, filters=(2,), kernel_sizes=(3,), dense=(4,)))


@pytest.mark.parametrize("n_threads", [0, -1])
def test_a_model_without_threads_is_refused(n_threads):
    with pytest.raises(ValueError, match=f"n_threads must be at least 1, not {n_threads}"):
        model_of(n_threads=n_threads)


@pytest.mark.parametrize("n_threads", [0, -1, 2**31, 2**32 - 1])
def test_the_core_leaves_no_features_unwritten_without_an_error(n_threads):
    model, cutouts, features = model_of(), images(2, size=40), np.empty((2, 20), np.float32)
    with pytest.raises(ModelError, match="rejected the network"):
        native_library.run_features(INSTRUCTION_SETS[-1], model._trunk, cutouts, features=features, n_threads=n_threads)


@pytest.mark.parametrize("n_threads", [257, 2**31, 2**32, 10**30])
def test_a_great_number_of_threads_is_not_taken_for_another_one(n_threads):
    cutouts = images(2, size=40)
    np.testing.assert_array_equal(model_of(n_threads=n_threads).features(cutouts), model_of(n_threads=1).features(cutouts))


@pytest.mark.parametrize(
    ("variable", "expected"),
    [("3", 3), (" 4, 2", 4), ("0", 1), ("4294967295", 6), ("100000", 256), ("²", 6), ("-3", 6), ("9" * 5000, 6)],
)
def test_the_environment_says_how_many_threads_there_are(monkeypatch, variable, expected):
    monkeypatch.setattr(native_library, "usable_processors", lambda: 6)
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert native_library.thread_count() == expected


class Interrupted(Exception):
    """What Ctrl-C stands for here."""


@pytest.fixture
def interrupts_soon():
    """Interrupts the main thread when the process has computed for a twentieth of a second more."""

    def interrupt(*_):
        raise Interrupted

    before = signal.signal(signal.SIGPROF, interrupt)

    def begin():
        signal.setitimer(signal.ITIMER_PROF, 0.05)
        return time.process_time()

    yield begin
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)


def test_an_interrupt_does_not_wait_for_a_whole_batch(interrupts_soon):
    model, features, n = model_of(n_threads=1), np.ones((1, 20), np.float32), 200
    start = time.process_time()
    model.draw(features, keys_of(1), 60_000, seed=0)
    one_source_s = time.process_time() - start
    start = interrupts_soon()
    with pytest.raises(Interrupted):
        model.summarise(np.repeat(features, n, axis=0), keys_of(n), 60_000, 0, (0, 1))
    assert time.process_time() - start < n * one_source_s / 4


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/", {"cpu.max": "max 100000"}, 64),
        ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3),
        ("0::/../x", {"cpu.max": "50000 100000"}, 0.5),
        (
            "4:memory:/a\n3:cpu,cpuacct:/a\n0::/",
            {"cpu,cpuacct/a/cpu.cfs_quota_us": "200000", "cpu,cpuacct/a/cpu.cfs_period_us": "100000"},
            2,
        ),
        ("3:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64),
        ("4:cpuacct,cpu:/a", {"cpu/a/cpu.cfs_quota_us": "200000", "cpu/a/cpu.cfs_period_us": "100000"}, 2),
        ("0::/a/b", {"a/b/cpu.max": "800000 100000", "cpu.max": "400000 100000"}, 4),
        ("1:cpuset:/\n0::/a", {"unified/a/cpu.max": "250000 100000"}, 2.5),
        ("2:cpuacct:/a\n3:cpuset:/a", {"cpu/a/cpu.cfs_quota_us": "200000", "cpu/a/cpu.cfs_period_us": "100000"}, 64),
        ("0::/\udcff", {"\udcff/cpu.max": "100000 100000"}, 1),
        ("0::/", {"cpu.max": "nonsense"}, 64),
        ("0::/", {"cpu.max": "100000 0"}, 64),
        ("no groups", {"cpu.max": "100000 100000"}, 64),
    ],
)
def test_the_processor_time_of_a_container_is_seen(tmp_path, monkeypatch, membership, files, expected):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    (tmp_path / "cgroup").write_text(membership + "\n", errors="surrogateescape")
    for name, content in files.items():
        file = tmp_path / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content + "\n")
    assert native_library.cpu_quota(tmp_path / "groups", tmp_path / "cgroup") == expected


@pytest.mark.parametrize(("quota", "expected"), [(20_000, 1), (150_000, 2), (6_400_000, 6), ("max", 6)])
def test_a_container_with_little_processor_time_gets_few_threads(monkeypatch, quota, expected):
    files = {"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/cpu.max": f"{quota} 100000\n"}

    def read_text(path, *_, **__):
        if str(path) not in files:
            raise FileNotFoundError(path)
        return files[str(path)]

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert native_library.thread_count() == expected


def test_one_processor_has_sets_that_agree():
    cutouts = images(4, size=40)
    features = [model_of(instruction_set=one).features(cutouts) for one in INSTRUCTION_SETS]
    scale = np.abs(features[0]).max()
    for other in features[1:]:
        np.testing.assert_allclose(other, features[0], atol=2e-6 * scale)
    assert InstructionSet.PORTABLE in INSTRUCTION_SETS


_WORKER = """
import re, sys, time
start = time.process_time()
import numpy as np
from surveyflow.models.engines.choice import load_model
model = load_model(sys.argv[1], "fft")
print(time.process_time() - start)
draws = model.draw(model.features(np.zeros((8, 128, 128), np.float32)), np.arange(8, dtype=np.uint64), 1000, 0)
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024)
print(sum(name in sys.modules for name in ("tensorflow", "keras", "jax", "torch", "dask")))
"""


def test_a_worker_starts_at_once_and_small_and_without_a_framework(tmp_path):
    write_small_model(tmp_path, Architecture())
    folder = ModelStore(tmp_path).folder(KEY)
    load_model(folder, "fft")  # the first worker of all writes the spectra
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", _WORKER, str(folder)], capture_output=True, text=True, env=environment, check=True
    )
    start_cpu_s, peak_memory_mib, n_frameworks = map(float, done.stdout.split())
    assert n_frameworks == 0
    assert peak_memory_mib < 300
    assert start_cpu_s < 3  # under 1 where nothing else runs
