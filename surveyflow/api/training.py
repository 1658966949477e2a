"""Functions for making a model: simulate, train, evaluate, tune."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from surveyflow.execution.child_processes import refuse_to_start_again
from surveyflow.models.engines.keras_installation import check_keras
from surveyflow.sites.profiles import load_profile
from surveyflow.values import remedies
from surveyflow.values.codes import EngineName

if TYPE_CHECKING:
    from surveyflow.training.evaluation.evaluate import Evaluated
    from surveyflow.training.fitting.fit import Trained
    from surveyflow.training.fitting.tuning import Trial, Tuned
    from surveyflow.training.records.record_index import RecordFolder
    from surveyflow.training.records.simulating import SimulationProgress


def simulate(
    simulation: str | Path,
    *,
    n_processes: int | None = None,
    listener: Callable[[SimulationProgress], None] | None = None,
) -> RecordFolder:
    """Simulate galaxies with known truth as records to train on; complete shards are kept.

    Parameters
    ----------
    simulation
        A simulation file (TOML).
    n_processes
        Number of processes that simulate; as many as there are cores if None. If there are several, the calling script must do
        its work under ``if __name__ == "__main__":``; otherwise it gets a `surveyflow.errors.ClusterError`.
    listener
        Called with the number of images that are done, and of all images.

    Returns
    -------
    The records' index: size, unit, digest and checksums of the shards; and the folder in which they lie.

    Raises
    ------
    WorkflowError
        If the file cannot be used.
    InputError
        If anything that the file names cannot be used, or the folder holds other records.
    """
    refuse_to_start_again()
    from surveyflow.settings.simulation import load_simulation
    from surveyflow.training.records.record_index import RecordFolder
    from surveyflow.training.records.simulating import simulate as simulate_records

    loaded = load_simulation(simulation)
    return RecordFolder.of(simulate_records(loaded, n_processes=n_processes, listener=listener), loaded.output)


simulate_records = simulate
"""Another name of `simulate`."""


def train(
    training: str | Path,
    *,
    member: str | None = None,
    overwrite: bool = False,
    listener: Callable[[Mapping[str, float]], None] | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Trained | dict[str, Trained]:
    """Train a model, or the members of a jury one after the other, on records, and write them into their store.

    A stopped training continues where it was; members that are complete are left as they are.

    Parameters
    ----------
    training
        A training file (TOML).
    member
        The only member of a jury to train, ``seed-20220523`` for example, so that several processes can share the work; None
        for all.
    overwrite
        Whether another model of the same key, or other members, may be replaced.
    listener
        Called with each epoch's entry of the history.
    on_step
        Called after each step with the number of steps that are done, and of all steps; those of one member.

    Returns
    -------
    The model as it was written; if the file trains a jury, the members that were trained, by name.

    Raises
    ------
    WorkflowError
        If the file cannot be used.
    InputError
        If records and model do not match, records for training and evaluation overlap, the run's folder holds another
        training, or there is no such member.
    RecordError
        If records are incomplete or damaged.
    ModelError
        If Keras cannot be used, or the store holds another model of the key.
    """
    refuse_to_start_again()
    check_keras()
    from surveyflow.settings.training import load_training
    from surveyflow.training.fitting import fit

    loaded = load_training(training)
    if not loaded.member_names and member is None:
        return fit.train(loaded, overwrite=overwrite, listener=listener, on_step=on_step)
    names = loaded.member_names if member is None else (member,)
    return fit.train_members(loaded, names, overwrite=overwrite, listener=listener, on_step=on_step)


def evaluate(training: str | Path, *, engine: str = EngineName.AUTO, update_cards: bool = False) -> Evaluated:
    """Evaluate a trained model on records that it was not trained on, beside a gradient-boosted tree.

    Parameters
    ----------
    training
        A training file (TOML) with ``[evaluation]``.
    engine
        As in `run`.
    update_cards
        Whether to state scores and limits of nuisances in the model's cards, and to narrow their domains to where nuisances cost
        at most 2 points. The model stays the same, but more rows may be flagged.

    Returns
    -------
    The numbers as they were written, and the paths of numbers and page.

    Raises
    ------
    WorkflowError
        If the file cannot be used.
    InputError
        If model and records do not match, or the records were used in training.
    ModelError
        If Keras cannot be used, or the model is missing or cannot be used.
    RecordError
        If records are incomplete or damaged.
    """
    refuse_to_start_again()
    check_keras()
    from surveyflow.settings.training import load_training
    from surveyflow.training.evaluation.evaluate import evaluate as evaluate_training

    return evaluate_training(
        load_training(training), engine=engine, update_cards=update_cards, command=remedies.evaluate(training)
    )


def tune(training: str | Path, *, profile: str | Path = "serial", listener: Callable[[Trial], None] = lambda _: None) -> Tuned:
    """Search for settings that train a better model; a stopped search continues where it was.

    Parameters
    ----------
    training
        A training file (TOML) with ``[tuning]``.
    profile
        Name or path of the profile that says where trials run.
    listener
        Called with each trial as it ends.

    Raises
    ------
    WorkflowError
        If the file cannot be used.
    ProfileError
        If the profile cannot be used.
    InputError
        If its folder holds another search.
    ModelError
        If Keras cannot be used.
    """
    refuse_to_start_again()
    check_keras()
    from surveyflow.settings.training import load_training
    from surveyflow.training.fitting.tuning import tune as tune_training

    return tune_training(load_training(training), Path(training), load_profile(profile), listener)
