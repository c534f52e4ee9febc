"""A visitor of `bench load`: opens pages and sends photos as a browser does, and thinks in between.

A page is there when its HTML and the files it shows are. Script, style and icons are not fetched: a browser has them
from the first page on. Knows nothing of levels.
"""

import random
import re
import threading
import time
from collections.abc import Callable
from html import unescape
from http.client import HTTPException

from segapp.bench.client import Answer, Client
from segapp.bench.load_levels import ANALYZE, OK, PAGE, REFUSED, Act

THINK_SECONDS = (2.0, 4.0)
# As templates/analyze/waiting.html asks for a result that is not there yet.
FIRST_LOOK_SECONDS, LOOK_SECONDS = 0.1, 3.0
PATIENCE = 90.0  # seconds that a visitor waits for a result
HTMX = {"HX-Request": "true"}
SHOWN = re.compile(r'(?:src|data-ids|data-confidence)="(/files/[^"]+)"')


class Refused(Exception):
    """The server answered 503."""


class Failed(Exception):
    """The server answered with an error, or not as a visitor expects; the message is short and names it."""


class LoadVisitor:
    """`client`: with the visitor's cookie where the server knows them already. `model`: the public id of their own
    model, or "". `photo` gives an image's file that was not sent lately. The lists are read when no visitor acts."""

    def __init__(self, number: int, client: Client, model: str, photo: Callable[[], bytes]) -> None:
        self.acts: list[Act] = []
        self.requests: list[float] = []  # when each was sent, monotonic
        self._rng = random.Random(number)
        self._client, self._photo = client, photo
        self._pages = ["/finetune/", "/video/", f"/models/{model}/" if model else "/models/"]
        self._loaded: set[str] = set()  # files that this browser keeps

    def live(self, stop: threading.Event) -> None:
        """Open Analyze, send a photo, open another page, and so on, until `stop`."""
        stop.wait(self._rng.uniform(0, sum(THINK_SECONDS)))  # they do not come all in one moment
        while True:
            for kind, act in ((PAGE, self._open_analyze), (ANALYZE, self._analyze), (PAGE, self._open_another)):
                if stop.is_set():
                    return
                self._do(kind, act)
                stop.wait(self._rng.uniform(*THINK_SECONDS))

    def _do(self, kind: str, act: Callable[[], None]) -> None:
        began, outcome = time.monotonic(), OK
        try:
            act()
        except Refused:
            outcome = REFUSED
        except (Failed, OSError, HTTPException) as error:
            outcome = str(error) if isinstance(error, Failed) else type(error).__name__
        self.acts.append(Act(kind, began, time.monotonic() - began, outcome))

    def _open_analyze(self) -> None:
        self._show(self._get("/analyze/"))

    def _open_another(self) -> None:
        self._show(self._get(self._rng.choice(self._pages)))

    def _analyze(self) -> None:
        body = self._photo()
        self.requests.append(time.monotonic())
        answer = self._client.post("/analyze/", {}, [("file", "photo.jpg", body)], headers=HTMX)
        page = _checked(answer, "POST /analyze/")
        address, sent = answer.headers.get("HX-Push-Url", ""), time.monotonic()
        if not address:
            raise Failed("an image was not taken")
        due = sent + FIRST_LOOK_SECONDS
        while 'id="waiting"' in page:
            if time.monotonic() > sent + PATIENCE:
                raise Failed("no result came")
            time.sleep(max(0.0, due - time.monotonic()))
            page = self._get(address, HTMX) or page  # 204: nothing new
            due = sent + LOOK_SECONDS * ((time.monotonic() - sent) // LOOK_SECONDS + 1)
        if "data-classes" not in page:
            raise Failed("an image has no result")
        self._show(page)

    def _get(self, path: str, headers: dict[str, str] | None = None) -> str:
        self.requests.append(time.monotonic())
        return _checked(self._client.get(path, headers=headers), f"GET {path.split('/')[1]}")

    def _show(self, page: str) -> None:
        """Load what the page shows and this browser does not have yet."""
        for address in dict.fromkeys(map(unescape, SHOWN.findall(page))):
            if address not in self._loaded:
                self.requests.append(time.monotonic())
                answer = self._client.get(address)
                _checked(answer, "GET files", text=False)
                self._loaded.add(address)


def _checked(answer: Answer, what: str, text: bool = True) -> str:
    """The answer's text. Raises Refused and Failed."""
    if answer.status == 503:
        raise Refused
    if answer.status not in (200, 204):
        raise Failed(f"{answer.status} {what}")
    return answer.body.decode() if text else ""
