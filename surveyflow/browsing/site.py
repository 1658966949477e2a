"""The pages of the browser: galleries, galaxies, maps and plots."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any
from urllib.parse import urlencode

import jinja2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from surveyflow.browsing import galaxy
from surveyflow.browsing.asking import SHEETS, Selection, real_number, selection_of, whole_number
from surveyflow.browsing.pictures import OF_THE_SKY, View
from surveyflow.browsing.rows import DEEPEST_ROW, Axis
from surveyflow.browsing.search import parse_search
from surveyflow.browsing.survey import (
    SHOWN,
    SIZES_PIX,
    BrowsedSurvey,
    Spot,
    class_of,
    flag_names,
    is_as_the_network_saw_it,
    spot_of,
)
from surveyflow.errors import InputError, SurveyflowError
from surveyflow.reports.pictures import marks
from surveyflow.values import remedies
from surveyflow.values.codes import Flag

CELLS = 128
"""Cells along each axis of a map or plot."""
MOST_FOUND = 200
N_ALIKE = 12
MOST_ROWS_COMPARED_AT_ONCE = 1_000_000
"""With more rows, galaxies that are alike are only looked for when a reader asks for them."""
_TEXT_CLASSES = {"post_merger": "post-merger", "star_forming": "star-forming"}


class Site:
    """The pages about one revision.

    Parameters
    ----------
    survey
        The revision.

    Attributes
    ----------
    navigation
        Address, name and key of the pages that each page leads to.
    """

    navigation: tuple[tuple[str, str, str], ...] = (("/", "Gallery", "g"), ("/sky", "Sky", "s"), ("/plot", "Plot", "p"))

    def __init__(self, survey: BrowsedSurvey) -> None:
        self._survey = survey
        self._pages = _environment()

    def routes(self) -> list[Route | Mount]:
        """The addresses and what answers at them."""
        return [
            Route("/", self.gallery),
            Route("/alike", self.alike),
            Route("/at", self.at),
            Route("/cells.json", self.cells),
            Route("/cutout.png", self.cutout),
            Route("/galaxy", self.galaxy),
            Route("/plot", self.plot),
            Route("/search", self.search),
            Route("/sky", self.sky),
            static_files(),
        ]

    def gallery(self, request: Request) -> Response:
        """A contact sheet of a selection."""
        asked = selection_of(request.query_params)
        rows, survey = self._survey.rows, self._survey
        n = rows.count(asked.where)
        found = rows.page(asked.where, asked.order, asked.offset, asked.n, [*SHOWN, *([asked.sort] if asked.sort else [])])
        cards = [self._card(row, f"{asked.query()}&at={asked.offset + place}") for place, row in enumerate(found)]
        problems = sorted({problem for row in found if (problem := self._picture_problem(row))})
        last = max(1, math.ceil(min(n, DEEPEST_ROW) / asked.n))
        return self.page(
            "gallery.html.j2",
            request,
            asked=asked,
            cards=cards,
            problems=problems,
            n_found=n,
            last_page=last,
            sheets=SHEETS,
            columns=rows.sortable,
            fields=list(survey.fields),
            flags=list(Flag.__members__),
            export=remedies.export(survey.root, asked.where),
        )

    def at(self, request: Request) -> Response:
        """The galaxy at a place of a selection."""
        asked, at = selection_of(request.query_params), whole_number(request.query_params, "at")
        if at < 0:
            raise InputError(f"at is {at}, expected 0 or more. Follow a link of the gallery.")
        found = self._survey.rows.page(asked.where, asked.order, at, 1, ["field", "source_id"])
        if not found:
            return RedirectResponse(f"/?{asked.query()}", 303)
        return RedirectResponse(_galaxy_address(found[0], f"{asked.query()}&at={at}"), 303)

    def galaxy(self, request: Request) -> Response:
        """Everything about one galaxy."""
        asked, field = request.query_params, request.query_params.get("field", "")
        source_id = whole_number(asked, "id")
        row = self._survey.rows.row(field, source_id)
        if row is None:
            message = f"There is no galaxy {source_id} in the field {field!r}."
            return self.page("error.html.j2", request, status=404, message=message)
        return self.page("galaxy.html.j2", request, **self._about(row), walk=_walk(asked))

    def alike(self, request: Request) -> Response:
        """The galaxies that are most like one galaxy."""
        row = self._survey.rows.row(request.query_params.get("field", ""), whole_number(request.query_params, "id"))
        if row is None:
            raise InputError("there is no such galaxy. Follow a link of the gallery.")
        found = self._survey.alike(row, N_ALIKE)
        cards = [self._card(other, "") for other in found.rows]
        return self.page("alike.html.j2", request, row=row, found=found, cards=cards, part="part" in request.query_params)

    def search(self, request: Request) -> Response:
        """The galaxies that a text may mean; the only one is shown at once."""
        text = request.query_params.get("q", "")
        found = self._found(text) if text.strip() else []
        if len(found) == 1:
            return RedirectResponse(_galaxy_address(found[0], ""), 303)
        cards = [self._card(row, "") for row in found]
        return self.page("search.html.j2", request, text=text, cards=cards, most=MOST_FOUND)

    def cutout(self, request: Request) -> Response:
        """A picture of a place on a mosaic."""
        asked = request.query_params
        place = asked.get("field", ""), asked.get("instrument", ""), _place(asked, "x"), _place(asked, "y")
        spot = Spot(*place, asked.get("mosaic", ""))
        size = whole_number(asked, "size", 128)
        if not SIZES_PIX[0] <= size <= SIZES_PIX[1]:
            raise InputError(f"size is {size}, expected {SIZES_PIX[0]} to {SIZES_PIX[1]} pixels. Follow a link of the gallery.")
        png = self._survey.picture(spot, size, View(asked.get("view", View.ASINH)), asked.get("model"))
        if png is None:
            return Response(status_code=404)
        return Response(png, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})

    def sky(self, request: Request) -> Response:
        """The map of a field."""
        asked, fields = selection_of(request.query_params), self._survey.fields
        field = request.query_params.get("field") or next(iter(fields), "")
        if field not in fields:
            raise InputError(f"there is no field {field!r}. Choose one of {', '.join(fields)}.")
        centre = fields[field][0]
        within = f"field == {_quoted(field)}"
        spans = self._spans(request, ("ra", within, centre), ("dec", within, None))
        outlined, notes = self._survey.outlines(field)
        if "x0" not in request.query_params:
            spans = _around(spans, self._outlined(field, centre))
        data = {"x": "ra", "y": "dec", "centre": repr(centre), "base": within, "where": asked.where, "outlines": field}
        names = (f"RA \u2212 {centre:.4f}\u00b0", "declination")
        about = {"field": field, "fields": list(fields), "outlined": outlined, "outline_notes": notes}
        return self._chart("sky.html.j2", request, asked, data, spans, names=names, **about)

    def plot(self, request: Request) -> Response:
        """The plane of two columns."""
        asked, rows = selection_of(request.query_params), self._survey.rows
        x = request.query_params.get("x") or "redshift"
        y = request.query_params.get("y") or "p_pm_mean"
        spans = self._spans(request, (x, asked.where, None), (y, asked.where, None))
        data = {"x": x, "y": y, "where": asked.where}
        return self._chart("plot.html.j2", request, asked, data, spans, names=(x, y), x=x, y=y, columns=rows.numeric)

    def cells(self, request: Request) -> Response:
        """The numbers of galaxies in the cells of a map or plot: of the selection, and of a base that it lies in."""
        asked, rows = request.query_params, self._survey.rows
        ends = {name: real_number(asked, name) for name in ("x0", "x1", "y0", "y1", "centre")}
        if None in [ends[name] for name in ("x0", "x1", "y0", "y1")]:
            raise InputError("a plot needs x0, x1, y0 and y1. Open it from its page.")
        x = Axis(asked.get("x", ""), ends["x0"] or 0.0, ends["x1"] or 0.0, ends["centre"])
        y = Axis(asked.get("y", ""), ends["y0"] or 0.0, ends["y1"] or 0.0)
        where, base = asked.get("where", "").strip(), asked.get("base", "").strip()
        chosen = " and ".join(f"({part})" for part in (base, where) if part)
        found = {"cells": rows.binned(x, y, chosen, CELLS), "n_cells": CELLS}
        outlined = self._outlined(asked["outlines"], x.centre_deg or 0.0) if "outlines" in asked else []
        return JSONResponse(found | {"base": rows.binned(x, y, base, CELLS) if base else [], "outlines": outlined})

    def _outlined(self, field: str, centre_deg: float) -> list[dict[str, Any]]:
        """The borders of a field's mosaics, with right ascensions counted from a centre as on the map's axis."""
        return [
            {"instrument": one.instrument, "x": ((one.ra_deg - centre_deg + 180) % 360 - 180).tolist(), "y": one.dec_deg.tolist()}
            for one in self._survey.outlines(field)[0]
        ]

    def refused(self, request: Request, error: Exception) -> Response:
        """The answer to what cannot be done."""
        status = 400 if isinstance(error, InputError) else 500
        if request.method == "POST" or request.url.path.endswith(".json"):
            return JSONResponse({"error": str(error)}, status)
        return self.page("error.html.j2", request, status=status, message=str(error))

    def page(self, name: str, request: Request, *, status: int = 200, **contents: Any) -> Response:
        """Render a page."""
        survey = self._survey
        always = {
            "title": survey.title,
            "revision": survey.revision,
            "n_rows": survey.rows.n_rows,
            "warnings": survey.warnings,
            "path": request.url.path,
            "navigation": self.navigation,
            "where": request.query_params.get("where", ""),
        }
        return HTMLResponse(self._pages.get_template(name).render(always | contents), status)

    def _found(self, text: str) -> list[dict[str, Any]]:
        rows, meant = self._survey.rows, parse_search(text, self._survey.fields)
        found = rows.named(meant.name, None, SHOWN, MOST_FOUND)
        if meant.name_in_field:
            found += rows.named(meant.name_in_field, meant.field, SHOWN, MOST_FOUND)
        if meant.source_id is not None:
            found += rows.with_id(meant.source_id, meant.field, SHOWN, MOST_FOUND)
        if meant.place is not None:
            place = meant.place
            found += rows.near(place.ra_deg, place.dec_deg, place.radius_arcsec, SHOWN, MOST_FOUND)
        return list({(row["field"], row["source_id"]): row for row in found}.values())

    def _card(self, row: Mapping[str, Any], context: str) -> dict[str, Any]:
        """What a card of the gallery shows."""
        return {
            "row": row,
            "address": _galaxy_address(row, context),
            "image": self._image(row, View.ASINH),
            "flags": flag_names(row["flags"]),
            "class": _TEXT_CLASSES.get(class_of(row) or ""),
        }

    def _image(self, row: Mapping[str, Any], view: View, times: int = 1) -> str | None:
        """Address of a picture; None if there can be none."""
        spot = spot_of(row)
        if spot is None or self._survey.picture_problem(spot):
            return None
        side = min(times * self._survey.side_pix(row.get("model_id")), SIZES_PIX[1])
        place = {"field": spot.field, "instrument": spot.instrument, "x": repr(spot.x_pix), "y": repr(spot.y_pix)}
        place |= {"mosaic": spot.mosaic} if spot.mosaic else {}
        model = {"model": row["model_id"]} if row.get("model_id") else {}
        return "/cutout.png?" + urlencode(place | {"size": side, "view": view.value} | model)

    def _picture_problem(self, row: Mapping[str, Any]) -> str:
        spot = spot_of(row)
        return self._survey.picture_problem(spot) if spot else ""

    def _about(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """What the page of a galaxy shows."""
        survey, model = self._survey, self._survey.model(row.get("model_id"))
        return {
            "row": row,
            "flags": [(name, Flag[name].meaning) for name in flag_names(row["flags"])],
            "class": _TEXT_CLASSES.get(class_of(row) or ""),
            "views": self._views(row),
            "no_picture": survey.why_no_picture(row["field"], row.get("instrument"), row.get("mosaic")),
            "histograms": galaxy.histograms(survey.root, survey.revision, row, model),
            "meanings": galaxy.meanings(),
            "model": model,
            "unit": survey.unit_name(row.get("unit_key")),
            "inputs": survey.inputs_of(row),
            "changes": survey.before.changes(row, survey.rows.schema),
            "finds_alike_at_once": survey.rows.n_rows <= MOST_ROWS_COMPARED_AT_ONCE,
            "links": galaxy.links(row["ra"], row["dec"]),
        }

    def _views(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The pictures of a galaxy, with their marks; empty if there are none."""
        spot, side = spot_of(row), self._survey.side_pix(row.get("model_id"))
        cutout = None if spot is None else self._survey.cutout(spot, side)
        if spot is None or cutout is None:
            return []
        drawn = marks(cutout)
        wide = self._survey.cutout(spot, min(3 * side, SIZES_PIX[1]))
        shown = [self._shown(row, view, drawn) for view in View if view in OF_THE_SKY or is_as_the_network_saw_it(row)]
        around = {"title": "surroundings", "meaning": "three times as wide", "image": self._image(row, View.ASINH, 3)}
        return [view for view in shown if view] + ([around | {"marks": marks(wide)}] if wide else [])

    def _shown(self, row: Mapping[str, Any], view: View, drawn: str) -> dict[str, Any] | None:
        spot, model_id = spot_of(row), row.get("model_id")
        if spot is None or self._survey.picture(spot, self._survey.side_pix(model_id), view, model_id) is None:
            return None
        image = self._image(row, view)
        return {"title": view.value, "meaning": view.meaning, "image": image, "marks": drawn if view in OF_THE_SKY else ""}

    def _spans(self, request: Request, *axes: tuple[str, str, float | None]) -> list[tuple[float, float]]:
        """The ends of both axes: those that are asked for, or those of the data."""
        found = []
        for name, (column, where, centre) in zip("xy", axes, strict=True):
            low, high = (real_number(request.query_params, f"{name}{end}") for end in "01")
            if low is None or high is None or low >= high:
                low, high = self._survey.rows.span(column, where, centre) or (0.0, 1.0)
            found.append((low, high))
        return found

    def _chart(
        self,
        name: str,
        request: Request,
        asked: Selection,
        data: Mapping[str, str],
        spans: list[tuple[float, float]],
        **contents: Any,
    ) -> Response:
        ends = {f"{axis}{end}": repr(value) for axis, span in zip("xy", spans, strict=True) for end, value in enumerate(span)}
        address = "/cells.json?" + urlencode({**data, **ends})
        n = self._survey.rows.count(asked.where)
        return self.page(name, request, asked=asked, data=data, cells=address, spans=spans, n_found=n, **contents)


def application(routes: list[Route | Mount], refused: Callable[[Request, Exception], Response]) -> Starlette:
    """The application of some pages."""
    return Starlette(routes=routes, exception_handlers={SurveyflowError: refused})


def static_files() -> Mount:
    """The style and the scripts of the pages."""
    return Mount("/static", StaticFiles(packages=[("surveyflow.browsing", "static")]))


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"value": readable, "number": "{:,}".format, "query": urlencode}
    return environment


def _template(name: str) -> str:
    return resources.files("surveyflow.browsing").joinpath("templates", name).read_text(encoding="utf-8")


def readable(value: Any) -> str:
    """A value of the catalog as it is read; a dash where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "\u2013"
    if isinstance(value, float):
        return f"{value:.6g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _around(spans: list[tuple[float, float]], outlined: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """The ends of both axes, so that borders of mosaics lie within, too."""
    found = []
    for name, span in zip("xy", spans, strict=True):
        values = [*span, *(value for one in outlined for value in one[name])]
        found.append((min(values), max(values)))
    return found


def _walk(asked: Mapping[str, str]) -> dict[str, Any] | None:
    """The way from a galaxy back to its sheet, and on to its neighbours in the selection; None if it came from none."""
    if not asked.get("at"):
        return None
    selection, at = selection_of(asked), whole_number(asked, "at")
    sheet = selection.on_page(max(at, 0) // selection.n + 1)
    step = f"/at?{sheet.query()}&at=".format
    return {"sheet": f"/?{sheet.query()}", "before": f"{step()}{at - 1}" if at > 0 else None, "after": f"{step()}{at + 1}"}


def _galaxy_address(row: Mapping[str, Any], context: str) -> str:
    key = urlencode({"field": row["field"], "id": row["source_id"]})
    return "/galaxy?" + key + (f"&{context.strip('&')}" if context else "")


def _quoted(text: str) -> str:
    """A text as the language of selections writes it."""
    return json.dumps(text, ensure_ascii=False)


def _place(asked: Mapping[str, str], name: str) -> float:
    place = real_number(asked, name)
    if place is None:
        raise InputError(f"{name} is missing, expected a number of pixels. Follow a link of the gallery.")
    return place
