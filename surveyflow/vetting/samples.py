"""Samples of galaxies to look at: all of a selection, a random sample, or equally many from each range of a column.

Each galaxy has a random number that depends on the seed, its field and its id alone. The galaxies of a stratum with the smallest
numbers are drawn. They are shown by their ranks, so that strata alternate, and at equal rank in an order that does not tell the
strata apart. So every person sees the same galaxies in the same order, whoever stops early has seen a random sample of each
stratum, and a sample of 200 begins with the sample of 100.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from surveyflow.catalog.selection import checked_filter, numeric_column_named
from surveyflow.errors import InputError
from surveyflow.values.arrays import Int64Array, UInt64Array
from surveyflow.vetting.labels import Stratum

MOST_DRAWN = 100_000
"""The largest sample: more than anybody looks at."""
_LOW_DIGITS = 2**32 - 1
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


@dataclass(frozen=True, slots=True)
class Design:
    """What is sampled, and how.

    Parameters
    ----------
    where
        The selection, in the language of ``--where``.
    n
        Number of galaxies to draw; None for all of the selection.
    column
        The column that divides the selection into strata, from each of which equally many are drawn; ``""`` for one stratum.
    edges
        Edges of the half-open ranges of that column. Galaxies outside all of them, or without a value, are not drawn.
    seed
        Seed of the random numbers.

    Raises
    ------
    InputError
        If a number is out of range, or the edges do not belong to the column.
    """

    where: str
    n: int | None = None
    column: str = ""
    edges: tuple[float, ...] = ()
    seed: int = 1

    def __post_init__(self) -> None:
        if self.n is not None and not 1 <= self.n <= MOST_DRAWN:
            raise InputError(f"a sample of {self.n} galaxies; expected 1 to {MOST_DRAWN:,}. Choose another size.")
        if bool(self.column) != bool(self.edges):
            raise InputError("strata need a column and edges. Give both of --strata and --edges, or neither.")
        increasing = all(np.isfinite(self.edges)) and all(low < high for low, high in pairwise(self.edges))
        if self.column and (len(self.edges) < 2 or not increasing):
            raise InputError(f"the edges {list(self.edges)} must be two or more finite, increasing numbers. Correct --edges.")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"the seed is {self.seed}, expected 0 to 2^63 - 1. Choose another.")

    @property
    def name(self) -> str:
        """A name for the same question: the first digits of its SHA-256."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]

    @property
    def ranges(self) -> tuple[tuple[float, float], ...] | tuple[None]:
        """The strata's ranges; None for the only one without a column."""
        return tuple(pairwise(self.edges)) if self.column else (None,)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A galaxy of a sample."""

    field: str
    source_id: int
    stratum: Stratum


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample in the order in which it is shown.

    Parameters
    ----------
    design
        What was sampled.
    galaxies
        The galaxies.
    """

    design: Design
    galaxies: tuple[Drawn, ...]


def draw(catalog: ds.Dataset, design: Design) -> Sample:
    """Draw a sample of a catalog; memory grows with the sample, not with the catalog.

    Parameters
    ----------
    catalog
        A published catalog.
    design
        What is sampled, and how.

    Raises
    ------
    InputError
        If the selection or the column cannot be used, nothing is selected, or too much is.
    """
    ranges = design.ranges
    quota = None if design.n is None else _shares(design.n, len(ranges))
    smallest = [_Smallest(MOST_DRAWN if quota is None else quota[place]) for place in range(len(ranges))]
    for batch in _batches(catalog, design):
        strata = _strata(batch, design)
        for place, one in enumerate(smallest):
            one.add(batch.filter(pa.array(strata == place)), design.seed)
    if not any(one.n_seen for one in smallest):
        raise InputError(f"no galaxy is selected by {design.where!r}, or none lies in the strata. Select others.")
    if quota is None and sum(one.n_seen for one in smallest) > MOST_DRAWN:
        raise InputError(f"the selection has more than {MOST_DRAWN:,} galaxies. Draw a sample with --sample, or select fewer.")
    found = [drawn for one, span in zip(smallest, ranges, strict=True) for drawn in one.drawn(span)]
    return Sample(design, tuple(galaxy for _, galaxy in sorted(found, key=lambda pair: pair[0])))


class _Smallest:
    """The galaxies of a stratum with the smallest random numbers among those seen so far."""

    def __init__(self, most: int) -> None:
        self.most, self.n_seen = most, 0
        self._numbers: UInt64Array = np.zeros(0, np.uint64)
        self._keys: list[tuple[str, int]] = []

    def add(self, rows: pa.RecordBatch, seed: int) -> None:
        if not len(rows):
            return
        fields, ids = rows["field"].to_pylist(), rows["source_id"].to_numpy()
        self.n_seen += len(ids)
        numbers = np.concatenate([self._numbers, random_numbers(fields, ids, seed)])
        kept = np.argsort(numbers, kind="stable")[: self.most]
        keys = [*self._keys, *zip(fields, ids.tolist(), strict=True)]
        self._numbers, self._keys = numbers[kept], [keys[place] for place in kept.tolist()]

    def drawn(self, span: tuple[float, float] | None) -> Iterator[tuple[tuple[int, int, str, int], Drawn]]:
        """The galaxies, each with its place in the order of the sample: by rank, and at the same rank by other digits."""
        if not self._keys:
            return
        low, high = span or (None, None)
        stratum = Stratum(low, high, n_selected=self.n_seen, n_drawn=len(self._keys))
        for rank, (number, (field, source_id)) in enumerate(zip(self._numbers.tolist(), self._keys, strict=True)):
            yield (rank, number & _LOW_DIGITS, field, source_id), Drawn(field, source_id, stratum)


def random_numbers(fields: Sequence[str], source_ids: Int64Array, seed: int) -> UInt64Array:
    """The random number of each galaxy: SplitMix64 (Steele et al. 2014) of its id and of a digest of seed and field.

    Parameters
    ----------
    fields, source_ids
        (n,) each.
    seed
        The seed.

    Returns
    -------
    (n,) uint64.
    """
    digests: Mapping[str, int] = {
        name: int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big") for name in set(fields)
    }
    state = np.array([digests[name] for name in fields], np.uint64) + source_ids.astype(np.uint64) * _GOLDEN + _GOLDEN
    state = (state ^ (state >> np.uint64(30))) * _MIX[0]
    state = (state ^ (state >> np.uint64(27))) * _MIX[1]
    return np.asarray(state ^ (state >> np.uint64(31)), np.uint64)


def _batches(catalog: ds.Dataset, design: Design) -> Iterator[pa.RecordBatch]:
    schema = catalog.schema
    column = numeric_column_named(design.column, schema, "Choose another.") if design.column else None
    columns = ["field", "source_id", *([column] if column else [])]
    chosen = checked_filter(design.where, schema) if design.where.strip() else None
    for batch in catalog.to_batches(columns=list(dict.fromkeys(columns)), filter=chosen):
        yield batch.append_column("value", batch[column]) if column else batch


def _strata(batch: pa.RecordBatch, design: Design) -> Int64Array:
    """(n,) index of each row's stratum; -1 outside all of them."""
    if not design.column:
        return np.zeros(len(batch), np.int64)
    values = np.asarray(pc.cast(batch["value"], pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64)
    places = np.searchsorted(np.asarray(design.edges), values, side="right") - 1  # NaN sorts last
    return np.where(places < len(design.edges) - 1, places, -1)


def _shares(n: int, n_strata: int) -> list[int]:
    """A number divided over the strata as evenly as possible, at least 1 each."""
    return [max(1, n // n_strata + (place < n % n_strata)) for place in range(n_strata)]
