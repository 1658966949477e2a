"""The authors' released networks, brought into a store without trusting their files.

Only variables and names are read: see `surveyflow.models.legacy_objects`, `surveyflow.models.legacy_layers` and
`surveyflow.models.legacy_variables`. What the files do not say (the stretch of the images) must be said by the caller; what
the release's layout ``models/<instrument>/<FIELD>`` says (field, instrument, and with it scale and redshifts) can be overridden.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from surveyflow.errors import ModelError
from surveyflow.models.legacy_layers import described_architecture
from surveyflow.models.legacy_objects import SAVED_MODEL_FILE, saved_objects
from surveyflow.models.legacy_variables import read_variables
from surveyflow.models.store import ModelStore, write_model
from surveyflow.models.weights import check_weights
from surveyflow.types import (
    MERGER_TASK,
    POST_MERGER,
    STAR_FORMING,
    Architecture,
    Domain,
    Float32Array,
    ModelCard,
    ModelKey,
    Stretch,
    WeightsOrigin,
)

_log = logging.getLogger(__name__)

_RELEASED = {
    "F814W": {"band": "F814W", "pixel_scale_arcsec": 0.03, "redshift_range": (0.5, 1.5)},
    "F125W_F160W": {"band": "F125W_F160W", "pixel_scale_arcsec": 0.06, "redshift_range": (1.5, 3.0)},
}
_CITATION = "Ferreira et al. 2022, ApJ 931, 34 (arXiv:2204.05786)"


class CardValues(TypedDict, total=False):
    """What of a card can be said at import; the rest follows from the release's layout."""

    task: str
    field: str
    instrument: str
    also_for: tuple[str, ...]
    class_names: tuple[str, ...]
    pixel_scale_arcsec: float
    band: str
    redshift_range: tuple[float, float]
    origin: WeightsOrigin
    citation: str
    domain: Domain
    notes: str


def find_saved_models(folder: str | Path) -> list[Path]:
    """Every SavedModel below a folder, sorted.

    Raises
    ------
    ModelError
        If there is none.
    """
    found = sorted(file.parent for file in Path(folder).rglob(SAVED_MODEL_FILE))
    if not found:
        raise ModelError(f"{folder}: holds no {SAVED_MODEL_FILE}, here or below. Name the folder with the authors' models.")
    return found


def import_legacy(
    saved_model_dir: str | Path,
    store: str | Path,
    *,
    stretch: Stretch | str,
    softening: float = 1.0,
    overwrite: bool = False,
    **card: Unpack[CardValues],
) -> ModelCard:
    """Bring one SavedModel of the authors' layout into a store; nothing in it is executed.

    Parameters
    ----------
    saved_model_dir
        The folder with ``saved_model.pb`` and ``variables``.
    store
        The store's folder; it is made where it does not exist.
    stretch, softening
        How the training images were prepared. The release does not say; see ``surveyflow models check``.
    overwrite
        Whether another model under the same key is replaced.
    **card
        What the card says instead of what the layout says, see `CardValues`.

    Returns
    -------
    The card as written.

    Raises
    ------
    ModelError
        If the files are missing, truncated or damaged, describe another network, or hold values that are not finite; if the key
        would leave the store; or if the instrument is not one of the release's and its scale, band or redshifts are not given.
    """
    new, weights = read_legacy(saved_model_dir, stretch=stretch, softening=softening, **card)
    written = write_model(ModelStore(Path(store)).home(new.key), new, weights, overwrite=overwrite)
    _log.info("event=model_imported model=%s source=%s", written.model_id, saved_model_dir)
    return written


def import_all(
    saved_model_dirs: Sequence[str | Path],
    store: str | Path,
    *,
    stretch: Stretch | str,
    softening: float = 1.0,
    overwrite: bool = False,
    **card: Unpack[CardValues],
) -> list[ModelCard]:
    """Bring several SavedModels into a store; nothing is written unless all of them can be imported.

    Parameters are those of `import_legacy`.

    Raises
    ------
    ModelError
        If any of them cannot be imported, or two have one key; all problems are reported.
    """
    models, problems = [], []
    for folder in saved_model_dirs:
        try:
            models.append(read_legacy(folder, stretch=stretch, softening=softening, **card))
            ModelStore(Path(store)).home(models[-1][0].key)
        except ModelError as error:
            problems.append(str(error))
    keys = [new.key for new, _ in models]
    repeated = sorted({key for key in keys if keys.count(key) > 1})
    problems += [f"{key} would be the key of several of these models. Import them one by one." for key in repeated]
    if problems:
        raise ModelError("\n".join(problems))
    return [write_model(ModelStore(Path(store)).home(new.key), new, weights, overwrite=overwrite) for new, weights in models]


def read_legacy(
    saved_model_dir: str | Path, *, stretch: Stretch | str, softening: float = 1.0, **card: Unpack[CardValues]
) -> tuple[ModelCard, dict[str, Float32Array]]:
    """Card and weights of a SavedModel; the card's digest is empty until a store has written them.

    Parameters and errors are those of `import_legacy`.
    """
    folder = Path(saved_model_dir).resolve()
    objects = saved_objects(folder)
    architecture = described_architecture(objects)
    weights = read_variables(folder, objects)
    check_weights(weights, architecture, str(folder))
    try:
        return _card(folder, architecture, {"stretch": Stretch(stretch), "softening": softening, **card}), weights
    except ValueError as error:
        raise ModelError(f"{folder}: {error}.") from error


def _card(folder: Path, architecture: Architecture, values: dict[str, Any]) -> ModelCard:
    instrument = values.pop("instrument", folder.parent.name)
    key = ModelKey(values.pop("task", MERGER_TASK), values.pop("field", folder.name), instrument)
    released = architecture == Architecture() and instrument in _RELEASED
    known = {
        "class_names": (POST_MERGER, STAR_FORMING),
        "origin": WeightsOrigin.FERREIRA2022 if released else WeightsOrigin.USER,
        "citation": _CITATION if released else "none given",
        "domain": Domain(unit="electron/s"),
        "notes": f"Imported from {instrument}/{folder.name}. The release does not say how images were stretched.",
        **_RELEASED.get(instrument, {}),
    }
    missing = sorted({"band", "pixel_scale_arcsec", "redshift_range"} - {*known, *values})
    if missing:
        raise ModelError(
            f"{folder}: {instrument!r} is not an instrument of the release ({', '.join(_RELEASED)}). "
            f"Give the instrument, or {', '.join(missing)}."
        )
    return ModelCard(**{"key": key, "architecture": architecture, "weights_digest": "", **known, **values})
