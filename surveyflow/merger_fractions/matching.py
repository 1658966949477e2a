"""The confusion matrix that applies to each galaxy: the one whose test had the same selection, or none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from surveyflow.catalog.columns import COLUMNS
from surveyflow.catalog.selection import no_such_column
from surveyflow.errors import InputError
from surveyflow.merger_fractions.questions import Question
from surveyflow.settings.matrices import SelectedTest
from surveyflow.values.arrays import BoolArray, Float64Array, Int64Array

_OF_THE_LIST = ("field", "source_id", "source_name", "ra", "dec", "redshift", "p_range", "duplicate_of")
_OF_THE_PLAN = ("instrument", "status", "_healpix_29", "unit_key")
_OF_THE_RUN = ("model_id", "contamination_model_id", "weights_origin", "n_draws", "n_members", "seed")
_MEASURED = {column.name for column in COLUMNS} - {*_OF_THE_LIST, *_OF_THE_PLAN, *_OF_THE_RUN}
_FLAGS_OF_THE_LIST = {"DUPLICATE"}
"""Flags that say nothing of the image: to exclude them changes no rates."""
_MOST_OFF_CENTRE = 2.0
"""Largest ratio of the galaxies' median offset to the test's."""


def check_selection(chosen: pc.Expression | None) -> None:
    """Check that galaxies are selected by nothing that changes how many of them are recognised.

    Parameters
    ----------
    chosen
        The user's selection.

    Raises
    ------
    InputError
        If it uses a column that was measured on the image: the matrices' test did not select by it.
    """
    used = sorted(name for name in _MEASURED if chosen is not None and re.search(rf"\b{name}\b", str(chosen)))
    if used:
        how = "with exclude_flags (--exclude-flags)" if used == ["flags"] else "and use matrices of a test with that selection"
        raise InputError(
            f"the selection uses {', '.join(used)}, and the galaxies of the matrices' test were not selected by it, so their "
            f"rates do not hold. Leave it out of the selection, {how}."
        )


def is_of_a_test(where: str | pc.Expression, tests: Sequence[SelectedTest]) -> bool:
    """Whether a selection is, word for word, that of a test: then the test's galaxies were selected by the same columns."""
    return isinstance(where, str) and where in {test.where for test in tests}


def check_bins(column: str) -> None:
    """Check that galaxies are not binned by a column that was measured on the image; see `check_selection`."""
    if column in _MEASURED:
        raise InputError(
            f"the bins are of {column}, which was measured on the image, and the matrices' test was not divided by it: the rates "
            "of the bins differ. Bin by a column of the source list, or leave the matrices out."
        )


def matched(rows: pa.Table, question: Question, tests: Sequence[SelectedTest]) -> tuple[Int64Array, list[SelectedTest]]:
    """Find the test that applies to each galaxy.

    Parameters
    ----------
    rows
        The selected galaxies.
    question
        How they were selected.
    tests
        The tests.

    Returns
    -------
    (n,) index of each galaxy's test, and the tests that apply to any.

    Raises
    ------
    InputError
        If no test has the same field, instrument, models, cuts, flags and magnitudes; the first difference is named. Also if the
        galaxies are centred in another way, or the catalog cannot say how they are.
    """
    magnitude = _magnitudes(rows, question, tests)
    groups, used = np.full(len(rows), -1, np.int64), list[SelectedTest]()
    for kind, members in _kinds(rows):
        for test in _of_selection(kind, question, tests):
            groups[members & test.holds(magnitude)] = len(used)
            used.append(test)
    _check_all_matched(groups, magnitude, used)
    _check_centring(rows, groups, used)
    return groups, used


def _kinds(rows: pa.Table) -> Iterator[tuple[dict[str, Any], BoolArray]]:
    """Each combination of field, instrument and models, and (n,) bool: which rows have it."""
    names = ("field", "instrument", "model_id", "contamination_model_id")
    encoded = [rows[name].combine_chunks().dictionary_encode(null_encoding="encode") for name in names]
    different, places = np.unique(np.stack([one.indices.to_numpy() for one in encoded], axis=1), axis=0, return_inverse=True)
    for number, codes in enumerate(different.tolist()):
        kind = {name: one.dictionary[code].as_py() for name, one, code in zip(names, encoded, codes, strict=True)}
        yield kind, places.ravel() == number


def _magnitudes(rows: pa.Table, question: Question, tests: Sequence[SelectedTest]) -> Float64Array:
    if question.magnitude is not None:
        return np.asarray(rows[question.magnitude].cast(pa.float64(), safe=False).to_numpy(), np.float64)
    if not question.any_magnitude and any(test.magnitude for test in tests):
        raise InputError(
            "rates depend on magnitude, and one matrix for all magnitudes can make a trend out of none. Name the catalog's "
            "column of AB magnitudes with magnitude (--magnitude), or accept rates for the magnitudes of the test with "
            "any_magnitude (--any-magnitude)."
        )
    return np.full(len(rows), np.nan)


def _of_selection(kind: Mapping[str, Any], question: Question, tests: Sequence[SelectedTest]) -> list[SelectedTest]:
    """The tests that apply to galaxies of one field, instrument and pair of models."""
    place = f"{kind['field']}/{kind['instrument']}"
    left = [test for test in tests if (test.field, test.instrument) == (kind["field"], kind["instrument"])]
    if not left:
        there = ", ".join(dict.fromkeys(f"{test.field}/{test.instrument}" for test in tests))
        raise InputError(
            f"there is no confusion matrix for {place}: the tests are of {there}, and other depths and PSFs have other rates. "
            "Evaluate the model on records of that field, or select the other fields."
        )
    left = _with_where(place, question, left)
    excluded = _of_the_image(question.exclude_flags)
    asked: dict[str, tuple[Any, Callable[[SelectedTest], Any]]] = {
        "model": (kind["model_id"], lambda test: test.model_id),
        "excluded flags": (excluded, lambda test: _of_the_image(test.excluded_flags)),
        "contamination cuts": (dict(question.limits), lambda test: dict(test.limits)),
        "contamination model": (kind["contamination_model_id"], lambda test: test.contamination_model_id),
        "magnitudes": (question.magnitude is not None, lambda test: test.magnitude is not None),
    }
    if not question.limits:
        del asked["contamination model"]
    for name, (wanted, found) in asked.items():
        same = [test for test in left if found(test) == wanted]
        if not same:
            raise InputError(_difference(place, name, wanted, list(map(found, left))))
        left = same
    return left


def _of_the_image(flags: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(flags) - _FLAGS_OF_THE_LIST))


def _with_where(place: str, question: Question, tests: list[SelectedTest]) -> list[SelectedTest]:
    """The tests whose selection by columns is that of the question; tests that were not selected by columns, if there is none."""
    if same := [test for test in tests if test.where is not None and test.where == question.where]:
        return same
    if free := [test for test in tests if test.where is None]:
        return free
    there = " or ".join(dict.fromkeys(repr(test.where) for test in tests))
    raise InputError(
        f"the confusion matrix of {place} holds for the selection {there}, and the selection asked for is {question.where!r}. "
        "Ask for the same, word for word, or leave the matrices out."
    )


def _difference(place: str, name: str, wanted: Any, there: Sequence[Any]) -> str:
    known = "; ".join(dict.fromkeys(map(_told, there)))
    if name == "magnitudes":
        known, wanted = "together" if wanted else "by magnitude only", "by magnitude" if wanted else "together"
    return (
        f"no confusion matrix of {place} was measured with this selection. {name.capitalize()} asked for: {_told(wanted)}; of "
        f"the tests: {known}. Ask for one of these, or evaluate the model with this selection."
    )


def _told(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{column} <= {limit:g}" for column, limit in sorted(value.items())) or "none"
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return str(value)


def _check_all_matched(groups: Int64Array, magnitude: Float64Array, used: Iterable[SelectedTest]) -> None:
    beyond = groups < 0
    if beyond.any():
        ranges = sorted({test.magnitude for test in used if test.magnitude})
        known = magnitude[beyond][np.isfinite(magnitude[beyond])]
        told = ", ".join(f"[{low:g}, {high:g})" for low, high in ranges)
        span = f"{known.min():.1f} to {known.max():.1f}" if len(known) else "none"
        raise InputError(
            f"{int(beyond.sum())} of the {len(groups)} selected galaxies have magnitudes ({span}) outside the tests' "
            f"{told}. Select the others, or evaluate the model on such galaxies."
        )


def _check_centring(rows: pa.Table, groups: Int64Array, used: Sequence[SelectedTest]) -> None:
    if not any(test.offset_arcsec for test in used):
        return
    if "offset_arcsec" not in rows.schema.names:
        raise InputError(
            "the tests of the matrices state how their galaxies were centred, which cannot be compared with the selected ones: "
            f"{no_such_column('offset_arcsec', rows.schema.names)} Or leave the matrices out."
        )
    offsets = np.asarray(rows["offset_arcsec"].cast(pa.float64()).to_numpy(), np.float64)
    for number, test in enumerate(used):
        found = offsets[groups == number]
        found = found[np.isfinite(found)]
        if test.offset_arcsec and (groups == number).any() and not len(found):
            raise InputError(
                f"none of the selected galaxies of {test.name} has an offset_arcsec, so it cannot be compared with that of the "
                f"test's galaxies, {test.offset_arcsec:.3f} arcsec. Run the workflow again, or leave the matrices out."
            )
        if test.offset_arcsec and len(found) and np.median(found) > _MOST_OFF_CENTRE * test.offset_arcsec:
            raise InputError(
                f"the light of the selected galaxies of {test.name} lies {np.median(found):.3f} arcsec from their positions in "
                f"the median, that of the test's galaxies {test.offset_arcsec:.3f}: they are centred in another way. Correct the "
                "positions, or evaluate the model on galaxies that are scattered as widely."
            )
