"""The model store: models on disk, verified against their cards.

A model is a folder, ``STORE/<task>/<instrument>/<FIELD>/``, with two or three files: ``card.toml``,
``weights.safetensors`` and, if the card names its digest, ``domain.safetensors``. A jury is a folder of the same name that holds
such a folder for each of its members, and nothing of a model itself.
This module does not import Keras, and it executes nothing from a model's folder.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from surveyflow.errors import ModelError, OutputError
from surveyflow.files.json_state import Damaged, TooLarge, read_ordinary_file
from surveyflow.models.cards import card_from_file, card_from_toml, card_to_toml, jury_card
from surveyflow.models.untrained import untrained_weights
from surveyflow.models.weights import (
    MOST_BYTES_OF_DOMAIN,
    Weights,
    check_weights,
    decode_domain,
    decode_weights,
    digest_of,
    encode_domain,
    encode_weights,
    most_bytes,
    weight_shapes,
)
from surveyflow.sky.stretch import Stretch
from surveyflow.tasks.card import Architecture, Domain, Member, ModelCard, ModelKey
from surveyflow.tasks.domains import FEATURE_PERCENTILE, FeatureDomain
from surveyflow.tasks.registry import TASKS
from surveyflow.values.arrays import Float32Array
from surveyflow.values.codes import WeightsOrigin

__all__ = ["ModelStore", "member_names", "placed", "read_card", "read_domain", "read_weights", "trained_before"]
__all__ += ["weight_shapes", "write_model", "write_models", "write_untrained"]

CARD_FILE = "card.toml"
WEIGHTS_FILE = "weights.safetensors"
DOMAIN_FILE = "domain.safetensors"
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


@dataclass(frozen=True, slots=True)
class ModelStore:
    """The models of a survey, by task, field and instrument.

    Parameters
    ----------
    path
        The store's folder.
    members
        Names of the members that juries consist of; None for all that are there. Models that are alone are not affected.

    Examples
    --------
    >>> store = ModelStore(Path("models"))
    >>> store.home(ModelKey("merger", "EGS", "F814W")).as_posix()
    'models/merger/F814W/EGS'
    """

    path: Path
    members: tuple[str, ...] | None = None

    def cards(self) -> dict[ModelKey, ModelCard]:
        """Every key that has a model, with its card.

        A card that names other fields in ``also_for`` also appears under their keys, unless they have their own model.

        Raises
        ------
        ModelError
            If the store does not exist, a card cannot be read or lies in another model's folder, two cards claim a field, or a
            jury's members contradict each other or lack one that was named.
        """
        if not self.path.is_dir():
            raise ModelError(f"{self.path}: no such folder. Name the folder of a model store, or create one by importing models.")
        own = {card.key: card for card in map(self._read_card_in_its_place, self._folders())}
        return dict(sorted((_lent(own) | own).items()))

    def card(self, key: ModelKey) -> ModelCard:
        """The card of one model.

        Raises
        ------
        ModelError
            If there is no such model, or its card cannot be read.
        """
        return self._read_card_in_its_place(self.folder(key))

    def folder(self, key: ModelKey) -> Path:
        """The folder of the model for this key: its own, or that of another field whose card names this field.

        Raises
        ------
        ModelError
            If there is no such model.
        """
        home = self.home(key)
        if (home / CARD_FILE).is_file() or member_names(home):
            return home
        cards = self.cards()
        if key not in cards:
            known = ", ".join(map(str, cards)) or "nothing"
            raise ModelError(f"{self.path}: no model {key}; the store holds {known}. Import or train it.")
        return self.home(cards[key].key)

    def weights(self, key: ModelKey) -> dict[str, Float32Array]:
        """The weights of one model that is alone, by role; digest, names and shapes are verified.

        Raises
        ------
        ModelError
            If there is no such model, it is a jury, or its weights are not those that its card describes.
        """
        (folder, card), *others = self.placed(self.card(key))
        if others:
            raise ModelError(f"{self.folder(key)}: {key} is a jury of {1 + len(others)}. Read the weights of one of its members.")
        return read_weights(folder, card)

    def placed(self, card: ModelCard) -> list[tuple[Path, ModelCard]]:
        """Folder and card of each member of a model of this store: of the model itself, if it is alone.

        Parameters
        ----------
        card
            A card of this store.
        """
        return placed(self.home(card.key), card)

    def home(self, key: ModelKey) -> Path:
        """The folder in which the model of this key is, or would be.

        Raises
        ------
        ModelError
            If the key's names would leave the store.
        """
        names = (key.task, key.instrument, key.field)
        home = self.path.joinpath(*names)
        self._check_inside(home, str(key), safe=all(map(_SAFE_NAME.fullmatch, names)))
        return home

    def _check_inside(self, folder: Path, name: str, *, safe: bool = True) -> None:
        if not safe or not folder.resolve().is_relative_to(self.path.resolve()):
            raise ModelError(
                f"{self.path}: the model {name!r} would lie outside the store. "
                "Names may contain letters, digits and _ . + -, and folders of a store must not be links to other places."
            )

    def _folders(self) -> list[Path]:
        alone = {file.parent for file in self.path.glob(f"*/*/[!.]*/{CARD_FILE}")}
        juries = {file.parent.parent for file in self.path.glob(f"*/*/[!.]*/[!.]*/{CARD_FILE}")}
        return sorted(alone | juries)

    def _read_card_in_its_place(self, folder: Path) -> ModelCard:
        card = read_card(folder, self.members)
        for place, _ in placed(folder, card):
            self._check_inside(place, place.name)
        if self.home(card.key) != folder:
            raise ModelError(
                f"{placed(folder, card)[0][0] / CARD_FILE}: this is the card of {card.key}, which belongs in "
                f"{self.home(card.key)}. "
                "Move the folder, or correct the card."
            )
        return card


def member_names(folder: Path) -> tuple[str, ...]:
    """Names of the members of the jury in a folder, in order; empty if it holds none."""
    return tuple(sorted(file.parent.name for file in folder.glob(f"[!.]*/{CARD_FILE}")))


def placed(folder: Path, card: ModelCard) -> list[tuple[Path, ModelCard]]:
    """Folder and card of each member of the model in this folder: of the model itself, if it is alone."""
    return [(folder / member.name, member.card) for member in card.members] or [(folder, card)]


def read_card(folder: Path, members: Sequence[str] | None = None) -> ModelCard:
    """Read the card of the model in this folder, or make that of the jury in it.

    Parameters
    ----------
    folder
        A model's folder.
    members
        Names of the members of which a jury consists; None for all that are there.

    Raises
    ------
    ModelError
        If there is no card, or it cannot be used; every problem is reported, by key. If there is a jury, also if the folder holds
        a model of its own beside it, if a member that was named is absent or one has lost its card, or if members contradict each
        other.
    """
    present = member_names(folder)
    if not present:
        return card_from_file(folder / CARD_FILE)
    check_one_form(folder)
    if members is None and (lost := {file.parent.name for file in folder.glob(f"[!.]*/{WEIGHTS_FILE}")}.difference(present)):
        raise ModelError(
            f"{folder / min(lost)}: a member of the jury has weights, but no {CARD_FILE}. Put it there, or remove the folder."
        )
    chosen = present if members is None else tuple(sorted(set(members)))
    if absent := [name for name in chosen if name not in present]:
        raise ModelError(
            f"{folder}: the jury has no member {', '.join(absent)}; it has {', '.join(present)}. Put the folder there, or "
            "correct `members` in [models]."
        )
    if strange := [name for name in chosen if not _SAFE_NAME.fullmatch(name)]:
        raise ModelError(f"{folder / strange[0]}: a member's name may contain letters, digits and _ . + -. Rename the folder.")
    return jury_card([Member(name, card_from_file(folder / name / CARD_FILE)) for name in chosen], str(folder))


def check_one_form(folder: Path) -> None:
    """Check that a folder is a model's or a jury's, and not both.

    Raises
    ------
    ModelError
        If it holds a card of its own beside those of members.
    """
    if (names := member_names(folder)) and (folder / CARD_FILE).exists():
        raise ModelError(
            f"{folder}: it holds a model of its own beside the members {', '.join(names)}, so it is not clear which are meant. "
            "Move the files of the model into a folder beside the members, or remove them or the members."
        )


def read_weights(folder: Path, card: ModelCard) -> dict[str, Float32Array]:
    """Read the weights of the model in this folder.

    Parameters
    ----------
    folder
        A model's folder.
    card
        Its card.

    Returns
    -------
    Arrays by role, float32, of the shapes that `weight_shapes` gives.

    Raises
    ------
    ModelError
        If the file is missing, its SHA-256 is not the card's, or its arrays are not those of the card's architecture.
    """
    file = folder / WEIGHTS_FILE
    content = _verified(file, most_bytes(card.architecture), card.weights_digest)
    weights = decode_weights(content, str(file))
    check_weights(weights, card.architecture, str(file))
    return weights


def read_domain(folder: Path, card: ModelCard) -> FeatureDomain | None:
    """Read the feature domain of the model in this folder.

    Parameters
    ----------
    folder
        A model's folder.
    card
        Its card.

    Returns
    -------
    The domain; None if the card names none.

    Raises
    ------
    ModelError
        If the file is missing, its SHA-256 is not the card's, or its arrays are not those of a domain of the card's network.
    """
    if card.domain.features_digest is None:
        return None
    file = folder / DOMAIN_FILE
    return decode_domain(_verified(file, MOST_BYTES_OF_DOMAIN, card.domain.features_digest), card.architecture, str(file))


def trained_before(folder: Path, card: ModelCard, weights: Weights) -> ModelCard | None:
    """The card of a folder that already holds the model of a training; None if it holds none, another or a damaged one.

    Domains are not compared, since the last digits of what is measured depend on the machine.

    Parameters
    ----------
    folder
        Folder of a model.
    card, weights
        Card and weights of the training.
    """
    try:
        there = read_card(folder)
        read_weights(folder, there)
        read_domain(folder, there)
    except ModelError:
        return None
    same = there.weights_digest == digest_of(encode_weights(weights)) and there.training == card.training
    return there if same else None


def write_model(
    folder: Path, card: ModelCard, weights: Weights, *, overwrite: bool = False, domain: FeatureDomain | None = None
) -> ModelCard:
    """Write a model, completely or not at all.

    Parameters
    ----------
    folder
        Folder to write, `ModelStore.home` of the card's key. A folder that already holds exactly this model is left unchanged.
    card
        The card; its ``weights_digest`` is replaced by that of ``weights``, and its ``features_digest`` by that of ``domain``.
    weights
        Arrays by role.
    overwrite
        Whether another model in this folder is replaced.
    domain
        The model's feature domain; without one, the card gets no limit of the feature distance.

    Returns
    -------
    The card as written.

    Raises
    ------
    ModelError
        If the weights are not those of the card's architecture, or the folder holds another model.
    OutputError
        If the folder cannot be written.
    """
    return _write_all([_files(folder, card, weights, domain)], overwrite=overwrite)[0]


def write_models(models: Sequence[tuple[Path, ModelCard, Weights]], *, overwrite: bool = False) -> list[ModelCard]:
    """Write several models: none is put in place before all are on disk.

    Parameters
    ----------
    models
        Folder, card and weights of each, as for `write_model`; each folder once.
    overwrite
        Whether other models in these folders are replaced.

    Returns
    -------
    The cards as written.

    Raises
    ------
    ModelError
        If weights are not those of their card's architecture, or folders hold other models; all such folders are named.
    OutputError
        If a folder cannot be written.
    """
    return _write_all([_files(folder, card, weights) for folder, card, weights in models], overwrite=overwrite)


def _write_all(new: Sequence[_ModelFiles], *, overwrite: bool) -> list[ModelCard]:
    for one in new:
        check_place(one.folder)
    if not overwrite:
        check_vacant([one.folder for one in new if not one.are_there()])
    with ExitStack() as places:
        for one in new:
            if not one.are_there():
                one.write(places.enter_context(_replacing(one.folder)))
    return [one.card for one in new]


def check_place(folder: Path) -> None:
    """Check that a model can be written to a folder without mixing models and juries.

    Raises
    ------
    ModelError
        If the folder holds a jury, or lies in that of a model which is alone.
    """
    if names := member_names(folder):
        raise ModelError(f"{folder}: it holds the members {', '.join(names)} of a jury. Choose another store, or remove them.")
    if (folder.parent / CARD_FILE).exists():
        raise ModelError(f"{folder.parent}: it holds a model that is alone, so no member can be put there. Choose another store.")


def check_vacant(folders: Sequence[Path]) -> None:
    """Check that folders hold no model.

    Raises
    ------
    ModelError
        If some hold a model; all of them are named.
    """
    if taken := [folder for folder in folders if (folder / CARD_FILE).exists()]:
        problem = "already holds another model. Remove it, or replace it with --overwrite."
        raise ModelError("\n".join(f"{folder}: {problem}" for folder in taken))


def write_untrained(
    store: ModelStore,
    key: ModelKey,
    *,
    architecture: Architecture,
    pixel_scale_arcsec: float,
    band: str,
    redshift_range: tuple[float, float],
    stretch: Stretch,
    softening: float,
    domain: Domain,
    seed: int,
) -> ModelCard:
    """Write an untrained network with fixed random weights, so that everything around a network can be tried.

    Its outputs are spread over [0, 1] and mean nothing; the card, the catalog and the report say so.

    Parameters
    ----------
    store, key
        The store, and the model's key in it.
    architecture, pixel_scale_arcsec, band, redshift_range, stretch, softening, domain
        As in `surveyflow.tasks.card.ModelCard`.
    seed
        Seed of the weights.

    Returns
    -------
    The card as written.
    """
    scaling = TASKS[key.task].scaling if key.task in TASKS else None
    card = ModelCard(
        key=key,
        class_names=_class_names(key, architecture),
        pixel_scale_arcsec=pixel_scale_arcsec,
        band=band,
        redshift_range=redshift_range,
        stretch=stretch,
        softening=softening,
        architecture=architecture,
        origin=WeightsOrigin.UNTRAINED,
        citation="none: these are fixed random numbers",
        weights_digest="",
        domain=domain,
        notes="Untrained. The outputs of this network mean nothing.",
        contamination=None if scaling is None else scaling.untrained,
    )
    return write_model(store.home(key), card, untrained_weights(architecture, seed))


def _class_names(key: ModelKey, architecture: Architecture) -> tuple[str, ...]:
    known = TASKS[key.task].outputs if key.task in TASKS else ()
    if architecture.n_outputs == len(known):
        return known
    return tuple(f"output_{j}" for j in range(architecture.n_outputs))


def _lent(own: dict[ModelKey, ModelCard]) -> dict[ModelKey, ModelCard]:
    lent: dict[ModelKey, ModelCard] = {}
    for card in own.values():
        for borrower in card.also_for:
            key = replace(card.key, field=borrower)
            other = lent.setdefault(key, card)
            if other is not card:
                raise ModelError(f"{card.key} and {other.key} both say also_for = {borrower!r}. Remove it from one of the cards.")
    return lent


def _read(file: Path, limit: int) -> bytes:
    try:
        return read_ordinary_file(file, limit)
    except TooLarge as error:
        raise ModelError(
            f"{file}: it has more than the {limit:,} bytes that the card's network needs. Import or train the model again."
        ) from error
    except (Damaged, FileNotFoundError) as error:
        reason = error.strerror if isinstance(error, FileNotFoundError) else error
        raise ModelError(
            f"{file}: cannot be read ({reason}). A model is a folder with {CARD_FILE}, {WEIGHTS_FILE} and, if the card states "
            f"`features_digest`, {DOMAIN_FILE}."
        ) from error


def _verified(file: Path, limit: int, digest: str) -> bytes:
    """The content of a file whose digest the card states."""
    content = _read(file, limit)
    found = digest_of(content)
    if found != digest:
        raise ModelError(
            f"{file}: its SHA-256 is {found}, but the card says {digest}: the file is damaged or was replaced. "
            "Import or train the model again."
        )
    return content


@dataclass(frozen=True, slots=True)
class _ModelFiles:
    """The content of a model's folder."""

    folder: Path
    card: ModelCard
    card_text: str
    weights_content: bytes
    domain_content: bytes | None

    def are_there(self) -> bool:
        """Whether the folder holds exactly this model."""
        found = {name: self.folder / name for name in self._contents}
        if not all(file.is_file() for file in found.values()) or (self.folder / DOMAIN_FILE).exists() != (DOMAIN_FILE in found):
            return False
        return all(digest_of(found[name].read_bytes()) == digest_of(content) for name, content in self._contents.items())

    def write(self, folder: Path) -> None:
        """Write the files to another folder."""
        for name, content in self._contents.items():
            _write(folder / name, content)

    @property
    def _contents(self) -> dict[str, bytes]:
        """The files' contents by name, the card last."""
        domain = {} if self.domain_content is None else {DOMAIN_FILE: self.domain_content}
        return {WEIGHTS_FILE: self.weights_content, **domain, CARD_FILE: self.card_text.encode()}


def _files(folder: Path, card: ModelCard, weights: Weights, domain: FeatureDomain | None = None) -> _ModelFiles:
    check_weights(weights, card.architecture, str(card.key))
    content, told = encode_weights(weights), None if domain is None else encode_domain(domain)
    card = replace(card, weights_digest=digest_of(content), domain=_with_digest(card.domain, told))
    text = card_to_toml(card)
    card_from_toml(text, str(folder / CARD_FILE))
    if told is not None:
        decode_domain(told, card.architecture, str(folder / DOMAIN_FILE))
    return _ModelFiles(folder, card, text, content, told)


def _with_digest(domain: Domain, content: bytes | None) -> Domain:
    """The domain with the digest of its file, or without one and without the limit that needs it."""
    if content is None:
        return replace(domain, feature_percentile=None, features_digest=None)
    return replace(domain, feature_percentile=domain.feature_percentile or FEATURE_PERCENTILE, features_digest=digest_of(content))


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """A new folder to fill, which replaces ``folder`` if no error occurs."""
    new = folder.with_name(f".{folder.name}.{uuid4().hex}")
    try:
        new.mkdir(parents=True)
        yield new
        _exchange(folder, new)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror}). Free some space or choose another store.") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _exchange(folder: Path, new: Path) -> None:
    """Replace ``folder`` by ``new``; if that fails, ``folder`` is unchanged."""
    old = new.with_suffix(".old")
    if folder.exists():
        folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _write(file: Path, content: bytes) -> None:
    with file.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
