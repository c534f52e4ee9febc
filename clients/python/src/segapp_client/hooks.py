"""Reading what a Segapp server posts to a hook: the signature first, then the event.

Signed as https://www.standardwebhooks.com describes: HMAC-SHA256 over "<id>.<timestamp>.<body>".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from segapp_client.errors import SegappError

PREFIX = "whsec_"
TOLERANCE = 300.0


class InvalidSignature(SegappError):
    """Not from the server that the secret belongs to, changed on the way, or too old."""


@dataclass(frozen=True)
class HookEvent:
    """`delivery` is the same at every attempt, so that what came twice can be told. `event` is training, batch, video
    or test; `state` is done, failed or cancelled."""

    delivery: str
    event: str
    state: str
    id: str
    status_url: str
    raw: dict[str, Any] = field(repr=False)


def read_hook(headers: Mapping[str, str], body: bytes, secret: str, tolerance: float = TOLERANCE) -> HookEvent:
    """The event of a request. `body` are its bytes as they came. Raises InvalidSignature.

    `tolerance`: seconds that the server's clock and this one may differ, delivery included.
    """
    found = {name.lower(): value for name, value in headers.items()}
    delivery, stamp = found.get("webhook-id", ""), found.get("webhook-timestamp", "")
    key = base64.b64decode(secret.removeprefix(PREFIX))
    digest = hmac.new(key, b".".join((delivery.encode(), stamp.encode(), body)), hashlib.sha256).digest()
    wanted = "v1," + base64.b64encode(digest).decode()
    sent = found.get("webhook-signature", "").split()
    if not any(hmac.compare_digest(wanted.encode(), one.encode()) for one in sent):
        raise InvalidSignature("The signature does not fit. Is it the secret of this hook?")
    if not stamp.isdigit() or abs(time.time() - int(stamp)) > tolerance:
        raise InvalidSignature("The signature is too old, or one of the clocks is wrong.")
    read = json.loads(body)
    texts = {name: str(read.get(name) or "") for name in ("event", "state", "id", "status_url")}
    return HookEvent(delivery=delivery, raw=read, **texts)
