"""What no table of a workflow has wrong by itself: ranges that overlap, unknown instruments, an image in two places."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

from surveyflow.settings.findings import Finding, Location, did_you_mean, listed, value_at

IMAGE_ROLES = ("science", "weight")
"""Keys of a mosaic's table whose values are paths of images."""


def overlapping_ranges(document: Mapping[str, Any]) -> Iterator[Finding]:
    """Redshift ranges that overlap another, reported where the later of the two stands."""
    ranges = {name: pair for name, pair in table_at(document, "routing").items() if _is_range(pair)}
    order = {name: n for n, name in enumerate(ranges)}
    widest = ""
    for name in sorted(ranges, key=lambda name: ranges[name][0]):
        if widest and ranges[name][0] < ranges[widest][1]:
            first, second = sorted((widest, name), key=order.__getitem__)
            what = f"{second} {ranges[second]} overlaps {first} {ranges[first]}; a redshift must belong to one instrument."
            yield Finding(("routing", second), what, "Separate them: a range holds its low end and not its high end.")
        widest = name if not widest or ranges[name][1] > ranges[widest][1] else widest


def _is_range(value: Any) -> bool:
    numbers = isinstance(value, list) and len(value) == 2 and all(type(end) in (int, float) for end in value)
    return numbers and 0 <= value[0] < value[1] < math.inf


def unknown_instruments(document: Mapping[str, Any]) -> Iterator[Finding]:
    """Mosaics of an instrument that has no redshift range."""
    routing = table_at(document, "routing")
    for field in table_at(document, "fields") if routing else ():
        for instrument in table_at(document, "fields", field):
            if instrument not in routing and instrument != "sources":
                otherwise = "Give it a redshift range in [routing], or remove the table."
                what = f"{instrument} is not an instrument of [routing], which has {listed(routing)}."
                yield Finding(("fields", field, instrument), what, did_you_mean(instrument, [*routing, "sources"], otherwise))


def images_named_twice(document: Mapping[str, Any]) -> Iterator[Finding]:
    """Images that stand for two fields, or for science and weight at once; instruments of one field may share a file."""
    seen: dict[str, list[Location]] = {}
    for place, image in _images(document):
        earlier = seen.setdefault(image, [])
        twin = next((other for other in earlier if other[1] != place[1] or other[:3] == place[:3]), None)
        if twin is not None:
            table = ".".join(map(str, twin[:-1]))
            yield Finding(place, f"{image} is named by [{table}] {twin[-1]}, too.", "Name the image that belongs here.")
        earlier.append(place)


def _images(document: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    for field in table_at(document, "fields"):
        for instrument in table_at(document, "fields", field):
            for role, path in table_at(document, "fields", field, instrument).items():
                if role in IMAGE_ROLES and isinstance(path, str):
                    yield ("fields", field, instrument, role), os.path.normpath(path)


def table_at(document: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """The table at a place; empty where there is something else, which its own check reports."""
    value = value_at(document, keys)
    return value if isinstance(value, dict) else {}
