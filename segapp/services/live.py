"""Live answers on the paint page as the web asks for them: one request, a bounded wait, newest wins. Free of torch."""

import io
import secrets
from typing import Any

import redis
from django.core.files.uploadedfile import UploadedFile

from registry.models import UserModel
from segapp import dispatch
from segapp.imaging import painted
from segapp.models import Example, Painting, Worker
from segapp.services import live_exchange, proposals
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
        painted.decode(io.BytesIO(content), (example.width, example.height), example.stem, scaled=True)
    if not Worker.objects.alive().filter(queues__contains="predict", ready=True).exists():
        raise WorkerAway
    painting = example.painting
    token = secrets.token_hex(12)
    request = LiveRequest(token, editor, sequence, classes, model.pk if model else None, content)
    try:
        with waiter_slot():
            if not live_exchange.put(painting.pk, request):
                return {"state": "superseded", "sequence": sequence}
            dispatch.live(painting.pk)
            found = live_exchange.wait(token, WAIT_SECONDS)
    except (redis.RedisError, OSError):
        raise WorkerAway from None
    if found is None:
        raise Overloaded("The server has a lot to do, so the answer is late. Your strokes are saved.", retry_after=2)
    if "error" in found:
        raise _failed(found["error"])
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
    if not Worker.objects.alive().filter(queues__contains="predict", ready=True).exists():
        raise RegionAway
    token = secrets.token_hex(12)
    request = LiveRequest(token, editor, sequence, model=model.pk if model else None, clicks=clicks)
    try:
        with waiter_slot():
            if not live_exchange.put(example.painting.pk, request, "region"):
                return {"state": "superseded", "sequence": sequence}
            dispatch.region(example.painting.pk)
            found = live_exchange.wait(token, WAIT_SECONDS)
    except (redis.RedisError, OSError):
        raise RegionAway from None
    if found is None:
        raise Overloaded("The server has a lot to do, so the region is late. Nothing was painted.", retry_after=2)
    if "error" in found:
        raise _failed(found["error"])
    return {**found, "sequence": sequence}


def use_as_it_is(visitor: str, model: UserModel | None = None) -> str:
    """Make the live head of the visitor's open images their model, without a training; its public id.

    Raises InvalidUpload when too little is painted, WorkerAway and Overloaded.
    """
    painting = (
        Painting.objects.filter(example__visitor=visitor, example__draft=True, empty=False).order_by("-updated").first()
    )
    if painting is None:
        raise InvalidUpload("Nothing is painted yet. Paint a stroke of two classes first.")
    if not Worker.objects.alive().filter(queues__contains="predict", ready=True).exists():
        raise WorkerAway
    token = secrets.token_hex(12)
    request = LiveRequest(token, token, 1, list(painting.classes), model.pk if model else None)
    try:
        with waiter_slot():
            live_exchange.put(painting.pk, request, "model")
            dispatch.live_model(painting.pk)
            found = live_exchange.wait(token, MODEL_SECONDS)
    except (redis.RedisError, OSError):
        raise WorkerAway from None
    if found is None:
        raise Overloaded("The server has a lot to do, so your model is late. Open Models in a moment.", retry_after=5)
    if "error" in found:
        raise _failed(found["error"])
    return str(found["model"])


def _failed(error: dict[str, str]) -> Exception:
    if error["code"] == "not_found":
        return NotFound(error["message"])
    if error["code"] == "no_base":
        return Unavailable(error["message"])
    return InvalidUpload(error["message"])
