"""Requests at a server: one after the other, or at a given rate whatever the server does. Bounded in count and time.

At a rate, a request's latency counts from when it was due, so that a server that falls behind cannot hide it.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from segapp.bench.client import Client

MAX_REQUESTS = 20_000
MAX_SECONDS = 1800.0
MAX_AT_ONCE = 64  # threads that send; more would measure this process


@dataclass(frozen=True)
class Visitor:
    """Who asks, and the model that is theirs; `model` counts the published ones, -1 is the base."""

    client: Client
    model: int
    key: str


@dataclass
class Sent:
    """One request and how it ended. `status` 0 means that no answer came."""

    visitor: Visitor
    image: int
    status: int = 0
    seconds: float = 0.0
    code: str = ""
    retry_after: str = ""
    model_key: str = ""
    inference_ms: float = 0.0
    mask: bytes = b""


Images = Callable[[int], bytes]


def one_by_one(visitors: Sequence[Visitor], images: Images, first: int = 0) -> list[Sent]:
    """Each visitor sends one image when the one before has its answer; images are numbered from `first`."""
    deadline = time.monotonic() + MAX_SECONDS
    sent = []
    for number, visitor in enumerate(visitors[:MAX_REQUESTS]):
        if time.monotonic() > deadline:
            break
        sent.append(ask(visitor, first + number, images))
    fetch_masks(sent)
    return sent


def at_rate(visitors: Sequence[Visitor], rate: float, images: Images, first: int = 0) -> tuple[list[Sent], float]:
    """Send `rate` requests a second, never waiting for answers; returns them and the seconds until the last answer."""
    visitors = visitors[: min(MAX_REQUESTS, int(rate * MAX_SECONDS) + 1)]
    began = time.monotonic()
    bodies = threading.Semaphore(2 * MAX_AT_ONCE)  # encoded images in memory at a time

    def send(number: int, visitor: Visitor) -> Sent:
        try:
            return ask(visitor, first + number, images, due=began + number / rate)
        finally:
            bodies.release()

    with ThreadPoolExecutor(MAX_AT_ONCE) as pool:
        futures = []
        for number, visitor in enumerate(visitors):
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            bodies.acquire()
            futures.append(pool.submit(send, number, visitor))
        sent = [future.result() for future in futures]
    took = time.monotonic() - began
    fetch_masks(sent)
    return sent, took


def ask(visitor: Visitor, image: int, images: Images, due: float | None = None) -> Sent:
    """One POST /api/segment; whatever goes wrong is in the answer."""
    sent = Sent(visitor, image)
    body = images(image)
    began = time.monotonic() if due is None else due
    try:
        answer = visitor.client.post("/api/segment", {}, [("file", "image.png", body)], timeout=120)
        found: Any = answer.json()
    except (OSError, ValueError) as error:
        sent.code = type(error).__name__
    else:
        sent.status = answer.status
        sent.retry_after = answer.headers.get("Retry-After", "")
        sent.code = found.get("error", {}).get("code", "")
        sent.model_key = found.get("model_key", "")
        sent.inference_ms = found.get("inference_ms") or 0.0
        sent.mask = found.get("mask_url", "").encode()
    sent.seconds = time.monotonic() - began
    return sent


def fetch_masks(sent: Sequence[Sent]) -> None:
    """Put the mask's PNG where its address was; outside of what is timed."""
    for one in sent:
        if one.mask:
            answer = one.visitor.client.get(one.mask.decode())
            one.mask = answer.body if answer.status == 200 else b""


def summary(sent: Sequence[Sent], seconds: float | None = None) -> dict[str, Any]:
    """Latencies in ms of what was answered, and how the others ended."""
    answered = sorted(one.seconds * 1000 for one in sent if one.status == 200)
    turned_away = [one for one in sent if one.status == 503 and one.retry_after]
    failed = [one for one in sent if one.status != 200 and one not in turned_away]
    found: dict[str, Any] = {
        "requests": len(sent),
        "answered": len(answered),
        "turned_away": len(turned_away),
        "errors": len(failed),
        "p50_ms": percentile(answered, 50),
        "p95_ms": percentile(answered, 95),
        "p99_ms": percentile(answered, 99),
        "mean_ms": round(sum(answered) / len(answered), 1) if answered else None,
        "inference_ms": percentile(sorted(one.inference_ms for one in sent if one.status == 200), 50),
    }
    if failed:
        found["errors_by_kind"] = dict(Counter(f"{one.status} {one.code}".strip() for one in failed))
    if seconds:
        found["per_second"] = round(len(answered) / seconds, 2)
        found["seconds"] = round(seconds, 1)
    return found


def percentile(ordered: Sequence[float], percent: float) -> float | None:
    """The nearest-rank percentile of values in ascending order."""
    if not ordered:
        return None
    rank = max(1, -(-len(ordered) * percent // 100))
    return round(ordered[int(rank) - 1], 1)
