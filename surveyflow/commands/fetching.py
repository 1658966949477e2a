"""The command line's verb for fetching a release."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surveyflow.commands.options import JsonOption, print_json

if TYPE_CHECKING:
    from surveyflow.runs.fetch import FetchResult


def fetch(
    release: Annotated[str, typer.Argument(help="candels-v1, or a TOML file.", metavar="RELEASE", show_default=False)],
    folder: Annotated[Path, typer.Argument(help="Folder for the files.", metavar="DIR", show_default=False)],
    mirror: Annotated[
        str | None, typer.Option("--from", help="Address to use instead of the release's own.", metavar="MIRROR")
    ] = None,
    fields: Annotated[list[str] | None, typer.Option("--field", help="Fetch this field only; may be repeated.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Compare what is there byte by byte, and fetch nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Fetch the files of a known release, or continue to; report what has changed at its source."""
    from surveyflow import api
    from surveyflow.commands.progress import counting_listener

    with counting_listener("fetching MB") as listener:
        result = api.fetch(release, folder, mirror=mirror, fields=fields or (), verify=verify, listener=listener)
    if as_json:
        print_json(result.as_json())
    else:
        _print_result(result)
    raise typer.Exit(result.exit_code)


def _print_result(result: FetchResult) -> None:
    counts = ", ".join(f"{number} {status}" for status, number in result.counts.items())
    typer.echo(f"{result.folder}: {counts}")
    for file in result.files:
        if file.message:
            typer.echo(f"  {file.status}  {file.name}: {file.message}")
    for name in ("title", "licence", "citation", "notes"):
        typer.echo(f"{name:9} {getattr(result, name)}")
