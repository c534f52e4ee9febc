"""Small files that decode to half a gigabyte each, many at once: the web server's memory stays bounded."""

import io
import os
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from PIL import Image

from segapp.tests.serving import Served

pytestmark = pytest.mark.slow
AT_ONCE, SIZE = 16, (8000, 5000)
MOST = 900 * 10**6


class Peak:
    """The most memory that the processes of the web server took together while the block ran."""

    def __init__(self, pid: int) -> None:
        self.bytes, self._web, self._over = 0, psutil.Process(pid), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            total = 0
            for process in [self._web, *self._web.children(recursive=True)]:
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.bytes = max(self.bytes, total)


def transparent() -> bytes:
    out = io.BytesIO()
    Image.new("RGBA", SIZE, (200, 30, 30, 128)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.fault(51)
def test_sixteen_large_images_at_once_stay_within_bounds(tmp_path):
    server = Served(tmp_path / "home")
    try:
        server.start().wait_ready()
        content = transparent()
        visitors = [server.visitor() for _ in range(AT_ONCE)]
        for visitor in visitors:
            visitor.get("/api/health")
        predict = server.pid("predict")
        os.kill(predict, signal.SIGSTOP)  # what waits for it holds a thread and no pixels
        began = time.monotonic()
        with Peak(server.pid("web")) as peak, ThreadPoolExecutor(AT_ONCE) as pool:
            sent = [pool.submit(v.post, "/api/segment", {}, [("file", "p.png", content)]) for v in visitors]
            time.sleep(3)
            shown = server.visitor().get("/analyze/")
            answers = [one.result() for one in sent]
        os.kill(predict, signal.SIGCONT)
    finally:
        server.stop()
    counted = Counter(answer.status for answer in answers)
    print(f"{len(content)} bytes each, peak {peak.bytes / 1e6:.0f} MB, {time.monotonic() - began:.0f} s, {counted}")
    assert peak.bytes < MOST
    assert shown.status == 200
    assert set(counted) == {503}, "no worker answers, or there was no room to decode"
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers)
