"""The command line's verbs for Kubernetes: render, certificates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from surveyflow.commands.options import (
    EngineOption,
    IfChangedOption,
    MapOption,
    OutputOption,
    PrecisionOption,
    ReleaseOption,
    RereadOption,
    moved_folders,
)
from surveyflow.values.codes import EngineName, Precision

app = typer.Typer(
    name="kubernetes",
    help="Run a workflow in pods that the Dask operator manages.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def render(
    workflow: Annotated[Path, typer.Argument(help="Workflow file (TOML) on the volume.", metavar="WORKFLOW", show_default=False)],
    profile: Annotated[Path, typer.Option(help="Profile file (TOML) of kind kubernetes.", show_default=False)],
    release: ReleaseOption = None,
    output: OutputOption = None,
    engine: EngineOption = EngineName.AUTO,
    precision: PrecisionOption = Precision.FLOAT32,
    reread: RereadOption = False,
    moved: MapOption = None,
    if_changed: IfChangedOption = False,
) -> None:
    """Print the manifests for kubectl apply, and change nothing."""
    from surveyflow import api

    text = api.render_kubernetes(
        workflow,
        profile,
        release=release,
        output=output,
        engine=engine,
        precision=precision,
        reread=reread,
        moved=moved_folders(moved),
        if_changed=if_changed,
    )
    typer.echo(text, nl=False)


@app.command()
def certificates(
    folder: Annotated[Path, typer.Argument(help="Folder to write key and certificate to.", metavar="DIR", show_default=False)],
) -> None:
    """Make a new key and certificate for a Secret; client, scheduler and workers accept only holders of it."""
    from surveyflow import api

    typer.echo(api.kubernetes_certificates(folder))
