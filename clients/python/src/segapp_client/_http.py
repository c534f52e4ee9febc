"""What both clients tell httpx: address, key, timeouts, and how its errors are named here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import httpx

from segapp_client._flow import Call
from segapp_client.errors import ConnectionFailed, SegappError, TimedOut

KEY_VARIABLE = "SEGAPP_KEY"
CONNECT_SECONDS = 10.0


class Address:
    """The server's address and the key, checked."""

    def __init__(self, url: str, key: str | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not the address of a server. Give one like https://seg.example.org.")
        key = key or os.environ.get(KEY_VARIABLE, "")
        if not key:
            raise ValueError(
                f"An API key is needed: make one on the Models page and give it as key= or {KEY_VARIABLE}."
            )
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self.prefix = parts.path.rstrip("/")
        self.key = key

    def of(self, path: str) -> str:
        """The whole address of a path. A key is sent to this server only."""
        if "://" in path or path.startswith("//"):
            if not path.startswith(self.origin + "/"):
                raise SegappError(f"{path} is not on {self.origin}, and the key is not sent anywhere else.")
            return path
        prefix = "" if self.prefix and path.startswith(self.prefix + "/") else self.prefix
        return f"{self.origin}{prefix}{path}"

    def options(self, timeout: float, verify: Any) -> dict[str, Any]:
        from segapp_client import __version__

        headers = {
            "Authorization": f"Bearer {self.key}",
            "User-Agent": f"segapp-client/{__version__}",
            "Accept": "application/json, */*;q=0.5",
        }
        limits = httpx.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout))
        return {"headers": headers, "timeout": limits, "verify": verify, "follow_redirects": False}


@contextmanager
def arguments(call: Call) -> Iterator[dict[str, Any]]:
    """The call's form as httpx takes it; its files are open meanwhile."""
    with ExitStack() as stack:
        files = [
            (upload.field, (upload.name, stack.enter_context(upload.open()), "application/octet-stream"))
            for upload in call.uploads
        ]
        found: dict[str, Any] = {"files": files} if files else {}
        if call.data:
            found["data"] = dict(call.data)
        yield found


@contextmanager
def named_errors(origin: str) -> Iterator[None]:
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise ConnectionFailed(f"{origin} cannot be reached: {error or 'no answer'}.", sent=False) from error
    except httpx.TimeoutException as error:
        raise TimedOut(f"{origin} did not answer in time. Set a longer timeout.") from error
    except httpx.TransportError as error:
        raise ConnectionFailed(f"The connection to {origin} broke: {error}.", sent=True) from error


@contextmanager
def written(target: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name when it is whole."""
    part = target.with_name(target.name + ".part")
    try:
        with open(part, "wb") as out:
            yield out
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
