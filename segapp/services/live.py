"""Live answers on the paint page as the web asks for them: one request, a bounded wait, newest wins. Free of torch."""

import io
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis
from django.core.files.uploadedfile import UploadedFile

from registry.models import UserModel
from segapp import dispatch
from segapp.imaging import painted
from segapp.models import Example, Painting, Worker
from segapp.services import example_files, live_exchange, proposals
from segapp.services.admission import waiter_slot
from segapp.services.errors import InvalidUpload, NotFound, Overloaded, Unavailable
from segapp.services.live_exchange import LiveRequest

WAIT_SECONDS = 8.0  # for one answer
MODEL_SECONDS = 30.0  # for a model made of the live head
RETRY_SECONDS = 3  # after which a page may ask again


class WorkerAway(Unavailable):
    """No worker answers images at present; one may be starting."""

    code = "worker_away"
    message = "The worker that answers is not there or still starting. Your strokes are saved."
    advice = "Paint on; the answer comes when it is back."
    retry_after = RETRY_SECONDS


class RegionAway(WorkerAway):
    message = "The worker that finds regions is not there or still starting. Nothing was painted."
    advice = "Use another tool meanwhile, or click again in a moment."


def ask(
    example: Example,
    *,
    editor: str,
    sequence: int,
    mask: UploadedFile | None,
    classes: list[dict[str, Any]],
    model: UserModel | None,
) -> dict[str, Any]:
    """What is seen on the example's image after these strokes, as the page shows it.

    `mask` is a PNG of the strokes, None for those that were saved; `model` is what to start from instead of the base.
    Raises InvalidFile for a mask that does not fit, WorkerAway and Overloaded; then the page asks again.
    """
    content = mask.read() if mask is not None else b""
    if content:
        values = painted.decode(io.BytesIO(content), (example.width, example.height), example.stem, scaled=True)
        content = example_files.grey_png(values)  # a worker decodes it, and not what was sent
    request = LiveRequest(secrets.token_hex(12), editor, sequence, classes, _pk(model), content)
    late = "the answer is late. Your strokes are saved."
    found = _exchanged(example.painting.pk, request, _Kind("answer", dispatch.live, WorkerAway, WAIT_SECONDS, late))
    if found.get("proposal") and found["state"] == "answered":
        proposals.keep(example, found)
    return {**found, "sequence": sequence}


def find_region(
    example: Example, *, editor: str, sequence: int, clicks: list[tuple[float, float, int]], model: UserModel | None
) -> dict[str, Any]:
    """The region of the example's image that these clicks mean, as a small mask; without clicks the image is prepared.

    Raises InvalidUpload for a click outside the image, WorkerAway and Overloaded; then the page asks again.
    """
    if any(x >= example.width or y >= example.height for x, y, _ in clicks):
        raise InvalidUpload("A click is outside the image. Click on the image.")
    request = LiveRequest(secrets.token_hex(12), editor, sequence, model=_pk(model), clicks=clicks)
    late = "the region is late. Nothing was painted."
    found = _exchanged(example.painting.pk, request, _Kind("region", dispatch.region, RegionAway, WAIT_SECONDS, late))
    return {**found, "sequence": sequence}


@dataclass(frozen=True)
class _Kind:
    """One of the things that are asked of a worker: its slot in the exchange and the message when it is late."""

    slot: str
    send: Callable[[int], None]
    away: type[WorkerAway]
    seconds: float
    late: str
    retry_after: int = 2


def _exchanged(pk: int, request: LiveRequest, kind: _Kind) -> dict[str, Any]:
    """What a worker answers about the painting; its state is "superseded" where the same page has asked again."""
    if not Worker.objects.alive().filter(queues__contains="predict", ready=True).exists():
        raise kind.away
    try:
        with waiter_slot():
            if not live_exchange.put(pk, request, kind.slot):
                return {"state": "superseded"}
            kind.send(pk)
            found = live_exchange.wait(request.token, kind.seconds)
    except (redis.RedisError, OSError):
        raise kind.away from None
    if found is None:
        raise Overloaded(f"The server has a lot to do, so {kind.late}", retry_after=kind.retry_after)
    if "error" in found:
        raise _failed(found["error"])
    return found


def _pk(model: UserModel | None) -> int | None:
    return model.pk if model else None


def use_as_it_is(visitor: str, model: UserModel | None = None) -> str:
    """Make the live head of the visitor's open images their model, without a training; its public id.

    Raises InvalidUpload when too little is painted, WorkerAway and Overloaded.
    """
    painting = (
        Painting.objects.filter(example__visitor=visitor, example__draft=True, empty=False).order_by("-updated").first()
    )
    if painting is None:
        raise InvalidUpload("Nothing is painted yet. Paint a stroke of two classes first.")
    token = secrets.token_hex(12)
    request = LiveRequest(token, token, 1, list(painting.classes), _pk(model))
    late = "your model is late. Open Models in a moment."
    kind = _Kind("model", dispatch.live_model, WorkerAway, MODEL_SECONDS, late, retry_after=5)
    found = _exchanged(painting.pk, request, kind)
    return str(found["model"])


def _failed(error: dict[str, str]) -> Exception:
    if error["code"] == "not_found":
        return NotFound(error["message"])
    if error["code"] == "no_base":
        return Unavailable(error["message"])
    return InvalidUpload(error["message"])
