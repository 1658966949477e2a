"""Fetching the files of a release that surveyflow knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from surveyflow.runs.fetch import FetchResult


def fetch(
    release: str,
    folder: str | Path,
    *,
    mirror: str | None = None,
    fields: Sequence[str] = (),
    verify: bool = False,
    listener: Callable[[int, int], None] | None = None,
) -> FetchResult:
    """Fetch the mosaics, weight maps and lists of a known release into a folder, or continue to; compare what is there.

    Parameters
    ----------
    release
        ``candels-v1``, or a TOML file that describes a release as `docs/how-to/fetch-releases.md` explains.
    folder
        The folder. Files that are there are never replaced.
    mirror
        An ``https://``, ``s3://`` or ``gs://`` address to use instead of the release's own.
    fields
        The fields whose files are fetched; all if left out.
    verify
        Compare the files with the manifest of the folder, byte by byte, and fetch nothing.
    listener
        Called with the number of megabytes that came, and of all.

    Returns
    -------
    What became of each file.

    Raises
    ------
    InputError
        If the release or a field is not known, or a library is missing.
    OutputError
        If the folder cannot be written, its disk has too little room, or another process is fetching into it.
    """
    from surveyflow.runs.fetch import fetch_release, verify_fetched
    from surveyflow.settings.known_releases import known_release

    known = known_release(str(release))
    if verify:
        return verify_fetched(known, Path(folder), tuple(fields))
    return fetch_release(known, Path(folder), tuple(fields), mirror, listener)
