"""The command line's verbs for looking at galaxies: browse, vetted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from surveyflow.commands.options import JsonOption, OutputRoot, RevisionOption, print_json
from surveyflow.errors import InputError


def browse(
    root: OutputRoot,
    *,
    find: Annotated[
        str | None, typer.Option(help='Show this first: "EGS 123", an id, a name or a position.', show_default=False)
    ] = None,
    vet: Annotated[
        str | None,
        typer.Option(
            help="Vet these galaxies one after another, such as \"status == 'ok' and z < 1\"; '' for all.", show_default=False
        ),
    ] = None,
    person: Annotated[str | None, typer.Option("--as", help="Who vets.", metavar="NAME", show_default=False)] = None,
    blind: Annotated[bool, typer.Option("--blind", help="Hide the model's answer while vetting.")] = False,
    sample: Annotated[int | None, typer.Option(help="Galaxies to draw at random.", show_default="all of the selection")] = None,
    strata: Annotated[
        str, typer.Option(help="Column from whose ranges equally many galaxies are drawn.", show_default=False)
    ] = "",
    edges: Annotated[str, typer.Option(help="Edges of these ranges, separated by commas.", show_default=False)] = "",
    seed: Annotated[int, typer.Option(help="Seed of the sample: the same for everybody who shall see the same galaxies.")] = 1,
    port: Annotated[int, typer.Option(help="Port to listen on, on 127.0.0.1.", show_default="a free one")] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="Only print the address.")] = False,
    release: RevisionOption = "latest",
) -> None:
    """Look at the galaxies of a published catalog in a web browser; prints the address, with its token, when it listens."""
    from surveyflow import api

    api.browse(
        root,
        find=find,
        vet=vet,
        person=person,
        blind=blind,
        sample=sample,
        strata=strata,
        edges=_numbers(edges),
        seed=seed,
        port=port,
        open_browser=not no_open,
        release=release,
        announce=typer.echo,
    )


def vetted(
    root: OutputRoot,
    *,
    people: Annotated[str | None, typer.Option(help="Whose answers, separated by commas.", show_default="everybody's")] = None,
    sample: Annotated[str | None, typer.Option(help="Sample that is measured.", show_default="the only one")] = None,
    labels: Annotated[Path | None, typer.Option(help="CSV file to write, for compare.", show_default=False)] = None,
    matrices: Annotated[
        Path | None, typer.Option(help="TOML file of confusion matrices to write, for fractions.", show_default=False)
    ] = None,
    samples: Annotated[int, typer.Option(help="Bootstrap samples.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap samples.")] = 1,
    confidence: Annotated[float, typer.Option(help="Probability that an interval holds the truth.")] = 0.6827,
    release: RevisionOption = "latest",
    as_json: JsonOption = False,
) -> None:
    """Report what people said while vetting: labels, their agreement, and the catalog's completeness and purity."""
    from surveyflow import api

    found = api.vetted(
        root,
        people=None if people is None else [name.strip() for name in people.split(",") if name.strip()],
        sample=sample,
        labels=labels,
        matrices=matrices,
        n_samples=samples,
        seed=seed,
        confidence=confidence,
        release=release,
    )
    if as_json:
        print_json(found.document)
        return
    _print_vetted(found.document)
    for path in (found.labels, found.matrices):
        if path is not None:
            typer.echo(f"written: {path}")


def _print_vetted(document: dict[str, Any]) -> None:
    typer.echo(f"{document['answers']} answers about {document['galaxies']} galaxies by {', '.join(document['people'])}")
    typer.echo("labels: " + ", ".join(f"{number} {label}" for label, number in document["labels"].items() if number))
    for pair in document["agreement"]["cohen"]:
        typer.echo(f"Cohen's kappa of {' and '.join(pair['people'])}: {_interval(pair)}, {pair['n']} galaxies")
    if fleiss := document["agreement"]["fleiss"]:
        typer.echo(f"Fleiss' kappa of {len(fleiss['people'])} people: {_interval(fleiss)}, {fleiss['n']} galaxies")
    for name, where in document["samples"].items():
        typer.echo(f"sample {name}: {where or 'all galaxies'}")
    for one in document["rates"]:
        typer.echo(f"{one['field']}/{one['instrument']}, {one['model_id']}")
        typer.echo(f"  completeness (recall) {_interval(one['completeness'])}, purity (precision) {_interval(one['purity'])}")
    for note in document["notes"]:
        typer.echo(f"note: {note}")


def _interval(numbers: dict[str, Any]) -> str:
    if numbers["value"] is None:
        return "-"
    if numbers["low"] is None:
        return f"{numbers['value']:.3f}"
    return f"{numbers['value']:.3f} ({numbers['low']:.3f} to {numbers['high']:.3f})"


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")] if text else []
    except ValueError as error:
        raise InputError(f"--edges: expected numbers separated by commas, such as 0,0.3,0.7,1, not {text!r}.") from error
