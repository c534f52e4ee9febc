"""A visitor of the soak test: comes, trains, analyzes, resets, shares, leaves and comes back, and checks every answer.

Plain HTTP. What the server refuses for a while (503, 507, no answer) is asked again; what it may never do is counted.
"""

import io
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

from PIL import Image, ImageDraw

from segapp.bench.client import Answer, Client, Upload

SIDE = 96
LATER = {0, 429, 502, 503, 507}  # try again; 0: no answer came
EXPECTED = {200, 201, 202, 204, 404, 409} | LATER
PATIENCE = 240.0  # seconds in which nothing of a run moves, neither itself nor what waits before it: it is stuck


@dataclass
class Tally:
    """What all visitors saw; the lists are what was lost."""

    requests: Counter[str] = field(default_factory=Counter)  # by status
    errors: list[str] = field(default_factory=list)
    lost_models: list[str] = field(default_factory=list)
    wrong_answers: list[str] = field(default_factory=list)
    stuck_runs: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)  # trainings, analyses, resets, shares, returns
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, what: str, status: int, path: str) -> None:
        with self._lock:
            self.requests[str(status) if status else "no answer"] += 1
            if status not in EXPECTED:
                self.errors.append(f"{status} {what} {path}")

    def add(self, kind: list[str], words: str) -> None:
        with self._lock:
            kind.append(words)

    def count(self, what: str) -> None:
        with self._lock:
            self.done[what] += 1


class SoakVisitor:
    """`url` gives the server's present address; `stop` is set when it is time to finish."""

    def __init__(self, number: int, url: str, tally: Tally, stop: threading.Event) -> None:
        self._rng = random.Random(number)
        self._url, self._tally, self._stop = url, tally, stop
        self._client = Client(url)
        self._token = ""
        self._models: list[str] = []  # public ids, oldest first
        self._run = ""  # status URL of a run that has not been seen to end
        self._masks: dict[str, bytes] = {}  # model key -> its mask of the one image
        self._image = disc(number)[0]

    def live(self) -> None:
        """Act until it is time to stop, then finish the run under way and look whether every model is still there."""
        while not self._stop.is_set():
            act = self._rng.choices(
                [self.train, self.analyze, self.reset, self.share, self.come_back], weights=[3, 5, 1, 1, 1]
            )[0]
            act()
            self._stop.wait(self._rng.uniform(0.1, 1.0))
        self.finish()

    def train(self) -> None:
        if self._run:
            self._follow(20)
            return
        uploads = [upload for n in range(3) for upload in pair(self._rng.randrange(10_000), f"disc{n}.png")]
        answer = self._ask("POST", "/api/finetune", {}, uploads)
        if answer is not None and answer.status in (202, 409):  # 409: accepted before, and the answer was lost
            found = answer.json().get("status_url") or answer.headers.get("Location", "")
            self._run = found
            self._follow(30)

    def analyze(self) -> None:
        answer = self._ask("POST", "/api/segment", {}, [("file", "image.png", self._image)])
        if answer is None or answer.status != 200:
            return
        found = answer.json()
        key = found["model_key"]
        if key.startswith("user_") and key.removeprefix("user_") not in self._models and not self._run:
            self._tally.add(self._tally.wrong_answers, f"answered by {key}, which is not this visitor's")
        mask = self._ask("GET", found["mask_url"])
        if mask is None or mask.status != 200:
            return
        self._tally.count("analyses")
        before = self._masks.setdefault(found["model_sha256"], mask.body)
        if before != mask.body:
            self._tally.add(self._tally.wrong_answers, f"another mask than before by {key}")

    def reset(self) -> None:
        answer = self._ask("POST", "/api/reset-to-base-model")
        if answer is not None and answer.status == 200:
            self._tally.count("resets")
        if self._models:
            self._ask("POST", f"/api/models/{self._rng.choice(self._models)}/activate")

    def share(self) -> None:
        if not self._models:
            return
        answer = self._ask("POST", f"/api/models/{self._models[-1]}/shares", {"label": "soak"})
        if answer is None or answer.status != 201:
            return
        link = answer.json()
        guest = SoakVisitor(self._rng.randrange(10**6), self._url, self._tally, self._stop)
        sent = {"share": str(link.get("token", ""))}
        result = guest._ask("POST", "/api/segment", sent, [("file", "image.png", self._image)])
        if result is not None and result.status == 200:
            self._tally.count("shares")
            self._check_guest(result.json(), self._models[-1])

    def _check_guest(self, found: dict[str, Any], shared: str) -> None:
        """The shared model answered, and its id was kept from the guest."""
        if shared in json.dumps(found):
            self._tally.add(self._tally.wrong_answers, f"the guest of a share link learnt the id {shared}")
        listed = self._ask("GET", "/api/models")
        if listed is None or listed.status != 200:
            return
        digests = [model["sha256"] for model in listed.json()["models"] if model["id"] == shared]
        if digests and digests != [found["model_sha256"]]:
            self._tally.add(self._tally.wrong_answers, f"a share link to {shared} was answered by {found['model_key']}")

    def come_back(self) -> None:
        """As another browser that has the token only."""
        if not self._token or not self._models:
            return
        self._client = Client(self._url)
        sent = {"user_id": self._models[-1], "token": self._token}
        answer = self._ask("POST", "/api/load-user-model", sent)
        if answer is not None and answer.status == 200:
            self._tally.count("returns")
            self._client.cookies.pop("csrftoken", None)
        elif answer is not None and answer.status == 404:
            self._tally.add(self._tally.lost_models, f"the token did not bring back {self._models[-1]}")

    def finish(self) -> None:
        """Wait for the last run, then count the models."""
        if self._run and not self._follow(PATIENCE, moving=True):
            self._tally.add(self._tally.stuck_runs, self._run)
        if not self._models:
            return
        answer = self._ask("GET", "/api/models")
        listed = {row["id"]: row["file_state"] for row in answer.json()["models"]} if answer else {}
        for model in self._models:
            if listed.get(model) != "ok":
                self._tally.add(self._tally.lost_models, f"{model}: {listed.get(model, 'not listed')}")

    def _follow(self, seconds: float, moving: bool = False) -> bool:
        """Look at the run until it ends, for so long at most; whether it ended. `moving`: the time begins again
        whenever something of it has changed."""
        deadline, before = time.monotonic() + seconds, None
        while time.monotonic() < deadline:
            answer = self._ask("GET", self._run, wait=False)
            if answer is not None and answer.status == 200:
                run = answer.json()
                if run["state"] in ("done", "failed", "cancelled"):
                    self._ended(run)
                    return True
                now = [run[key] for key in ("state", "progress", "queue_position", "wait_seconds")]
                if moving and now != before:
                    deadline, before = time.monotonic() + seconds, now
            time.sleep(0.5)
        return False

    def _ended(self, run: dict[str, object]) -> None:
        self._run = ""
        if run["state"] != "done":
            self._tally.count(f"trainings {run['state']}")
            return
        self._tally.count("trainings")
        self._models.append(str(run["user_id"]))
        self._token = str(run["restore_token"] or self._token)

    def _ask(
        self,
        method: str,
        path: str,
        fields: dict[str, str] | None = None,
        files: Sequence[Upload] = (),
        wait: bool = True,
    ) -> Answer | None:
        """The answer, asked again while the server says "later"; None when that lasted too long."""
        deadline = time.monotonic() + (60 if wait else 0)
        while True:
            try:
                if method == "GET":
                    answer = self._client.get(path, timeout=30)
                else:
                    answer = self._client.post(path, fields, files, timeout=75)
                status = answer.status
            except (OSError, HTTPException, ValueError, json.JSONDecodeError):
                answer, status = None, 0
            self._tally.note(method, status, path)
            if status not in LATER or time.monotonic() > deadline:
                return answer if status not in LATER else None
            time.sleep(1.0)


def pair(seed: int, name: str) -> list[Upload]:
    image, mask = disc(seed)
    return [("images", name, image), ("masks", name, mask)]


def disc(seed: int) -> tuple[bytes, bytes]:
    """A red disc on green, and its mask of 0 and 1, as PNGs."""
    rng = random.Random(seed)
    image, mask = Image.new("RGB", (SIDE, SIDE), "#2f7d4f"), Image.new("L", (SIDE, SIDE), 0)
    r = rng.randint(SIDE // 8, SIDE // 4)
    x, y = rng.randint(r, SIDE - r), rng.randint(r, SIDE - r)
    ImageDraw.Draw(image).ellipse((x - r, y - r, x + r, y + r), fill="#c03030")
    ImageDraw.Draw(mask).ellipse((x - r, y - r, x + r, y + r), fill=1)
    return _png(image), _png(mask)


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
