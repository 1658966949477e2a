"""The command line's verbs for published revisions: list, diff, verify, accept, rollback, prune."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from surveyflow.commands.options import JsonOption, OutputRoot, print_json
from surveyflow.commands.printing import wrapped
from surveyflow.values import remedies

if TYPE_CHECKING:
    from surveyflow.releases.comparison import Columns, Difference, SourceName
    from surveyflow.releases.inventory import Inventory, StoredRevision
    from surveyflow.releases.pruning import Pruning
    from surveyflow.releases.verify import Verdict

app = typer.Typer(
    name="releases",
    help="List, compare, check, accept, restore and remove published revisions.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
def list_releases(root: OutputRoot, as_json: JsonOption = False) -> None:
    """List the revisions, oldest first. An asterisk marks the one that readers get, HELD those that wait for acceptance."""
    from surveyflow import api

    inventory = api.list_releases(root)
    if as_json:
        print_json(inventory.as_json())
    else:
        _print_inventory(root, inventory)


@app.command()
def diff(
    root: OutputRoot,
    before: Annotated[str, typer.Argument(help="The earlier release or revision.", metavar="A", show_default=False)],
    after: Annotated[str, typer.Argument(help="The later one.", metavar="B")] = "latest",
    as_json: JsonOption = False,
) -> None:
    """Show how two revisions differ: rows added, removed and changed, and by how much the results moved."""
    from surveyflow import api

    difference = api.diff_releases(root, before, after)
    if as_json:
        print_json(difference.as_json())
    else:
        _print_difference(difference)


@app.command()
def verify(
    root: OutputRoot,
    release: Annotated[str | None, typer.Option(help="latest, a release or a revision.", show_default="every revision")] = None,
    as_json: JsonOption = False,
) -> None:
    """Read revisions back and check files, digests, schema, order, counts and that no source occurs twice."""
    from surveyflow import api

    verdicts = api.verify_releases(root, release)
    if as_json:
        print_json([asdict(verdict) for verdict in verdicts])
    else:
        _print_verdicts(verdicts)
    raise typer.Exit(int(any(verdict.problems for verdict in verdicts)))


@app.command()
def accept(
    root: OutputRoot,
    revision: Annotated[
        str | None, typer.Argument(help="A held revision, or a release.", show_default="the newest held revision")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Give readers a revision that is held, after checking it; who accepted it is recorded."""
    from surveyflow import api

    done = api.accept_releases(root, revision)
    if as_json:
        found = {"before": done.before, "after": done.after.name, "rows": done.after.n_rows}
        print_json(found | {"decision": done.decision.model_dump()})
    elif done.before == done.after.name:
        typer.echo(f"latest is {done.after.name} already: it was {done.decision}.")
    else:
        typer.echo(f"latest is now {done.after.name} ({done.after.n_rows} rows); it was {done.before or 'nothing'}.")


@app.command()
def rollback(
    root: OutputRoot,
    to: Annotated[
        str | None, typer.Option(help="A release or a revision.", show_default="the one published before the present one")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Give readers an earlier revision again, after checking it; nothing is removed."""
    from surveyflow import api

    done = api.rollback_releases(root, to)
    if as_json:
        print_json({"before": done.before, "after": done.after.name, "rows": done.after.n_rows})
        return
    typer.echo(
        f"latest is now {done.after.name} ({done.after.n_rows} rows); it was {done.before or 'nothing'}, which was not removed."
    )
    typer.echo("Runs with unchanged inputs do not publish again what was taken back. To see how to accept it:")
    typer.echo(f"  {remedies.list_releases(root)}")


@app.command()
def prune(
    root: OutputRoot,
    keep: Annotated[int, typer.Option(min=1, help="Number of revisions to keep, the newest first; latest is kept, too.")] = 3,
    apply: Annotated[bool, typer.Option("--apply", help="Remove; without it, only show what would be removed.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove old revisions, and results that neither a kept revision nor an unfinished run needs."""
    from surveyflow import api

    pruning = api.prune_releases(root, keep=keep, apply=apply)
    if as_json:
        print_json(pruning.as_json() | {"applied": apply})
    else:
        _print_pruning(pruning, apply)


def _print_inventory(root: Path, inventory: Inventory) -> None:
    from surveyflow.releases.holds import what_to_do

    for stored in inventory.revisions:
        typer.echo(_revision_line(stored))
        counts = ", ".join(f"{count:,} {status}" for status, count in stored.revision.status_counts.items())
        typer.echo(wrapped("    ", counts or "no rows"))
        for reason in stored.hold.reasons if stored.hold is not None else ():
            typer.echo(wrapped(f"    {'HELD' if stored.is_held else 'was held'}: ", reason, indent=6))
        for step in what_to_do(root, stored.revision.name) if stored.is_held else ():
            typer.echo(f"    To {step}")
    for name, damage in inventory.damaged.items():
        typer.echo(f"  {name:16} DAMAGED: {damage}")


def _revision_line(stored: StoredRevision) -> str:
    revision = stored.revision
    created = revision.created[:16].replace("T", " ") or "no date"
    size = f"{stored.n_bytes / 1e6:.1f} MB, {stored.n_new_bytes / 1e6:.1f} MB new"
    return f"{'*' if stored.is_latest else ' '} {revision.name:16}  {created:16}  {revision.n_rows:9,} rows  {size}"


def _print_difference(difference: Difference) -> None:
    changes = difference.changes
    typer.echo(
        f"{difference.before.name} ({difference.before.n_rows} rows) -> {difference.after.name} ({difference.after.n_rows} rows)"
    )
    typer.echo(wrapped(f"added      {difference.n_added:8d}  ", _named(difference, difference.added, difference.n_added)))
    typer.echo(wrapped(f"removed    {difference.n_removed:8d}  ", _named(difference, difference.removed, difference.n_removed)))
    typer.echo(wrapped(f"changed    {changes.n_changed:8d}  ", _named(difference, changes.first, changes.n_changed)))
    typer.echo(f"recomputed {changes.n_recomputed:8d}  with the same result")
    typer.echo(f"unchanged  {difference.n_unchanged:8d}")
    if any((further := difference.alternatives.as_json()).values()):
        typer.echo(wrapped("alternatives  ", ", ".join(f"{count} {what}" for what, count in further.items())))
    found = difference.as_json()
    for change in found["status"]:
        typer.echo(f"status     {change['rows']:8d}  {change['before']} -> {change['after']}")
    for name, shift in found["shifts"].items():
        if shift["rows"]:
            typer.echo(wrapped(f"{name:10} {shift['rows']:8d}  ", _shift(shift)))
    if any(found["schema"].values()):
        typer.echo(wrapped("schema     ", _schema_changes(difference.columns)))
    if found["columns"]:
        typer.echo(wrapped("columns    ", ", ".join(f"{name} {count}" for name, count in found["columns"].items())))


def _schema_changes(columns: Columns) -> str:
    kinds = {"only after": columns.added, "only before": columns.removed, "of another type": columns.retyped}
    return "not compared: " + "; ".join(f"{kind} {', '.join(names)}" for kind, names in kinds.items() if names)


def _named(difference: Difference, sources: tuple[SourceName, ...], n_sources: int) -> str:
    names = [f"{source[0]} {difference.names.get(source, source[1])}" for source in sources[:8]]
    return ", ".join(names) + (", ..." if n_sources > len(names) else "")


def _shift(shift: dict[str, Any]) -> str:
    middle = f"median {shift['q50']:+.3f}, 16 to 84 % {shift['q16']:+.3f} to {shift['q84']:+.3f}"
    return f"moved by {shift['mean']:+.4f} on average ({middle}, extremes {shift['min']:+.3f} and {shift['max']:+.3f})"


def _print_verdicts(verdicts: list[Verdict]) -> None:
    for verdict in verdicts:
        typer.echo(f"{verdict.revision:16} {'DAMAGED' if verdict.problems else f'sound, {verdict.files} files'}")
        for problem in verdict.problems:
            typer.echo(f"  {problem}")


def _print_pruning(pruning: Pruning, applied: bool) -> None:
    verb = "removed" if applied else "would remove"
    names = ", ".join(revision.name for revision in pruning.revisions) or "no revision"
    typer.echo(f"{verb} {names} and the results of {len(pruning.units)} units: {pruning.n_bytes / 1e6:.1f} MB")
    typer.echo(f"kept {', '.join(pruning.kept)}")
    if not applied and (pruning.revisions or pruning.units):
        typer.echo("Nothing was changed; add --apply to do it.")
