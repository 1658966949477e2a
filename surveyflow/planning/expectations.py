"""What a run of a survey is expected to give: sources on mosaics, rows by status, and hours of work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from surveyflow.planning.units import LocatedSources
from surveyflow.tasks.card import ModelCard
from surveyflow.values.codes import Status
from surveyflow.values.jobs import Receipt

TO_MEASURE = "to_measure"
"""Stands for the status of sources that only their pixels decide."""
ASSUMED_SECONDS = 0.006
"""Seconds for a source and a network, on one core of a CPU with the engine fft, where nothing was measured yet."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What is expected of a field's sources in one instrument.

    Parameters
    ----------
    field
        The field.
    instrument
        The instrument; None for the sources for which no instrument is chosen.
    mosaics
        Number of its mosaics.
    rows
        Number of its sources, which is that of its rows in the catalog.
    on_mosaic
        Number of those whose centre lies on a mosaic.
    status
        Number of rows by status; ``to_measure`` stands for the statuses that pixels decide.
    hours
        Hours of one worker for those to measure.
    """

    field: str
    instrument: str | None
    mosaics: int
    rows: int
    on_mosaic: int
    status: Mapping[str, int]
    hours: float

    def as_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        return asdict(self)

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {word}" for word, count in self.status.items())
        if self.instrument is None:
            return f"{self.field}: {self.rows} rows without instrument ({counts})"
        images = "1 mosaic" if self.mosaics == 1 else f"{self.mosaics} mosaics"
        hours = f"; about {_duration(self.hours)} on one worker" if self.status.get(TO_MEASURE) else ""
        return f"{self.field}/{self.instrument}: {self.rows} rows, {self.on_mosaic} on {images} ({counts}){hours}"


Places = Mapping[tuple[str, str, bool], int]
"""Number of sources by instrument (empty without one), status (``TO_MEASURE`` before it is known), and whether they are on a
mosaic."""


def count_places(located: LocatedSources) -> Counter[tuple[str, str, bool]]:
    """Count sources by instrument, status, and whether they are on a mosaic.

    Parameters
    ----------
    located
        The sources.
    """
    words = np.where(located.status == "", TO_MEASURE, located.status)
    on_mosaic = (located.status != Status.OFF_MOSAIC) & (located.mosaic >= 0)
    return Counter(zip(located.instrument.tolist(), words.tolist(), on_mosaic.tolist(), strict=True))


def expectations(
    field: str,
    places: Places,
    n_mosaics: Mapping[str, int],
    seconds: Mapping[str, float],
    to_do: Mapping[str, int] | None = None,
) -> list[Expectation]:
    """Count what is expected of a field.

    Parameters
    ----------
    field
        The field.
    places
        Numbers of its sources, as `count_places` counts them.
    n_mosaics
        Number of its mosaics by instrument.
    seconds
        Seconds for each source to measure, by instrument; see `seconds_each`.
    to_do
        Number of sources that are still to be measured, by instrument; all by default.

    Returns
    -------
    One for each instrument that has sources or mosaics, and the last for the sources without instrument, if there are any.
    """
    names = [*n_mosaics, *sorted({name for name, _, _ in places if name and name not in n_mosaics}), ""]
    found = []
    for name in names:
        status: Counter[str] = Counter()
        for (_, word, _), number in sorted(item for item in places.items() if item[0][0] == name):
            status[word] += number
        on_mosaic = sum(number for (instrument, _, on), number in places.items() if on and instrument == name)
        measured = status.get(TO_MEASURE, 0) if to_do is None else to_do.get(name, 0)
        hours = measured * seconds.get(name, 0.0) / 3600
        found.append(Expectation(field, name or None, n_mosaics.get(name, 0), status.total(), on_mosaic, dict(status), hours))
    return found if found[-1].rows else found[:-1]


def seconds_each(receipts: Iterable[Receipt], models: Mapping[str, Iterable[ModelCard]]) -> dict[str, float]:
    """Estimate the seconds that a worker spends on a source, by instrument.

    Parameters
    ----------
    receipts
        Receipts of the field's units in the last published revision. Those of an instrument tell how long its sources took.
    models
        The cards of all models of each instrument. Without receipts, each network is assumed to take `ASSUMED_SECONDS`.
    """
    assumed = {name: ASSUMED_SECONDS * sum(len(card.each) for card in cards) for name, cards in models.items()}
    seconds, rows = dict.fromkeys(models, 0.0), dict.fromkeys(models, 0)
    for receipt in receipts:
        instrument = receipt.name.split("/")[1]
        if instrument in rows:
            seconds[instrument] += receipt.seconds
            rows[instrument] += receipt.n_rows
    return {name: seconds[name] / rows[name] if rows[name] else assumed[name] for name in models}


def _duration(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.1f} hours"
    return f"{60 * hours:.0f} minutes" if hours >= 1 / 60 else "a minute"
