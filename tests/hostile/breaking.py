"""Ways to break files: values of every kind, cards, bytes, documents, and things that are not files."""

from __future__ import annotations

import json
import os
import socket
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tomlkit

from hostile.world import World

ESCAPE = "\x1b[31mred\x1b]0;title\x07"
TOML_VALUES = (
    "''",
    "'text'",
    "-1",
    "0",
    "1",
    "2.5",
    "1e308",
    "-1e308",
    "1e-320",
    "nan",
    "inf",
    "-inf",
    "true",
    "false",
    "[]",
    "{}",
    "[1]",
    "[nan, nan]",
    "[1, 0]",
    "[0.5, 1e400]",
    "['a', 1]",
    "{ a = 1 }",
    "{ path = 'x' }",
    "1979-05-27",
    "1979-05-27T07:32:00Z",
    "07:32:00",
    "9223372036854775808",
    "18446744073709551616",
    "-9223372036854775809",
    "1" * 400,
    "1" * 5000,
    "0x" + "f" * 4000,
    "[" * 60 + "]" * 60,
    "[" * 5000 + "]" * 5000,
    "'" + "x" * 5000 + "'",
    "'~nosuchuser/x'",
    "'~'",
    "'../../..'",
    "'/dev/zero'",
    "'/dev/stdin'",
    "'/proc/self/mem'",
    "'/'",
    "'.'",
    "'https://example.org/a.fits'",
    '"\\u001b[31mred\\u0007"',
    '"\\u0000"',
    '"\\u202egnirts"',
    "'Zürich 星'",
    '"a\\nb"',
    "'{release}'",
    "'{release}{release}'",
    "'{other}'",
    "'*'",
    "'[SCI]'",
    "'a[b'",
    "'%s%n'",
    "'list.fits[99]'",
    "'list.fits[]'",
    "'sci.fits[-1]'",
    "' '",
    "'" + "a/" * 3000 + "'",
    "'" + "é" * 300 + "'",
)
JSON_VALUES = (
    "null",
    "true",
    "-1",
    "0",
    "1",
    "2.5",
    "1e308",
    "1e999",
    "NaN",
    "Infinity",
    "-Infinity",
    '""',
    '"text"',
    "[]",
    "{}",
    "[null]",
    "[[]]",
    '{"a": 1}',
    "9223372036854775808",
    "1" * 400,
    "1" * 5000,
    "[" * 100 + "]" * 100,
    "[" * 100_000 + "]" * 100_000,
    '{"a":' * 50_000 + "1" + "}" * 50_000,
    '"\\u001b[31mred"',
    '"\\ud800"',
    '"\\u0000"',
    '"' + "x" * 10_000 + '"',
    '"../../../etc/passwd"',
    '"/dev/zero"',
    '"2026-99-99T99:99:99"',
    '"v1\\nDAMAGED"',
)
CARD_VALUES = (
    "'text    '",
    "''",
    "",
    "T",
    "F",
    "-1",
    "0",
    "1",
    "3",
    "1.5",
    "1E400",
    "-1E308",
    "1E-320",
    "NAN",
    "INF",
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "99999999999999999999999999999",
    "12345678901234567890123456789.5",
    "(1.0, 2.0)",
    "1 2",
    "'unclosed",
    "1D300",
    "0x10",
    "--1",
    "999999999",
    "'" + "x" * 60 + "'",
    "\x1b[31m",
    "'\xe9'",
    "= 5",
)


def pick_path(world: World, document: Any) -> list[Any]:
    """The place of a random value in a document, a table or list included."""
    return world.choose(list(places(document)))


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a document below its top."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*place, key)
        yield from places(item, (*place, key))


def put(document: Any, place: tuple[Any, ...], value: Any) -> None:
    """Replace the value at a place."""
    for key in place[:-1]:
        document = document[key]
    document[place[-1]] = value


def break_toml(world: World, path: Path, also: str = "") -> None:
    """Give a key a wrong value, or remove, misname or add one."""
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    place = pick_path(world, document)
    what = world.choose(("value", "value", "value", "value", "value", "remove", "rename"))
    marker = "@" * 20
    if what == "value":
        put(document, place, marker)
    else:
        holder = document
        for key in place[:-1]:
            holder = holder[key]
        value = holder.pop(place[-1])
        if what == "rename" and isinstance(holder, dict):
            holder[world.choose(("pth", "x" * 3000, ESCAPE, "", "é", "sources", "__class__", "\u202e", "1"))] = value
    text = tomlkit.dumps(document).replace(f'"{marker}"', world.choose(TOML_VALUES))
    path.write_text(also + text, encoding="utf-8")


def break_json(world: World, path: Path) -> None:
    """Give a key of a JSON file a wrong value, or spoil the complete file."""
    document = json.loads(path.read_text())
    kind = world.choose(("value", "value", "value", "remove", "complete", "odd"))
    options = list(places(document))
    if kind == "odd" or not options:
        make_odd(world, path)
    elif kind == "complete":
        rewrite(path, world.choose(JSON_VALUES).encode())
    else:
        place = world.choose(options)
        marker = "@" * 20
        if kind == "value":
            put(document, place, marker)
        else:
            holder = document
            for key in place[:-1]:
                holder = holder[key]
            del holder[place[-1]]
        rewrite(path, json.dumps(document).replace(f'"{marker}"', world.choose(JSON_VALUES)).encode())


def rewrite(path: Path, content: bytes) -> None:
    """Replace a file, whatever its mode."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


ODD_THINGS = (
    "folder",
    "fifo",
    "zero",
    "random",
    "loop",
    "dangling",
    "socket",
    "empty",
    "noise",
    "nulls",
    "cut",
    "flip",
    "sparse",
    "gone",
    "long line",
    "json of null",
    "tty",
    "memory",
)


def make_odd(world: World, path: Path, kind: str | None = None) -> str:
    """Put something in the place of a file that is not such a file."""
    kind = kind or world.choose(ODD_THINGS)
    content = path.read_bytes() if path.is_file() else b""
    path.unlink(missing_ok=True)
    links = {
        "zero": "/dev/zero",
        "random": "/dev/urandom",
        "loop": path.name,
        "dangling": "nowhere",
        "tty": "/dev/stdin",
        "memory": "/proc/self/mem",
    }
    if kind in links:
        path.symlink_to(links[kind])
    elif kind == "folder":
        path.mkdir()
        (path / "file").write_text("x")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        here = Path.cwd()
        os.chdir(path.parent)
        socket.socket(socket.AF_UNIX).bind(path.name[:100])
        os.chdir(here)
    elif kind == "sparse":
        path.write_bytes(content[:2880])
        os.truncate(path, 30 * 2**30)
    elif kind != "gone":
        path.write_bytes(_spoilt(world, content, kind))
    return kind


def _spoilt(world: World, content: bytes, kind: str) -> bytes:
    ways: dict[str, Callable[[], bytes]] = {
        "empty": lambda: b"",
        "noise": lambda: world.rng.bytes(5000),
        "nulls": lambda: bytes(100_000),
        "cut": lambda: content[: int(world.rng.integers(max(len(content), 1)))],
        "flip": lambda: flipped(world, content, 1 + int(world.rng.integers(20))),
        "long line": lambda: b"x" * 10_000_000,
        "json of null": lambda: b"null",
    }
    return ways[kind]()


def flipped(world: World, content: bytes, n_bytes: int, start: int = 0, end: int | None = None) -> bytes:
    """Content with some bytes replaced."""
    spoilt = bytearray(content)
    end = len(spoilt) if end is None else min(end, len(spoilt))
    for place in world.rng.integers(start, max(end, start + 1), n_bytes) if end > start else ():
        spoilt[int(place)] = int(world.rng.integers(256))
    return bytes(spoilt)


def set_card(path: Path, key: str, value: str, hdu: int = 0) -> None:
    """Write a card as raw text into a header of a FITS file, valid or not."""
    content = bytearray(path.read_bytes())
    first = header_starts(bytes(content))[hdu]
    card = f"{key:8.8}= {value}".encode("latin-1").ljust(80)[:80]
    for place in range(first, len(content), 80):
        if content[place : place + 8].decode("latin-1").strip() == key:
            content[place : place + 80] = card
            break
        if content[place : place + 80].strip() == b"END":
            block_end = first + -(-(place + 80 - first) // 2880) * 2880
            if place + 160 > block_end:
                content[block_end:block_end] = b" " * 2880
            content[place : place + 160] = card + b"END".ljust(80)
            break
    path.write_bytes(content)


def header_starts(content: bytes) -> list[int]:
    """Where the headers of a FITS file begin."""
    starts = [0]
    place = content.find(b"XTENSION=")
    while place >= 0:
        starts += [place] if place % 2880 == 0 else []
        place = content.find(b"XTENSION=", place + 1)
    return starts


def gzip_of_zeros(n_bytes: int, head: bytes = b"") -> bytes:
    """A gzip file that unpacks to some bytes and then many zeros, made quickly of many members."""
    import gzip

    block = 64 * 2**20
    return gzip.compress(head, 1) + gzip.compress(bytes(block), 1) * (n_bytes // block)


def random_pixels(world: World, shape: tuple[int, int]) -> np.ndarray:
    """Pixels without meaning."""
    return world.rng.normal(0, 1e-3, shape).astype(np.float32)
