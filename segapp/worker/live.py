"""One live answer: the strokes of a visitor's open images, a head fitted to them, the image at hand answered."""

import base64
import io
import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
import redis
from PIL import Image

from registry import services as registry
from registry.files import ModelFileDamaged, ModelFileMissing
from registry.models import UserModel
from registry.network import ClassInfo
from registry.runtime import BaseMissing, LoadedNetwork
from segapp import dispatch
from segapp.imaging import InvalidFile, painted
from segapp.imaging.class_areas import class_areas
from segapp.imaging.tiling import fitted
from segapp.models import Example, Painting
from segapp.pipeline.constants import IGNORE
from segapp.pipeline.inference import live
from segapp.pipeline.inference.doubt import doubt
from segapp.pipeline.inference.live import ImageFeatures, LiveHead, PaintedImage, Samples
from segapp.pipeline.inference.live_model import live_network
from segapp.pipeline.inference.predict import predict
from segapp.pipeline.inference.upsample import decide
from segapp.pipeline.training.finetune import Trained, changed_tensors
from segapp.services import example_files, intake, live_exchange
from segapp.services.live_exchange import LiveRequest
from segapp.worker import networks
from segapp.worker.publishing import publish

logger = logging.getLogger(__name__)

SHOWN_SIDE = 1024  # pixels of the longer side of an answer
MODEL_SECONDS = 20.0  # the same for a model
READ_SECONDS = 1.0  # that one request may take to read further images; those left are read by the next
MAX_COMPARED = 20  # painted images that one not opened yet is compared with
WAITING = "Paint a stroke of a second class."


def run(pk: int) -> None:
    """Answer the newest request for a painting; nothing is there when an earlier message has brought it already."""
    heads: list[tuple[LiveHead, list[ClassInfo], LiveRequest]] = []
    work = partial(_answer, heads=heads)
    answered(pk, "answer", work, "The live answer could not be computed. Your strokes are saved; paint on.")
    for head, shown, asked in heads:
        if dispatch.is_waiting(dispatch.PREDICT):
            return
        try:
            _look_ahead(pk, head, shown, asked)
        except Exception:
            logger.exception("no further image could be looked at beside painting %s", pk)


def answered(pk: int, kind: str, work: Callable[[int, LiveRequest], dict[str, Any]], failed: str) -> None:
    """Take the newest request of a kind for a painting, and give back what `work` makes of it, or what went wrong;
    `failed` is the message of an unexpected error."""
    try:
        asked = live_exchange.take(pk, kind)
    except (redis.RedisError, OSError) as error:
        logger.warning("live request (%s) for painting %s could not be read: %s", kind, pk, error)
        return
    if asked is None:
        return
    try:
        body = work(pk, asked)
    except Painting.DoesNotExist:
        body = _error("not_found", "This image was removed in the meantime.")
    except InvalidFile as refused:
        body = _error("refused", refused.message)
    except BaseMissing as error:
        body = _error("no_base", str(error))
    except Exception:
        logger.exception("live request (%s) for painting %s failed", kind, pk)
        body = _error("failed", failed)
    try:
        live_exchange.answer(asked.token, body)
    except (redis.RedisError, OSError) as error:
        logger.warning("live answer (%s) for painting %s could not be sent: %s", kind, pk, error)


def make_model(pk: int) -> None:
    """Make the live head of a painting's set a model, and its visitor's active one."""
    try:
        asked = live_exchange.take(pk, "model")
        if asked is None:
            return
        try:
            body = _made(pk, asked)
        except (BaseMissing, InvalidFile, Painting.DoesNotExist) as error:
            body = _error("refused", str(error))
        except Exception:
            logger.exception("no model could be made of painting %s", pk)
            body = _error("failed", "The model could not be made. Your strokes are saved; train one instead.")
        live_exchange.answer(asked.token, body)
    except (redis.RedisError, OSError) as error:
        logger.warning("live model of painting %s: %s", pk, error)


def _made(pk: int, asked: LiveRequest) -> dict[str, Any]:
    painting = Painting.objects.select_related("example").get(pk=pk)
    labels = example_files.painted_values(painting.example)
    with ExitStack() as stack:
        net, parent = network_of(asked.model, stack)
        samples, images, _ = _samples(net, painting, labels, list(asked.classes), seconds=MODEL_SECONDS)
        head = live.fit(samples)
        if head is None:
            return _error("refused", WAITING)
        ready = (registry.base_of(parent) if parent is not None else None) or networks.server_base()
        classes = [ClassInfo(row["id"], row["name"], row["color"]) for row in asked.classes]
        side = max(painting.example.width, painting.example.height)
        spec, tensors = live_network(net, head, classes, side)
        base = stack.enter_context(networks.runtime().use_base(ready))
        own = {
            name: tensor for name, tensor in changed_tensors(base, net.module).items() if name.startswith("encoder.")
        }
        visitor = painting.example.visitor
        trained = Trained(
            spec=spec,
            tensors=tensors | own,
            metrics={"sentence": "Made of the live answer to strokes, without a training, so it was not scored."},
            steps=0,
            seconds=0.0,
            recipe={"live": True, "images": images},
        )
        model = publish(
            visitor, trained, name=registry.default_name(visitor), base=ready, image_count=images, parent=parent
        )
    return {"model": model.public_id}


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


def _answer(pk: int, asked: LiveRequest, heads: list[tuple[LiveHead, list[ClassInfo], LiveRequest]]) -> dict[str, Any]:
    began = time.perf_counter()
    painting = Painting.objects.select_related("example").get(pk=pk)
    example = painting.example
    classes = list(asked.classes or painting.classes)
    with ExitStack() as stack:
        net, model = network_of(asked.model, stack)
        store = networks.live_cache()
        labels = _labels(example, asked)
        samples, images, partial_ = _samples(net, painting, labels, classes)
        head = live.fit(samples)
        fitted_at = time.perf_counter()
        height, width = fitted(example.height, example.width, min(SHOWN_SIDE, max(example.height, example.width)))
        if head is not None:
            rows = {row["id"]: row for row in classes}
            shown = [ClassInfo(one, rows[one]["name"], rows[one]["color"]) for one in head.ids]
            heads.append((head, shown, asked))
            read = partial(example_files.image_of, example)
            logits = live.live_logits(live.kept(store, net, example.public_id, read), head)
            ids, confidence = decide(logits, height, width, shown)
        elif model is not None and {c.id for c in net.spec.classes} <= {row["id"] for row in classes}:
            found = predict(net, example_files.image_of(example))
            ids = np.asarray(Image.fromarray(found.ids).resize((width, height), Image.Resampling.NEAREST))
            confidence = found.coarse_confidence
        else:
            return {"state": "waiting", "message": WAITING}
    counts = np.bincount(ids.ravel(), minlength=256)
    scale = example.width * example.height / ids.size
    every = [ClassInfo(row["id"], row["name"], row["color"]) for row in classes]
    return {
        "state": "answered",
        "width": width,
        "height": height,
        "mask": _png(ids),
        "confidence": _png(_small(confidence)),
        "classes": class_areas(every, [counts[c.id] * scale for c in every], example.width * example.height),
        "doubt": doubt(ids, confidence),
        "mean_confidence": round(float(confidence.mean()) / 255, 4),
        "by": "live" if head is not None else "model",
        "by_name": model.name if model is not None else "",
        "images": images,
        "strokes": int((labels != IGNORE).sum()),
        "partial": partial_,
        "proposal": not (labels != IGNORE).any(),
        "timings": {
            "fit": round((fitted_at - began) * 1000, 1),
            "total": round((time.perf_counter() - began) * 1000, 1),
        },
    }


def _look_ahead(pk: int, head: LiveHead, shown: list[ClassInfo], asked: LiveRequest) -> None:
    """Doubt and distance of one image that was not opened yet, while its visitor looks at the answer: one after
    each answer and only while no request waits, so that none waits for more than one image. Its features are there
    when it is opened."""
    painting = Painting.objects.select_related("example").get(pk=pk)
    ahead = intake.drafts(painting.example.visitor).filter(
        runs=None, painting__empty=True, painting__doubt=None, painting__corrects=painting.corrects_id
    )
    example = ahead.exclude(pk=painting.example_id).first()
    if example is None:
        return
    with ExitStack() as stack:
        net, _ = network_of(asked.model, stack)

        def features(one: Example) -> ImageFeatures:
            return live.kept(networks.live_cache(), net, one.public_id, partial(example_files.image_of, one))

        own = features(example)
        ids, confidence = decide(live.live_logits(own, head), *own.size, shown)
        unlike = live.unlike(own, [features(one) for one in _painted(painting)[:MAX_COMPARED]])
    Painting.objects.filter(example=example, empty=True, doubt=None).update(
        doubt=doubt(ids, confidence), unlike=round(unlike, 4)
    )


def network_of(model: int | None, stack: ExitStack) -> tuple[LoadedNetwork, UserModel | None]:
    """The model to start from, else the server's base. Raises BaseMissing."""
    row = UserModel.objects.filter(pk=model).first() if model is not None else None
    if row is not None:
        try:
            return stack.enter_context(networks.runtime().use(networks.reference(row))), row
        except (ModelFileMissing, ModelFileDamaged, BaseMissing) as error:
            logger.warning("%s", error)
    return stack.enter_context(networks.runtime().use_base(networks.server_base())), None


def _labels(example: Example, asked: LiveRequest) -> np.ndarray:
    if not asked.mask:
        return example_files.painted_values(example)
    with Image.open(io.BytesIO(asked.mask)) as sent:
        return np.array(sent, dtype=np.uint8)


def _samples(
    net: LoadedNetwork,
    painting: Painting,
    labels: np.ndarray,
    classes: list[dict[str, Any]],
    seconds: float = READ_SECONDS,
) -> tuple[list[Samples], int, bool]:
    """What is painted on this image and on the visitor's others; on how many; whether some are still to be read."""
    allowed = [row["id"] for row in classes]
    deadline = time.perf_counter() + seconds
    found: list[Samples] = []
    left = False
    for example in _painted(painting):
        if found and time.perf_counter() > deadline:
            left = True
            break
        own = example.pk == painting.example_id
        values = labels if own else painted.as_mask(
            example_files.painted_values(example), example.painting.unpainted
        ).codes  # fmt: skip
        values = np.where(np.isin(values, allowed), values, np.uint8(IGNORE))
        if (values == IGNORE).all():
            continue
        stamp = hash(values.tobytes()) if own else example.painting.revision
        image = PaintedImage(example.public_id, partial(example_files.image_of, example), values, ("strokes", stamp))
        found.append(live.samples_of(networks.live_cache(), net, image))
    return found, len(found), left


def _painted(painting: Painting) -> list[Example]:
    """The image at hand, then the visitor's other open images with paint that mean the same by their classes."""
    others = intake.drafts(painting.example.visitor).filter(
        painting__empty=False, painting__corrects=painting.corrects_id
    )
    return [painting.example, *(other for other in others if other.pk != painting.example_id)]


def _small(confidence: np.ndarray) -> np.ndarray:
    """At most 256 pixels a side: it is looked at through smoothing anyway."""
    image = Image.fromarray(confidence)
    image.thumbnail((256, 256), Image.Resampling.BILINEAR)
    return np.asarray(image)


def _png(values: np.ndarray) -> str:
    out = io.BytesIO()
    Image.fromarray(values).save(out, "PNG", compress_level=1)
    return base64.b64encode(out.getvalue()).decode()
