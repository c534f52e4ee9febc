"""Objects of a result as the web sees them: ask for them, wait, look, hand out files. Free of what measures.

A measurement is asked for with the image, and then made along with its mask, or afterwards, and then made from the
stored mask without the network.
"""

import json
import time
from collections.abc import Collection
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils import timezone

from registry import store
from segapp import dispatch
from segapp.imaging.object_formats import BY_KEY
from segapp.imaging.object_options import ObjectOptions
from segapp.imaging.pixel_size import PixelSize
from segapp.models import MAX_ATTEMPTS, UNFINISHED, Analysis, Measurement, State
from segapp.models.measurement import VIEW, wanted
from segapp.services import analyses, schemas
from segapp.services.admission import waiter_slot
from segapp.services.errors import Busy, NotFound, Overloaded, ServerError

KEPT = 8  # ways of measuring one result; a person who moves a slider makes many
REDISPATCH_AGE = timedelta(seconds=5)
WAIT_SECONDS = 20.0


def ask(analysis: Analysis, options: ObjectOptions, formats: Collection[str] = (VIEW,)) -> Measurement:
    """The measurement of a finished result in this way: the one that is there, or a new one that is queued.

    Raises NotFound for a result without a mask, InvalidForm for classes that it does not have.
    """
    if analysis.state != State.DONE:
        raise NotFound("This result is not done, so there is nothing to measure. Wait until it is.")
    analyses.check_things(options, analysis.classes)
    values = wanted(options)
    try:
        with transaction.atomic():
            row, made = Measurement.objects.select_for_update().get_or_create(
                analysis=analysis, key=values["key"], defaults={**values, "formats": sorted(formats)}
            )
            row.asked = timezone.now()
            row.formats = sorted({*row.formats, *formats})
            if not made and (row.state == State.FAILED or (row.state == State.DONE and _missing(row))):
                row.state, row.attempts, row.message = State.QUEUED, 0, ""
            row.save(update_fields=["asked", "formats", "state", "attempts", "message"])
            if row.state == State.QUEUED:
                dispatch.measurement(row)
    except IntegrityError:  # another tab asked at the same moment
        return Measurement.objects.get(analysis=analysis, key=values["key"])
    row.analysis = analysis
    _forget_old(analysis)
    return row


def _missing(row: Measurement) -> list[str]:
    return [key for key in row.formats if not store.fetch(row.path(key)).is_file()]


def _forget_old(analysis: Analysis) -> None:
    for row in analysis.measurements.exclude(state__in=UNFINISHED)[KEPT:]:
        row.delete()
        store.remove_folder(row.folder)


def wait(row: Measurement, seconds: float = WAIT_SECONDS) -> Measurement:
    """The row when it has ended, or as it is after `seconds`, or at once when too many wait already."""
    deadline = time.monotonic() + seconds
    try:
        with waiter_slot():
            while row.unfinished and (left := deadline - time.monotonic()) > 0:
                dispatch.wait_for_notification(row.name, max(0.05, min(left, 1.0)))
                row.refresh_from_db()
    except Overloaded:
        row.refresh_from_db()
    return row


def current(analysis: Analysis) -> Measurement | None:
    """The measurement that was asked for last; None where there is none."""
    row = analysis.measurements.first()
    if row is not None:
        row.analysis = analysis
    return row


def owned(visitor: str, public_id: str, key: str) -> Measurement:
    """A measurement of the visitor's result; raises NotFound, also for another visitor's."""
    analysis = analyses.owned(visitor, public_id)
    row = analysis.measurements.filter(key=key).first()
    if row is None:
        raise NotFound("These objects are not kept any more. Count them again.")
    row.analysis = analysis
    return row


def file_of(row: Measurement, key: str) -> Path:
    """A measurement's file, made now where it is not there yet.

    Raises NotFound for a format that there is not, Busy when no worker came to it, ServerError when it failed.
    """
    if key not in BY_KEY and key != VIEW:
        raise NotFound(f"There is no such format. Choose one of: {', '.join(BY_KEY)}.")
    path = row.path(key)
    if store.fetch(path).is_file():
        return path
    more = [key] if key == VIEW else list(BY_KEY)  # one download is often followed by another
    asked = wait(ask(row.analysis, ObjectOptions.from_dict(row.options), more))
    if asked.state == State.FAILED:
        raise ServerError(asked.message, code="not_measured")
    if not store.fetch(path).is_file():
        raise Busy("The file is still being made. Try again in a few seconds.")
    return path


def view_of(row: Measurement, seconds: float = 2.0) -> dict[str, Any] | None:
    """Outlines and table, as docs/measurements.md describes them; None when they are not made within `seconds`."""
    path = row.path(VIEW)
    if not store.fetch(path).is_file():
        wait(ask(row.analysis, ObjectOptions.from_dict(row.options)), seconds)
    if not store.fetch(path).is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


Result = (
    schemas.Analysis
    | schemas.MeasuredAnalysis
    | schemas.AnalysisProgress
    | schemas.LargeAnalysis
    | schemas.MeasuredLargeAnalysis
)


def result(analysis: Analysis) -> Result:
    """A result as the JSON API shows it, with its objects where they were asked for."""
    row = current(analysis) if analysis.state == State.DONE else None
    if row is not None:
        return with_objects(analysis, row)
    return analyses.progress_or_result(analysis) if analysis.windows else analyses.status(analysis)


def with_objects(analysis: Analysis, row: Measurement) -> schemas.MeasuredAnalysis | schemas.MeasuredLargeAnalysis:
    """A finished result with these objects."""
    if not analysis.windows:
        return {**analyses.status(analysis), **status(row)}
    large: schemas.AnalysisProgress = {**analyses.progress(analysis), "progress": 1.0}
    return {**analyses.status(analysis), **large, **status(row)}


def status(row: Measurement) -> schemas.Objects:
    """A measurement as the JSON API shows it, beside the keys of its result."""
    if not row.measured:
        return {"objects": None, "objects_message": row.message or "The objects are still being counted."}
    size = PixelSize.from_dict(row.pixel_size) if row.pixel_size else None
    address = {key: reverse("analysis-objects", args=[row.analysis.public_id, row.key, key]) for key in BY_KEY}
    return {
        "objects": row.counts,
        "objects_message": row.message or None,
        "objects_total": row.total,
        "objects_by_class": row.rows,
        "scale": size.describe() if size else None,
        "pixel_size_um": [size.x, size.y] if size else None,
        "objects_url": address["csv"],
        "geojson_url": address["geojson"],
        "instances_url": address["instances"],
        "object_files": address,
    }


def reap() -> None:
    """Requeue what a dead worker held, and dispatch again what waits. Those made with an image go with it."""
    rows = Measurement.objects.filter(state__in=UNFINISHED, analysis__state=State.DONE)
    if not rows.exists():
        return
    lost = rows.filter(state=State.RUNNING).exclude(worker__in=analyses.living_workers(time.monotonic()))
    lost.filter(attempts__lt=MAX_ATTEMPTS).update(state=State.QUEUED)
    lost.update(state=State.FAILED, message="The server stopped twice at this. Raise the minimum area and try again.")
    for row in rows.filter(state=State.QUEUED, asked__lt=timezone.now() - REDISPATCH_AGE).order_by("pk")[:20]:
        dispatch.measurement(row)
