"""Objects of a result on Analyze: counted on request, measured again from the stored mask as sliders move."""

import json
from typing import Any

from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from segapp.forms import ObjectsPageForm
from segapp.imaging.object_formats import OBJECT_FORMATS
from segapp.imaging.object_options import AUTO, AUTO_STRENGTH, NONE, ObjectOptions
from segapp.imaging.pixel_size import MICROMETRES, PixelSize
from segapp.models import Analysis, Measurement, State
from segapp.models.measurement import VIEW
from segapp.services import analyses, limits, measurements
from segapp.services.errors import UserError
from segapp.views.common import by_script, shows_again
from segapp.visitors import VisitorRequest

WAIT_SECONDS = 10.0
ROWS = 200  # of the table, without script; files have all
SCALE = "scale"  # in the session: the pixel size that was typed last, offered for the next image
INTENSITY = "mean_intensity"  # of several channels mean_intensity_1 and so on
COLUMNS = (
    *("object", "class", "area", "equivalent_diameter", "axis_major_length", "axis_minor_length", "perimeter"),
    *("circularity", "solidity", "skeleton_length", "mean_width", INTENSITY, "mean_confidence"),
    "touches_edge",
)
TITLES = {
    "object": "No.",
    "axis_major_length": "Length",
    "axis_minor_length": "Width",
    "touches_edge": "At the edge",
}
UNITS = {"um": "µm", "um2": "µm²", "mm2": "mm²", "cm2": "cm²", "m2": "m²"}
NO_NUMBERS = ("object", "class", "touches_edge")


def _show_error(request: VisitorRequest, error: UserError, public_id: str) -> HttpResponse:
    analysis = analyses.owned(request.visitor, public_id)
    if by_script(request):
        body = {"state": "refused", "messages": [problem["message"] for problem in error.problems]}
        return HttpResponse(json.dumps(body), content_type="application/json", status=error.status)
    found = {**context(request, analysis), "problems": error.problems}
    return render(request, "analyze/objects.html", found, status=200 if request.htmx else error.status)


@require_http_methods(["GET", "HEAD", "POST"])
@shows_again(_show_error)
def objects(request: VisitorRequest, public_id: str) -> HttpResponseBase:
    """POST counts and measures in the way that was sent; GET shows what was asked for last.

    With `Accept: application/json` the answer is {state, key, files, view}, else a fragment of the page.
    """
    analysis = analyses.owned(request.visitor, public_id)
    row = measurements.current(analysis)
    if request.method == "POST":
        limits.check(request, limits.LIVE)
        sent = ObjectsPageForm(request.POST).checked()
        if request.POST.get("scale"):
            request.session[SCALE] = request.POST["scale"]
        row = measurements.wait(measurements.ask(analysis, sent["options"], [VIEW]), WAIT_SECONDS)
    if by_script(request):
        return _for_script(row)
    if request.method == "POST" and not request.htmx:
        return redirect("analyze-result", public_id)
    return render(request, "analyze/objects.html", context(request, analysis, row))


def _for_script(row: Measurement | None) -> HttpResponse:
    """{state: none, queued, running, failed or done; message, key, files, shown, view}.

    `view` is as the worker wrote it, `shown` says which of its columns people read.
    """
    if row is None:
        return HttpResponse('{"state":"none"}', content_type="application/json")
    known: dict[str, Any] = {"state": row.state, "message": row.message, "key": row.key}
    if not row.measured:
        return HttpResponse(json.dumps(known), content_type="application/json")
    known |= {"state": State.DONE.value, "counts": row.counts, "total": row.total, "files": _addresses(row)}
    head = json.dumps(known)[:-1].encode()
    view = measurements.file_of(row, VIEW).read_bytes()  # pages that show a result made it already
    shown = json.dumps(shown_columns(json.loads(view))).encode()
    return HttpResponse(head + b',"shown":' + shown + b',"view":' + view + b"}", content_type="application/json")


def _addresses(row: Measurement) -> dict[str, str]:
    return measurements.status(row).get("object_files", {})


def context(request: VisitorRequest, analysis: Analysis, row: Measurement | None = None) -> dict[str, Any]:
    """What the fragment shows: the form as it was sent, counts by class, the table's first rows, downloads."""
    row = row or measurements.current(analysis)
    options = ObjectOptions.from_dict(row.options) if row else ObjectOptions()
    found: dict[str, Any] = {"analysis": analysis, "measurement": row, "last_scale": request.session.get(SCALE, "")}
    found |= {"form": _form(analysis, row, options)}
    view = measurements.view_of(row) if row is not None and row.measured else None
    if row is not None and view is not None:
        files = _addresses(row)
        found |= {
            "counted": [one for one in row.rows if one["things"]],
            "scale": view["scale"],
            "table": _table(view),
            "rows_left": max(0, row.total - ROWS),
            "downloads": [{"label": one.label, "for": one.purpose, "url": files[one.key]} for one in OBJECT_FORMATS],
        }
    return found


def _form(analysis: Analysis, row: Measurement | None, options: ObjectOptions) -> dict[str, Any]:
    """The values that the form's fields show."""
    counted = {one["id"] for one in row.rows if one["things"]} if row and row.measured else set(options.things or ())
    split = options.split
    strength = {AUTO: AUTO_STRENGTH, NONE: 0.0}[split] if isinstance(split, str) else split
    return {
        "classes": [{**one, "counted": one["id"] in counted} for one in analysis.classes],
        "split": strength,
        "min_area": options.min_area,
        "edges": options.edges,
        "holes": options.holes,
        "scale": _typed(options.scale),
        "edits": json.dumps(options.to_dict()["edits"]),
    }


def _typed(size: PixelSize | None) -> str:
    """A pixel size as a person types it."""
    return f"{size.x / MICROMETRES[size.unit]:.6g}{size.unit}" if size else ""


def _table(view: dict[str, Any]) -> dict[str, Any]:
    """Header and first rows of the columns that a person reads."""
    shown = shown_columns(view)
    rows = [[row[column["at"]] for column in shown] for row in view["rows"][:ROWS]]
    return {"header": [column["title"] for column in shown], "rows": rows}


def shown_columns(view: dict[str, Any]) -> list[dict[str, Any]]:
    """[{name, at, title, unit, numeric}] of the columns that a person reads, in the unit where there is one, else in
    pixels; `at` is the place in the view's rows. The page's scripts show the same."""
    unit, there = view["unit"], view["columns"]
    channels = [name for name in there if name.startswith(f"{INTENSITY}_")]
    found = []
    for name in (part for one in COLUMNS for part in (channels if one == INTENSITY and channels else [one])):
        own = f"{name}_{unit}{'2' if name == 'area' else ''}" if unit else ""
        column = next((one for one in (own, f"{name}_px", name) if one in there), None)
        if column is None:
            continue
        ending = column.removeprefix(name).strip("_")
        words = ("px²" if name == "area" else "px") if ending == "px" else UNITS.get(ending, ending)
        title = TITLES.get(name, f"{name[0].upper()}{name[1:].replace('_', ' ')}")
        found.append(
            {
                "name": name,
                "at": there.index(column),
                "title": f"{title} ({words})" if words else title,
                "unit": words,
                "numeric": name not in NO_NUMBERS,
            }
        )
    return found
