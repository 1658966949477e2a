"""What follows from answers: labels that people agree on, their agreement, and the completeness and purity of a catalog.

A galaxy's label is the one that more than half of its people gave; without one it is unsure. The sample's design is known, so
each galaxy stands for N / n galaxies of its stratum, N of the selection and n with an answer. Completeness (recall) and purity
(precision) are sums of these weights. All labels but post-merger and unsure count as not post-merger: pairs and artefacts are
among the galaxies whose fraction is measured.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from surveyflow.errors import InputError
from surveyflow.settings.matrices import ClassifierTests, SelectedTest
from surveyflow.stats.agreement import cohen_kappa, fleiss_kappa, with_interval
from surveyflow.stats.fractions import ConfusionMatrix, called_post_merger
from surveyflow.tasks.registry import LEADING
from surveyflow.values.arrays import Float64Array, Int64Array
from surveyflow.values.codes import ClassRule, Status, WeightsOrigin
from surveyflow.vetting.labels import Answer, Label
from surveyflow.vetting.records import Records

FEWEST = 10
"""Galaxies of each class that a confusion matrix needs."""
LABELS = tuple(Label)
_OUTPUTS = {column.name for column in LEADING.columns} | {"p_pm_calibrated", "p_pm_at_prevalence"}
_COLUMNS = (
    *("field", "source_id", "source_name", "instrument", "status", "model_id", "weights_origin"),
    *("p_pm_mean", "p_sf_mean", "f_pm"),
)
_CELLS = ("positive_called", "positive_missed", "negative_called", "negative_missed")

Galaxy = tuple[str, int]
"""Field and id."""


@dataclass(frozen=True, slots=True)
class Vetted:
    """A galaxy with its label.

    Parameters
    ----------
    answers
        The last answer of each person.
    label
        The label that more than half of them gave; `Label.UNSURE` without one.
    """

    answers: tuple[Answer, ...]
    label: Label

    @property
    def n_agreeing(self) -> int:
        """How many people gave the label."""
        return sum(answer.label == self.label for answer in self.answers)


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How intervals are made: number of samples, their seed, and the probability that an interval holds the truth."""

    n_samples: int = 1000
    seed: int = 1
    confidence: float = 0.6827


def of_sample(records: Records, sample: str | None) -> tuple[Answer, ...]:
    """The answers about one sample.

    Parameters
    ----------
    records
        All answers.
    sample
        The sample's name, or its beginning; None if there is only one.

    Raises
    ------
    InputError
        If there is no such sample, or several and none is named.
    """
    asked = {answer.sample: answer.where for answer in records.answers}
    chosen = [name for name in asked if sample is None or name.startswith(sample)]
    if len(chosen) != 1:
        known = "; ".join(f"{name}: {where or 'all galaxies'}" for name, where in asked.items()) or "none"
        raise InputError(f"{len(chosen)} samples fit, expected one. There are: {known}. Name one with --sample.")
    return tuple(answer for answer in records.answers if answer.sample == chosen[0])


def labelled(answers: Sequence[Answer]) -> dict[Galaxy, Vetted]:
    """The label of each galaxy.

    Parameters
    ----------
    answers
        Answers of any samples; of each person, the last one about a galaxy counts.
    """
    by_galaxy: dict[Galaxy, dict[str, Answer]] = {}
    for answer in sorted(answers, key=lambda one: one.time):
        by_galaxy.setdefault(answer.galaxy, {})[answer.person] = answer
    return {galaxy: Vetted(tuple(people.values()), _majority(people.values())) for galaxy, people in sorted(by_galaxy.items())}


def _majority(answers: Any) -> Label:
    counts = Counter(answer.label for answer in answers)
    label, number = counts.most_common(1)[0]
    return Label(label) if 2 * number > counts.total() else Label.UNSURE


def agreement(vetted: Mapping[Galaxy, Vetted], bootstrap: Bootstrap) -> dict[str, Any]:
    """Cohen's kappa of each two people, and Fleiss' kappa of the galaxies that everybody labelled.

    Parameters
    ----------
    vetted
        The galaxies.
    bootstrap
        How intervals are made.

    Returns
    -------
    JSON's values: ``cohen``, a list with the two people, value, low, high and n; ``fleiss`` with people, value, low, high and n,
    None for fewer than three people or without such galaxies. NaN becomes None.
    """
    people = sorted({answer.person for one in vetted.values() for answer in one.answers})
    given = [{answer.person: LABELS.index(Label(answer.label)) for answer in one.answers} for one in vetted.values()]
    return {"cohen": list(_cohen(given, people, bootstrap)), "fleiss": _fleiss(given, people, bootstrap)}


def _cohen(given: Sequence[Mapping[str, int]], people: Sequence[str], bootstrap: Bootstrap) -> Iterator[dict[str, Any]]:
    for pair in combinations(people, 2):
        both = np.array([[one[name] for name in pair] for one in given if set(pair) <= one.keys()], np.int64).reshape(-1, 2)
        if len(both):
            yield {"people": list(pair), **_interval(partial(_kappa_of_two, both), len(both), bootstrap)}


def _kappa_of_two(both: Int64Array, rows: Int64Array) -> float:
    return cohen_kappa(both[rows, 0], both[rows, 1], len(LABELS))


def _fleiss(given: Sequence[Mapping[str, int]], people: Sequence[str], bootstrap: Bootstrap) -> dict[str, Any] | None:
    everybody = [list(one.values()) for one in given if len(one) == len(people)]
    if len(people) < 3 or not everybody:
        return None
    counts = np.array([np.bincount(classes, minlength=len(LABELS)) for classes in everybody])
    return {"people": list(people), **_interval(lambda rows: fleiss_kappa(counts[rows]), len(counts), bootstrap)}


def _interval(kappa: Any, n: int, bootstrap: Bootstrap) -> dict[str, Any]:
    rng = np.random.default_rng(bootstrap.seed)
    found = asdict(with_interval(kappa, n, rng, bootstrap.n_samples, bootstrap.confidence))
    return {name: _plain(value) for name, value in found.items()}


def labels_table(vetted: Mapping[Galaxy, Vetted], catalog: ds.Dataset) -> str:
    """The labels as CSV, as ``surveyflow compare`` reads them: id, field, ra, dec, label, n_people, n_agreeing.

    Parameters
    ----------
    vetted
        The galaxies.
    catalog
        The catalog, which knows the names of galaxies whose lists have names instead of numbers.
    """
    rows = _rows(catalog, vetted)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("id", "field", "ra", "dec", "label", "n_people", "n_agreeing"))
    for galaxy, one in vetted.items():
        name = rows.get(galaxy, {}).get("source_name")
        answer = one.answers[-1]
        place = (repr(answer.ra), repr(answer.dec))
        writer.writerow((name or galaxy[1], galaxy[0], *place, one.label.value, len(one.answers), one.n_agreeing))
    return text.getvalue()


@dataclass(frozen=True, slots=True)
class Rates:
    """The answers of a catalog, measured on the vetted galaxies of one field, instrument and model.

    Parameters
    ----------
    field, instrument, model_id, weights_origin
        Whose answers they are.
    counts
        Galaxies by `_CELLS`: labelled positive or negative, called post-merger or not.
    n_unsure
        Galaxies whose label is unsure; they are in none of the numbers.
    completeness, purity
        Value, low and high; None where there is no galaxy.
    matrix
        (2, 2) integers, rows are the labels: the counts themselves if all weights are equal, otherwise those of a random sample
        with the same shares and the same errors.
    weighted
        Whether the weights differ.
    """

    field: str
    instrument: str
    model_id: str
    weights_origin: str
    counts: Mapping[str, int]
    n_unsure: int
    completeness: Mapping[str, float | None]
    purity: Mapping[str, float | None]
    matrix: Int64Array
    weighted: bool

    @property
    def n_of_smaller_class(self) -> int:
        """Number of galaxies labelled positive, or negative, whichever is smaller."""
        return min(sum(self.counts[cell] for cell in row) for row in (_CELLS[:2], _CELLS[2:]))

    def as_json(self) -> dict[str, Any]:
        """The numbers as JSON's values."""
        return asdict(self) | {"matrix": self.matrix.tolist()}


def rates(answers: Sequence[Answer], catalog: ds.Dataset, bootstrap: Bootstrap) -> list[Rates]:
    """Measure completeness (recall) and purity (precision), for each field, instrument and model.

    Parameters
    ----------
    answers
        The answers about one sample.
    catalog
        The catalog whose answers are measured, by the rule of the mean output.
    bootstrap
        How intervals are made: galaxies are drawn again within each stratum.

    Returns
    -------
    One entry for each field, instrument and model with galaxies of status ok.
    """
    vetted = labelled(answers)
    rows = _rows(catalog, vetted)
    strata = {galaxy: _range(one.answers[-1]) for galaxy, one in vetted.items()}
    n_selected = {_range(answer): answer.stratum.n_selected for answer in sorted(answers, key=lambda one: one.time)}
    n_answered = Counter(strata.values())
    groups: dict[tuple[str, str, str, str], list[tuple[Galaxy, int]]] = {}
    for galaxy, one in vetted.items():
        row = rows.get(galaxy)
        if row is not None and row["status"] == Status.OK:
            key = (row["field"], row["instrument"], row["model_id"], row["weights_origin"])
            groups.setdefault(key, []).append((galaxy, _cell(one.label, row)))
    order = {stratum: place for place, stratum in enumerate(n_answered)}
    weights = np.array([n_selected[stratum] / n_answered[stratum] for stratum in order])
    sizes = np.array(list(n_answered.values()))
    return [
        _measured(key, np.array([[order[strata[galaxy]], cell] for galaxy, cell in found]), weights, sizes, bootstrap)
        for key, found in sorted(groups.items())
    ]


def _range(answer: Answer) -> tuple[float | None, float | None]:
    """The range of a galaxy's stratum. Of several revisions it is the same one, although other numbers were selected in each."""
    return answer.stratum.low, answer.stratum.high


def _cell(label: Label, row: Mapping[str, Any]) -> int:
    """The place in `_CELLS`; 4 for an unsure label."""
    if label is Label.UNSURE:
        return len(_CELLS)
    called = called_post_merger([row["p_pm_mean"]], [row["p_sf_mean"]], [row["f_pm"]], ClassRule.MEAN_OUTPUT)[0]
    return 2 * (label is not Label.POST_MERGER) + (not called)


def _measured(
    key: tuple[str, str, str, str], members: Int64Array, weights: Float64Array, sizes: Int64Array, bootstrap: Bootstrap
) -> Rates:
    """Rates of the (n, 2) strata and cells of the galaxies of one model; all other galaxies of the strata are in a sixth cell."""
    table = np.zeros((len(weights), len(_CELLS) + 2), np.int64)
    np.add.at(table, (members[:, 0], members[:, 1]), 1)
    table[:, -1] = sizes - table.sum(axis=1)
    rng = np.random.default_rng(bootstrap.seed)
    strata = zip(sizes, table, strict=True)
    drawn = np.stack([rng.multinomial(n, counts / n, bootstrap.n_samples) for n, counts in strata], axis=1)
    sums, samples = weights @ table[:, :4], np.einsum("h,shc->sc", weights, drawn[..., :4])
    used = weights[table[:, :4].sum(axis=1) > 0]
    weighted = bool(len(used) and np.ptp(used) > 1e-9 * used.max())
    counts = table[:, :4].sum(axis=0)
    return Rates(
        *key,
        counts=dict(zip(_CELLS, counts.tolist(), strict=True)),
        n_unsure=int(table[:, 4].sum()),
        completeness=_share(sums, samples, (0, 1), bootstrap),
        purity=_share(sums, samples, (0, 2), bootstrap),
        matrix=_equivalent(counts, sums, samples) if weighted else counts.reshape(2, 2),
        weighted=weighted,
    )


def _share(sums: Float64Array, samples: Float64Array, cells: tuple[int, int], bootstrap: Bootstrap) -> dict[str, float | None]:
    """The share of the first of two cells, with its interval."""
    whole = sums[list(cells)].sum()
    if not whole:
        return {"value": None, "low": None, "high": None}
    low, high = np.quantile(_ratios(samples, cells), [(1 - bootstrap.confidence) / 2, (1 + bootstrap.confidence) / 2])
    return {"value": float(sums[cells[0]] / whole), "low": float(low), "high": float(high)}


def _ratios(samples: Float64Array, cells: tuple[int, int]) -> Float64Array:
    whole = samples[:, list(cells)].sum(axis=1)
    known = whole > 0
    return np.asarray(samples[known, cells[0]] / whole[known], np.float64)


def _equivalent(counts: Int64Array, sums: Float64Array, samples: Float64Array) -> Int64Array:
    """(2, 2) counts of a random sample that has the same shares in each row, and in which they have the same variance.

    A row is never larger than the number of galaxies in it.
    """
    rows = []
    for first in (0, 2):
        n, whole = int(counts[first : first + 2].sum()), sums[first : first + 2].sum()
        share = sums[first] / whole if whole else 0.0
        variance = float(np.var(_ratios(samples, (first, first + 1)))) if whole else 0.0
        effective = min(float(n), share * (1 - share) / variance) if variance else float(n)
        called = round(share * effective)
        rows.append([called, max(round(effective), called) - called])
    return np.array(rows, np.int64)


def matrices(answers: Sequence[Answer], measured: Sequence[Rates], revision: str) -> tuple[ClassifierTests, list[str]]:
    """The measured rates as confusion matrices, which ``surveyflow fractions`` takes for the same selection.

    Parameters
    ----------
    answers
        The answers about one sample.
    measured
        The rates.
    revision
        The revision whose answers were measured.

    Returns
    -------
    The matrices, and a sentence for each group of galaxies that is too small to have one.

    Raises
    ------
    InputError
        If galaxies were selected by the network's answer, answers are of another revision, weights are of several origins, or
        no group has enough galaxies.
    """
    where = answers[0].where
    _check_selection(answers, revision)
    enough = [one for one in measured if one.n_of_smaller_class >= FEWEST]
    few = [f"{one.field}/{one.instrument}" for one in measured if one.n_of_smaller_class < FEWEST]
    notes = [f"{name}: fewer than {FEWEST} galaxies of a class, so no matrix." for name in few]
    origins = {one.weights_origin for one in enough}
    if len(origins) != 1:
        raise InputError(
            f"the vetted galaxies with enough labels have weights of {len(origins)} origins, expected one: at least {FEWEST} "
            f"post-mergers and {FEWEST} others of a field and instrument are needed. Vet more galaxies. {' '.join(notes)}".strip()
        )
    tests = tuple(_test(one, where) for one in enough)
    people = sorted({answer.person for answer in answers})
    source = f"{len(labelled(answers))} galaxies of {revision} vetted by {', '.join(people)}; sample {answers[0].sample}"
    return ClassifierTests(WeightsOrigin(origins.pop()), ClassRule.MEAN_OUTPUT, source, tests=tests), notes


def _check_selection(answers: Sequence[Answer], revision: str) -> None:
    where, shown = answers[0].where, sorted({answer.revision for answer in answers})
    if shown != [revision]:
        measure = f"Measure that revision (--release {shown[0]}), or vet" if len(shown) == 1 else "Vet"
        raise InputError(
            f"the galaxies were selected from {', '.join(shown)}, not from {revision} alone, whose columns may select others. "
            f"{measure} a sample of this one that has another name: with another --seed."
        )
    if used := sorted(name for name in _OUTPUTS if re.search(rf"\b{name}\b", where)):
        raise InputError(
            f"the sample was selected by {', '.join(used)}, the network's own answer, so the post-mergers that it misses are not "
            "in it. Vet a sample without that condition; strata of it (--strata) are allowed."
        )


def _test(one: Rates, where: str) -> SelectedTest:
    try:
        matrix = ConfusionMatrix(one.matrix)
    except ValueError as error:
        raise InputError(f"{one.field}/{one.instrument}: {error}. Vet more galaxies.") from error
    return SelectedTest(one.field, one.instrument, one.model_id, matrix, where=where or None)


def _rows(catalog: ds.Dataset, vetted: Mapping[Galaxy, Vetted]) -> dict[Galaxy, dict[str, Any]]:
    """The rows of galaxies, by field and id."""
    columns = [name for name in _COLUMNS if name in catalog.schema.names]
    ids = pa.array(sorted({source_id for _, source_id in vetted}), pa.int64())
    found = catalog.to_table(columns=columns, filter=pc.field("source_id").isin(ids))
    return {(row["field"], row["source_id"]): row for row in found.to_pylist() if (row["field"], row["source_id"]) in vetted}


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and np.isnan(value) else value
