"""The command line's verbs for published revisions: list, diff, verify, rollback, prune."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from surveyflow.releases.comparison import Columns, Difference, SourceName
    from surveyflow.releases.inventory import StoredRevision
    from surveyflow.releases.pruning import Pruning
    from surveyflow.releases.verify import Verdict

app = typer.Typer(
    name="releases",
    help="List, compare, check, restore and remove published revisions.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

OutputRoot = Annotated[Path, typer.Argument(help="Output folder of a workflow.", metavar="ROOT", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@app.command("list")
def list_releases(root: OutputRoot, as_json: JsonOption = False) -> None:
    """List the revisions, the oldest first; an asterisk marks the one that readers get. Damaged ones come last."""
    from surveyflow.releases.inventory import take_inventory
    from surveyflow.releases.revisions import readable_revisions

    stored = take_inventory(root)
    _, damaged = readable_revisions(root)
    if as_json:
        about_damaged = [{"revision": name, "latest": False, "damage": damage} for name, damage in damaged.items()]
        _print_json([revision.as_json() for revision in stored] + about_damaged)
        return
    for revision in stored:
        typer.echo(_revision_line(revision))
    for name, damage in damaged.items():
        typer.echo(f"  {name:16} DAMAGED: {damage}")


@app.command()
def diff(
    root: OutputRoot,
    before: Annotated[str, typer.Argument(help="The earlier release or revision.", metavar="A", show_default=False)],
    after: Annotated[str, typer.Argument(help="The later one.", metavar="B")] = "latest",
    as_json: JsonOption = False,
) -> None:
    """Say how two revisions differ: rows added, removed and changed, and by how much the results moved."""
    from surveyflow.releases.comparison import compare

    difference = compare(root, before, after)
    if as_json:
        _print_json(difference.as_json())
    else:
        _print_difference(difference)


@app.command()
def verify(
    root: OutputRoot,
    release: Annotated[str | None, typer.Option(help="latest, a release or a revision.", show_default="every revision")] = None,
    as_json: JsonOption = False,
) -> None:
    """Read revisions back and check files, digests, schema, order, counts and that no source occurs twice."""
    from surveyflow.releases.revisions import find, revision_names
    from surveyflow.releases.verify import judge

    names = [find(root, release).name] if release is not None else revision_names(root) or [find(root).name]
    verdicts = [judge(root / "releases" / name) for name in names]
    if as_json:
        _print_json([asdict(verdict) for verdict in verdicts])
    else:
        _print_verdicts(verdicts)
    raise typer.Exit(int(any(verdict.problems for verdict in verdicts)))


@app.command()
def rollback(
    root: OutputRoot,
    to: Annotated[
        str | None, typer.Option(help="A release or a revision.", show_default="the one published before the present one")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Give readers an earlier revision again, after checking it; nothing is removed."""
    from surveyflow.releases.rollback import roll_back

    done = roll_back(root, to)
    if as_json:
        _print_json({"before": done.before, "after": done.after.name, "rows": done.after.n_rows})
        return
    typer.echo(
        f"latest is now {done.after.name} ({done.after.n_rows} rows); it was {done.before or 'nothing'}, which was not removed."
    )
    typer.echo(
        "The next run publishes what its workflow and inputs say, whatever was rolled back: mend those, or stop its schedule."
    )


@app.command()
def prune(
    root: OutputRoot,
    keep: Annotated[int, typer.Option(min=1, help="Number of revisions to keep, the newest first; latest is kept, too.")] = 3,
    apply: Annotated[bool, typer.Option("--apply", help="Remove; without it, only say what would be removed.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove old revisions, and results that neither a kept revision nor an unfinished run needs."""
    from surveyflow.releases.pruning import plan_pruning
    from surveyflow.releases.pruning import prune as carry_out

    pruning = carry_out(root, keep) if apply else plan_pruning(root, keep)
    if as_json:
        _print_json(pruning.as_json() | {"applied": apply})
    else:
        _print_pruning(pruning, apply)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value))


def _revision_line(stored: StoredRevision) -> str:
    revision = stored.revision
    counts = ", ".join(f"{count} {status}" for status, count in revision.status_counts.items())
    size = f"{stored.n_bytes / 1e6:.1f} MB, {stored.n_new_bytes / 1e6:.1f} MB of it new"
    return (
        f"{'*' if stored.is_latest else ' '} {revision.name:16} {revision.created:25} {revision.n_rows} rows ({counts})  {size}"
    )


def _print_difference(difference: Difference) -> None:
    changes = difference.changes
    typer.echo(
        f"{difference.before.name} ({difference.before.n_rows} rows) -> {difference.after.name} ({difference.after.n_rows} rows)"
    )
    typer.echo(f"added      {difference.n_added:8d}  {_named(difference.added, difference.n_added)}")
    typer.echo(f"removed    {difference.n_removed:8d}  {_named(difference.removed, difference.n_removed)}")
    typer.echo(f"changed    {changes.n_changed:8d}  {_named(changes.first, changes.n_changed)}")
    typer.echo(f"recomputed {changes.n_recomputed:8d}  with the same result")
    typer.echo(f"unchanged  {difference.n_unchanged:8d}")
    found = difference.as_json()
    for change in found["status"]:
        typer.echo(f"status     {change['rows']:8d}  {change['before']} -> {change['after']}")
    for name, shift in found["shifts"].items():
        if shift["rows"]:
            typer.echo(f"{name:10} {shift['rows']:8d}  {_shift(shift)}")
    if any(found["schema"].values()):
        typer.echo(f"schema     {_schema_changes(difference.columns)}")
    if found["columns"]:
        typer.echo(f"columns    {', '.join(f'{name} {count}' for name, count in found['columns'].items())}")


def _schema_changes(columns: Columns) -> str:
    kinds = {"only after": columns.added, "only before": columns.removed, "of another type": columns.retyped}
    return "not compared: " + "; ".join(f"{kind} {', '.join(names)}" for kind, names in kinds.items() if names)


def _named(sources: tuple[SourceName, ...], n_sources: int) -> str:
    names = [f"{field} {source_id}" for field, source_id in sources[:8]]
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
