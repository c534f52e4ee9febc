"""A stand-in for the Hugging Face hub: one repository's files over HTTP, in ranges, held back or refused on demand."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CHUNK = 1 << 18


class Hub:
    """Serves `model.safetensors` of any repository as smp asks for it; a context manager.

    `refusing`: every request is answered with 503. `gate`: what is behind the first half of the file is sent only once
    it is set. `downloads`: how many have begun.
    """

    def __init__(self, file: Path) -> None:
        self.file, self.refusing = file, False
        self.gate = threading.Event()
        self.downloads = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, hashlib.sha256(file.read_bytes())))
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def environment(self, home: Path) -> dict[str, str]:
        """What makes the hub's client ask here and keep its files below `home`."""
        return {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}

    def __enter__(self) -> "Hub":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()


def _handler(hub: Hub, digest: "hashlib._Hash") -> type[BaseHTTPRequestHandler]:
    size = hub.file.stat().st_size

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._head()

        def do_GET(self) -> None:
            start = self._head()
            if start is None:
                return
            hub.downloads += 1
            with open(hub.file, "rb") as file:
                file.seek(start)
                while data := file.read(CHUNK):
                    if file.tell() > size // 2:
                        hub.gate.wait()
                    try:
                        self.wfile.write(data)
                    except OSError:
                        self.close_connection = True
                        return

        def _head(self) -> int | None:
            """Status and headers; the byte to begin at, or None when the request is refused."""
            asked = self.path.split("/resolve/")
            if hub.refusing or len(asked) != 2 or not asked[1].endswith("/model.safetensors"):
                self.send_response(503 if hub.refusing else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return None
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            self.send_header("Content-Length", str(size - start))
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", f'"{digest.hexdigest()}"')
            self.send_header("X-Repo-Commit", asked[1].split("/")[0])
            self.end_headers()
            return start

        def log_message(self, *_: object) -> None:
            pass

    return Handler
