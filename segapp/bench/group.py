"""A real server group on a home of its own: started, asked how it is, ended. Knows nothing of what is sent to it."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from django.utils import timezone

from segapp.bench.client import Client
from segapp.home import PROJECT
from segapp.models import Worker
from segapp.supervisor import die_with_parent

ADDRESS = re.compile(r"Segapp is at (http://127\.0\.0\.1:\d+)")
PARTS = {"redis": "redis-server", "train": "-Q train,video", "predict": "-Q predict", "web": "gunicorn"}
START_SECONDS = 120.0
READY_SECONDS = 300.0


class ServerFailed(Exception):
    """The server group did not come up; the message holds what it printed last."""


class Group:
    """`manage.py serve` on the home that this process's settings name, on a free port of 127.0.0.1."""

    def __init__(self, home: Path, environment: dict[str, str] | None = None, inherits: bool = True) -> None:
        """`environment` comes on top of this process's own, or without `inherits` is all there is."""
        self.home = home
        self.url = ""
        self._environment, self._inherits = environment or {}, inherits
        self._log = home / "var" / "bench.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Group":
        command = [sys.executable, str(PROJECT / "manage.py"), "serve", "--port", "0"]
        parent = os.getpid()
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                command,
                env={**(os.environ if self._inherits else {}), "SEGAPP_RATE_LIMITS": "off", **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: die_with_parent(parent),
            )
        try:
            self.url = self._until(self._address, START_SECONDS)
            self._until(self.ready, READY_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()  # its children have asked the kernel to end with it
            self._process.wait()
        self._process = None

    def health(self) -> dict[str, Any]:
        found: dict[str, Any] = Client(self.url).get("/api/health").json()
        return found

    def ready(self) -> bool:
        """Both workers have their libraries and the base network in memory."""
        try:
            return sum(worker["ready"] for worker in self.health()["workers"]) >= 2
        except (OSError, ValueError, KeyError):
            return False

    def cache(self, patience: float = 30) -> dict[str, float]:
        """The predict worker's own figures from a beat newer than this call; after `patience` the last known."""
        asked, deadline = timezone.now(), time.monotonic() + patience
        while True:
            worker = Worker.objects.alive().filter(queues="predict").order_by("-seen").first()
            if worker is not None and (worker.seen > asked or time.monotonic() > deadline):
                return {name: value for name, value in worker.info.items() if isinstance(value, int | float)}
            if time.monotonic() > deadline:
                return {}
            time.sleep(0.2)

    def resident(self) -> list[tuple[str, int, float]]:
        """(part, process id, resident megabytes) of every process of a part."""
        assert self._process is not None
        found = []
        for pid in descendants(self._process.pid):
            words = _command(pid)
            found += [(part, pid, resident_mb(pid)) for part, mark in PARTS.items() if mark in words]
        return found

    def pids(self, part: str) -> list[int]:
        """The processes of a part."""
        return [pid for name, pid, _ in self.resident() if name == part]

    def memory(self) -> dict[str, float]:
        """Resident megabytes of each part, the web server's processes together."""
        found = dict.fromkeys(PARTS, 0.0)
        for part, _, megabytes in self.resident():
            found[part] += megabytes
        return {part: round(megabytes, 1) for part, megabytes in found.items()}

    def _address(self) -> str:
        found = ADDRESS.search(self._log.read_text(errors="replace"))
        return found.group(1) if found else ""

    def _until(self, condition: Any, patience: float) -> Any:
        deadline = time.monotonic() + patience
        while True:
            found = condition()
            if found:
                return found
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline:
                last = self._log.read_text(errors="replace").strip().splitlines()[-5:]
                raise ServerFailed("The server did not start. It printed last: " + " / ".join(last))
            time.sleep(0.1)


def descendants(pid: int) -> list[int]:
    """All processes below this one, as /proc tells; empty where there is none."""
    found = []
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(word) for word in listing.read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [child, *descendants(child)]
    return found


def resident_mb(pid: int | str = "self") -> float:
    """Resident memory as the kernel counts it, 0 for a process that is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS:")), 0.0)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
