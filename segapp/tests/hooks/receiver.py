"""A receiver of webhooks on this machine: keeps what came, answers as told. Over https it has its own certificate."""

import datetime
import ipaddress
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Receiver:
    """`answers`: statuses, or (status, headers), for the requests to come; the last one stays."""

    url: str = ""
    answers: list = field(default_factory=lambda: [204])
    seen: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    seconds: float = 0.0  # before it answers
    body: bytes = b""
    drip: float = 0.0  # seconds between the bytes of the answer


@contextmanager
def receiving(certificate: Path | None = None) -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            receiver.seen.append((self.path, dict(self.headers), body))
            time.sleep(receiver.seconds)
            answer = receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0]
            status, headers = answer if isinstance(answer, tuple) else (answer, {})
            if receiver.drip:
                with_pauses = b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000
                for place in range(len(with_pauses)):
                    self.wfile.write(with_pauses[place : place + 1])
                    time.sleep(receiver.drip)
                return
            self.send_response(status)
            for name, value in {"Content-Length": str(len(receiver.body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(receiver.body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A sender that hangs up is what some tests are about."""

    with Server(("127.0.0.1", 0), Handler) as server:
        scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            scheme = "https"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        receiver.url = f"{scheme}://127.0.0.1:{server.server_port}/told?lab=1"
        try:
            yield receiver
        finally:
            server.shutdown()


def certificate(path: Path) -> Path:
    """A key with a certificate for 127.0.0.1 that nobody trusts unless told to."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(
        now + datetime.timedelta(days=9)
    )
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    authority = x509.BasicConstraints(ca=True, path_length=None)
    signed = builder.add_extension(names, False).add_extension(authority, True).sign(key, hashes.SHA256())
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(key.private_bytes(*form) + signed.public_bytes(serialization.Encoding.PEM))
    return path
