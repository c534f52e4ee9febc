"""What a call does, step by step, apart from how bytes travel: the same for the sync and the async client.

A flow is a generator. It yields what is to be done (a request, a pause, telling a callback), gets the answer back, and
returns the call's result. `Segapp` and `AsyncSegapp` carry flows out.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from segapp_client._uploads import Upload
from segapp_client.errors import (
    ConnectionFailed,
    JobCancelled,
    JobFailed,
    SegappError,
    ServerError,
    TimedOut,
    Unavailable,
    error_from,
)
from segapp_client.results import Progress

T = TypeVar("T")
OnProgress = Callable[[Progress], Any]
SAFE = ("GET", "DELETE")  # may be sent again when it is unknown whether it arrived
PASSING = (502, 503, 504)  # what a proxy answers while the server behind it restarts
FIRST_LOOK, LONGEST_LOOK = 0.3, 2.0  # seconds between two looks at work in progress
BACK_OFF = 0.5  # seconds before the second attempt; doubles with each


@dataclass(frozen=True)
class Call:
    """A request. `into`: write the body to this file instead of giving it back."""

    method: str
    path: str
    data: Mapping[str, str] = field(default_factory=dict)
    uploads: Sequence[Upload] = ()
    into: Path | None = None


@dataclass(frozen=True)
class Pause:
    seconds: float


@dataclass(frozen=True)
class Tell:
    on_progress: OnProgress
    progress: Progress


@dataclass(frozen=True)
class Answer:
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""

    def json(self) -> dict[str, Any]:
        found = self.body()
        if not isinstance(found, dict):
            raise ServerError("The answer is not JSON. Does the address lead to a Segapp server?", status=self.status)
        return found

    def body(self) -> Any:
        try:
            return json.loads(self.content)
        except ValueError:
            return None


Step = Call | Pause | Tell
Flow = Generator[Step, Answer, T]


@dataclass(frozen=True)
class Patience:
    """How often a refused request is sent again, and how many seconds each wait may take at most."""

    retries: int = 5
    max_wait: float = 60.0

    def pause(self, error: SegappError, call: Call, attempt: int) -> float | None:
        """Seconds until the next attempt; None when there is none to be made."""
        if attempt >= self.retries:
            return None
        if isinstance(error, ConnectionFailed):
            again = not error.sent or call.method in SAFE
        elif error.location and call.uploads:
            return None  # it was accepted, and is to be looked at there
        elif error.retry_after is not None:
            return error.retry_after if error.retry_after <= self.max_wait else None
        else:
            again = error.status in PASSING and not error.code and call.method in SAFE
        return min(self.max_wait, BACK_OFF * 2**attempt * random.uniform(0.75, 1.25)) if again else None


def request(call: Call, patience: Patience) -> Flow[Answer]:
    """The answer to a call that was not refused. Raises SegappError."""
    attempt = 0
    while True:
        try:
            answer = yield call
            if answer.status < 300:
                return answer
            raise refusal(answer)
        except SegappError as error:
            pause = patience.pause(error, call, attempt)
            if pause is None:
                raise
        attempt += 1
        yield Pause(pause)


def refusal(answer: Answer) -> SegappError:
    location = answer.headers.get("location", "")
    if 300 <= answer.status < 400:
        return SegappError(f"The server redirects to {location}. Use that address instead.", status=answer.status)
    return error_from(answer.status, answer.body(), _seconds(answer.headers.get("retry-after")), _own(location))


def follow(
    path: str, patience: Patience, on_progress: OnProgress | None, seconds: float | None
) -> Flow[dict[str, Any]]:
    """The status of a piece of work when it is done.

    Raises JobFailed and JobCancelled, and TimedOut after `seconds`; the work itself then goes on.
    """
    until = None if seconds is None else time.monotonic() + seconds
    look, told = FIRST_LOOK, (0.0, "")
    while True:
        answer = yield from request(Call("GET", path), patience)
        status = answer.json()
        progress = Progress.of(status)
        if on_progress is not None and (progress.fraction, progress.state) != told:
            told = (progress.fraction, progress.state)
            yield Tell(on_progress, progress)
        if progress.state == "done":
            return status
        if progress.state == "failed":
            raise JobFailed(progress.message or "It failed on the server.", details=status)
        if progress.state == "cancelled":
            raise JobCancelled(progress.message or "It was cancelled.", details=status)
        if until is not None and time.monotonic() + look > until:
            raise TimedOut(f"It was not finished within {seconds:.0f} seconds and goes on at {path}.", location=path)
        yield Pause(look)
        look = min(LONGEST_LOOK, look * 1.3)


def result_of(call: Call, patience: Patience, on_progress: OnProgress | None, seconds: float) -> Flow[dict[str, Any]]:
    """The answer to an image: at once, later where it had to wait for a worker, or in the end where it is large."""
    until = time.monotonic() + seconds
    try:
        answer = yield from request(call, patience)
    except Unavailable as busy:
        if not busy.location:
            raise
        return (yield from _waiting(busy, patience, until))
    found = answer.json()
    if answer.status == 202:
        return (yield from follow(str(found["status_url"]), patience, on_progress, seconds))
    return found


def _waiting(busy: SegappError, patience: Patience, until: float) -> Flow[dict[str, Any]]:
    """The image keeps its place in the queue: look until it is done."""
    never = Patience(retries=0)
    while True:
        pause = busy.retry_after or LONGEST_LOOK
        if time.monotonic() + pause > until:
            raise TimedOut(f"No worker has come to the image yet; it keeps its place at {busy.location}.") from busy
        yield Pause(pause)
        try:
            return (yield from request(Call("GET", busy.location), never)).json()
        except Unavailable as still:
            if not still.location:
                raise
            busy = still


def _seconds(header: str | None) -> float | None:
    """Retry-After: seconds, or a date."""
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _own(location: str) -> str:
    """The path of an address of the server's; a key is never sent anywhere else."""
    parts = urlsplit(location)
    return parts.path + (f"?{parts.query}" if parts.query else "") if location else ""
