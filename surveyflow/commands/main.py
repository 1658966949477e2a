"""The command line: its options, its verbs, and exit codes."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from surveyflow import __version__
from surveyflow.commands import browsing, catalogs, fetching, kubernetes, models, releases, runs, sites, slurm, training
from surveyflow.commands.printing import plain_streams
from surveyflow.errors import SurveyflowError
from surveyflow.values import remedies

app = typer.Typer(
    name="surveyflow",
    help="Merger probability distributions and contamination estimates for every galaxy of a survey.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

for verb in (
    runs.demo,
    runs.init,
    runs.validate,
    runs.plan,
    runs.run,
    runs.status,
    runs.doctor,
    fetching.fetch,
    catalogs.report,
    catalogs.fractions,
    catalogs.compare,
    catalogs.export,
    browsing.browse,
    browsing.vetted,
    catalogs.show,
    training.simulate,
    training.train,
    training.tune,
    training.evaluate,
):
    app.command()(verb)
for app_of_sites in (sites.profile_app, sites.schedule_app):
    app.add_typer(app_of_sites)
for group in (models, releases, slurm, kubernetes):
    app.add_typer(group.app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"surveyflow {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug logs.")] = False,
    version: Annotated[  # noqa: ARG001 - the callback does the work
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Take the options of every verb; the text of the help page is above."""
    context.with_resource(_logs_on_stderr(debug=debug))


@contextmanager
def _logs_on_stderr(*, debug: bool) -> Iterator[None]:
    """Print warnings, and with `debug` every log record, to stderr while the block lasts."""
    # The handler has a level of its own, since a run lowers the loggers' levels for its log file.
    handler = logging.StreamHandler()
    handler.setLevel(logging.DEBUG if debug else logging.WARNING)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    root, own = logging.getLogger(), logging.getLogger("surveyflow")
    before = own.level
    root.addHandler(handler)
    if debug:
        own.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.removeHandler(handler)
        own.setLevel(before)


def main() -> None:
    """Run the command line; every known error ends with a message and its exit code, and not with a traceback."""
    debug = "--debug" in sys.argv
    # A batch system ends a job with SIGTERM: exit as after an error, so that locks and workers are released.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with plain_streams():
        _run_app(debug=debug)


def _run_app(*, debug: bool) -> None:
    try:
        app(prog_name="surveyflow")
    except SurveyflowError as error:
        if debug:
            raise
        _explain(error)
        sys.exit(error.exit_code)
    except OSError as error:
        if debug:
            raise
        remedy = "Check that it exists and that you may use it, then try again."
        place = f"{error.filename}: " if error.filename else ""
        typer.echo(f"Error: {place}{error.strerror or error}. {remedy}", err=True)
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        typer.echo(
            f"Unexpected {type(error).__name__}: {error}\nRun `{remedies.show_details(sys.argv[1:])}` for details.", err=True
        )
        sys.exit(1)


def _explain(error: SurveyflowError) -> None:
    lines = [line for line in str(error).split("\n") if line] or [type(error).__name__]
    if len(lines) == 1:
        typer.echo(f"Error: {lines[0]}", err=True)
        return
    typer.echo(f"{len(lines)} problems:", err=True)
    for line in lines:
        typer.echo(f"  - {line}", err=True)
