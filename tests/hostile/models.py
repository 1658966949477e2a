"""Hostile models: cards, weights, stores, and what is given to be imported."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import tomlkit

from hostile.breaking import TOML_VALUES, break_toml, flipped, make_odd, put
from hostile.families import family
from hostile.world import FIELD, RUN, Attempt, World

DTYPES = ("BF16", "F8_E4M3", "F8_E5M2", "F16", "F64", "I64", "I8", "U8", "BOOL", "C64", "", "nonsense", "F4")
VALIDATE = ("validate", "workflow.toml")


def _show(world: World) -> Attempt:
    return Attempt(commands=(("models", "show", str(world.model)), ("models", "list", "models"), VALIDATE, RUN))


@family
def cards(world: World) -> Attempt:
    break_toml(world, _some_model(world) / "card.toml")
    return _show(world)


@family
def numbers_of_cards(world: World) -> Attempt:
    """A number that no network can have, where the card's own type allows a number."""
    file = _some_model(world) / "card.toml"
    document = tomllib.loads(file.read_text())
    options = [
        (table, key, index)
        for table in ("images", "architecture", "contamination", "domain")
        for key, value in document.get(table, {}).items()
        for index in (range(len(value)) if isinstance(value, list) else [None])
        if not isinstance(value, str | bool)
    ]
    place = tuple(part for part in world.choose(options) if part is not None)
    number = world.choose(
        (
            "-1",
            "0",
            "nan",
            "inf",
            "-inf",
            "1e308",
            "1e-320",
            "-1e-9",
            "9223372036854775807",
            "100000",
            "2147483648",
            "0.999999999",
            "3",
        )
    )
    value = tomllib.loads(f"x = {number}")["x"]
    put(document, place, value)
    file.write_text(tomlkit.dumps(document))
    return _show(world)


@family
def weights(world: World) -> Attempt:
    """The content of a weights file, its digest corrected so that it is read."""
    folder = _some_model(world)
    file = folder / "weights.safetensors"
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(content[8 : 8 + size])
    role = world.choose([name for name in header if name != "__metadata__"])
    entry = header[role]
    ways = (
        lambda: entry.update(dtype=world.choose(DTYPES)),
        lambda: entry.update(dtype=world.choose(DTYPES)),
        lambda: entry.update(shape=[2**62]),
        lambda: entry.update(shape=[2**32, 2**32]),
        lambda: entry.update(shape=[-1]),
        lambda: entry.update(shape=[]),
        lambda: entry.update(shape="x"),
        lambda: entry.update(data_offsets=[0, 2**62]),
        lambda: entry.update(data_offsets=[8, 4]),
        lambda: entry.update(data_offsets=[0]),
        lambda: header.update({"x" * 10_000: entry}),
        lambda: header.pop(role),
        lambda: header.update(__metadata__=5),
        lambda: header.update(a=[]),
        lambda: header.update({"conv.9.kernel": entry}),
        lambda: header.clear(),
        lambda: header.update({"\x1b[31m": header.pop(role)}),
    )
    raw = world.choose(("header", "header", "header", "size", "values", "nest", "cut", "bytes"))
    if raw == "header":
        world.choose(ways)()
        text = json.dumps(header).encode()
        content = len(text).to_bytes(8, "little") + text + content[8 + size :]
    elif raw == "size":
        content = world.choose((0, 1, 2**62, 2**63, 2**64 - 1, size + 1, 100_000_001)).to_bytes(8, "little") + content[8:]
    elif raw == "values":
        values = np.full((len(content) - 8 - size) // 4, world.choose((np.nan, np.inf, 3e38, -3e38, 1e-44, 0)), "<f4")
        content = content[: 8 + size] + values.tobytes()
    elif raw == "nest":
        text = b'{"a":' * 20_000 + b"1" + b"}" * 20_000
        content = len(text).to_bytes(8, "little") + text
    else:
        content = content[: int(world.rng.integers(len(content)))] if raw == "cut" else flipped(world, content, 5, 0, 8 + size)
    file.write_bytes(content)
    card = folder / "card.toml"
    before = tomllib.loads(card.read_text())["model"]["weights_digest"]
    card.write_text(card.read_text().replace(before, hashlib.sha256(content).hexdigest()))
    return _show(world)


@family
def things_in_stores(world: World) -> Attempt:
    places = (
        "",
        "merger",
        "merger/F814W",
        "card.toml",
        "card.toml",
        "weights.safetensors",
        "weights.safetensors",
        "weights.safetensors",
    )
    place = world.choose(places)
    path = _some_model(world) / place if "." in place else world / "models" / place
    if path.is_dir():
        shutil.rmtree(path)
    make_odd(world, path)
    return _show(world)


@family
def names_in_stores(world: World) -> Attempt:
    name = world.choose(("\x1b[31m", "a b", "é", "..x", "-", "x" * 200, ".hidden", "a\nb", "nul", "%s"))
    home = world / world.choose((f"models/merger/F814W/{name}", f"models/merger/{name}/{FIELD}", f"models/{name}/F814W/{FIELD}"))
    shutil.copytree(world.model, home)
    if world.rng.random() < 0.5:
        (home / "spare").symlink_to(home)
    return _show(world)


@family
def spectra_files(world: World) -> Attempt:
    for path in [*world.model.glob(".spectra*"), world.model / ".spectra-x.bin"][:1]:
        make_odd(world, path)
    return Attempt(unspoilt=range(1, 9))


@family
def files_to_import(world: World) -> Attempt:
    """What is not a SavedModel, by its first look; TensorFlow reads none of it."""
    folder = world / "saved/f814w_EGS"
    (folder / "variables").mkdir(parents=True)
    for name in ("saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"):
        kind = make_odd(
            world,
            folder / name,
            world.choose(("noise", "empty", "nulls", "folder", "dangling", "gone", "fifo", "zero", "sparse")),
        )
        assert kind
    command = [
        "models",
        "import",
        world.choose(("saved", "saved/f814w_EGS", "nowhere", "~nosuchuser", "list.fits", "\x1b[31m")),
        "--store",
        "new",
    ]
    value = tomllib.loads(f"x = {world.choose([v for v in TOML_VALUES if len(v) < 100])}")["x"]
    more = world.choose(
        (
            [],
            ["--softening", str(value).replace("\0", "")],
            ["--pixel-scale", "nan"],
            ["--field", "\x1b[31m"],
            ["--class-names", ",,,"],
        )
    )
    return Attempt(commands=([*command, "--stretch", "minmax", *more],))


def _some_model(world: World) -> Path:
    task = world.choose(("merger", "merger", "contamination"))
    return Path(os.fspath(world / f"models/{task}/F814W/{FIELD}"))
