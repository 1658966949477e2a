"""The merger task: whether a galaxy is a post-merger or a star-forming galaxy.

Two independent outputs are the two probabilities. `surveyflow.stats.posterior` summarises their draws for the catalog.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from surveyflow.stats.metrics import accuracy, confusion_matrix, precision, recall, upsilon
from surveyflow.stats.posterior import QUANTILES, PosteriorSummary, summarise
from surveyflow.tasks.card import ContaminationScale
from surveyflow.tasks.task import Columns, Draws, Part, ResultColumn, Skill, Task, statistics
from surveyflow.values.arrays import Float32Array
from surveyflow.values.codes import POST_MERGER, STAR_FORMING

_P_PM = ResultColumn("p_pm", "stat.probability;src.morph.type", "Post-merger output")
_P_SF = replace(_P_PM, name="p_sf", description="Star-forming output")
_COLUMNS = (
    *statistics(_P_PM, ("mean", "std", *QUANTILES)),
    *statistics(_P_SF, ("mean", "std", *QUANTILES)),
    ResultColumn(
        "f_pm",
        "stat.value;src.morph.type",
        "Fraction of draws with p_pm > p_sf: a count of votes, not a probability.",
    ),
    ResultColumn(
        "vote_entropy",
        "stat.param;src.morph.type",
        "Entropy of (f_pm, 1 - f_pm) in nats: 0 where all draws agree, to 0.693.",
    ),
    ResultColumn(
        "entropy_predictive",
        "stat.param;src.morph.type",
        "Entropy in nats of the mean of (p, 1 - p), p = p_pm / (p_pm + p_sf): the total uncertainty of the class, 0 to 0.693.",
    ),
    ResultColumn(
        "entropy_expected",
        "stat.param;src.morph.type",
        "Mean over the draws of the entropy in nats of (p, 1 - p): the part on which the draws agree, 0 to 0.693.",
    ),
    ResultColumn(
        "mutual_information",
        "stat.param;src.morph.type",
        "entropy_predictive - entropy_expected, in nats: the part on which the draws disagree, 0 to 0.693.",
    ),
    ResultColumn(
        "p_pm_member_std",
        "stat.stdev;stat.probability;src.morph.type",
        "Standard deviation of the members' means of p_pm, in a jury of several models (divisor M, not M - 1).",
        needs_members=True,
    ),
    ResultColumn(
        "member_agreement",
        "stat.value;src.morph.type",
        "Share of the jury's members whose own class, by their larger mean output, is the jury's; 1 for one model.",
    ),
    ResultColumn(
        "p_pm_hist",
        "meta.number;stat.probability",
        "Draws of p_pm in each of 50 equal bins over [0, 1]; the last bin holds 1.",
        unit=None,
        is_histogram=True,
    ),
)


def _targets(columns: Mapping[str, Any], rms: Float32Array, truth: str) -> Float32Array:  # noqa: ARG001 - one signature for all
    """1 and 0 for post-mergers, 0 and 1 for star-forming galaxies."""
    label = np.asarray(columns["label"], np.float32)
    return np.stack([label, 1 - label], axis=1)


def _summarise(draws: Draws) -> Columns:
    return summarise(draws.outputs, draws.card.n_members).columns()


def _scores(
    draws: Float32Array,
    targets: Float32Array,
    scale: ContaminationScale | None,  # noqa: ARG001 - one signature for all
) -> dict[str, float]:
    """Scores of the mean outputs.

    These are ``accuracy``, ``upsilon``, ``loss`` (the cross-entropy), and ``precision`` and ``recall`` of post-mergers. The last
    two are 0 where no galaxy is classified as a post-merger, or no galaxy is one.
    """
    mean = draws.mean(axis=1, dtype=np.float64)
    confusion = confusion_matrix(targets.argmax(axis=1), mean.argmax(axis=1), 2)
    likely = np.clip(mean, 1e-7, 1 - 1e-7)
    loss = -(targets * np.log(likely) + (1 - targets) * np.log1p(-likely)).mean()
    found = {"accuracy": accuracy(confusion), "upsilon": upsilon(confusion), "loss": loss}
    post_merger = MERGER.outputs.index(POST_MERGER)
    of_post_mergers = {"precision": precision(confusion)[post_merger], "recall": recall(confusion)[post_merger]}
    found |= {name: np.nan_to_num(value) for name, value in of_post_mergers.items()}
    return {name: float(value) for name, value in found.items()}


def _skill(scores: Mapping[str, float], targets: Float32Array) -> Skill:
    """The accuracy, beside that of calling every galaxy by the larger class, with its binomial error."""
    share = float(targets[:, MERGER.targets.index(POST_MERGER)].mean(dtype=np.float64))
    constant = max(share, 1 - share)
    return Skill("accuracy", scores["accuracy"], constant, float(np.sqrt(constant * (1 - constant) / len(targets))))


MERGER = Task(
    name="merger",
    parts=(Part(presence=POST_MERGER, weight=0.5), Part(presence=STAR_FORMING, weight=0.5)),
    columns=_COLUMNS,
    null="if and only if status is not ok",
    targets_of=_targets,
    summarise=_summarise,
    scores=_scores,
    skill=_skill,
    objectives=("upsilon", "accuracy"),
    leads=True,
    from_pair=PosteriorSummary.columns,
)
