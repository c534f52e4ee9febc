"""A real server group on a home of its own: started, asked how it is, ended. Knows nothing of what is sent to it."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from http.client import HTTPException
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

    def __init__(
        self,
        home: Path,
        environment: dict[str, str] | None = None,
        inherits: bool = True,
        apart: Sequence[str] = (),
    ) -> None:
        """`environment` comes on top of this process's own, or without `inherits` is all there is. `apart`: the parts
        that run instead, each `serve --only PART` as a process group of its own; they need a database and a broker."""
        self.home = home
        self.url = ""
        self._environment, self._inherits, self._apart = environment or {}, inherits, tuple(apart)
        self._log = home / "var" / "bench.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Group":
        self._log.write_bytes(b"")
        try:
            if self._apart:
                port = free_port()
                self.url = f"http://127.0.0.1:{port}"
                for part in self._apart:
                    self._start("--only", part, *(("--port", str(port)) if part == "web" else ()))
            else:
                self._start("--port", "0")
                self.url = self._until(self._address, START_SECONDS)
            self._until(self.ready, READY_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self, *arguments: str) -> None:
        parent = os.getpid()
        with open(self._log, "ab") as log:
            process = subprocess.Popen(
                [sys.executable, str(PROJECT / "manage.py"), "serve", *arguments],
                env={**(os.environ if self._inherits else {}), "SEGAPP_RATE_LIMITS": "off", **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Apart, they stay in this session: where the kernel shares out cores by session, as it may, the train
                # workers' niceness would not hold beyond theirs.
                start_new_session=not self._apart,
                process_group=0 if self._apart else None,
                preexec_fn=lambda: die_with_parent(parent),
            )
        self._processes.append(process)

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()  # its children have asked the kernel to end with it
                process.wait()
        self._processes = []

    def health(self) -> dict[str, Any]:
        found: dict[str, Any] = Client(self.url).get("/api/health").json()
        return found

    def ready(self) -> bool:
        """All workers have their libraries and the base network in memory."""
        workers = sum(part != "web" for part in self._apart) or 2
        try:
            return sum(worker["ready"] for worker in self.health()["workers"]) >= workers
        except (OSError, HTTPException, ValueError, KeyError):
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
        found = []
        for pid in [pid for leader in self._processes for pid in (leader.pid, *descendants(leader.pid))]:
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

    def processor_seconds(self) -> dict[str, float]:
        """Processor time that each part has taken so far, all its processes together."""
        found = dict.fromkeys(PARTS, 0.0)
        for part, pid, _ in self.resident():
            found[part] += processor_seconds(pid)
        return found

    def _address(self) -> str:
        found = ADDRESS.search(self._log.read_text(errors="replace"))
        return found.group(1) if found else ""

    def _until(self, condition: Any, patience: float) -> Any:
        deadline = time.monotonic() + patience
        while True:
            found = condition()
            if found:
                return found
            ended = any(process.poll() is not None for process in self._processes)
            if ended or time.monotonic() > deadline:
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


def processor_seconds(pid: int) -> float:
    """Processor time of a process and of those of its children that have ended, 0 for one that is gone."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, words[11:15])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
