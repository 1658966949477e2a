"""The import of the authors' released networks into a store, without trusting their files.

Only variables and names are read: see `surveyflow.models.legacy.objects`, `surveyflow.models.legacy.layers` and
`surveyflow.models.legacy.variables`. The caller must give what the files do not say (the stretch of the images). The layout of
the release, ``models/<instrument>/<FIELD>``, implies field and instrument, and with them pixel scale, redshifts and noise; the
caller can override these. Only files with the released digests get the origin ``ferreira2022`` automatically.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from surveyflow.errors import ModelError
from surveyflow.models.legacy.layers import described_architecture
from surveyflow.models.legacy.objects import SAVED_MODEL_FILE, saved_objects
from surveyflow.models.legacy.released import ReleasedModel, released_model
from surveyflow.models.legacy.variables import read_variables
from surveyflow.models.store import ModelStore, write_model, write_models
from surveyflow.models.weights import check_weights
from surveyflow.sky.stretch import Stretch
from surveyflow.tasks.card import Architecture, Domain, ModelCard, ModelKey
from surveyflow.tasks.merger import MERGER
from surveyflow.values.arrays import Float32Array
from surveyflow.values.codes import WeightsOrigin

_log = logging.getLogger(__name__)

_INSTRUMENTS: Mapping[str, Mapping[str, Any]] = {
    "F814W": {
        "band": "F814W",
        "pixel_scale_arcsec": 0.03,
        "redshift_range": (0.5, 1.5),
        "domain": Domain("electron/s", (0.00024, 0.0036)),
    },
    "F125W_F160W": {
        "band": "F125W_F160W",
        "pixel_scale_arcsec": 0.06,
        "redshift_range": (1.5, 3.0),
        "domain": Domain("electron/s", (0.0011, 0.016)),
    },
}
"""The known properties of the release's images, by instrument.

The range of the noise extends from half the smallest sky rms of a field (deep parts) to five times the largest (a cutout that
galaxies fill). The fields' sky rms are in the authors' simulator (astroferreira/candelizer, commit 8ad22e5, constants.py):
0.000487 to 0.000721 e-/s in F814W, 0.002155 to 0.003260 in F125W and F160W.
"""

_CITATION = "Ferreira et al. 2022, ApJ 931, 34 (arXiv:2204.05786)"
_NO_DEFAULT = {
    "band": "--band",
    "pixel_scale_arcsec": "--pixel-scale",
    "redshift_range": "--redshift-range",
    "class_names": "--class-names",
}
"""The values of a card that only some files imply, with their options on the command line."""


class CardValues(TypedDict, total=False):
    """The values of a card that can be given at import; the others follow from the release's layout."""

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
        If there is no SavedModel.
    """
    found = sorted(file.parent for file in Path(folder).rglob(SAVED_MODEL_FILE))
    if not found:
        raise ModelError(
            f"{folder}: there is no {SAVED_MODEL_FILE} in this folder or below it. Name the folder with the authors' models."
        )
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
    """Import one SavedModel of the authors' layout into a store; nothing in it is executed.

    Parameters
    ----------
    saved_model_dir
        The folder with ``saved_model.pb`` and ``variables``.
    store
        The store's folder; it is created if it does not exist.
    stretch, softening
        Preparation of the training images. The release does not say; see ``surveyflow models check``.
    overwrite
        Whether another model under the same key is replaced.
    **card
        Values of the card that replace those that the layout implies, see `CardValues`.

    Returns
    -------
    The card as written.

    Raises
    ------
    ModelError
        If the files are missing, truncated or damaged, describe another network, or hold values that are not finite; if the
        model would lie outside the store; or if values of the card are missing: an instrument that is not in the release needs
        band, pixel scale and redshifts, and outputs other than the two of the merger task need names.
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
    """Import several SavedModels into a store; nothing is written unless all of them can be imported.

    Parameters are those of `import_legacy`.

    Raises
    ------
    ModelError
        If any of them cannot be imported, two have the same key, or the store holds other models under their keys and
        ``overwrite`` is not set. Every problem with the files is reported; if there are none, every model in the way.
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
    problems += [f"{key} would be the key of several of these models. Import them one at a time." for key in repeated]
    if problems:
        raise ModelError("\n".join(problems))
    written = write_models(
        [(ModelStore(Path(store)).home(new.key), new, weights) for new, weights in models], overwrite=overwrite
    )
    for one, folder in zip(written, saved_model_dirs, strict=True):
        _log.info("event=model_imported model=%s source=%s", one.model_id, folder)
    return written


def read_legacy(
    saved_model_dir: str | Path, *, stretch: Stretch | str, softening: float = 1.0, **card: Unpack[CardValues]
) -> tuple[ModelCard, dict[str, Float32Array]]:
    """Read card and weights of a SavedModel; the card's digest stays empty until a store has written them.

    Parameters and errors are those of `import_legacy`.
    """
    folder = Path(saved_model_dir).resolve()
    objects = saved_objects(folder)
    architecture = described_architecture(objects)
    weights = read_variables(folder, objects)
    check_weights(weights, architecture, str(folder))
    try:
        return _card(folder, architecture, {"stretch": Stretch(stretch), "softening": softening, **card}), weights
    except ModelError:
        raise
    except ValueError as error:
        raise ModelError(f"{folder}: {str(error).removesuffix('.')}.") from error


def _card(folder: Path, architecture: Architecture, values: dict[str, Any]) -> ModelCard:
    instrument = values.pop("instrument", folder.parent.name)
    key = ModelKey(values.pop("task", MERGER.name), values.pop("field", folder.name), instrument)
    implied = {"domain": Domain(), **_INSTRUMENTS.get(instrument, {}), **_implied_classes(key, architecture)}
    missing = [f"{name} ({option})" for name, option in _NO_DEFAULT.items() if name not in {*implied, *values}]
    if missing:
        raise ModelError(
            f"{folder}: {key} is not a model of the release, whose instruments are {', '.join(_INSTRUMENTS)}, so its card lacks "
            f"{', '.join(missing)}. Give them, or correct the instrument (--instrument) and the task (--task)."
        )
    provenance = _provenance(key, folder, values.pop("origin", None), values.pop("notes", None))
    return ModelCard(**{"key": key, "architecture": architecture, "weights_digest": "", **implied, **provenance, **values})


def _implied_classes(key: ModelKey, architecture: Architecture) -> dict[str, Any]:
    """The outputs of a merger network in the authors' order."""
    if key.task == MERGER.name and architecture.n_outputs == len(MERGER.outputs):
        return {"class_names": MERGER.outputs}
    return {}


def _provenance(key: ModelKey, folder: Path, said: WeightsOrigin | str | None, notes: str | None) -> dict[str, Any]:
    """Origin, citation and notes: from the files' digests, unless the caller says otherwise."""
    released = released_model(folder)
    found = _found_origin(key, released)
    origin = found if said is None else WeightsOrigin(said)
    theirs = released is not None or origin is WeightsOrigin.FERREIRA2022
    lines = [notes if notes is not None else _imported_from(key, folder, released)]
    if origin is not found:
        lines.append(f"The origin {origin.value} was given at import; the files' digests say {found.value}.")
    return {"origin": origin, "citation": _CITATION if theirs else "none given", "notes": " ".join(filter(None, lines))}


def _found_origin(key: ModelKey, released: ReleasedModel | None) -> WeightsOrigin:
    is_theirs = released is not None and key.task == MERGER.name and released.is_for(key.instrument, key.field)
    return WeightsOrigin.FERREIRA2022 if is_theirs else WeightsOrigin.USER


def _imported_from(key: ModelKey, folder: Path, released: ReleasedModel | None) -> str:
    unknown = "The release does not say how images were stretched."
    if released is None:
        return f"Imported from {folder.parent.name}/{folder.name}, whose files are not the authors' released ones."
    if _found_origin(key, released) is WeightsOrigin.FERREIRA2022:
        return f"The authors' released {released}, by the digests of its files. {unknown}"
    return f"The authors' released {released}, by the digests of its files, imported as another model: {key}. {unknown}"
