"""Functions for looking at galaxies: the browser, and what people said of galaxies in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surveyflow.errors import InputError
from surveyflow.files.durable import named_output, write_over
from surveyflow.releases.revisions import find, legible, open_catalog
from surveyflow.settings.matrices import matrices_to_toml
from surveyflow.values import remedies
from surveyflow.values.notebooks import notebook_table
from surveyflow.vetting.labels import Label, checked_name
from surveyflow.vetting.records import read_records
from surveyflow.vetting.results import Bootstrap, agreement, labelled, labels_table, of_sample, rates
from surveyflow.vetting.results import matrices as matrices_of
from surveyflow.vetting.samples import Design, draw

__all__ = ["browse", "vetted"]


def browse(
    root: str | Path,
    *,
    find: str | None = None,
    vet: str | None = None,
    person: str | None = None,
    blind: bool = False,
    sample: int | None = None,
    strata: str = "",
    edges: Sequence[float] = (),
    seed: int = 1,
    port: int = 0,
    open_browser: bool = True,
    release: str = "latest",
    announce: Callable[[str], object] = print,
) -> None:
    """Show a published catalog in a web browser, until the process is interrupted.

    The server listens on the loopback interface. Whoever opens its address needs the token in it. Nothing is asked of the
    network, except for pixels of mosaics that the manifest names by an address. The catalog is only read.

    Parameters
    ----------
    root
        The output folder.
    find
        What to show first: a field and an id, an id, a name or a position, as in the browser's search; the gallery if left out.
    vet
        Galaxies to vet, one after another: an expression as in `fractions`, ``""`` for all; None for no vetting. The answers are
        written to ``ROOT/vetting``.
    person
        Who vets; the name of the record.
    blind
        Whether the model's answer is hidden from that person.
    sample
        Number of galaxies to draw at random; all of the selection if left out.
    strata, edges
        A column and edges of half-open ranges of it, from each of which equally many galaxies are drawn.
    seed
        Seed of the sample: everybody with the same seed sees the same galaxies in the same order.
    port
        Port to listen on; 0 for a free one.
    open_browser
        Whether the address is opened in the reader's browser.
    release
        ``latest``, a release or a revision. It stays the one that was found at the start.
    announce
        Called with the address when the server listens.

    Raises
    ------
    CatalogNotFound, CatalogError
        If there is no such revision, or it cannot be read.
    InputError
        If the server's packages are not installed, the port cannot be used, or selection, name or sample cannot be.

    Examples
    --------
    >>> browse("catalogs/candels")  # doctest: +SKIP
    http://127.0.0.1:40123/?token=...
    """
    details = {"n": sample, "column": strata, "edges": tuple(float(edge) for edge in edges)}
    design = _design(vet, person, {**details, "seed": seed}, blind=blind)
    if find is not None and design is not None:
        raise InputError("find and vet both say what is shown first. Leave one of them out.")
    try:
        from surveyflow.browsing.server import listen, opened_in_browser, serve
        from surveyflow.browsing.site import Site, application
        from surveyflow.browsing.survey import BrowsedSurvey
        from surveyflow.browsing.vetting_site import VettingSite
    except ModuleNotFoundError as error:
        raise InputError(f"the browser needs {error.name}, which is not installed: `{remedies.install('browse')}`.") from error
    with ExitStack() as stack:
        survey = stack.enter_context(BrowsedSurvey(Path(root), release))
        site = Site(survey)
        if design is not None:
            with legible(root):
                drawn = draw(open_catalog(root, survey.revision), design)
            site = VettingSite(survey, drawn, str(person), blind=blind)
        listening = listen(port)
        stack.callback(listening.socket.close)
        address = listening.address("/vet") if design else listening.address(*([] if find is None else ["/search", find]))
        announce(address)
        if open_browser:
            stack.enter_context(opened_in_browser(address))
        serve(application(site.routes(), site.refused), listening)


def _design(vet: str | None, person: str | None, details: Mapping[str, Any], *, blind: bool) -> Design | None:
    """The sample that is asked for; None without vetting."""
    if vet is None:
        if person is not None or blind or details["n"] is not None or details["column"] or details["edges"]:
            raise InputError("--as, --blind, --sample, --strata and --edges belong to vetting. Add --vet with a selection.")
        return None
    if person is None:
        raise InputError("vetting needs the name of the person, which is that of the record. Add --as NAME.")
    checked_name(person)
    return Design(vet, **details)


@dataclass(frozen=True, slots=True)
class VettingResult:
    """What people said, and what follows from it.

    Parameters
    ----------
    document
        JSON's values: people, numbers of answers and galaxies, labels, agreement, the sample, rates and notes.
    labels, matrices
        The files that were written; None where none was asked for.
    """

    document: dict[str, Any]
    labels: Path | None = None
    matrices: Path | None = None

    def _repr_html_(self) -> str:
        return notebook_table(self.document)


def vetted(
    root: str | Path,
    *,
    people: Sequence[str] | None = None,
    sample: str | None = None,
    labels: str | Path | None = None,
    matrices: str | Path | None = None,
    n_samples: int = 1000,
    seed: int = 1,
    confidence: float = 0.6827,
    release: str = "latest",
) -> VettingResult:
    """Report what people said of galaxies: labels, agreement, and the completeness and purity that follow.

    Parameters
    ----------
    root
        The output folder.
    people
        Whose answers; everybody's if left out.
    sample
        The sample whose galaxies are measured, by the name that this function reports; it may be left out if there is only one.
    labels
        A CSV file to write, which `compare` takes as a table of labels.
    matrices
        A TOML file to write, which `fractions` takes as confusion matrices for the same selection.
    n_samples, seed, confidence
        Bootstrap samples of the intervals, their seed, and the probability that an interval holds the truth.
    release
        The revision whose answers are measured: ``latest``, a release or a revision.

    Raises
    ------
    CatalogNotFound, CatalogError
        If there is no such revision, or the catalog or a record cannot be read.
    InputError
        If there are no answers, people or sample are not among them, or the galaxies do not suffice for what is asked for.
    OutputError
        If a file cannot be written.

    Examples
    --------
    >>> vetted("catalogs/candels").document["rates"][0]["completeness"]  # doctest: +SKIP
    {'value': 0.82, 'low': 0.78, 'high': 0.86}
    """
    if not 0 < confidence < 1 or n_samples < 1:
        raise InputError(f"confidence {confidence} and {n_samples} samples; expected (0, 1), and 1 or more. Correct them.")
    outputs = [None if path is None else named_output(Path(path)) for path in (labels, matrices)]
    revision, records = find(Path(root), release), read_records(Path(root), people)
    if not records.answers:
        raise InputError(f"{root} has no answers. Vet galaxies first: `{remedies.vet(root)}`.")
    every, bootstrap = labelled(records.answers), Bootstrap(n_samples, seed, confidence)
    answers = of_sample(records, sample) if sample or len({one.sample for one in records.answers}) == 1 else ()
    with legible(root):
        catalog = open_catalog(root, revision.name)
        measured = rates(answers, catalog, bootstrap)
        table = labels_table(every, catalog) if labels is not None else ""
    notes = [*records.notes, *_notes(records.answers)]
    if outputs[1] is not None:
        tests, left_out = matrices_of(answers or of_sample(records, sample), measured, revision.name)
        write_over(outputs[1], matrices_to_toml(tests).encode())
        notes += left_out
    if outputs[0] is not None:
        write_over(outputs[0], table.encode())
    counts = {label.value: sum(one.label is label for one in every.values()) for label in Label}
    document = {
        "revision": revision.name,
        "people": records.people,
        "answers": len(records.answers),
        "galaxies": len(every),
        "labels": counts,
        "agreement": agreement(every, bootstrap),
        "samples": {one.sample: one.where for one in records.answers},
        "rates": [one.as_json() for one in measured],
        "notes": notes,
    }
    return VettingResult(document, *outputs)


def _notes(answers: Sequence[Any]) -> list[str]:
    seen = sum(not answer.blind for answer in answers)
    several = len({answer.sample for answer in answers}) > 1
    notes = []
    if seen:
        notes.append(
            f"{seen} of {len(answers)} answers were given by people who saw the model's answer, which may have led them."
        )
    if several:
        notes.append("There are several samples; completeness and purity are measured on one. Name it with --sample.")
    revisions: dict[str, dict[str, None]] = {}
    for answer in answers:
        revisions.setdefault(answer.sample, {})[answer.revision] = None
    return [*notes, *(_continued(sample, names) for sample, names in revisions.items() if len(names) > 1)]


def _continued(sample: str, revisions: Iterable[str]) -> str:
    return (
        f"The sample {sample} was drawn from {', '.join(revisions)}, one after another. Its galaxies count as one sample, with "
        "the strata of the last."
    )
