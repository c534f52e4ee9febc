"""Requests for live answers on their way to a worker, and the answers on their way back, in Redis.

Of each painting only the newest request is kept. Nothing here outlives a minute or is worth keeping: what is painted
stands in the painting's own row and files. Functions raise redis.RedisError and OSError when the broker is away.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from segapp import dispatch

SECONDS = 60  # that a request or an answer is kept until it is fetched
REMEMBERED = 3600  # seconds that a page's last sequence number is
SLICE = 1.0  # seconds of one wait; the connection's own timeout is longer

# KEYS: the painting's slot. ARGV: editor, sequence, token, request, mask, seconds. The token that was there before, or
# an empty string; nil when the same page has sent a later request already.
_PUT = """
local last = redis.call('HMGET', KEYS[1], 'editor', 'sequence', 'token')
if last[1] == ARGV[1] and tonumber(last[2]) >= tonumber(ARGV[2]) then return false end
redis.call('HSET', KEYS[1], 'editor', ARGV[1], 'sequence', ARGV[2], 'token', ARGV[3], 'request', ARGV[4])
redis.call('HSET', KEYS[1], 'mask', ARGV[5])
redis.call('EXPIRE', KEYS[1], ARGV[6])
return last[3] or ''
"""
# What is there and not taken yet: token, request, mask.
_TAKE = """
local found = redis.call('HMGET', KEYS[1], 'token', 'request', 'mask')
redis.call('HDEL', KEYS[1], 'token', 'request', 'mask')
return found
"""


@dataclass(frozen=True)
class LiveRequest:
    """`editor` is a page that was opened, `sequence` counts its requests, `token` names this one. `mask` is a grey PNG
    of the strokes, empty for what was saved last. `model` is the primary key of the model to start from. `clicks` are
    x, y in pixels of the image, and 1 for inside the region or 0 for outside."""

    token: str
    editor: str
    sequence: int
    classes: Sequence[dict[str, Any]] = field(default_factory=list)
    model: int | None = None
    mask: bytes = b""
    clicks: Sequence[tuple[float, float, int]] = ()


def put(painting: int, request: LiveRequest, kind: str = "answer") -> bool:
    """Leave a request in place of the one before, which is then superseded.

    False when the same page has sent a later one already.
    """
    rest = {name: value for name, value in asdict(request).items() if name != "mask"}
    before = dispatch.connection().eval(
        _PUT, 1, _slot(painting, kind),
        request.editor, request.sequence, request.token, json.dumps(rest), request.mask, REMEMBERED,
    )  # fmt: skip
    if before is None:
        return False
    if before:
        answer(before.decode(), {"state": "superseded"})
    return True


def take(painting: int, kind: str = "answer") -> LiveRequest | None:
    """The newest request for a painting, once; None when it was taken."""
    token, rest, mask = dispatch.connection().eval(_TAKE, 1, _slot(painting, kind))
    if token is None:
        return None
    return LiveRequest(**json.loads(rest), mask=mask)


def answer(token: str, body: dict[str, Any]) -> None:
    """Pass an answer to the request that waits for it."""
    with dispatch.connection().pipeline(transaction=False) as pipe:
        pipe.lpush(_box(token), json.dumps(body))
        pipe.expire(_box(token), SECONDS)
        pipe.execute()


def wait(token: str, seconds: float) -> dict[str, Any] | None:
    """The answer to a request; None when there is none after `seconds`."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        found = dispatch.connection().blpop([_box(token)], timeout=max(0.05, min(left, SLICE)))
        if found is not None:
            body: dict[str, Any] = json.loads(found[1])
            return body
    return None


def _slot(painting: int, kind: str) -> str:
    return f"segapp:live:{kind}:{painting}"


def _box(token: str) -> str:
    return f"segapp:live:box:{token}"
