"""The contamination task: the share of a galaxy that its neighbours cover, and their flux."""

from __future__ import annotations

from collections.abc import Iterator

from surveyflow.tasks.card import ContaminationScale
from surveyflow.tasks.contamination.learning import calibrated, scale_fitted_to, scores, skill, targets_of
from surveyflow.tasks.contamination.parts import (
    AMOUNT_QUANTILES,
    PARTS,
    amount_columns,
    amount_outputs,
    can_be_measured,
    summarise,
)
from surveyflow.tasks.task import AmountSummary, ResultColumn, Scaling, Task, statistics

_MOMENTS = ("mean", "std")


def _columns() -> Iterator[ResultColumn]:
    for part in PARTS:
        if part.column is not None:
            yield from statistics(part.column, _MOMENTS)
        if part.amount is not None:
            yield from statistics(part.amount.column, (*_MOMENTS, *AMOUNT_QUANTILES))


CONTAMINATION = Task(
    name="contamination",
    parts=PARTS,
    columns=tuple(_columns()),
    null="if status is not ok, no contamination model was used, or the cutout has no measurable sky noise",
    targets_of=targets_of,
    summarise=summarise,
    amounts=AmountSummary(amount_outputs, amount_columns),
    scores=scores,
    skill=skill,
    objectives=("r2", "auc"),
    measurable=can_be_measured,
    in_blocks=True,
    truth_depends_on_noise=True,
    scaling=Scaling(untrained=ContaminationScale("sky_sigma", flux_range=8.0), fitted=scale_fitted_to, calibrated=calibrated),
)
