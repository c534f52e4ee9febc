"""What can go wrong, as a small tree of exceptions. Each has the message of the server, which says what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class SegappError(Exception):
    """Anything that this package raises by itself, arguments of the wrong kind excepted (ValueError, TypeError).

    `status` is the HTTP status (0 where there was no answer), `code` the server's short name of the reason.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        code: str = "",
        retry_after: float | None = None,
        location: str = "",
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.retry_after = retry_after
        self.location = location
        self.details = details or {}


@dataclass(frozen=True)
class FileProblem:
    """What is wrong with one file, and what to do about it."""

    file: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.message}" if self.file else self.message


class BadRequest(SegappError):
    """400: the server could not read the request."""


class InvalidKey(SegappError):
    """401: the API key is mistyped, revoked or expired."""


class NotAllowed(SegappError):
    """403: the key's scope does not cover this."""


class NotFound(SegappError):
    """404: it does not exist, is gone, or belongs to another visitor: all three look the same."""


class Conflict(SegappError):
    """409: something that is there already is in the way."""


class AlreadyTraining(Conflict):
    """409: a training of this visitor is in progress; `location` is its address."""


class TooLarge(SegappError):
    """413: too many files, or too many bytes."""


class Invalid(SegappError):
    """422: a field or a file was refused, and nothing was stored."""

    files: list[FileProblem]

    def __init__(self, message: str, **about: Any) -> None:
        super().__init__(message, **about)
        self.files = [
            FileProblem(str(entry.get("file", "")), str(entry.get("message", "")))
            for entry in self.details.get("files") or []
        ]


class InvalidFile(Invalid):
    """422: files were refused; `files` has one entry for each of them."""


class RateLimited(SegappError):
    """429: too much in a short time; `retry_after` says how many seconds to wait, where the server knows."""


class Unavailable(SegappError):
    """503 or 507: the server cannot do it now; `retry_after` is set where waiting helps."""


class ServerError(SegappError):
    """500: a mistake of the server's. Its log says more."""


class ConnectionFailed(SegappError):
    """The server could not be reached, or the connection broke. `sent`: it may have seen the request."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class TimedOut(SegappError):
    """No answer in time, or work that was not finished in the time given. The work itself goes on."""


class JobFailed(SegappError):
    """A training, batch, video, export or large image ended without a result; the message says why."""


class JobCancelled(SegappError):
    """The work was cancelled, here or on the page."""


KINDS: dict[int, type[SegappError]] = {
    400: BadRequest,
    401: InvalidKey,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    422: Invalid,
    429: RateLimited,
    503: Unavailable,
    507: Unavailable,
}
BY_CODE: dict[str, type[SegappError]] = {"already_training": AlreadyTraining, "refused": InvalidFile}


def error_from(status: int, body: Any, retry_after: float | None, location: str) -> SegappError:
    """The exception for an answer of this status, whose JSON is {"error": {"code", "message", "files"?}}."""
    found = body.get("error") if isinstance(body, dict) else None
    found = found if isinstance(found, dict) else {}
    code = str(found.get("code", ""))
    message = str(found.get("message") or f"The server answered with status {status} and no explanation.")
    kind = BY_CODE.get(code) or KINDS.get(status) or (ServerError if status >= 500 else SegappError)
    return kind(message, status=status, code=code, retry_after=retry_after, location=location, details=found)
