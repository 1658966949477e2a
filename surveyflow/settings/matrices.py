"""The confusion matrices of the classifiers' tests, and the files that hold them.

::

    weights_origin = "simulated"        # origin of the weights that were tested
    class_rule = "mean_output"          # rule that classified the galaxies
    source = "4,000 simulated galaxies of 2026-11-20, half of them post-mergers"

    [matrices]                          # rows: true class, columns: predicted class; post-mergers first, then star-forming
    COSMOS = [[1827, 481], [491, 1959]]
    "EGS/F814W" = [[1804, 432], [467, 1981]]

Such matrices do not say of which galaxies they hold. Those that ``surveyflow evaluate`` writes do, in place of ``[matrices]``::

    [[tests]]
    field = "COSMOS"
    instrument = "F814W"
    model_id = "merger/COSMOS/F814W@70673e6cde7f"       # the model that was tested
    counts = [[871, 120], [88, 921]]
    magnitude = [22.0, 23.0]                            # AB, half-open; left out if the test's galaxies are taken together
    excluded_flags = ["OUT_OF_DOMAIN"]                  # galaxies with these flags were left out
    limits = { p_contaminated_mean = 0.5 }              # and those above these limits, by column,
    contamination_model_id = "contamination/COSMOS/F814W@59c46f3f09d6"   # as this model estimates them
    offset_arcsec = 0.117                               # median distance of the light's centroid from the position

Those that ``surveyflow vetted`` writes also say how the galaxies were selected, and hold for the same selection only::

    where = "status == 'ok' and mag < 24"
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from itertools import pairwise
from typing import Annotated, Any

import numpy as np
import tomlkit
from pydantic import BeforeValidator, ConfigDict, Field, PlainValidator, TypeAdapter, WithJsonSchema, with_config

from surveyflow.errors import InputError
from surveyflow.settings.reader import Pair, SettingsFile
from surveyflow.stats.fractions import ConfusionMatrix
from surveyflow.values.arrays import Float64Array
from surveyflow.values.codes import ClassRule, Flag, WeightsOrigin


def _matrix(value: Any) -> ConfusionMatrix:
    try:
        counts = np.array(value)
    except ValueError:
        counts = np.empty(0)
    return ConfusionMatrix(counts)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


LIMITED_COLUMNS = ("p_contaminated_mean", "coverage_pct_mean", "flux_pp_mean")
"""Columns that a contamination cut may limit."""
Matrix = Annotated[ConfusionMatrix, PlainValidator(_matrix), WithJsonSchema({"type": "array"})]


@with_config(ConfigDict(extra="forbid", strict=True))
@dataclass(frozen=True, slots=True)
class SelectedTest:
    """The confusion matrix of a test, with the selection of galaxies for which it holds.

    Parameters
    ----------
    field, instrument
        Field and instrument whose depth and PSF the test's images have.
    model_id
        The model that was tested, as in the catalog's column.
    counts
        The matrix.
    magnitude
        AB magnitudes of the test's galaxies, [low, high); None for all of the test's galaxies together.
    excluded_flags
        Names of `surveyflow.values.codes.Flag` bits; galaxies that have any of them were left out.
    limits
        Contamination cuts: the largest accepted value, by column.
    contamination_model_id
        The model that estimates the contamination; None without cuts.
    offset_arcsec
        Median distance of the light's centroid from the position, arcsec, which says how galaxies were centred; None if unknown.
    where
        The selection of the test's galaxies, in the language of ``--where``; None if nothing was selected by columns.
    """

    field: Annotated[str, Field(min_length=1, examples=["COSMOS"])]
    instrument: Annotated[str, Field(min_length=1, examples=["F814W"])]
    model_id: Annotated[str, Field(min_length=1, examples=["merger/COSMOS/F814W@70673e6cde7f"])]
    counts: Matrix
    magnitude: Pair | None = None
    excluded_flags: Annotated[tuple[str, ...], BeforeValidator(_tuple)] = ()
    limits: Mapping[str, float] = dataclass_field(default_factory=dict)
    contamination_model_id: str | None = None
    offset_arcsec: float | None = None
    where: str | None = None

    def __post_init__(self) -> None:
        if strange := sorted({*self.excluded_flags} - {*Flag.__members__}):
            raise ValueError(f"excluded_flags names {', '.join(strange)}; expected names of flags, such as OUT_OF_DOMAIN")
        if strange := sorted({*self.limits} - {*LIMITED_COLUMNS}):
            raise ValueError(f"limits names {', '.join(strange)}; expected {', '.join(LIMITED_COLUMNS)}")
        if bool(self.limits) != (self.contamination_model_id is not None):
            raise ValueError("limits and contamination_model_id must be stated together, or neither of them")
        if self.magnitude is not None and not self.magnitude[0] < self.magnitude[1]:
            raise ValueError(f"magnitude must be [low, high) with low < high, not {list(self.magnitude)}")

    @property
    def name(self) -> str:
        """What distinguishes it from the other tests that apply to the same question."""
        return f"{self.field}/{self.instrument}" + ("" if self.magnitude is None else " {:g} to {:g}".format(*self.magnitude))

    @property
    def selection(self) -> Hashable:
        """What selects its galaxies, beside the limits of their magnitudes."""
        place = self.field, self.instrument, self.magnitude is None
        cuts = frozenset(self.excluded_flags), frozenset(self.limits.items()), self.contamination_model_id
        return *place, self.model_id, *cuts, self.where

    def holds(self, magnitude: Float64Array) -> Any:
        """(n,) bool: whether magnitudes lie in its range; True where it has none."""
        low, high = self.magnitude or (-np.inf, np.inf)
        return (magnitude >= low) & (magnitude < high) if self.magnitude else np.ones(len(magnitude), bool)


@with_config(ConfigDict(extra="forbid", strict=True))
@dataclass(frozen=True, slots=True)
class ClassifierTests:
    """Confusion matrices of tested classifiers.

    Parameters
    ----------
    weights_origin
        Origin of the weights that were tested; the matrices do not apply to other weights.
    class_rule
        Rule that classified the galaxies of the test.
    source
        Source of the numbers, in words.
    matrices
        Matrices by ``FIELD/INSTRUMENT``, or by ``FIELD`` for every instrument without its own, which do not say of which
        galaxies they hold.
    tests
        Matrices that say it, at most one for any galaxy and question. There are either these or those.
    """

    weights_origin: WeightsOrigin
    class_rule: ClassRule
    source: Annotated[str, Field(min_length=1, examples=["4,000 simulated galaxies"])]
    matrices: Mapping[str, Matrix] = dataclass_field(default_factory=dict)
    tests: Annotated[tuple[SelectedTest, ...], BeforeValidator(_tuple)] = ()

    def __post_init__(self) -> None:
        if bool(self.matrices) == bool(self.tests):
            raise ValueError("there must be matrices, either in [matrices] or in [[tests]]")
        if problems := list(_repeated(self.tests)):
            raise ValueError("; ".join(problems))

    def name_for(self, field: str, instrument: str) -> str | None:
        """The name of the matrix that applies to a field's galaxies; None if there is none."""
        names = (f"{field}/{instrument}", field)
        return next((name for name in names if name in self.matrices), None)


def _repeated(tests: Sequence[SelectedTest]) -> Iterator[str]:
    """Which two tests apply to the same galaxies, in words."""
    alike: dict[Hashable, list[tuple[int, SelectedTest]]] = {}
    for number, test in enumerate(tests, 1):
        alike.setdefault(test.selection, []).append((number, test))
    for same in alike.values():
        ordered = sorted(same, key=lambda one: one[1].magnitude or (-np.inf, np.inf))
        for (first, one), (second, other) in pairwise(ordered):
            if one.magnitude is None or other.magnitude is None or one.magnitude[1] > other.magnitude[0]:
                yield (
                    f"[[tests]] number {first} ({one.name}) and number {second} ({other.name}) are of the same model, flags and "
                    "cuts and of magnitudes in common, so it is not clear which applies; remove one of them"
                )


MATRICES_FILE = SettingsFile(TypeAdapter(ClassifierTests), InputError, "docs/how-to/merger-fractions.md")


def matrices_to_toml(tests: ClassifierTests) -> str:
    """Tests with their selections as TOML, which `MATRICES_FILE` reads back."""
    stated = [_stated(test) for test in tests.tests]
    heading = {"weights_origin": tests.weights_origin.value, "class_rule": tests.class_rule.value, "source": tests.source}
    return tomlkit.dumps(heading | {"tests": stated})


def _stated(test: SelectedTest) -> dict[str, Any]:
    values: dict[str, Any] = {
        "field": test.field,
        "instrument": test.instrument,
        "model_id": test.model_id,
        "counts": test.counts.counts.tolist(),
        "magnitude": test.magnitude and list(test.magnitude),
        "excluded_flags": list(test.excluded_flags),
        "limits": dict(test.limits),
        "contamination_model_id": test.contamination_model_id,
        "offset_arcsec": test.offset_arcsec,
        "where": test.where,
    }
    return {key: value for key, value in values.items() if value not in (None, [], {})}
