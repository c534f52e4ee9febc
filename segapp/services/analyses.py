"""One picture in, one mask out, as the web sees it: submit, wait, look, and what the reaper does. Free of torch."""

import time
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

from django.db import transaction
from django.db.models import F, QuerySet
from django.urls import reverse
from django.utils import timezone
from PIL import Image

from registry import services as registry
from registry.files import write_atomically
from registry.models import UserModel
from segapp import dispatch
from segapp.imaging import decode, render
from segapp.models import UNFINISHED, Analysis, State, Worker

MOST_WAITING = 48  # more than these queued answer 503 instead of growing the queue
PATIENCE = timedelta(minutes=2)  # a worker may warm up; after this the visitor is told
SHOWN_SIDE = 2048  # pixels; larger pictures are looked at through a smaller copy


class Overloaded(Exception):
    """The queue is full; `retry_after` is in seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("Many pictures are waiting right now. Try again in a few seconds; nothing was stored.")
        self.retry_after = retry_after


class AnalysisNotFound(Exception):
    """No such result, or another visitor's."""


def submit(
    visitor: str,
    file: IO[bytes],
    name: str,
    model: UserModel | None = None,
    *,
    answer: registry.Answer | None = None,
    shared: bool = False,
) -> Analysis:
    """Store a picture and queue it for the visitor's model, or for `model` (one of theirs), pinned from here on.

    `answer` names what is to answer instead, as a share link (`shared`) or a comparison does.

    Raises imaging.Refused for what is no picture, Overloaded, and registry.services.NoBaseReady.
    """
    waiting = Analysis.objects.filter(state__in=UNFINISHED).count()
    if waiting >= MOST_WAITING:
        raise Overloaded(retry_after=5)
    answer = answer or registry.resolve(visitor)
    picture = decode.picture(file, name)
    return _queue(visitor, picture, name, model or answer.model, answer, shared)


def again(analysis: Analysis, model: UserModel | None) -> Analysis:
    """The same picture through another model, or through the base (`model` is None): for comparing."""
    with Image.open(analysis.folder / "image.png") as stored:
        picture = stored.convert("RGB")
    return _queue(analysis.visitor, picture, analysis.title, model, registry.resolve(analysis.visitor))


def _queue(
    visitor: str,
    picture: Image.Image,
    title: str,
    model: UserModel | None,
    answer: registry.Answer,
    shared: bool = False,
) -> Analysis:
    if model is None and answer.base is None:
        raise registry.NoBaseReady("No base model is ready on this server. Its operator can run manage.py build_base.")
    row = Analysis(
        visitor=visitor,
        title=title[:200],
        width=picture.width,
        height=picture.height,
        model=model,
        base_key=model.base_key if model else answer.base.key if answer.base else "",
        base_sha256=model.base_sha256 if model else answer.base.sha256 if answer.base else "",
        message=answer.notice[:500],
        shared=shared,
    )
    try:
        write_atomically(row.folder / "image.png", lambda out: picture.save(out, "PNG", compress_level=1))
        if max(picture.size) > SHOWN_SIDE:
            shown = render.thumbnail(picture, SHOWN_SIDE)
            write_atomically(row.folder / "shown.jpg", lambda out: shown.save(out, "JPEG", quality=88))
        with transaction.atomic():
            row.save()
            dispatch.analysis(row)
    except BaseException:
        remove_folder(row.folder)
        raise
    return row


def wait(analysis: Analysis, seconds: float) -> Analysis:
    """The row as it is when it has ended, or after `seconds`. The row decides, the bell only shortens the wait."""
    deadline = time.monotonic() + seconds
    while True:
        analysis.refresh_from_db()
        left = deadline - time.monotonic()
        if not analysis.unfinished or left <= 0:
            return analysis
        dispatch.await_bell(analysis.public_id, max(0.05, min(left, 1.0)))


def owned(visitor: str, public_id: str) -> Analysis:
    """The visitor's result; raises AnalysisNotFound, the same for what is another's and what does not exist."""
    row = Analysis.objects.filter(visitor=visitor, public_id=public_id).select_related("model").first()
    if row is None:
        raise AnalysisNotFound("There is no such result among yours. Results are kept for some days; analyze it again.")
    return row


def recent(visitor: str, count: int = 12) -> QuerySet[Analysis]:
    """The visitor's latest finished results."""
    return Analysis.objects.filter(visitor=visitor, state=State.DONE)[:count]


def status(analysis: Analysis) -> dict[str, Any]:
    """A finished result as the JSON API shows it."""
    urls = {
        f"{kind}_url": reverse("analysis-file", args=[analysis.public_id, kind])
        for kind in ("mask", "overlay", "confidence")
    }
    return {
        "analysis_id": analysis.public_id,
        "model_key": key_of(analysis),
        "model_name": analysis.model_name,
        "model_sha256": analysis.model_sha256,
        "base": analysis.base_key,
        "width": analysis.width,
        "height": analysis.height,
        "classes": analysis.classes,
        "inference_ms": analysis.timings.get("inference_ms"),
        "timings": analysis.timings,
        "notice": analysis.message or None,
        **urls,
    }


def key_of(analysis: Analysis) -> str:
    """What answered, as its visitor may know it: a model behind a share link goes without its id."""
    if analysis.shared and analysis.model_key.startswith("user_"):
        return f"shared_{analysis.model_sha256[:16]}"
    return analysis.model_key


def file_of(analysis: Analysis, kind: str) -> Path:
    """The file to show: image, mask, confidence or overlay; the overlay is drawn when first asked for.

    Raises AnalysisNotFound for a result without such a file.
    """
    folder = analysis.folder
    if kind == "image":
        path = folder / "shown.jpg" if (folder / "shown.jpg").exists() else folder / "image.png"
    elif kind == "overlay":
        path = folder / "overlay.jpg"
        if analysis.state == State.DONE and not path.exists():
            _draw_overlay(analysis, path)
    else:
        path = folder / f"{kind}.png"
    if not path.is_file():
        raise AnalysisNotFound(f"This result has no {kind} file any more. Analyze the picture again.")
    return path


def _draw_overlay(analysis: Analysis, path: Path) -> None:
    with Image.open(analysis.folder / "image.png") as picture, Image.open(analysis.folder / "mask.png") as mask:
        drawn = render.overlay(picture.convert("RGB"), decode.pixels(mask), analysis.classes, 0.5)
    write_atomically(path, lambda out: drawn.save(out, "JPEG", quality=88))


def delete(analysis: Analysis) -> None:
    analysis.delete()
    remove_folder(analysis.folder)


def remove_folder(folder: Path) -> None:
    """Remove a result's folder and the files in it; missing ones are fine."""
    for path in folder.glob("*") if folder.is_dir() else ():
        path.unlink(missing_ok=True)
    if folder.is_dir():
        folder.rmdir()


def expired(days: int) -> QuerySet[Analysis]:
    return Analysis.objects.filter(created__lt=timezone.now() - timedelta(days=days))


def reap() -> None:
    """Ring again for what waits, take back what a dead worker held, and give up what nobody took in time."""
    now = timezone.now()
    late = Analysis.objects.filter(state__in=UNFINISHED, created__lt=now - PATIENCE)
    words = (
        f"No worker answered within {int(PATIENCE.total_seconds() // 60)} minutes. Try again; your picture was fine."
    )
    late.update(state=State.FAILED, ended=now, message=words)
    alive = Worker.objects.alive().values_list("name", flat=True)
    lost = Analysis.objects.filter(state=State.RUNNING, attempts__lt=2).exclude(worker__in=list(alive))
    lost.update(state=State.QUEUED, attempts=F("attempts") + 1)
    waiting = Analysis.objects.filter(state=State.QUEUED, created__lt=now - timedelta(seconds=5)).order_by("pk")
    for row in waiting[:20]:
        dispatch.analysis(row)
