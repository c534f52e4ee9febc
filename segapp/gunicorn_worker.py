"""gunicorn's worker process around waitress: an event loop takes requests in whole, threads answer them.

gunicorn's own threads read from the client, so as many clients as there are threads, stopped in the middle of a
request, stop the site. Here a client that stops costs a socket and no thread, and is closed after a while.
"""

import os
import tempfile
import time
from typing import Any

from django.conf import settings
from gunicorn.workers.base import Worker
from waitress import wasyncore
from waitress.buffers import OverflowableBuffer
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import create_server

from segapp import upload_limits
from segapp.imaging import memory

IDLE_SECONDS = 30  # a connection without progress is closed after so long
PROGRESS_BYTES = 16 * 1024  # of a body; less counts as no progress, and neither does any part of a head
CONNECTIONS = 800
CHECK_SECONDS = 5
MAX_HEAD_BYTES = 64 * 1024
NO_LIMIT = 1 << 50  # the site's own limits say in plain words what was too large


class Discard(OverflowableBuffer):
    """Takes a body that will be refused, and keeps none of it."""

    def append(self, s: bytes) -> None:
        pass


class Parser(HTTPRequestParser):
    """Never stores the body of a request that is refused by its declared length."""

    def received(self, data: bytes) -> int:
        in_head = not self.headers_finished
        consumed: int = super().received(data)
        body_begins = in_head and self.headers_finished and self.body_rcv is not None and not self.chunked
        if body_begins and self.content_length > upload_limits.max_bytes(self.path):
            self.body_rcv.buf = Discard(0)
        return consumed


class Channel(HTTPChannel):
    """One connection. Its last activity is the last time it made progress, not the last byte."""

    parser_class = Parser

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._counted = 0
        self._progress = time.time()

    def handle_read(self) -> None:
        super().handle_read()
        request = self.request
        if request is None:  # complete, or between two requests
            self._counted = 0
        elif request.body_bytes_received < self._counted + PROGRESS_BYTES:
            self.last_activity = self._progress
            return
        else:
            self._counted = request.body_bytes_received
        self._progress = self.last_activity


class BufferedWorker(Worker):
    """`worker_class` for gunicorn_conf.py; `threads` and `graceful_timeout` are gunicorn's settings."""

    def run(self) -> None:
        memory.return_freed()
        tempfile.tempdir = str(settings.FILE_UPLOAD_TEMP_DIR)  # bodies are spooled there
        sockets: dict[int, Any] = {}
        server = create_server(
            self.wsgi,
            map=sockets,
            sockets=[listener.sock for listener in self.sockets],
            threads=self.cfg.threads,
            connection_limit=CONNECTIONS,
            channel_timeout=IDLE_SECONDS,
            cleanup_interval=CHECK_SECONDS,
            max_request_header_size=MAX_HEAD_BYTES,
            max_request_body_size=NO_LIMIT,
            clear_untrusted_proxy_headers=False,  # settings decide which of a proxy's headers count
            asyncore_use_poll=True,
            ident=None,
        )
        listeners = [each for each in sockets.values() if hasattr(each, "channel_class")]
        for listener in listeners:
            listener.channel_class = Channel
        while self.alive and self.ppid == os.getppid():
            self.notify()
            wasyncore.loop(timeout=1, use_poll=True, map=sockets, count=1)
        for listener in listeners:
            listener.del_channel()  # no new connections; the master holds the socket
        until = time.monotonic() + self.cfg.graceful_timeout
        while time.monotonic() < until and self._answering(sockets):
            self.notify()
            wasyncore.loop(timeout=0.2, use_poll=True, map=sockets, count=1)
        server.task_dispatcher.shutdown(timeout=1)
        wasyncore.close_all(sockets)

    def _answering(self, sockets: dict[int, Any]) -> bool:
        """Whether a request is being answered, or an answer is still on its way out."""
        channels = [each for each in sockets.values() if isinstance(each, Channel)]
        return any(channel.requests or channel.total_outbufs_len for channel in channels)
