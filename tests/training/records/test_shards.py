"""Records: what is written comes back, and what is damaged is named."""

from __future__ import annotations

import json
import math
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from surveyflow.errors import InputError, OutputError, RecordError
from surveyflow.settings.simulation import SimulationTable
from surveyflow.simulation.contamination import TRUTHS, Contamination
from surveyflow.simulation.examples import Example
from surveyflow.simulation.nuisances import DRAWN
from surveyflow.training.records import simulating
from surveyflow.training.records.record_index import (
    RecordIndex,
    Shard,
    check_apart,
    check_observed_alike,
    find_index,
    read_index,
    settings_digest,
    write_index,
)
from surveyflow.training.records.shards import (
    check_shards,
    check_truth,
    damage_told,
    parse_example,
    record_dataset,
    serialised,
    write_shard,
)
from surveyflow.training.records.simulating import simulate

pytestmark = pytest.mark.slow

N_EXAMPLES, N_SHARDS = 7, 3


def example(number=3):
    truths = {"sky_sigma": Contamination(math.nan, 0.25, 40), "self_sigma": Contamination(12.5, 0.0, 1)}
    pixels = np.random.default_rng(number).normal(size=(16, 16)).astype(np.float32)
    return Example(number, pixels, 1, 22.5, 0.4, math.nan, 0.0007, truths, {"psf_fwhm_arcsec": 0.125})


@pytest.fixture(scope="module")
def simulated(shared_worlds):
    """What was asked of a simulation that is done: its records are only to be read."""

    def make(folder):
        megabytes = N_EXAMPLES / N_SHARDS * 0.066
        settings = {"field": "COSMOS", "instrument": "F814W", "n": N_EXAMPLES, "first": 100, "seed": 1, "shard_mb": megabytes}
        simulation = SimulationTable(output=folder / "set", **settings)
        simulate(simulation, n_processes=1)
        return simulation

    return shared_worlds.get("records", make)


def test_nothing_is_simulated_that_could_not_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(simulating, "find_spec", lambda _: None)
    simulation = SimulationTable(output=tmp_path / "set", field="COSMOS", instrument="F814W", n=2, seed=1)
    with pytest.raises(InputError, match=r"^Records need TensorFlow, which is not installed: `pip install '.*\[cpu\]'`\.$"):
        simulate(simulation, n_processes=1)
    assert not (tmp_path / "set").exists()


@pytest.fixture
def records(simulated, tmp_path):
    """A copy of the records, to be damaged at will."""
    folder = tmp_path / "set"
    folder.mkdir()
    for file in simulated.output.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def read(folder):
    with damage_told(folder):
        return [{name: value.numpy() for name, value in record.items()} for record in record_dataset(folder)]


def test_an_example_comes_back_from_its_record(tmp_path):
    path = tmp_path / "one.tfrecord"
    shard = write_shard(path, [serialised(example(), "abc")])
    assert (shard.n, shard.bytes) == (1, path.stat().st_size)
    parsed = tf.train.Example.FromString(next(iter(tf.data.TFRecordDataset(str(path)))).numpy()).features.feature
    image = np.frombuffer(parsed["image"].bytes_list.value[0], "<f4").reshape(16, 16)
    np.testing.assert_array_equal(image, example().pixels)
    assert parsed["label"].int64_list.value[0] == 1
    assert parsed["provenance"].bytes_list.value[0] == b"abc"
    assert math.isnan(parsed["coverage_pct_sky_sigma"].float_list.value[0])
    assert parsed["coverage_pct_self_sigma"].float_list.value[0] == 12.5
    assert parsed["psf_fwhm_arcsec"].float_list.value[0] == 0.125
    assert math.isnan(parsed["sky_pedestal"].float_list.value[0])


def test_a_record_from_before_the_nuisances_were_kept_is_read():
    old = tf.train.Example.FromString(serialised(example(), "abc"))
    for name in DRAWN:
        del old.features.feature[name]
    found = parse_example(old.SerializeToString(), 16)
    assert all(math.isnan(found[name].numpy()) for name in DRAWN)
    assert found["magnitude_ab"].numpy() == np.float32(22.5)


def test_the_same_example_gives_the_same_bytes():
    assert serialised(example(), "abc") == serialised(example(), "abc") != serialised(example(4), "abc")


def test_a_set_is_read_whole_and_once(simulated):
    found = read(simulated.output)
    assert sorted(record["id"] for record in found) == list(range(100, 100 + N_EXAMPLES))
    assert {record["label"] for record in found} <= {0, 1}
    assert {record["image"].shape for record in found} == {(128, 128)}
    index = read_index(simulated.output)
    assert len(index.shards) == N_SHARDS
    assert {record["provenance"].decode() for record in found} == {index.provenance}
    assert all(record["sky_rms"] == np.float32(0.000721) for record in found)


def test_the_index_says_what_made_the_records(simulated):
    index = json.loads((simulated.output / "index.json").read_text())
    assert index["settings"]["seed"] == 1
    assert index["settings"]["truths"] == ["sky_sigma", "self_sigma"]
    assert (index["field"], index["instrument"], index["band"], index["unit"]) == ("COSMOS", "F814W", "F814W", "electron/s")
    assert index["pixel_scale_arcsec"] == 0.03
    assert "output" not in index["settings"]


def test_records_hold_the_nuisances_that_were_drawn_and_the_index_their_ranges(simulated):
    drawn = {name: [float(record[name]) for record in read(simulated.output)] for name in DRAWN}
    ranges = read_index(simulated.output).nuisances
    assert set(ranges) == set(DRAWN)
    for name, values in drawn.items():
        assert ranges[name] == pytest.approx((min(values), max(values)), rel=1e-5)
    assert ranges["psf_fwhm_arcsec"] == pytest.approx((0.1, 0.1))
    assert ranges["noise_correlation"] == pytest.approx((0.51, 0.51), abs=0.02)
    assert ranges["shift_x_arcsec"][0] < 0 < ranges["shift_x_arcsec"][1]


def test_an_index_from_before_the_nuisances_were_kept_has_no_ranges(records):
    index = json.loads((records / "index.json").read_text())
    for shard in index["shards"]:
        del shard["nuisances"]
    (records / "index.json").write_text(json.dumps(index))
    assert read_index(records).nuisances is None


def truncated(path):
    path.write_bytes(path.read_bytes()[:-100])


def bit_flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def foreign(path):
    write_shard(path, [serialised(example(), "foreign")])


def foreign_of_equal_size(path):
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
    provenance = tf.train.Example.FromString(records[0]).features.feature["provenance"].bytes_list.value[0]
    write_shard(path, [record.replace(provenance, provenance[::-1]) for record in records])


def removed(path):
    path.unlink()


@pytest.mark.parametrize("damage", [truncated, bit_flipped, foreign, foreign_of_equal_size, removed])
def test_a_damaged_shard_is_named_with_what_to_do(records, damage):
    damage(records / "part-00001-of-00003.tfrecord")
    for reading in (check_shards, read):
        with pytest.raises(RecordError, match=r"part-00001-of-00003\.tfrecord: .*simulate SIMULATION` again"):
            reading(records)


@pytest.mark.parametrize("damage", [truncated, bit_flipped, foreign, foreign_of_equal_size, removed])
def test_simulating_again_makes_what_is_damaged_and_nothing_else(records, simulated, damage):
    name = "part-00001-of-00003.tfrecord"
    untouched = (records / "part-00000-of-00003.tfrecord").stat().st_mtime_ns
    damage(records / name)
    told = []
    simulate(simulated.model_copy(update={"output": records}), n_processes=1, listener=told.append)
    assert (records / name).read_bytes() == (simulated.output / name).read_bytes()
    assert (records / "part-00000-of-00003.tfrecord").stat().st_mtime_ns == untouched
    assert told[0].kept + told[0].total == N_EXAMPLES
    assert 0 < told[-1].done == told[-1].total < N_EXAMPLES


def test_several_processes_write_what_one_writes(simulated, tmp_path):
    simulate(simulated.model_copy(update={"output": tmp_path}), n_processes=2)
    for file in simulated.output.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name


def killed_after(n_writes):
    """Writes the index so many times; the next time, all stops."""
    left = iter(range(n_writes))

    def write(folder, index):
        if next(left, None) is None:
            raise KeyboardInterrupt
        write_index(folder, index)

    return write


def test_a_set_that_was_stopped_is_finished_by_the_next_run(simulated, tmp_path, monkeypatch):
    simulation = simulated.model_copy(update={"output": tmp_path / "set"})
    monkeypatch.setattr(simulating, "write_index", killed_after(2))
    with pytest.raises(KeyboardInterrupt):
        simulate(simulation, n_processes=1)
    monkeypatch.undo()
    with pytest.raises(RecordError, match=r"holds 1 of 3 shards.*again"):
        read_index(simulation.output)
    simulate(simulation, n_processes=1)
    for file in simulated.output.iterdir():
        assert (simulation.output / file.name).read_bytes() == file.read_bytes(), file.name
    assert not list(simulation.output.glob(".*"))


def test_records_of_other_settings_are_not_mixed_in(records, simulated):
    other = simulated.model_copy(update={"output": records, "seed": 2})
    with pytest.raises(RecordError, match=r"other settings \(seed\).*another `output`"):
        simulate(other, n_processes=1)


def test_a_folder_without_records_is_refused(tmp_path):
    with pytest.raises(RecordError, match="no training records"):
        record_dataset(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 1, "n": 3, "shards": []}', "\xff"])
def test_an_index_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "index.json").write_text(content, encoding="latin-1")
    with pytest.raises(RecordError, match="is not an index"):
        find_index(tmp_path)


def test_an_index_of_another_version_is_refused(records):
    write_index(records, replace(read_index(records), version=2))
    with pytest.raises(RecordError, match="version 2, expected 1"):
        read_index(records)


def test_a_folder_that_cannot_be_made_is_reported(simulated, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        simulate(simulated.model_copy(update={"output": tmp_path / "file" / "set"}), n_processes=1)


def index_with(**settings):
    given = {"seed": 1, "first": 0, "n": 10} | settings
    return RecordIndex(given, settings_digest(given), "COSMOS", "F814W", "F814W", 0.03, 32, "electron/s", given["n"], 1)


def own(*images):
    """Galaxies of the user's own: (group, pixels) of each image; its shape follows from its pixels: "2" and "2x" agree."""
    return {"images": [[group, pixels, "facts", [float(pixels[0]), *range(4)]] for group, pixels in images]}


@pytest.mark.parametrize(
    ("learned", "judged", "apart"),
    [
        (own(("a", "1"), ("b", "2")), own(("b", "2")), False),
        (own(("a", "1")), own(("a", "2")), False),  # another direction on the same galaxy
        (own(("a", "1")), own(("b", "1")), False),  # the same image by another name
        (own(("a", "2")), own(("b", "2x")), False),  # the same image, turned
        (own(("", "1")), own(("", "2")), True),  # without groups
        (own(("a", "1")), own(("b", "2")), True),
        (own(("a", "1")), None, True),
    ],
)
def test_galaxies_of_one_s_own_are_known_by_group_and_pixels(learned, judged, apart):
    settings = {} if judged is None else {"stamps": judged}
    with nullcontext() if apart else pytest.raises(InputError, match=r"holds galaxies that train holds, too.*share"):
        check_apart({Path("train"): index_with(stamps=learned)}, {Path("test"): index_with(**settings, seed=2)})


def test_own_galaxies_without_a_list_of_images_are_not_taken_to_be_apart():
    for of_another_version in ({"files": []}, {"images": [["group", "pixels", "facts"]]}):
        with pytest.raises(RecordError, match=r"do not say which galaxies they show\. Simulate them again"):
            check_apart({Path("train"): index_with(stamps=of_another_version)}, {Path("test"): index_with(seed=2)})


@pytest.mark.parametrize(
    ("other", "apart"),
    [({}, False), ({"neighbours": False}, False), ({"first": 9}, False), ({"first": 10}, True), ({"seed": 2}, True)],
)
def test_records_for_evaluation_hold_no_galaxies_of_the_training_set(other, apart):
    with nullcontext() if apart else pytest.raises(InputError, match=r"test holds galaxies that train holds, too.*another seed"):
        check_apart({Path("train"): index_with()}, {Path("test"): index_with(**other)})


FINE = {"pixel_scale_arcsec": 0.01}


def one_class(share, **settings):
    index = index_with(**settings)
    return replace(index, shards=(Shard("part-00000-of-00001.tfrecord", 10, 1, "", round(10 * share)),))


@pytest.mark.parametrize(
    ("post_mergers", "others", "told"),
    [
        (one_class(1, seed=1), one_class(0, seed=2, n=20, shard_mb=1.0), None),
        (one_class(1, depth_range=[1, 1]), one_class(0, depth_range=[1, 2]), "depth_range"),
        (one_class(1, depth_range=[1, 1]), one_class(0.5, depth_range=[1, 2]), None),
        (one_class(1, field="COSMOS"), one_class(0, field="EGS"), "field"),
        (
            one_class(1, stamps={"pixel_scale_arcsec": 0.01}),
            one_class(0, stamps={"pixel_scale_arcsec": 0.01}, redshifts=[1, 2]),
            None,
        ),
        (one_class(1, stamps={"pixel_scale_arcsec": 0.01}), one_class(0, stamps={"pixel_scale_arcsec": 0.03}), "stamps"),
        (one_class(1, stamps={"pixel_scale_arcsec": 0.01}), one_class(0), "stamps"),
    ],
)
def test_classes_in_folders_of_their_own_are_observed_alike(post_mergers, others, told):
    folders = [Path("others"), Path("mergers")]
    refused = pytest.raises(
        InputError, match=rf"mergers holds post-mergers, others does not, and they differ in {told}: a network"
    )
    with nullcontext() if told is None else refused:
        check_observed_alike(folders, [others, post_mergers])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda index: index | {"n": "16"}, "n"),
        (lambda index: index | {"n": index["n"] + 1}, "shards hold .* records, and not"),
        (lambda index: index | {"settings": index["settings"] | {"seed": 2}}, "its settings have another digest"),
        (lambda index: index | {"pixel_scale_arcsec": 0.0}, "pixel_scale_arcsec"),
        (lambda index: index | {"size": "32"}, "size"),
        (lambda index: index | {"shards": None}, "shards"),
        (lambda index: index | {"shards": [index["shards"][0]] * 2}, "shards twice"),
        (
            lambda index: index | {"shards": [index["shards"][0] | {"name": "../other/part-00000-of-00002.tfrecord"}]},
            r"it lists \.\.",
        ),
        (lambda index: index | {"n_shards": 10**9}, "n_shards"),
        (lambda index: [index], "object"),
    ],
)
def test_an_index_is_not_believed(records, change, told):
    index = json.loads((records / "index.json").read_text())
    (records / "index.json").write_text(json.dumps(change(index)))
    with pytest.raises(RecordError, match=rf"index\.json is not an index of records \(.*{told}"):
        find_index(records)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("label", 2, "expected 0 or 1"),
        ("label", -1, "expected 0 or 1"),
        ("coverage_pct_sky_sigma", 101.0, "expected 0 to 100 percent"),
        ("coverage_pct_self_sigma", np.inf, "expected 0 to 100 percent"),
        ("sky_rms", 0.0, "expected a number above 0"),
        ("flux_pp_sky_sigma", -np.inf, "expected a finite number"),
    ],
)
def test_a_truth_that_no_galaxy_has_is_refused(name, value, told):
    columns = {f"{quantity}_{truth}": np.array([0.0, np.nan]) for quantity in ("coverage_pct", "flux_pp") for truth in TRUTHS}
    columns |= {"label": np.array([0, 1]), "sky_rms": np.array([0.001, np.nan])}
    check_truth("folder", columns)
    columns[name][1] = value
    with pytest.raises(RecordError, match=rf"folder: 1 records have {name} {value:g}, {told}"):
        check_truth("folder", columns)
