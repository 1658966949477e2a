"""The weights that a training starts from, where its file names a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from surveyflow.errors import InputError
from surveyflow.models.store import CARD_FILE, read_card, read_weights
from surveyflow.models.weights import Weights, weight_shapes
from surveyflow.settings.training import Training
from surveyflow.tasks.card import ModelCard
from surveyflow.training.records.record_index import RecordIndex


@dataclass(frozen=True, slots=True)
class Start:
    """A model that a training starts from.

    Parameters
    ----------
    card, weights
        Its card, and its weights by role.
    """

    card: ModelCard
    weights: Weights

    @property
    def note(self) -> str:
        """What the card of the new model says about it."""
        return f"The training started from the weights of {self.card.model_id}."


def read_start(training: Training, validation: Sequence[RecordIndex]) -> Start | None:
    """Read the model that a training file names in ``[model] start``; of a jury, the member of the same seed.

    Parameters
    ----------
    training
        The training file.
    validation
        Indices of the validation records.

    Returns
    -------
    The model; None if the file names none.

    Raises
    ------
    ModelError
        If the model cannot be read.
    InputError
        If it is a jury without a member of this seed, its network has other layers, or it was trained on the validation records.
    """
    if training.model.start is None:
        return None
    folder = _of_the_same_seed(training.model.start, training.optimisation.seed)
    card = read_card(folder)
    if card.members:
        raise InputError(
            f"[model] start: {folder} is a jury of {', '.join(member.name for member in card.members)}, without a member of this "
            f"training's seed, {training.optimisation.seed}. Name the folder of one of its members."
        )
    if weight_shapes(card.architecture) != weight_shapes(training.network):
        raise InputError(
            f"[model] start: the network of {folder} has other layers than [architecture]. "
            "State the same filters, kernel_sizes, dense, asymmetry and task, or remove `start`."
        )
    seen = set() if card.training is None else set(card.training.records)
    if shared := [index.digest[:12] for index in validation if index.digest in seen]:
        raise InputError(
            f"[model] start: {folder} was trained on the validation records {', '.join(shared)}, which could then not show how "
            "good the new model is. Simulate other validation records, or name another model."
        )
    return Start(card, read_weights(folder, card))


def _of_the_same_seed(folder: Path, seed: int) -> Path:
    """The folder of a jury's member of this seed, if there is one; otherwise the folder itself."""
    member = folder / f"seed-{seed}"
    return member if (member / CARD_FILE).is_file() else folder
