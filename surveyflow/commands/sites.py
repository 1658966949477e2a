"""The command line's verbs that print files for users to adapt: profiles of sites, and units that start runs on a schedule."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from surveyflow.values.codes import ScheduleKind

profile_app = typer.Typer(
    name="profile",
    help="Write profiles, which say where runs are done.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
schedule_app = typer.Typer(
    name="schedule",
    help="Write units that look for new releases by themselves.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@profile_app.command("new")
def new_profile(
    kind: Annotated[
        str, typer.Argument(help="local, local-gpu, address, slurm or kubernetes.", metavar="KIND", show_default=False)
    ],
) -> None:
    """Print a commented profile, to be adapted."""
    from surveyflow import api

    typer.echo(api.new_profile(kind), nl=False)


@schedule_app.command("new")
def new_schedule(
    kind: Annotated[
        ScheduleKind,
        typer.Argument(
            help=f"Kind of unit, with what to do with it. {ScheduleKind.explained()}.", metavar="KIND", show_default=False
        ),
    ],
    workflow: Annotated[Path | None, typer.Option(help="Workflow file (TOML) of the runs.", show_default=False)] = None,
    profile: Annotated[
        Path | None,
        typer.Option(help="Profile file of the runs; one of kind slurm makes the unit submit jobs.", show_default=False),
    ] = None,
) -> None:
    """Print a commented unit that runs the newest release every hour, to be adapted and installed."""
    from surveyflow import api

    typer.echo(api.new_schedule(kind, workflow=workflow, profile=profile), nl=False)
