"""The files of training examples: TFRecord shards of ``tf.train.Example``, which carry checksums of their own.

Features: ``image`` (bytes: little-endian float32, row by row, e-/s), ``size``, ``id``, ``label`` (int64; 1 is a post-merger),
``magnitude_ab``, ``radius_arcsec``, ``redshift``, ``sky_rms`` (float; NaN where unknown), for each variant of the truth
``coverage_pct_*``, ``flux_pp_*``, ``n_pix_*`` (float; coverage NaN where the galaxy's mask is empty), ``provenance`` (bytes), and
the nuisances that were drawn (float; NaN where unknown, as in records that an earlier surveyflow made): see
`surveyflow.simulation.nuisances.DRAWN`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from surveyflow.errors import RecordError
from surveyflow.files.durable import explained
from surveyflow.simulation.contamination import TRUTHS
from surveyflow.simulation.examples import Example
from surveyflow.simulation.nuisances import DRAWN
from surveyflow.training.records.record_index import RecordIndex, Shard, check_shards, file_sha256, read_index

__all__ = ["RecordIndex", "Shard", "check_shards", "damage_told", "parse_example", "read_index", "record_dataset", "shard_paths"]

WHOLE_NUMBERS = ("size", "id", "label")
NUMBERS = (
    *("magnitude_ab", "radius_arcsec", "redshift", "sky_rms"),
    *(f"{quantity}_{truth}" for truth in TRUTHS for quantity in ("coverage_pct", "flux_pp", "n_pix")),
)
TEXTS = ("image", "provenance")
_PARALLEL_SHARDS = 4


def serialised(example: Example, provenance: str) -> bytes:
    """An example as one record; the same example gives the same bytes."""
    features = {name: tf.train.Feature(float_list=tf.train.FloatList(value=[value])) for name, value in _numbers(example).items()}
    whole = {"size": example.pixels.shape[0], "id": example.example_id, "label": example.label}
    features |= {name: tf.train.Feature(int64_list=tf.train.Int64List(value=[value])) for name, value in whole.items()}
    texts = {"image": example.pixels.astype("<f4").tobytes(), "provenance": provenance.encode()}
    features |= {name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value])) for name, value in texts.items()}
    record = tf.train.Example(features=tf.train.Features(feature=features))
    return bytes(record.SerializeToString(deterministic=True))


def write_shard(path: Path, records: Iterable[bytes]) -> Shard:
    """Write one shard under a temporary name, and rename it once it is complete on disk.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    n_records = 0
    with explained(path):
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            for record in records:
                writer.write(record)
                n_records += 1
        _settle(temporary)
        shard = Shard(path.name, n_records, temporary.stat().st_size, file_sha256(temporary))
        temporary.replace(path)
    return shard


def shard_paths(folder: str | Path) -> list[str]:
    """The shards of a complete set, in order; each must be as large as it was written.

    Raises
    ------
    RecordError
        If the set is incomplete, or a shard is missing or cut short.
    """
    return [str(Path(folder) / shard.name) for shard in check_shards(folder, contents=False).shards]


def record_dataset(folder: str | Path, *, parallel_shards: int = _PARALLEL_SHARDS) -> Any:
    """The records of a folder as a ``tf.data.Dataset`` of parsed examples, in an order that is always the same.

    Parameters
    ----------
    folder
        Folder of a complete set.
    parallel_shards
        Number of shards to read at once, record by record from each.

    Returns
    -------
    A dataset of dictionaries: ``image`` (size, size) float32, ``provenance`` text, all else numbers, as the module describes.
    Iterate over it within `damage_told`, which names a shard whose content is damaged.

    Raises
    ------
    RecordError
        If the set is incomplete, or a shard is missing or cut short.
    """
    index = read_index(folder)
    shards = tf.data.Dataset.from_tensor_slices(shard_paths(folder))
    records = shards.interleave(
        lambda path: tf.data.TFRecordDataset(path, buffer_size=2**22),
        cycle_length=parallel_shards,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    return records.map(lambda record: _own_example(record, index), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def _own_example(record: Any, index: RecordIndex) -> dict[str, Any]:
    """A record's tensors; a record of another set, in a shard of the same size, is an error, which `damage_told` describes."""
    example = parse_example(record, index.size)
    with tf.control_dependencies([tf.debugging.assert_equal(example["provenance"], index.provenance)]):
        return example | {"image": tf.identity(example["image"])}


def parse_example(record: Any, size: int) -> dict[str, Any]:
    """One record's tensors, the image (size, size) float32; for use in a user's own ``tf.data`` pipelines."""
    kinds = dict.fromkeys(NUMBERS, tf.float32) | dict.fromkeys(WHOLE_NUMBERS, tf.int64) | dict.fromkeys(TEXTS, tf.string)
    features = {name: tf.io.FixedLenFeature([], kind) for name, kind in kinds.items()}
    features |= {name: tf.io.FixedLenFeature([], tf.float32, math.nan) for name in DRAWN}
    parsed = tf.io.parse_single_example(record, features)
    image = tf.reshape(tf.io.decode_raw(parsed["image"], tf.float32, little_endian=True), (size, size))
    return dict(parsed) | {"image": image}


@contextmanager
def damage_told(*folders: str | Path) -> Iterator[None]:
    """Name the damaged shard if reading records fails in the body.

    Raises
    ------
    RecordError
        Raised instead of TensorFlow's error, with every shard that is not as it was written.
    """
    try:
        yield
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError, tf.errors.NotFoundError) as error:
        for folder in folders:
            check_shards(folder)
        if isinstance(error, tf.errors.DataLossError):
            told = ", ".join(str(folder) for folder in folders)
            raise RecordError(
                f"a record of {told} could not be read, though every shard is as it was written: {error}"
            ) from error
        raise


def check_truth(folder: str | Path, columns: Mapping[str, Any]) -> None:
    """Check that records have labels and amounts that galaxies can have.

    Parameters
    ----------
    folder
        The folder of the records, for the message.
    columns
        (n,) arrays by name, as records hold them.

    Raises
    ------
    RecordError
        If a label is not 0 or 1, a coverage is not from 0 to 100 percent or NaN, a flux is infinite, or a noise is not above 0.
    """
    for name, (holds, expected) in _TRUTHS.items():
        values = np.asarray(columns[name])
        if len(wrong := values[~holds(values)]):
            raise RecordError(
                f"{folder}: {len(wrong)} records have {name} {wrong[0]:g}, expected {expected}. Correct the program that wrote "
                "them, and write them again."
            )


_Holds = Callable[[Any], Any]
_COVERAGE: tuple[_Holds, str] = (lambda values: np.isnan(values) | ((values >= 0) & (values <= 100)), "0 to 100 percent, or NaN")
_FLUX: tuple[_Holds, str] = (lambda values: ~np.isinf(values), "a finite number, or NaN")
_TRUTHS: Mapping[str, tuple[_Holds, str]] = {
    "label": (lambda values: (values == 0) | (values == 1), "0 or 1"),
    "sky_rms": (lambda values: np.isnan(values) | ((values > 0) & (values < np.inf)), "a number above 0, or NaN"),
    **{f"coverage_pct_{truth}": _COVERAGE for truth in TRUTHS},
    **{f"flux_pp_{truth}": _FLUX for truth in TRUTHS},
}


def _numbers(example: Example) -> dict[str, float]:
    of_the_galaxy = {
        "magnitude_ab": example.magnitude_ab,
        "radius_arcsec": example.radius_arcsec,
        "redshift": example.redshift,
        "sky_rms": example.sky_rms,
    }
    of_truths = {
        f"{quantity}_{name}": float(value)
        for name, truth in example.truths.items()
        for quantity, value in (("coverage_pct", truth.coverage_pct), ("flux_pp", truth.flux_pp), ("n_pix", truth.n_pix))
    }
    of_the_observation = {name: example.drawn.get(name, math.nan) for name in DRAWN}
    numbers = of_the_galaxy | of_truths | of_the_observation
    return {name: float(np.float32(value)) for name, value in numbers.items()}


def _settle(path: Path) -> None:
    """Flush a file's content to disk."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
