"""The command line's verbs for surveys and their runs: demo, validate, plan, run, status, doctor."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from surveyflow.commands.options import (
    EngineOption,
    IfChangedOption,
    JsonOption,
    MapOption,
    OutputOption,
    OutputRoot,
    PrecisionOption,
    ProfileOption,
    ReleaseOption,
    RereadOption,
    WorkflowFile,
    moved_folders,
    print_json,
)
from surveyflow.values import remedies
from surveyflow.values.codes import EngineName, Precision

if TYPE_CHECKING:
    from surveyflow.api.runs import SurveyStatus
    from surveyflow.output.heartbeats import GpuUse, Heartbeat
    from surveyflow.planning.plan import Plan
    from surveyflow.runs.doctor import Check, WorkerReport
    from surveyflow.runs.run import RunResult

MOST_MOSAICS_SHOWN = 20


def demo(
    folder: Annotated[Path, typer.Argument(help="New folder for the demo.", metavar="DIR")] = Path("surveyflow-demo"),
    profile: ProfileOption = "local",
    engine: EngineOption = EngineName.AUTO,
    as_json: JsonOption = False,
) -> None:
    """Simulate a small survey, run it, and show the catalog and the report."""
    from surveyflow import api
    from surveyflow.commands.progress import progress_listener

    typer.echo(f"Simulating a survey and running it in {folder}", err=True)
    with progress_listener() as listener:
        result = api.demo(folder, profile=profile, engine=engine, listeners=[listener])
    if as_json:
        print_json(result.as_json())
    else:
        _print_run(result)
        typer.echo(f"workflow  {folder / 'workflow.toml'}")
    raise typer.Exit(result.exit_code)


def init(
    folder: Annotated[Path, typer.Argument(help="Folder of mosaics and catalogs.", metavar="DIR")],
    output: Annotated[Path | None, typer.Option(help="New workflow file; DIR/workflow.toml if it is left out.")] = None,
    models: Annotated[
        Path | None, typer.Option(help="Model store; without it, the package's models are copied beside the workflow.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the draws; without it, the workflow asks you to set one.")] = None,
) -> None:
    """Look at a folder of mosaics and catalogs, and write a first workflow with what was guessed, and why."""
    from surveyflow import api

    file = api.init(folder, output=output, models=models, seed=seed)
    typer.echo(f"wrote {file}: read its comments{'' if seed is not None else ', set the seed'}, then: {remedies.validate(file)}")


def validate(workflow: WorkflowFile, release: ReleaseOption = None, as_json: JsonOption = False) -> None:
    """Check a workflow and everything that it names, without changing anything."""
    from surveyflow import api

    chosen, told = _choose(workflow, release)
    valid = api.validate(workflow, release=chosen)
    if as_json:
        print_json(valid.as_json() | told)
        return
    typer.echo(f"{workflow} is valid: survey {valid.name}, release {valid.release}")
    for name, count in valid.sources.items():
        typer.echo(f"  {name}: {count} sources")
    for name, (rows, columns) in list(valid.mosaics.items())[:MOST_MOSAICS_SHOWN]:
        typer.echo(f"  {name}: {columns} x {rows} pixels")
    if len(valid.mosaics) > MOST_MOSAICS_SHOWN:
        typer.echo(f"  and {len(valid.mosaics) - MOST_MOSAICS_SHOWN} more mosaics; --json lists them all")
    for name in dict.fromkeys("/".join(mosaic.split("/")[:2]) for mosaic in valid.mosaics):
        beside = [ids.get(name, f"no {task} model") for task, ids in valid.models_beside.items()]
        typer.echo(f"  {name}: model {', '.join([valid.models.get(name, 'none'), *beside])}")
    for expected in valid.expected:
        typer.echo(f"  {expected}")
    for warning in valid.warnings:
        typer.echo(f"  note: {warning}")


def plan(
    workflow: WorkflowFile,
    release: ReleaseOption = None,
    profile: ProfileOption = "local",
    precision: PrecisionOption = Precision.FLOAT32,
    reread: RereadOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a run would do, and why."""
    from surveyflow import api
    from surveyflow.commands.progress import progress_listener

    chosen, told = _choose(workflow, release)
    with progress_listener() as listener:
        planned = api.plan(workflow, release=chosen, profile=profile, precision=precision, reread=reread, listeners=[listener])
    if as_json:
        expected = [each.as_json() for each in planned.expected]
        facts = {"counts": planned.counts, "units": planned.as_json(), "kept_columns_changed": planned.kept_changed}
        facts |= {"expected": expected}
        print_json(facts | told)
    else:
        _print_plan(planned)


def run(
    workflow: WorkflowFile,
    release: ReleaseOption = None,
    output: OutputOption = None,
    profile: ProfileOption = "local",
    engine: EngineOption = EngineName.AUTO,
    precision: PrecisionOption = Precision.FLOAT32,
    reread: RereadOption = False,
    moved: MapOption = None,
    if_changed: IfChangedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Turn a survey into a published catalog; earlier results are kept. A manifest's tables are made again."""
    from surveyflow import api
    from surveyflow.commands.progress import progress_listener

    with progress_listener() as listener:
        result = api.run(
            workflow,
            release=release,
            output=output,
            profile=profile,
            engine=engine,
            precision=precision,
            reread=reread,
            moved=moved_folders(moved),
            listeners=[listener],
        )
    if as_json:
        print_json(result.as_json())
    elif result.published or result.exit_code or not if_changed:
        _print_run(result)
    raise typer.Exit(result.exit_code)


def status(root: OutputRoot, as_json: JsonOption = False) -> None:
    """Show what is published, how far the newest run has come, and what its workers do; this is read from files alone."""
    from surveyflow import api

    found = api.status(root)
    if as_json:
        print_json(found.as_json(time.time()))
    else:
        _print_status(found, time.time())


def doctor(
    profile: Annotated[
        str | None,
        typer.Option(help="Check the machines of this profile's workers, and compare them with this one.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Report what this machine or a profile's workers offer, and what is missing."""
    from surveyflow import api

    found = api.doctor(profile)
    if profile is None:
        (machine,) = found
        _print_machine(machine, as_json)
    elif as_json:
        print_json([asdict(worker) for worker in found])
    else:
        _print_workers(found)


def _choose(workflow: Path, release: str | None) -> tuple[str | None, dict[str, Any]]:
    """Find the release that ``latest`` means, report what was skipped, and return what ``--json`` prints of it."""
    if release != "latest":
        return release, {}
    from surveyflow import api

    choice = api.find_release(workflow)
    for skipped in choice.skipped:
        typer.echo(str(skipped), err=True)
    return choice.release, {"discovery": choice.as_json()}


def _print_run(result: RunResult) -> None:
    if not result.published:
        typer.echo(f"Nothing has changed since {result.revision}{', which is still held' if result.held else ''}.")
    units = ", ".join(f"{count} {name}" for name, count in result.units.items())
    typer.echo(f"revision  {result.revision}")
    typer.echo(f"units     {units}")
    typer.echo(f"rows      {result.rows} ({', '.join(f'{count} {name}' for name, count in result.status.items())})")
    if result.flags:
        typer.echo(f"flags     {', '.join(f'{count} {name}' for name, count in result.flags.items())}")
    typer.echo(f"weights   {', '.join(result.weights_origin) or 'none'}")
    typer.echo(f"catalog   {result.path}")
    page = result.path / "report.html"
    typer.echo(
        f"report    {page if page.exists() else f'could not be made: `{remedies.report(result.path.parents[1])}` says why'}"
    )
    for name, damage in result.repaired_units.items():
        typer.echo(f"repaired  {name}: {damage}")
    for name, error in result.failed_units.items():
        typer.echo(f"failed    {name}: {error}")
    if result.held:
        _print_hold(result.root, result.revision, result.held)


def _print_hold(root: Path, revision: str, reasons: Sequence[str]) -> None:
    from surveyflow.releases.holds import what_to_do

    for reason in reasons:
        typer.echo(f"held      {revision} is not given to readers. {reason}")
    for step in what_to_do(root, revision):
        typer.echo(f"          To {step}")


def _print_plan(planned: Plan) -> None:
    for unit in planned.units:
        typer.echo(f"{unit.decision.value:5} {unit.name:40} {unit.n_sources:7d} sources  {unit.reason}")
    for expected in planned.expected:
        typer.echo(str(expected))
    typer.echo(", ".join(f"{count} to {name}" for name, count in planned.counts.items()))
    if planned.kept_changed:
        typer.echo("Kept columns of the source lists changed: a run publishes a revision with them.")


def _print_status(found: SurveyStatus, now: float) -> None:
    if found.published is None:
        typer.echo("published nothing yet")
    else:
        typer.echo(f"published {found.published.name}: {found.published.n_rows} rows in {found.published.path}")
        if (page := found.published.path / "report.html").is_file():
            typer.echo(f"report    {page}")
        typer.echo(f"look      `{remedies.browse(found.root)}`")
    for hold in found.held:
        _print_hold(found.root, hold.revision.name, hold.reasons)
    typer.echo(f"last run  {found.last_run.run_id}: {found.last_run.progress.describe()}")
    typer.echo(f"updated   {found.last_run.updated}")
    typer.echo(f"state     {found.condition.message}")
    if found.lock is not None:
        typer.echo(f"lock      {found.lock.describe()}")
    if found.last_run.dashboard and found.at_work:
        typer.echo(f"dashboard {found.last_run.dashboard}")
    for pool, heartbeats in _by_pool(found.workers).items():
        _print_pool(pool, heartbeats, now)


def _by_pool(workers: Iterable[Heartbeat]) -> dict[str, list[Heartbeat]]:
    pools: dict[str, list[Heartbeat]] = {}
    for heartbeat in workers:
        pools.setdefault(heartbeat.pool, []).append(heartbeat)
    return pools


def _print_pool(pool: str, heartbeats: list[Heartbeat], now: float) -> None:
    silent = [heartbeat for heartbeat in heartbeats if heartbeat.is_silent(now)]
    busy = sum(bool(heartbeat.job) for heartbeat in heartbeats if heartbeat not in silent)
    done, failed = sum(heartbeat.done for heartbeat in heartbeats), sum(heartbeat.failed for heartbeat in heartbeats)
    typer.echo(f"pool      {pool}: {len(heartbeats) - len(silent)} workers, {busy} busy, {done} jobs done, {failed} failed")
    for heartbeat in heartbeats:
        typer.echo(
            f"  {heartbeat.worker}: {_doing(heartbeat, now)}, {heartbeat.memory_mb:.0f} MB{''.join(map(_gpu, heartbeat.gpus))}"
        )


def _doing(heartbeat: Heartbeat, now: float) -> str:
    if heartbeat.is_silent(now):
        return f"silent for {timedelta(seconds=round(now - heartbeat.time))}; its last job was {heartbeat.job or 'none'}"
    if heartbeat.job_since is None:
        return "waiting"
    return f"{heartbeat.job} for {timedelta(seconds=max(0, round(now - heartbeat.job_since)))}"


def _gpu(use: GpuUse) -> str:
    return f", GPU {use.name}: {use.busy_percent:.0f} % busy, {use.memory_mb:.0f} of {use.memory_total_mb:.0f} MB"


def _print_machine(machine: WorkerReport, as_json: bool) -> None:
    if as_json:
        print_json([asdict(check) for check in machine.checks])
    else:
        _print_checks(machine.checks)


def _print_checks(checks: Iterable[Check]) -> None:
    for check in checks:
        typer.echo(f"{'ok  ' if check.good else 'note'} {check.name:12} {check.found}")


def _print_workers(found: Sequence[WorkerReport]) -> None:
    for worker in found:
        typer.echo(" ".join(filter(None, ["worker", worker.worker, worker.host and f"on {worker.host}", worker.pool])))
        _print_checks(worker.checks)
    troubled = [worker.worker for worker in found if not worker.good]
    if troubled:
        typer.echo(f"WARNING: {len(troubled)} of {len(found)} workers need attention: {', '.join(troubled)}", err=True)
