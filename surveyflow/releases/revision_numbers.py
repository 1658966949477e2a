"""The record of revision numbers, so that no number is used twice, not even after its revision was removed."""

from __future__ import annotations

import json
from pathlib import Path

from surveyflow.errors import CatalogError
from surveyflow.files.durable import write_over
from surveyflow.releases.revisions import revision_names, split_name

NUMBERS = "revision_numbers.json"
"""The file in the output folder with the highest number of each release at the time when revisions were last removed."""


def highest_number(root: Path, release: str) -> int:
    """The highest number that a revision of a release has, or had before it was pruned; 0 if there was none.

    Parameters
    ----------
    root
        The output folder.
    release
        A release's name.

    Raises
    ------
    CatalogError
        If the file of removed numbers is damaged.
    """
    return _highest(root).get(release, 0)


def remember_numbers(root: Path) -> None:
    """Record the numbers of all revisions durably; call it before any revision is removed.

    Parameters
    ----------
    root
        The output folder; the caller must hold its lock.

    Raises
    ------
    CatalogError
        If the file of removed numbers is damaged.
    OutputError
        If the file cannot be written.
    """
    write_over(root / NUMBERS, json.dumps(_highest(root), indent=1, sort_keys=True).encode())


def _highest(root: Path) -> dict[str, int]:
    highest = _remembered(root / NUMBERS)
    for release, number in map(split_name, revision_names(root)):
        highest[release] = max(number, highest.get(release, 0))
    return highest


def _remembered(path: Path) -> dict[str, int]:
    try:
        return {str(release): int(number) for release, number in json.loads(path.read_bytes()).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise CatalogError(
            f"{path} is damaged ({error}). It holds the highest revision number that each release has had, such as "
            f'{{"v1.0": 3}}. Write it anew, or remove it if no pruned revision was ever cited.'
        ) from error
