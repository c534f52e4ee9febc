"""One POST to an address that a visitor chose, restricted to the networks that are allowed.

The name is resolved once, every address it has is checked, and the connection goes to a checked address: the name is
not asked again, which could by then lead elsewhere. Redirects are not followed, no proxy is used, little is read of the
answer, and everything together ends in time.
"""

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
from dataclasses import dataclass
from functools import cache

from segapp.services.hook_addresses import IPAddress, RefusedAddress, allowed, parsed, refusal

SECONDS = 5.0  # for each step: resolving, connecting, sending, waiting for the answer
ALTOGETHER = 12.0  # seconds
READ = 16 * 1024  # bytes of an answer's body
MOST_ADDRESSES = 3


class Undeliverable(Exception):
    """The delivery failed; the message says what to check. `status` is the answer's, where there was one."""

    def __init__(self, message: str, status: int | None = None, final: bool = False) -> None:
        super().__init__(message)
        self.status, self.final = status, final


@dataclass(frozen=True)
class Target:
    host: str
    port: int
    https: bool
    path: str
    addresses: tuple[IPAddress, ...]

    @property
    def name(self) -> str:
        """For the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.https else 80) else f"{host}:{self.port}"


def post(url: str, body: bytes, headers: dict[str, str]) -> int:
    """The status of the answer, 200 to 299. Raises Undeliverable."""
    target = resolved(url)
    with _Deadline(ALTOGETHER) as deadline:
        try:
            connection = _connected(target, deadline)
            with contextlib.closing(connection):
                connection.request("POST", target.path, body, {"Host": target.name, **headers})
                response = connection.getresponse()
                response.read(READ)
                if deadline.over:  # what was cut off reads like an answer that ended
                    raise TimeoutError
                return _accepted(response)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, TimeoutError) or deadline.over:
                raise Undeliverable(f"{target.host} did not answer within {SECONDS:.0f} seconds.") from error
            raise Undeliverable(f"{target.host} broke the connection: {_why(error)}.") from error


class _Deadline:
    """Ends whatever socket is in use when the time is over: a timeout of a socket is for each piece only."""

    def __init__(self, seconds: float) -> None:
        self.over = False
        self._sock: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> "_Deadline":
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def watch(self, sock: socket.socket) -> None:
        self._sock = sock
        if self.over:
            self._end()

    def _end(self) -> None:
        self.over = True
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)


def resolved(url: str) -> Target:
    """Where a hook's address leads now. Raises Undeliverable when any of its addresses is not allowed."""
    try:
        parts = parsed(url)
    except RefusedAddress as refused:
        raise Undeliverable(str(refused), final=True) from None
    https = parts.scheme == "https"
    port = parts.port or (443 if https else 80)
    host = parts.hostname or ""
    addresses = _look_up(host, port)
    if not all(allowed(address) for address in addresses):
        raise Undeliverable(refusal(host), final=True)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(host, port, https, path, addresses)


def _look_up(host: str, port: int) -> tuple[IPAddress, ...]:
    """All addresses of a name. The system's resolver knows no time limit, so it is asked in a thread of its own."""
    found: list[IPAddress] = []
    failed: list[OSError | UnicodeError] = []

    def ask() -> None:
        try:
            for *_, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                address = ipaddress.ip_address(str(place[0]).partition("%")[0])
                if address not in found:
                    found.append(address)
        except (OSError, UnicodeError) as error:
            failed.append(error)

    asking = threading.Thread(target=ask, name="resolver", daemon=True)
    asking.start()
    asking.join(SECONDS)
    if asking.is_alive():
        raise Undeliverable(f"The name {host} was not resolved within {SECONDS:.0f} seconds.")
    if failed or not found:
        raise Undeliverable(f"There is no machine of the name {host}. Check the address for a typing error.")
    return tuple(found)


def _connected(target: Target, deadline: _Deadline) -> http.client.HTTPConnection:
    """To the first of the addresses that answers."""
    last: Exception | None = None
    for address in target.addresses[:MOST_ADDRESSES]:
        try:
            sock = socket.create_connection((str(address), target.port), timeout=SECONDS)
        except OSError as error:
            last = error
            continue
        deadline.watch(sock)
        if target.https:
            try:
                sock = _trust().wrap_socket(sock, server_hostname=target.host)
            except ssl.SSLCertVerificationError as error:
                sock.close()
                raise Undeliverable(
                    f"The certificate of {target.host} is not valid: {error.verify_message}."
                ) from error
            except OSError as error:
                sock.close()
                last = error
                continue
            deadline.watch(sock)
        connection = http.client.HTTPConnection(target.host, target.port, timeout=SECONDS)
        connection.sock = sock
        return connection
    raise Undeliverable(f"{target.host} cannot be reached on port {target.port}: {_why(last)}.") from last


def _accepted(response: http.client.HTTPResponse) -> int:
    status = response.status
    if 200 <= status < 300:
        return status
    if 300 <= status < 400:
        where = (response.headers.get("Location") or "elsewhere")[:120]
        raise Undeliverable(f"It redirects to {where}, which is not followed. Enter that address instead.", status)
    raise Undeliverable(f"It answered with status {status}.", status, final=status == 410)


def _why(error: Exception | None) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {SECONDS:.0f} seconds"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    return str(error) or type(error).__name__


@cache
def _trust() -> ssl.SSLContext:
    """The system's certificates, or those that SSL_CERT_FILE names."""
    return ssl.create_default_context()
