"""Likeness in the features of the network that made a galaxy's result.

A catalog does not keep features. They are computed again, from the mosaics, for one galaxy and a limited number of those that
resemble it in the catalog's columns. So what is found is the order of these, not a search among all galaxies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from surveyflow.errors import ModelError
from surveyflow.files.paths import refusing
from surveyflow.inputs.published_mosaics import SkyCutout
from surveyflow.models.engines.choice import load_model, obstacle
from surveyflow.models.store import ModelStore, read_card
from surveyflow.sky.stretch import prepare
from surveyflow.tasks.card import Model, ModelKey
from surveyflow.values.arrays import Float32Array, Float64Array
from surveyflow.values.codes import EngineName

MOST_NETWORKS_RUN = 240
"""How often a network may run for one page; a jury runs each of its members for a cutout. It is about a second of one core."""
FEWEST_COMPARED, MOST_COMPARED = 24, 96
_MODELS_KEPT = 4


class PublishedModels:
    """The merger models of a revision, as far as the store that its workflow names still holds them. Any thread may ask.

    Parameters
    ----------
    manifest
        The revision's manifest.
    """

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        self._entries = {model["model_id"]: model for model in manifest.get("models", [])}
        self._store = str((manifest.get("workflow", {}).get("models") or {}).get("store") or "")
        self._model = lru_cache(maxsize=_MODELS_KEPT)(self._loaded)
        self._lock = Lock()

    def n_compared(self, model_id: str | None) -> int:
        """With how many galaxies one may be compared: the more members a jury has, the fewer."""
        members = self._entries.get(model_id, {}).get("members") or [None]
        return min(max(MOST_NETWORKS_RUN // len(members), FEWEST_COMPARED), MOST_COMPARED)

    def check(self, model_id: str) -> None:
        """Load a model, if that was not done before.

        Raises
        ------
        ModelError
            If the store does not hold the model that made the results, or the native core cannot compute it.
        """
        with self._lock:
            self._model(model_id)

    def features(self, model_id: str, cutouts: Sequence[SkyCutout]) -> Float32Array:
        """(n, width) the features of cutouts: of a jury, those of its members side by side.

        Parameters
        ----------
        model_id
            The model's name in the catalog.
        cutouts
            Cutouts of the size that the model receives, n of them.

        Raises
        ------
        ModelError
            If the store does not hold the model that made the results, or the native core cannot compute it.
        """
        pixels, valid = (np.stack([getattr(one, name) for one in cutouts]) for name in ("pixels", "valid"))
        with self._lock:
            model = self._model(model_id)
            if pixels.shape[1] != model.card.architecture.input_size:
                raise ModelError(f"the manifest and the card of {model_id} state different sizes of cutouts.")
            return model.features(prepare(pixels, valid, model.card.stretch, model.card.softening))

    def _loaded(self, model_id: str) -> Model:
        entry = self._entries.get(model_id)
        if entry is None or not self._store:
            raise ModelError(f"the manifest does not say where the model {model_id} is.")
        with refusing(lambda reason: ModelError(f"the model {model_id} cannot be found by the manifest ({reason}).")):
            names = [str(member["name"]) for member in entry.get("members") or []] or None
            folder = ModelStore(Path(self._store)).folder(ModelKey(*str(entry["key"]).split("/")))
            card = read_card(folder, names)
        if (card.model_id, card.stretch, card.softening) != (model_id, entry.get("stretch"), entry.get("softening")):
            raise ModelError(f"{folder} now holds another model than {model_id}, which made the results.")
        problems = [obstacle(EngineName.FFT, each.architecture) for each in card.each]
        if problem := next(filter(None, problems), None):
            raise ModelError(f"{folder}: {problem}.")
        return load_model(folder, EngineName.FFT, members=names)


def distances(features: Float32Array) -> Float64Array:
    """How far features lie from the first ones.

    Parameters
    ----------
    features
        (n, width) float32.

    Returns
    -------
    (n,) float64: root mean square of the differences, each in units of the feature's standard deviation over the n. Features that
    are equal in all of them are left out; NaN where one is not finite.
    """
    finite = np.isfinite(features).all(axis=1)
    wide = features.astype(np.float64)
    spread = wide[finite].std(axis=0) if finite.any() else np.zeros(features.shape[1])
    used = spread > 0
    if not used.any():
        return np.where(finite, 0.0, np.nan)
    squares = ((wide - wide[0])[:, used] / spread[used]) ** 2
    return np.where(finite, np.sqrt(squares.mean(axis=1)), np.nan)
