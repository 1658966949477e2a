"""The command line's verbs for batch jobs: render, submit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surveyflow.commands.options import (
    EngineOption,
    IfChangedOption,
    JsonOption,
    MapOption,
    OutputOption,
    PrecisionOption,
    ReleaseOption,
    RereadOption,
    moved_folders,
    print_json,
)
from surveyflow.values.codes import EngineName, Precision

if TYPE_CHECKING:
    from surveyflow.sites.kind import Printed

app = typer.Typer(
    name="slurm",
    help="Run a workflow as batch jobs of a Slurm machine.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


WorkflowFile = Annotated[Path, typer.Argument(help="Workflow file (TOML).", metavar="WORKFLOW", show_default=False)]
ProfileOption = Annotated[Path, typer.Option(help="Profile file (TOML) of kind slurm.", show_default=False)]


@app.command()
def render(
    workflow: WorkflowFile,
    profile: ProfileOption,
    release: ReleaseOption = None,
    output: OutputOption = None,
    engine: EngineOption = EngineName.AUTO,
    precision: PrecisionOption = Precision.FLOAT32,
    reread: RereadOption = False,
    moved: MapOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print exactly what would be submitted, and change nothing."""
    from surveyflow import api

    submission = api.render_slurm(
        workflow,
        profile,
        release=release,
        output=output,
        engine=engine,
        precision=precision,
        reread=reread,
        moved=moved_folders(moved),
    )
    _print(submission, as_json=as_json)


@app.command()
def submit(
    workflow: WorkflowFile,
    profile: ProfileOption,
    release: ReleaseOption = None,
    output: OutputOption = None,
    engine: EngineOption = EngineName.AUTO,
    precision: PrecisionOption = Precision.FLOAT32,
    reread: RereadOption = False,
    moved: MapOption = None,
    if_changed: IfChangedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check the workflow, and submit its jobs to the queue; jobs that are submitted again continue where they were."""
    from surveyflow import api
    from surveyflow.runs.render_jobs import NothingToSubmit

    done = api.submit_slurm(
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
    if as_json or done.exit_code or not isinstance(done, NothingToSubmit):
        _print(done, as_json=as_json)
    raise typer.Exit(done.exit_code)


def _print(result: Printed, *, as_json: bool) -> None:
    if as_json:
        print_json(result.as_json())
    else:
        typer.echo(str(result), nl=False)
