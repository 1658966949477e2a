"""The pages on which a person vets galaxies, one after another."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, with_config
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from surveyflow.browsing.asking import whole_number
from surveyflow.browsing.pictures import View
from surveyflow.browsing.site import Site, static_files
from surveyflow.browsing.survey import BrowsedSurvey, class_of
from surveyflow.errors import InputError
from surveyflow.files.json_state import Damaged, parse_state
from surveyflow.values import remedies
from surveyflow.vetting.labels import MOST_CHARACTERS, Answer, Label
from surveyflow.vetting.records import add_answer, answers_of
from surveyflow.vetting.samples import Drawn, Sample

_VIEWS = (View.ASINH, View.LINEAR, View.LOG)
_MOST_BYTES = 20_000


@with_config(ConfigDict(extra="forbid", strict=True))
@dataclass(frozen=True, slots=True)
class _Given:
    """What the page sends: the place in the sample, the label and the note."""

    at: Annotated[int, Field(ge=0)]
    field: str
    source_id: str
    label: str
    note: Annotated[str, Field(max_length=MOST_CHARACTERS)]


_GIVEN: TypeAdapter[_Given] = TypeAdapter(_Given)


class VettingSite(Site):
    """The pages of one person and one sample, and, unless the person is blind to the model's answer, those about the revision.

    Parameters
    ----------
    survey
        The revision.
    sample
        The galaxies to vet.
    person
        Who vets; the name of the record.
    blind
        Whether the model's answer is hidden, and with it every page that shows it.
    """

    navigation = (*Site.navigation, ("/vet", "Vetting", "v"))

    def __init__(self, survey: BrowsedSurvey, sample: Sample, person: str, *, blind: bool) -> None:
        super().__init__(survey)
        self._sample, self._person, self._blind = sample, person, blind
        self._answers = answers_of(survey.root, person, sample.design.name)
        self._answering = Lock()

    def routes(self) -> list[Route | Mount]:
        """The addresses and what answers at them."""
        own = [Route("/vet", self.vet), Route("/vet/answer", self.answer, methods=["POST"])]
        if not self._blind:
            return [*own, *super().routes()]
        return [*own, Route("/", self.begin), Route("/cutout.png", self.cutout), static_files()]

    def begin(self, request: Request) -> Response:  # noqa: ARG002 - an endpoint's argument
        """Where a blind person's pages begin."""
        return RedirectResponse("/vet", 303)

    def vet(self, request: Request) -> Response:
        """One galaxy of the sample: the one that is asked for, or the first without an answer."""
        at = whole_number(request.query_params, "at", self._next(0))
        if not 0 <= at < len(self._sample.galaxies):
            return self._vetting_page("vetted.html.j2", request)
        drawn = self._sample.galaxies[at]
        row = self._survey.rows.row(drawn.field, drawn.source_id)
        if row is None:
            raise InputError(f"{drawn.field} {drawn.source_id} is not in {self._survey.revision}. Start the command again.")
        answer = self._answers.get((drawn.field, drawn.source_id))
        around = self._image(row, View.ASINH, 3)
        images = [(view.value, self._image(row, view)) for view in _VIEWS] + [("surroundings", around)]
        shown: dict[str, Any] = {
            "pictures": [picture for picture in images if picture[1]],
            "row": {"field": drawn.field, "source_id": drawn.source_id},
            "no_picture": self._survey.why_no_picture(row["field"], row.get("instrument"), row.get("mosaic")),
            "result": None if self._blind else self._result(row),
            "answer": answer,
            "at": at,
        }
        return self._vetting_page("vet.html.j2", request, **shown)

    async def answer(self, request: Request) -> Response:
        """Record an answer, and say which page comes next."""
        content = b""
        async for part in request.stream():
            content += part
            if len(content) > _MOST_BYTES:
                raise InputError("the answer is too long. Shorten the note.")
        return await run_in_threadpool(self._record, content)

    def _record(self, content: bytes) -> Response:
        given, drawn = self._given(content)
        row = self._survey.rows.row(drawn.field, drawn.source_id)
        assert row is not None
        design = self._sample.design
        answer = Answer(
            person=self._person,
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            revision=self._survey.revision,
            field=drawn.field,
            source_id=drawn.source_id,
            ra=row["ra"],
            dec=row["dec"],
            label=Label(given.label).value,
            note=given.note.strip(),
            blind=self._blind,
            sample=design.name,
            where=design.where,
            stratum=drawn.stratum,
            column=design.column,
        )
        with self._answering:
            add_answer(self._survey.root, answer)
            self._answers[drawn.field, drawn.source_id] = answer
        return JSONResponse({"next": f"/vet?at={self._next(given.at + 1)}"})

    def _given(self, content: bytes) -> tuple[_Given, Drawn]:
        try:
            given = parse_state(content, _GIVEN)
        except Damaged as error:
            raise InputError(f"this is not an answer ({error}). Load the page again.") from error
        galaxies = self._sample.galaxies
        drawn = galaxies[given.at] if given.at < len(galaxies) else None
        if drawn is None or (drawn.field, str(drawn.source_id)) != (given.field, given.source_id):
            raise InputError("the page shows a galaxy of another sample. Load the page again.")
        return given, drawn

    def _next(self, at: int) -> int:
        """The first galaxy without an answer from a place on, then from the beginning; the number of all if there is none."""
        galaxies = self._sample.galaxies
        order = [*range(at, len(galaxies)), *range(min(at, len(galaxies)))]
        left = (place for place in order if (galaxies[place].field, galaxies[place].source_id) not in self._answers)
        return next(left, len(galaxies))

    def _result(self, row: dict[str, Any]) -> dict[str, Any]:
        names = ("p_pm_mean", "p_pm_std", "p_contaminated_mean")
        return {"class": class_of(row)} | {name: row.get(name) for name in names}

    def _vetting_page(self, name: str, request: Request, **contents: Any) -> Response:
        about: dict[str, Any] = {
            "person": self._person,
            "blind": self._blind,
            "labels": list(Label),
            "n_galaxies": len(self._sample.galaxies),
            "n_answered": len(self._answers),
            "most_characters": MOST_CHARACTERS,
            "command": remedies.vetted(self._survey.root),
        }
        return self.page(name, request, **(about | contents))
