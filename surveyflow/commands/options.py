"""Arguments, options and settings of the process that several verbs share."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from surveyflow.errors import InputError
from surveyflow.values.codes import EngineName, Precision

WorkflowFile = Annotated[
    Path,
    typer.Argument(help="Workflow file (TOML), or a revision's manifest.json.", metavar="WORKFLOW", show_default=False),
]
OutputRoot = Annotated[Path, typer.Argument(help="Output folder of a workflow.", metavar="ROOT", show_default=False)]
ReleaseOption = Annotated[
    str | None,
    typer.Option(help="Release to use instead of the workflow's; latest: the newest complete one.", metavar="NAME|latest"),
]
RevisionOption = Annotated[str, typer.Option(help="latest, a release or a revision.")]
ProfileOption = Annotated[str, typer.Option(help="Where to run: local, local-gpu, serial, or a profile file (TOML).")]
EngineOption = Annotated[EngineName, typer.Option(help=f"Engine that computes the networks. {EngineName.explained()}.")]
PrecisionOption = Annotated[Precision, typer.Option(help=f"Precision of the networks' trunks. {Precision.explained()}.")]
OutputOption = Annotated[Path | None, typer.Option(help="Output folder to use instead of the workflow's.")]
RereadOption = Annotated[bool, typer.Option("--reread", help="Read every pixel, also of files that seem unchanged.")]
MapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        help="For a manifest: where a folder was and where it is now; can be repeated.",
        metavar="OLD=NEW",
    ),
]
IfChangedOption = Annotated[
    bool, typer.Option("--if-changed", help="For schedulers: if nothing has changed, print and submit nothing.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


def moved_folders(options: Sequence[str] | None) -> dict[str, str]:
    """The folders of ``--map OLD=NEW``: where they are, by where they were.

    Raises
    ------
    InputError
        If one does not name two absolute paths.
    """
    moved = {}
    for option in options or ():
        old, _, new = option.partition("=")
        if not (old.startswith("/") and new):
            raise InputError(f"--map: found {option!r}, expected two folders. Write such as --map /data/candels=/mnt/candels.")
        moved[old] = str(Path(new).absolute())
    return moved


def print_json(value: Any) -> None:
    """Print a value as one line of JSON; values that JSON does not have are printed as text."""
    typer.echo(json.dumps(value, default=str))


def quiet_tensorflow(*, errors: bool = False) -> None:
    """Keep TensorFlow from printing the processor's features, unless the environment asks for it; call it before the import.

    Parameters
    ----------
    errors
        Whether its errors are not printed either, because surveyflow reports them by its own.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3" if errors else "2")
