"""gunicorn's worker process around waitress: an event loop takes requests in whole, threads answer them.

gunicorn's own threads read from the client, so as many clients as there are threads, stopped in the middle of a
request, stop the site. Here a client that stops costs a socket and no thread, and is closed after a while.
"""

import os
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from django.conf import settings
from gunicorn.workers.base import Worker
from waitress import wasyncore
from waitress.buffers import OverflowableBuffer
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import create_server

from segapp import upload_limits
from segapp.imaging import memory

if TYPE_CHECKING:
    from segapp.upload_admission import Arriving

IDLE_SECONDS = 30  # a connection without progress is closed after so long
PROGRESS_BYTES = 16 * 1024  # of a body; less counts as no progress, and neither does any part of a head
CONNECTIONS = 800
CHECK_SECONDS = 5
MAX_HEAD_BYTES = 64 * 1024
NOTE = "X_SEGAPP_REFUSED"  # header of a request whose body is not taken, for upload_admission.py
NO_LIMIT = 1 << 50  # the site's own limits say in plain words what was too large


_askers = ThreadPoolExecutor(2, thread_name_prefix="admission")


class Discard(OverflowableBuffer):
    """Takes a body that will be refused, and keeps none of it."""

    def append(self, s: bytes) -> None:
        pass


class Parser(HTTPRequestParser):
    """Asks whether a large body may come in before it is stored, and stores none of what may not."""

    def __init__(self, adj: Any, channel: "Channel | None" = None) -> None:
        super().__init__(adj)
        self._channel = channel
        self._most = NO_LIMIT  # bytes of a body
        self._arriving: Arriving | None = None
        self._decision: Future[Arriving | str] | None = None

    def received(self, data: bytes) -> int:
        in_head = not self.headers_finished
        consumed: int = super().received(data)
        if in_head and self.headers_finished:
            if self.body_rcv is not None and self._channel is not None:
                self._ask(self._channel)
        elif self.chunked and self._channel is not None and self.body_bytes_received > self._most:
            self._refuse(self._channel.admission.note_too_large())
        return consumed

    def decided(self) -> bool:
        """Whether it is known if the body comes in. Called by the event loop, which alone touches the body."""
        if self._decision is None:
            return True
        if not self._decision.done():
            return False
        answer, self._decision = self._decision.result(), None
        if isinstance(answer, str):
            self._refuse(answer)
        else:
            self._arriving = answer
        return True

    def close(self) -> None:
        super().close()
        if self._arriving is not None:
            self._arriving.done()
        if self._decision is not None:
            self._decision.add_done_callback(_count_out)

    def _ask(self, channel: "Channel") -> None:
        self._most = upload_limits.max_bytes(self.path)
        length = self._most if self.chunked else self.content_length  # one that does not say counts as the largest
        if length > self._most:
            self._refuse(channel.admission.note_too_large())
        elif length > channel.admission.CHECKED_BYTES:
            self._decision = channel.ask(dict(self.headers), self.path, length)

    def _refuse(self, note: str) -> None:
        if not isinstance(self.body_rcv.buf, Discard):
            self.body_rcv.buf.close()
            self.body_rcv.buf = Discard(0)
            self.headers[NOTE] = note


def _count_out(decision: "Future[Arriving | str]") -> None:
    """The client went away before it was known whether its body comes in."""
    answer = decision.result()
    if not isinstance(answer, str):
        answer.done()


class Channel(HTTPChannel):
    """One connection. Its last activity is the last time it made progress, not the last byte."""

    admission: Any  # segapp.upload_admission, which needs Django: it is not set up where gunicorn reads this file

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.parser_class = partial(Parser, channel=self)
        self._counted = 0
        self._progress = time.time()

    def readable(self) -> bool:
        request = self.request
        return (request is None or request.decided()) and super().readable()

    def ask(self, headers: dict[str, str], path: str, length: int) -> "Future[Arriving | str]":
        """Have it decided whether a body comes in, beside the event loop, which is woken by the answer."""
        address = self.addr[0] if self.addr else ""
        decision = _askers.submit(self.admission.ask_in_thread, headers, path, address, length)
        decision.add_done_callback(lambda _: self.server.pull_trigger())
        return decision

    def receiving_body(self) -> bool:
        """Whether a request has come in up to its body."""
        return self.request is not None and self.request.headers_finished

    def handle_close(self) -> None:
        if self.request is not None:
            self.request.close()
        super().handle_close()

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
        from segapp import upload_admission  # these two need the site, which is loaded by now
        from segapp.services import events

        Channel.admission = upload_admission
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
        events.closing.set()  # streams end here, and their clients come again
        until = time.monotonic() + self.cfg.graceful_timeout
        while time.monotonic() < until and self._answering(sockets):
            self.notify()
            wasyncore.loop(timeout=0.2, use_poll=True, map=sockets, count=1)
        server.task_dispatcher.shutdown(timeout=1)
        wasyncore.close_all(sockets)

    def _answering(self, sockets: dict[int, Any]) -> bool:
        """Whether a body is still coming in, a request is being answered, or an answer is on its way out."""
        channels = [each for each in sockets.values() if isinstance(each, Channel)]
        return any(each.receiving_body() or each.requests or each.total_outbufs_len for each in channels)
