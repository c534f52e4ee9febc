"""`bench live` inside its own home: visitors paint at once on a running service, and each waits for its answers.

A session is as a person's: a few strokes on an image, saved, then the next image, whose proposal is waited for, too.
"""

import io
import json
import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from PIL import Image

from segapp.bench.client import Client
from segapp.bench.group import Group
from segapp.bench.load import percentile
from segapp.bench.scribbles import scribbled
from segapp.imaging import sample
from segapp.pipeline.constants import IGNORE

VISITORS = 3
IMAGES = 5  # of a visitor
SIDE = 1024  # pixels: an image is one megapixel
ON_AN_IMAGE = 4  # strokes before the visitor goes on to the next one
CLICKS = 5  # for a region on each image
PAUSE = 0.5  # seconds between an answer and the next stroke of a fast hand
BESIDE_PAUSE = 1.0  # seconds between the images that another visitor sends meanwhile


@dataclass
class Session:
    """What one visitor waited for, in seconds: the very first answer, those after a stroke, those to a new image."""

    first: float = 0.0
    strokes: list[float] = field(default_factory=list)
    opened: list[float] = field(default_factory=list)
    worker: list[float] = field(default_factory=list)  # of it in the worker, after a stroke
    failed: list[str] = field(default_factory=list)


def run(strokes: int) -> dict[str, Any]:
    """So many strokes of each of VISITORS visitors at once; with pauses, and then without. The home must be empty."""
    with Group(Path(settings.SEGAPP_HOME)) as group:
        log(f"{VISITORS} visitors paint {strokes} strokes each ...")
        alone = _segment_for(group.url, 15.0)
        beside: list[float] = []
        over = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(_segment_until, group.url, over, beside)
            began = time.monotonic()
            found = _paint(group.url, strokes, PAUSE, 0)
            took = time.monotonic() - began
            over.set()
            other.result()
        log("The same without pauses ...")
        began = time.monotonic()
        fast = _paint(group.url, strokes, 0.0, 100)
        fast_took = time.monotonic() - began
        log("Regions from clicks ...")
        clicks = _click(group.url)
        cache = group.cache()
    return {
        **figures(found, took),
        "without_pauses": figures(fast, fast_took),
        "region": {"p50_ms": _ms(clicks, 50), "p95_ms": _ms(clicks, 95), "answered": len(clicks)},
        "segment": {"alone_p50_ms": _ms(alone, 50), "beside_p50_ms": _ms(beside, 50), "beside_p95_ms": _ms(beside, 95)},
        "live_mb": round(cache.get("live_bytes", 0) / 2**20, 1),
    }


def figures(sessions: list[Session], seconds: float) -> dict[str, Any]:
    """Milliseconds; `first_ms` is the slowest of the visitors' first answers."""
    strokes = [one for session in sessions for one in session.strokes]
    opened = [one for session in sessions for one in session.opened]
    failed = [one for session in sessions for one in session.failed]
    return {
        "p50_ms": _ms(strokes, 50),
        "p95_ms": _ms(strokes, 95),
        "first_ms": _ms([session.first for session in sessions], 100),
        "opened_p50_ms": _ms(opened, 50),
        "opened_p95_ms": _ms(opened, 95),
        "worker_p50_ms": _ms([one for session in sessions for one in session.worker], 50),
        "answered": len(strokes) + len(opened),
        "failed": failed,
        "strokes_per_second": round(len(strokes) / seconds, 2),
    }


def _ms(seconds: list[float], percent: float) -> float | None:
    return percentile(sorted(1000 * one for one in seconds), percent)


def _paint(url: str, strokes: int, pause: float, seed: int) -> list[Session]:
    visitors = [Painter(url, seed + number) for number in range(VISITORS)]
    with ThreadPoolExecutor(VISITORS) as pool:
        return list(pool.map(lambda visitor: visitor.paint(strokes, pause), visitors))


def _click(url: str) -> list[float]:
    """Seconds that clicks of VISITORS visitors at once take, on images that were prepared when the tool was chosen."""
    visitors = [Painter(url, 200 + number) for number in range(VISITORS)]
    with ThreadPoolExecutor(VISITORS) as pool:
        return [one for found in pool.map(lambda visitor: visitor.click(), visitors) for one in found]


class Painter:
    """A visitor with IMAGES photos of one megapixel to paint on."""

    def __init__(self, url: str, seed: int) -> None:
        self._client, self._seed, self._sequence = Client(url), seed, 0
        self._drawn = [_scene(seed * IMAGES + number) for number in range(IMAGES)]
        self._classes = json.dumps(
            [{"id": one, "name": f"class {one}", "color": f"#{one:02x}80c0"} for one in _ids(self._drawn)]
        )
        files = [
            ("images", f"photo{k}.png", _png(image)) for k, (image, _) in enumerate(self._drawn)
        ]  # fmt: skip
        self._client.get("/finetune/")
        address = self._client.post("/finetune/paint/", {}, files).headers["Location"]
        page = self._client.get(address).body.decode()
        found = [part.split("/")[0] for part in page.split("/finetune/paint/")[1:]]
        first = address.split("/")[3]
        self._ids = list(dict.fromkeys([first, *(one for one in found if len(one) > 20)]))

    def paint(self, strokes: int, pause: float) -> Session:
        """Paint and wait, image after image."""
        session, rng, number = Session(), random.Random(self._seed), 0
        masks = [np.full_like(truth, IGNORE) for _, truth in self._drawn]
        pending = [_strokes(truth, strokes, self._seed) for _, truth in self._drawn]
        while number < strokes:
            place = (number // ON_AN_IMAGE) % IMAGES
            if number % ON_AN_IMAGE == 0 and number:
                self._ask(session, place, None, session.opened)
            for piece in pending[place][number % ON_AN_IMAGE :: ON_AN_IMAGE][:2]:
                np.copyto(masks[place], piece, where=piece != IGNORE)
            self._ask(session, place, masks[place], session.strokes)
            number += 1
            if number % ON_AN_IMAGE == 0:
                self._save(place, masks[place])
            time.sleep(pause * rng.uniform(0.5, 1.5))
        return session

    def click(self) -> list[float]:
        """CLICKS clicks on each image, one region an image; seconds of those that were answered."""
        rng, found = random.Random(self._seed), []
        for public_id in self._ids:
            clicks: list[tuple[float, float, int]] = []
            for number in range(CLICKS + 1):
                self._sequence += 1
                fields = {"editor": f"{self._seed:032x}", "sequence": str(self._sequence), "clicks": json.dumps(clicks)}
                began = time.monotonic()
                answer = self._client.post(f"/finetune/paint/{public_id}/region", fields)
                seconds = time.monotonic() - began
                if answer.status == 200 and answer.json().get("state") == "answered":
                    found.append(seconds)
                clicks.append((rng.uniform(0, SIDE - 1), rng.uniform(0, SIDE - 1), int(number % 2 == 0)))
                time.sleep(PAUSE * rng.uniform(0.5, 1.5))
        return found

    def _ask(self, session: Session, place: int, mask: np.ndarray | None, times: list[float]) -> None:
        self._sequence += 1
        fields = {"editor": f"{self._seed:032x}", "sequence": str(self._sequence), "classes": self._classes}
        files = [] if mask is None else [("mask", "mask.png", _png(mask))]
        began = time.monotonic()
        answer = self._client.post(f"/finetune/paint/{self._ids[place]}/live", fields, files)
        seconds = time.monotonic() - began
        state = answer.json().get("state") if answer.status == 200 else str(answer.status)
        if state not in ("answered", "waiting"):
            session.failed.append(state)
        elif self._sequence == 1:
            session.first = seconds
        elif state == "answered":
            times.append(seconds)
            session.worker.append(answer.json()["timings"]["total"] / 1000)

    def _save(self, place: int, mask: np.ndarray) -> None:
        fields = {"base": "0", "editor": f"{self._seed:032x}", "sequence": str(self._sequence), "unpainted": "255"}
        sent = {**fields, "classes": self._classes}
        self._client.post(f"/finetune/paint/{self._ids[place]}/mask", sent, [("mask", "mask.png", _png(mask))])


def _scene(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A drawn image of one megapixel and its mask."""
    image, ids = sample.draw(number)
    large = Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(large), np.asarray(Image.fromarray(ids).resize((SIDE, SIDE), Image.Resampling.NEAREST))


def _ids(drawn: list[tuple[np.ndarray, np.ndarray]]) -> list[int]:
    return sorted({int(one) for _, truth in drawn for one in np.unique(truth)} - {IGNORE})


def _strokes(truth: np.ndarray, count: int, seed: int) -> list[np.ndarray]:
    """Masks with one stroke each, the classes by turns."""
    ids = [int(one) for one in np.unique(truth) if one != IGNORE]
    return [scribbled([truth], [ids[k % len(ids)]], 1, seed + k)[0] for k in range(count)]


def _segment_for(url: str, seconds: float) -> list[float]:
    found: list[float] = []
    over = threading.Event()
    timer = threading.Timer(seconds, over.set)
    timer.start()
    _segment_until(url, over, found)
    return found


def _segment_until(url: str, over: threading.Event, times: list[float]) -> None:
    """Another visitor sends one image after the other."""
    client, number = Client(url), 0
    while not over.is_set():
        content = _png(_scene(5000 + number % 7)[0])
        began = time.monotonic()
        if client.post("/api/segment", {}, [("file", "image.png", content)]).status == 200:
            times.append(time.monotonic() - began)
        number += 1
        over.wait(BESIDE_PAUSE)


def _png(values: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(values).save(out, "PNG", compress_level=1)
    return out.getvalue()


def log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
