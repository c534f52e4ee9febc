"""One visitor as plain HTTP: keeps cookies, sends the CSRF token, follows nothing. Knows nothing of Django."""

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPMessage
from http.cookies import SimpleCookie
from typing import Any

Upload = tuple[str, str, bytes]  # field, file name, content


@dataclass(frozen=True)
class Answer:
    status: int
    headers: HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """`cookies` may hold a signed visitor already; the server's answers add theirs. `headers` go with every request."""

    def __init__(self, url: str, cookies: dict[str, str] | None = None, headers: dict[str, str] | None = None) -> None:
        self.host = url.partition("//")[2].rstrip("/")
        self.cookies: dict[str, str] = dict(cookies or {})
        self._headers = headers or {}

    def get(self, path: str, timeout: float = 60, headers: dict[str, str] | None = None) -> Answer:
        return self._send("GET", path, b"", headers or {}, timeout)

    def delete(self, path: str, timeout: float = 60) -> Answer:
        return self._send("DELETE", path, b"", {}, timeout)

    def post(
        self,
        path: str,
        fields: dict[str, str] | None = None,
        files: Iterable[Upload] = (),
        timeout: float = 90,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        if "csrftoken" not in self.cookies:
            self.get("/api/health")
        body, kind = multipart(fields or {}, files)
        return self._send("POST", path, body, {"Content-Type": kind, **(headers or {})}, timeout)

    def _send(self, method: str, path: str, body: bytes, headers: dict[str, str], timeout: float) -> Answer:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        token = {"X-CSRFToken": self.cookies["csrftoken"]} if "csrftoken" in self.cookies else {}
        connection = HTTPConnection(self.host, timeout=timeout)
        own = {"Cookie": cookies, "Connection": "close", **token, **self._headers, **headers}
        try:
            connection.request(method, path, body, own)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        for line in response.headers.get_all("Set-Cookie") or []:
            self.cookies.update({name: morsel.value for name, morsel in SimpleCookie(line).items()})
        return Answer(response.status, response.headers, content)


def multipart(fields: dict[str, str], files: Iterable[Upload]) -> tuple[bytes, str]:
    """Body and content type of a form post."""
    edge = uuid.uuid4().hex
    form = f"--{edge}\r\nContent-Disposition: form-data; name="
    parts = [f'{form}"{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields.items()]
    for field, name, content in files:
        head = f'{form}"{field}"; filename="{name}"\r\n'
        parts.append(f"{head}Content-Type: application/octet-stream\r\n\r\n".encode() + content + b"\r\n")
    return b"".join([*parts, f"--{edge}--\r\n".encode()]), f"multipart/form-data; boundary={edge}"
