"""The command line's verbs for batch jobs: render, submit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surveyflow.commands.options import JsonOption, PrecisionOption, print_json
from surveyflow.values.codes import Precision

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
    precision: PrecisionOption = Precision.FLOAT32,
    as_json: JsonOption = False,
) -> None:
    """Print exactly what would be submitted, and change nothing."""
    from surveyflow import api

    _print(api.render_slurm(workflow, profile, precision=precision), as_json=as_json)


@app.command()
def submit(
    workflow: WorkflowFile,
    profile: ProfileOption,
    precision: PrecisionOption = Precision.FLOAT32,
    as_json: JsonOption = False,
) -> None:
    """Check the workflow, and submit its jobs to the queue; jobs that are submitted again continue where they were."""
    from surveyflow import api

    _print(api.submit_slurm(workflow, profile, precision=precision), as_json=as_json)


def _print(result: Printed, *, as_json: bool) -> None:
    if as_json:
        print_json(result.as_json())
    else:
        typer.echo(str(result), nl=False)
