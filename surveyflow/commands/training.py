"""The command line's verbs for making a model: simulate, train, tune and evaluate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from surveyflow.commands.options import EngineOption, JsonOption, print_json, quiet_tensorflow
from surveyflow.values.codes import EngineName

if TYPE_CHECKING:
    from surveyflow.training.fitting.fit import Trained
    from surveyflow.training.fitting.tuning import Trial
    from surveyflow.training.records.record_index import RecordFolder

SimulationFile = Annotated[Path, typer.Argument(help="Simulation file (TOML).", metavar="C", show_default=False)]


def simulate(
    file: SimulationFile,
    processes: Annotated[
        int | None, typer.Option(help="Number of processes that simulate.", min=1, show_default="as many as there are cores")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Simulate galaxies with known truth as records to train on; complete files are kept."""
    from surveyflow import api
    from surveyflow.commands.progress import counting_listener

    quiet_tensorflow()
    with counting_listener("simulating") as count:
        records = api.simulate(file, n_processes=processes, listener=lambda progress: count(progress.done, progress.total))
    if as_json:
        print_json(_summary(records))
    else:
        _print_records(records)


def _summary(records: RecordFolder) -> dict[str, Any]:
    index = asdict(records)
    return {"records": str(index.pop("folder")), "complete": records.complete, "classes": records.classes} | index


def _print_records(records: RecordFolder) -> None:
    images = f"{records.n} of {records.size} x {records.size} pixels"
    typer.echo(f"records   {records.folder}")
    typer.echo(f"images    {images}, {records.field} {records.instrument} ({records.band})")
    if records.classes is not None:
        typer.echo(f"classes   {', '.join(f'{n} {name}' for name, n in records.classes.items())}")
    typer.echo(f"shards    {len(records.shards)}, {sum(shard.bytes for shard in records.shards) / 1e6:.1f} MB")
    typer.echo(f"digest    {records.digest}")


def train(
    file: Annotated[Path, typer.Argument(help="Training file (TOML).", metavar="C", show_default=False)],
    member: Annotated[
        str | None, typer.Option(help="The only member of a jury to train, such as seed-20220523.", show_default="all")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace another model of the same key, or other members of the jury.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a model, or the members of a jury, on records and write them into their store; a stopped training continues."""
    from surveyflow import api
    from surveyflow.commands.progress import counting_listener

    quiet_tensorflow(errors=True)
    with counting_listener("training") as count:
        trained = api.train(file, member=member, overwrite=overwrite, listener=_tell_epoch, on_step=count)
    if as_json:
        if isinstance(trained, dict):
            print_json({"members": {name: _trained_as_json(one) for name, one in trained.items()}})
        else:
            print_json(_trained_as_json(trained))
        return
    for name, one in trained.items() if isinstance(trained, dict) else [("", trained)]:
        if name:
            typer.echo(f"member    {name}")
        typer.echo(f"model     {one.card.model_id}")
        typer.echo(f"store     {one.store}")
        typer.echo(f"best      {_epoch_line(one.best)}")


def _trained_as_json(trained: Trained) -> dict[str, Any]:
    told = {"model": trained.card.model_id, "store": str(trained.store), "best": dict(trained.best)}
    return told | {"history": [dict(entry) for entry in trained.history]}


def _tell_epoch(entry: Mapping[str, float]) -> None:
    typer.echo(_epoch_line(entry), err=True)


def _epoch_line(entry: Mapping[str, float]) -> str:
    numbers = (f"{name} {value:.4f}" for name, value in entry.items() if name != "epoch")
    return f"epoch {entry['epoch']:.0f}: {', '.join(numbers)}"


def evaluate(
    file: Annotated[Path, typer.Argument(help="Training file (TOML) with [evaluation].", metavar="C", show_default=False)],
    engine: EngineOption = EngineName.AUTO,
    update_cards: Annotated[
        bool, typer.Option("--update-cards", help="State scores in the model's cards, and narrow their domains.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a trained model on records that it was not trained on, beside a baseline: numbers, tables and a page."""
    from surveyflow import api
    from surveyflow.reports.evaluation_tables import evaluation_tables
    from surveyflow.reports.tables import as_text

    quiet_tensorflow()
    evaluated = api.evaluate(file, engine=engine, update_cards=update_cards)
    if as_json:
        print_json(evaluated.document)
        return
    for table in evaluation_tables(evaluated.document):
        typer.echo(as_text(table) + "\n")
    model = evaluated.document["model"]
    for sentence in evaluated.document[evaluated.document["task"]].get("verdict", ()):
        typer.echo(sentence)
    typer.echo(f"model     {model['id']}, weights {model['origin']}")
    typer.echo(f"numbers   {evaluated.numbers}")
    typer.echo(f"page      {evaluated.page}")
    for matrices in evaluated.matrices:
        typer.echo(f"matrices  {matrices}")


def tune(
    file: Annotated[Path, typer.Argument(help="Training file (TOML) with [tuning].", metavar="C", show_default=False)],
    profile: Annotated[str, typer.Option(help="Where trials run: name or path of a profile.")] = "serial",
    as_json: JsonOption = False,
) -> None:
    """Search for settings that train a better model; a stopped search continues where it was."""
    from surveyflow import api

    quiet_tensorflow()
    tuned = api.tune(file, profile=profile, listener=lambda trial: typer.echo(_trial_line(trial), err=True))
    if as_json:
        trials = [asdict(trial) for trial in tuned.trials]
        print_json({"trials": trials, "best": tuned.best.number, "file": str(tuned.file)})
        return
    for trial in tuned.trials:
        typer.echo(_trial_line(trial))
    typer.echo(f"best      trial {tuned.best.number}")
    typer.echo(f"settings  {tuned.file}")


def _trial_line(trial: Trial) -> str:
    result = f"failed: {trial.error}" if trial.objective is None else f"{trial.objective:.4f}"
    if trial.settings is None:
        return f"trial {trial.number:3d}  {result}"
    sizes = trial.settings.filters, trial.settings.kernel_sizes, trial.settings.dense
    shape = "  ".join("-".join(map(str, numbers)) for numbers in sizes)
    rates = f"dropout {trial.settings.dropout:.3f}  rate {trial.settings.learning_rate:.2e}"
    return f"trial {trial.number:3d}  {shape}  {rates}  {result}"
