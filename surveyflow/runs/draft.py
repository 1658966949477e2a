"""A first workflow for a folder of mosaics and catalogs: what was found, what was guessed, and why.

Nothing is asked and nothing is overwritten. What could not be decided stands in comments. The seed is never chosen here.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from surveyflow.errors import InputError, SurveyflowError
from surveyflow.files.durable import explained, temporary_path, write_new
from surveyflow.files.paths import reason, split_extension
from surveyflow.inputs.found_images import FITS_NAMES, FoundImage, groups, images_in, wavelength_um, weight_of
from surveyflow.inputs.found_tables import FoundList, lists_in
from surveyflow.models.store import ModelStore
from surveyflow.tasks.card import ModelCard
from surveyflow.tasks.registry import LEADING
from surveyflow.values import remedies

MOST_FILES = 20_000
"""Limit of files that are looked at."""
_TABLE_NAMES = (".csv", ".tsv", ".txt", ".dat", ".cat", ".tbl", ".ecsv", ".vot", ".xml", ".votable", ".parquet", ".mrt", ".gz")
_KNOWN_FIELDS = {
    "COSMOS": ("cosmos", "cos"),
    "EGS": ("egs", "aegis"),
    "CEERS": ("ceers",),
    "GOODS_N": ("goodsn", "gn", "goods-n"),
    "GOODS_S": ("goodss", "gs", "goods-s", "gds"),
    "UDS": ("uds", "uds-tot"),
}
SCALE_TOLERANCE = 0.01


@dataclass(slots=True)
class Found:
    """What a folder holds.

    Parameters
    ----------
    images
        All images.
    lists
        All tables with ids.
    unread
        Files that look like inputs and could not be read, with the reason.
    """

    images: list[FoundImage] = field(default_factory=list)
    lists: list[FoundList] = field(default_factory=list)
    unread: dict[Path, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Instrument:
    """The mosaics of a field that a model can measure."""

    card: ModelCard
    images: list[FoundImage]
    weights: list[FoundImage | None]
    beside: list[FoundImage]


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    why: str
    instruments: dict[str, _Instrument]
    unused: list[FoundImage]
    sources: FoundList | None
    redshifts: FoundList | None
    beside: list[FoundList]


def draft(folder: Path, output: Path, store: Path, seed: int | None, *, copy: bool = False) -> None:
    """Write a workflow for the files of a folder.

    Parameters
    ----------
    folder
        The folder; folders in it are searched, too.
    output
        The new workflow file.
    store
        The model store.
    seed
        The seed; None to leave it to the user.
    copy
        Whether to copy the store beside the workflow, so that it does not depend on the installation. Models that lie there
        already, in ``models``, are used in the store's place.

    Raises
    ------
    InputError
        If the file exists, or the folder holds no mosaic, no list that could be one of sources, or none that belong together.
    ModelError
        If a card of the store cannot be used.
    OutputError
        If the file or the models cannot be written.
    """
    if output.exists():
        raise _exists(folder, output)
    base = output.parent.absolute()
    if copy and _has_models(base / "models"):
        store, copy = base / "models", False
    found = look(folder, output)
    cards = [card for key, card in ModelStore(store).cards().items() if key.task == LEADING.name]
    fields = list(_fields(found, cards))
    usable = [each for each in fields if each.instruments and each.sources is not None]
    if not usable:
        raise InputError(_nothing_usable(folder, found, fields, store))
    lines = [*_head(folder, base, _copied(store, base) if copy else store, seed, usable), *_body(base, fields, found)]
    text = "".join(f"{_one_line(line)}\n" for line in lines)
    if not write_new(output, text.encode()):
        raise _exists(folder, output)


def _exists(folder: Path, output: Path) -> InputError:
    return InputError(f"{output} exists. Remove it first, or name another file: `{remedies.init(folder, 'WORKFLOW')}`.")


def _has_models(folder: Path) -> bool:
    return folder.is_dir() and bool(ModelStore(folder).cards())


def _copied(store: Path, base: Path) -> Path:
    """Copy a store in one step; what is in its place is not touched."""
    names = itertools.chain(["models"], (f"models-{number}" for number in itertools.count(2)))
    place = next(base / name for name in names if not (base / name).exists())
    unfinished = temporary_path(place)
    with explained(place):
        shutil.copytree(store, unfinished)
        unfinished.rename(place)
    return place


def look(folder: Path, output: Path) -> Found:
    """Look at every file of a folder that could be a mosaic or a table, without reading pixels.

    Raises
    ------
    InputError
        If there is no such folder, or it holds too many files.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder. Name the folder of mosaics and catalogs.")
    found, n_files = Found(), 0
    for file in sorted(folder.rglob("*")):
        name = file.name.lower()
        if not file.is_file() or file.name.startswith(".") or file == output or not name.endswith((*FITS_NAMES, *_TABLE_NAMES)):
            continue
        n_files += 1
        if n_files > MOST_FILES:
            raise InputError(f"{folder} holds more than {MOST_FILES:,} files. Name a smaller folder.")
        if not _is_utf8(file):
            found.unread[file] = "has a name that is not UTF-8, which no workflow can hold. Rename it"
        else:
            _look_at(file, found)
    return found


def _is_utf8(file: Path) -> bool:
    try:
        str(file).encode()
    except UnicodeEncodeError:
        return False
    return True


def _look_at(file: Path, found: Found) -> None:
    images: list[FoundImage] = []
    try:
        images = images_in(file) if file.name.lower().endswith(FITS_NAMES) else []
        found.images += images
        found.lists += lists_in(file)
    except SurveyflowError as error:
        if not images:
            found.unread[file] = reason(error).removeprefix(f"{file} ")


def _fields(found: Found, cards: Sequence[ModelCard]) -> Iterator[_Field]:
    taken: set[str] = set()
    science = [image for image in found.images if image.role == "science"]
    grouped = list(groups(science))
    for group in grouped:
        name, why = _field_name(group, taken)
        taken.add(name)
        instruments, unused = _instruments(group, cards, found.images)
        lists = sorted((each for each in found.lists if _n_on(each, group)), key=lambda each: _rank(each, group), reverse=True)
        sources = lists[0] if lists else None
        redshifts = None if sources is None or "redshift" in sources.columns else _redshifts(found, name, len(grouped) == 1)
        yield _Field(name, why, instruments, unused, sources, redshifts, lists[1:])


def _field_name(group: Sequence[FoundImage], taken: set[str]) -> tuple[str, str]:
    """A name for a field, and where it comes from: a known field in a file's name, the header's target, or a number."""
    names = [f"{split_extension(image.path)[0].name} {image.target}".lower() for image in group]
    words = [word for name in names for word in re.split(r"[_\-. ]", name)]
    known = next((field for word in words for field, names in _KNOWN_FIELDS.items() if word in names), None)
    target = re.sub(r"[^A-Za-z0-9_+-]+", "_", group[0].target).strip("_-+")[:40]
    name, why = (target, "the header's target") if target else ("FIELD", "nothing: no name was found")
    if known:
        name, why = known, "the names of its files or targets"
    return next(each for each in (name, *(f"{name}_{number}" for number in range(2, 10_000))) if each not in taken), why


def _instruments(
    group: Sequence[FoundImage], cards: Sequence[ModelCard], images: Sequence[FoundImage]
) -> tuple[dict[str, _Instrument], list[FoundImage]]:
    """The instruments of the models whose pixel scale mosaics have, and the mosaics that no model can measure."""
    instruments, used = {}, []
    for card in sorted(cards, key=lambda each: (each.redshift_range, each.key.instrument, each.key.field)):
        fitting = [image for image in group if abs(image.pixel_scale_arcsec / card.pixel_scale_arcsec - 1) < SCALE_TOLERANCE]
        if not fitting or card.key.instrument in instruments:
            continue
        best = min(fitting, key=lambda image: _distance(image, card)).filter
        chosen = [image for image in fitting if image.filter == best]
        used += fitting
        weights = [weight_of(image, images) for image in chosen]
        weights = weights if all(weights) else [None] * len(chosen)
        beside = [image for image in fitting if image.filter != best]
        instruments[card.key.instrument] = _Instrument(card, chosen, weights, beside)
    return instruments, [image for image in group if image not in used]


def _distance(image: FoundImage, card: ModelCard) -> tuple[bool, float]:
    """How far a mosaic's filter is from those of a model: whether it is another one, and the difference in wavelength."""
    bands = card.band.upper().split("_")
    wavelengths = [int(number) / (1000 if int(number) >= 200 else 100) for number in re.findall(r"F(\d{3})", card.band.upper())]
    own = wavelength_um(image)
    distance = min((abs(own - each) for each in wavelengths), default=np.inf)
    return image.filter not in bands, distance if np.isfinite(distance) else np.inf


def _n_on(each: FoundList, group: Sequence[FoundImage]) -> int:
    """The number of a list's positions within the circles around a field's mosaics."""
    if not each.has_positions or not np.isfinite(each.ra_deg).any():
        return 0
    near = np.zeros(len(each.ra_deg), bool)
    for image in group:
        ra, dec = image.centre_deg
        across = (np.mod(each.ra_deg - ra + 180, 360) - 180) * np.cos(np.radians(dec))
        near |= np.hypot(across, each.dec_deg - dec) < image.radius_deg
    return int(near.sum())


def _rank(each: FoundList, group: Sequence[FoundImage]) -> tuple[bool, int]:
    return "redshift" in each.columns, _n_on(each, group)


def _redshifts(found: Found, name: str, is_only_field: bool) -> FoundList | None:
    """The table of redshifts of a field whose list has none: one whose file has the field's name, or the only one of all."""
    tables = [each for each in found.lists if "redshift" in each.columns and not each.has_positions]
    words = {each.path: re.split(r"[_\-.]", each.path.name.lower()) for each in tables}
    named = [each for each in tables if set(_KNOWN_FIELDS.get(name, (name.lower(),))) & set(words[each.path])]
    chosen = named or (tables if is_only_field else [])
    return chosen[0] if len(chosen) == 1 else None


def _nothing_usable(folder: Path, found: Found, fields: Sequence[_Field], store: Path) -> str:
    if not fields:
        return (
            f"{folder} holds no mosaic: no FITS image with a projection in its header. Name the folder of mosaics and catalogs."
        )
    if not any(each.instruments for each in fields):
        scales = sorted({round(image.pixel_scale_arcsec, 4) for each in fields for image in each.unused})
        return (
            f"{folder} holds mosaics of {', '.join(map(str, scales))} arcsec/pixel, but no model in {store} was trained at such "
            "a scale. Use mosaics at the scale of a model, or name another store."
        )
    n_lists = len(found.lists)
    return (
        f"{folder} holds {n_lists} tables with ids, but none with positions on its mosaics. Put the source list there; its "
        "positions must be degrees, in columns such as ra and dec."
    )


def _body(base: Path, fields: Sequence[_Field], found: Found) -> Iterator[str]:
    """The tables of all fields, and what was left out."""
    usable = [each for each in fields if each.instruments and each.sources is not None]
    for each in usable:
        yield from _field_lines(each, base)
    left = [each for each in fields if each not in usable]
    if left or found.unread:
        yield from ("", "# Left out:")
        for each in left:
            why = "no table has positions on it" if each.instruments else "no model was trained at its pixel scale"
            yield f"#   {each.name}: {why}: {_files((*_all_images(each), *each.unused), base)}"
        yield from (f"#   {_relative(file, base)} is left out, because it {why}" for file, why in found.unread.items())


def _all_images(each: _Field) -> list[FoundImage]:
    return [image for one in each.instruments.values() for image in one.images]


def _head(folder: Path, base: Path, store: Path, seed: int | None, fields: Sequence[_Field]) -> Iterator[str]:
    name = re.sub(r"[^a-z0-9]+", "-", folder.absolute().name.lower()).strip("-") or "survey"
    routing = {key: one.card.redshift_range for each in fields for key, one in each.instruments.items()}
    yield "# A first workflow, made from the files of a folder. Comments say what was guessed, and why: check them."
    yield f"# Then set the seed and check everything: {remedies.validate('WORKFLOW')}"
    yield from ("# docs/reference/workflow.md describes every key.", "", "version = 1", "")
    yield from (
        "[survey]",
        f"name = {json.dumps(name)}  # from the folder's name",
        'release = "v1"  # your name for this release',
        "",
    )
    yield from ("[output]", f'root = "catalogs/{name}"', "", "[models]")
    yield f"store = {_quoted(_relative(store, base) if store.is_relative_to(base) else str(store))}"
    yield from sorted({f"# {_origin(one.card)}" for each in fields for one in each.instruments.values()})
    yield from ("", "[sampling]", "draws = 1000")
    if seed is None:
        yield "# Choose a seed yourself: it determines every draw, so that others can repeat the run. There is no default."
        yield "# seed = "
    else:
        yield f"seed = {seed}"
    yield from ("", "[routing]  # redshift ranges for which the models were trained; the low end is included")
    yield from (f"{_key(key)} = [{low}, {high}]" for key, (low, high) in routing.items())


def _origin(card: ModelCard) -> str:
    return f"{card.key}: {card.origin.value}; {card.citation}"


def _field_lines(each: _Field, base: Path) -> Iterator[str]:
    """The tables of one field."""
    sources = each.sources
    if sources is None:
        return
    yield from ("", f"# {each.name}: a field of {_counted(len(_all_images(each)), 'mosaic')}; its name is from {each.why}.")
    lent = {one.card.key.field for one in each.instruments.values() if not _serves(one.card, each.name)}
    if lent:
        yield from (
            f"[fields.{_key(each.name)}]",
            f"# The models were not trained for {each.name}; those of {min(lent)} measure it.",
        )
        yield f"models = {_quoted(min(lent))}"
    yield from (f"[fields.{_key(each.name)}.sources]", f"path = {_text(sources.path, base)}  # {sources.n_rows:,} rows")
    columns = {key: sources.columns[key] for key in ("id", "ra", "dec", "redshift") if key in sources.columns}
    shown = ", ".join(f"{key} = {_quoted(name)}" for key, name in columns.items())
    yield from (f"columns = {{ {shown} }}", f"# {'; '.join(f'{key} by {sources.why[key]}' for key in columns)}")
    yield from _redshift_lines(each, sources, base)
    if each.beside:
        yield f"# Other tables with positions here: {_files(each.beside, base)}"
    for key, one in each.instruments.items():
        yield from _instrument_lines(each.name, key, one, base)
    if each.unused:
        yield f"# No model was trained at the pixel scale of {_files(each.unused, base)}"


def _redshift_lines(each: _Field, sources: FoundList, base: Path) -> Iterator[str]:
    if each.redshifts is not None:
        table = each.redshifts
        names = f"id = {_quoted(table.columns['id'])}, column = {_quoted(table.columns['redshift'])}"
        yield f"redshifts = {{ path = {_text(table.path, base)}, {names} }}"
        yield "# The list has no redshifts; this table has. Check that its ids are those of the list."
    elif "redshift" not in sources.columns:
        yield "# No column of redshifts was found: every source will be `no_redshift`."
    others = sources.others if each.redshifts is None else each.redshifts.others
    if others:
        yield f"# Other columns that could be redshifts: {', '.join(others)}"


def _instrument_lines(field_name: str, key: str, one: _Instrument, base: Path) -> Iterator[str]:
    yield f"[fields.{_key(field_name)}.{_key(key)}]"
    scale = one.card.pixel_scale_arcsec
    filters = one.images[0].filter or "no filter stated"
    exact = one.images[0].filter in one.card.band.upper().split("_")
    advice = "" if exact else f" The model was trained on {one.card.band}: rows will be flagged."
    yield f"# {filters}, {scale:g} arcsec/pixel, a mosaic by {one.images[0].why}.{advice}"
    yield from _one_or_list("science", [image.path for image in one.images], base)
    weights = [weight for weight in one.weights if weight is not None]
    if weights:
        yield from _one_or_list("weight", [weight.path for weight in weights], base, f"  # by {weights[0].why}, and its shape")
        if weights[0].role != "weight":
            yield f'weight_kind = "{weights[0].role}"'
    else:
        yield "# No weight map of this shape and name was found: pixels that are 0 or NaN count as having no data."
    if one.images[0].unit is None:
        unit = one.card.domain.unit or "electron/s"
        yield f"# The header states no unit. If the pixels are in {unit}, write: unit = {_quoted(unit)}"
    if one.beside:
        shown = ", ".join(sorted({image.filter or "unknown" for image in one.beside}))
        yield f"# Other bands at this scale, farther from that of the model: {shown}"


def _serves(card: ModelCard, name: str) -> bool:
    return name in (card.key.field, *card.also_for)


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _files(found: Iterable[FoundImage | FoundList], base: Path) -> str:
    names = [_relative(each.path, base) for each in found]
    return ", ".join(names[:5]) + (f", ... ({len(names)} in all)" if len(names) > 5 else "")


def _one_or_list(key: str, paths: Sequence[Path], base: Path, comment: str = "") -> Iterator[str]:
    if len(paths) == 1:
        yield f"{key} = {_text(paths[0], base)}{comment}"
    else:
        yield from (f"{key} = [", *(f"    {_text(path, base)}," for path in paths), f"]{comment}")


def _text(path: Path, base: Path) -> str:
    return _quoted(_relative(path, base))


def _quoted(text: str) -> str:
    """A text as TOML writes it: as JSON does, which leaves one control character as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _quoted(name)


def _one_line(line: str) -> str:
    """A line that stays one, whatever the names of files and columns in its comments hold: no name adds a key to the workflow."""
    return re.sub(r"[\x00-\x1f\x7f\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", line)


def _relative(path: Path, base: Path) -> str:
    return Path(os.path.relpath(path.absolute(), base)).as_posix()
