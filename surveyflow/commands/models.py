"""The command line's verbs for models: import, list, show, calibrate, check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from surveyflow.commands.options import EngineOption, JsonOption, print_json, quiet_tensorflow
from surveyflow.commands.printing import wrapped
from surveyflow.sky.stretch import Stretch
from surveyflow.tasks.calibration import calibration_of
from surveyflow.values import remedies
from surveyflow.values.codes import EngineName, WeightsOrigin

if TYPE_CHECKING:
    from surveyflow.runs.stretch_check import StretchCheck
    from surveyflow.tasks.card import ModelCard

app = typer.Typer(
    name="models", help="Import, list, show, check and calibrate models.", no_args_is_help=True, rich_markup_mode=None
)

StoreFolder = Annotated[Path, typer.Argument(help="Folder of a model store.", metavar="STORE", show_default=False)]


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(name.strip() for name in text.split(","))


@app.command("import")
def import_models(
    folder: Annotated[Path, typer.Argument(help="Folder with SavedModels, at any depth.", metavar="DIR", show_default=False)],
    store: Annotated[Path, typer.Option(help="Model store to write to.", show_default=False)],
    stretch: Annotated[
        Stretch,
        typer.Option(
            help="How the training images were stretched; s: the softening, sky, rms: level and rms of the cutout's sky. "
            f"{Stretch.explained()}.",
            show_default=False,
        ),
    ],
    softening: Annotated[float, typer.Option(help="Softening of the stretch, in the images' unit or the sky rms.")] = 1.0,
    task: Annotated[str | None, typer.Option(help="Task, if not merger.")] = None,
    field: Annotated[str | None, typer.Option(help="Field, if the folders' names do not give it.")] = None,
    instrument: Annotated[str | None, typer.Option(help="Instrument, if the folders' names do not give it.")] = None,
    band: Annotated[str | None, typer.Option(help="Filter of the training images, if not the instrument's.")] = None,
    pixel_scale: Annotated[float | None, typer.Option(help="Arcsec per pixel, if not the instrument's.")] = None,
    redshift_range: Annotated[
        tuple[float, float] | None, typer.Option(help="Low and high redshift, if not the instrument's.")
    ] = None,
    class_names: Annotated[
        str | None, typer.Option(help="Outputs in column order, separated by commas; post_merger,star_forming if left out.")
    ] = None,
    unit: Annotated[str | None, typer.Option(help="BUNIT of the training images, if not the instrument's.")] = None,
    sky_rms: Annotated[
        tuple[float, float] | None, typer.Option(help="Low and high sky rms, in that unit, if not the instrument's.")
    ] = None,
    origin: Annotated[
        WeightsOrigin | None,
        typer.Option(help=f"Origin of the weights, if other than the files' digests say. {WeightsOrigin.explained()}."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing models.")] = False,
    run_original: Annotated[
        bool,
        typer.Option(
            "--run-original",
            help="Also run each file's own graph and compare features. A graph is code: only for files that you trust.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Import the authors' SavedModels into a store; only their variables are read."""
    from surveyflow import api

    given: dict[str, Any] = {
        "task": task,
        "field": field,
        "instrument": instrument,
        "band": band,
        "pixel_scale_arcsec": pixel_scale,
        "redshift_range": redshift_range,
        "class_names": _names(class_names),
        "unit": unit,
        "sky_rms": sky_rms,
        "origin": origin,
    }
    card = {name: value for name, value in given.items() if value is not None}
    imported = api.import_models(
        folder, store, stretch=stretch, softening=softening, overwrite=overwrite, run_original=run_original, **card
    )
    if as_json:
        print_json([{"model": one.card.model_id, "parity": one.parity and asdict(one.parity)} for one in imported])
        return
    for one in imported:
        differs = "" if one.parity is None else f"  features within {one.parity.relative_difference:.1e} of the original"
        typer.echo(f"imported {one.card.model_id}{differs}")
    typer.echo(f"The files do not say which stretch is right. Check it: `{remedies.check_models(store, 'WORKFLOW')}`.")
    if not all(one.parity is None or one.parity.passed for one in imported):
        typer.echo("Error: features differ from the original's by more than the tolerance; see parity.json.", err=True)
        raise typer.Exit(1)


@app.command("list")
def list_models(store: StoreFolder, as_json: JsonOption = False) -> None:
    """List the models of a store."""
    from surveyflow import api

    cards = api.list_models(store)
    if as_json:
        print_json({str(key): _card_as_json(card) for key, card in cards.items()})
        return
    lent: dict[str, list[str]] = {}
    for key, card in cards.items():
        lent.setdefault(str(card.key), []).extend([key.field] if key != card.key else [])
    own = {str(card.key): card for card in cards.values()}
    for name, fields in lent.items():
        _print_model(own[name], fields)


def _print_model(card: ModelCard, lent_to: Sequence[str]) -> None:
    low, high = card.redshift_range
    typer.echo(f"{card.key!s:36}  {card.origin:12}  {f'z {low:g} to {high:g}':14}  {card.weights_digest[:12]}")
    facts = [f"{card.pixel_scale_arcsec:g} arcsec/pixel", f"stretch {card.stretch} ({card.softening:g})"]
    facts += [f"jury of {card.n_members}: {', '.join(one.name for one in card.members)}"] if card.members else []
    facts += [f"lent to {', '.join(lent_to)}"] if lent_to else []
    typer.echo(wrapped("    ", "; ".join(facts)))


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(help="A model's folder.", metavar="MODEL", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Show the card of a model, or those of a jury's members, after checking their weights' digests."""
    from surveyflow import api
    from surveyflow.models.cards import card_to_toml

    card = api.show_models(folder)
    if as_json:
        print_json(_card_as_json(card))
        return
    for member in card.members:
        typer.echo(f"# member {member.name} of {card.model_id}\n{card_to_toml(member.card)}")
    if not card.members:
        typer.echo(card_to_toml(card).rstrip())


@app.command()
def calibrate(
    folders: Annotated[list[Path], typer.Argument(help="Folder of a merger model, or of each of several.", metavar="MODEL...")],
    records: Annotated[
        list[Path],
        typer.Option(help="Records that the model was not trained on, such as its validation records; may be repeated."),
    ],
    draws: Annotated[int, typer.Option(help="Draws of each stamp.")] = 100,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 20220523,
    engine: EngineOption = EngineName.AUTO,
    as_json: JsonOption = False,
) -> None:
    """Fit the map from a merger model's mean output to a probability, and write it into the model's card."""
    from surveyflow import api

    quiet_tensorflow()
    cards = api.calibrate_models(folders, records=records, draws=draws, seed=seed, engine=engine)
    found = calibration_of(cards)
    assert found is not None, "it was just written into the cards"
    if as_json:
        print_json({"models": [card.model_id for card in cards], "calibration": asdict(found)})
        return
    for card in cards:
        typer.echo(f"model     {card.model_id}")
    typer.echo(f"map       a {found.a:g}, b {found.b:g}, c {found.c:g}")
    typer.echo(f"images    {found.n_images}; the probability holds where {100 * found.share:.1f} % are post-mergers")


@app.command()
def check(
    store: StoreFolder,
    workflow: Annotated[Path, typer.Option(help="Workflow with the mosaics and source lists to use.", show_default=False)],
    cutouts: Annotated[int, typer.Option(help="Number of real cutouts to use for each model.", min=20)] = 200,
    softening: Annotated[list[float] | None, typer.Option(help="Softening to try beside the card's; may be repeated.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Find which stretch the models were trained with, from the statistics in their first batch normalisation."""
    from surveyflow import api

    checks = api.check_models(store, workflow, n_cutouts=cutouts, softenings=softening or [1.0])
    if as_json:
        print_json([_check_as_json(one) for one in checks])
    else:
        for one in checks:
            _print_check(one)
    if not all(one.agrees for one in checks):
        raise typer.Exit(1)


def _print_check(one: StretchCheck) -> None:
    typer.echo(f"{one.card.key}  ({one.n_cutouts} cutouts)")
    typer.echo(f"  {'stretch':14} {'softening':>10} {'mean':>8} {'variance':>9} {'distance':>9}")
    for line in one.verdict.evidence:
        numbers = f"{line.softening:10g} {line.mean_distance:8.2f} {line.variance_distance:9.2f} {line.distance:9.2f}"
        typer.echo(f"  {line.stretch:14} {numbers}")
    typer.echo(f"  {one.verdict}")
    said = f"{one.card.stretch}, softening {one.card.softening:g}"
    typer.echo(f"  Its card says {said}: {'agrees' if one.agrees else 'DOES NOT AGREE; import it again with the right one'}.")


def _check_as_json(one: StretchCheck) -> dict[str, Any]:
    evidence = [asdict(line) | {"distance": line.distance} for line in one.verdict.evidence]
    return {
        "model": one.card.model_id,
        "cutouts": one.n_cutouts,
        "evidence": evidence,
        "clear": one.verdict.clear,
        "verdict": str(one.verdict),
        "card_agrees": one.agrees,
    }


def _card_as_json(card: ModelCard) -> dict[str, Any]:
    told = asdict(card) | {"key": str(card.key), "model_id": card.model_id}
    told["members"] = {member.name: _card_as_json(member.card) for member in card.members}
    return told if card.members else {name: value for name, value in told.items() if name != "members"}
