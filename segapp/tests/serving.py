"""A real `manage.py serve` for tests: started, watched, broken and ended from outside. Django is not asked."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from segapp.bench.client import Answer, Upload, multipart
from segapp.bench.client import Client as Browser
from segapp.home import PROJECT
from segapp.tests import second_pair

__all__ = ["PARTS", "Answer", "Browser", "Served", "Upload", "lives", "multipart", "serve_command", "until"]

PARTS = {"redis": "redis-server", "train": "-Q train,video", "predict": "-Q predict", "web": "gunicorn"}


class Served:
    """One home and, between start() and stop(), the group of processes that serves it."""

    def __init__(self, home: Path, log: Path | None = None, **environment: str) -> None:
        self.home = home
        self.environment = {**second_pair.for_home(home), **environment}
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.started_in = 0.0  # seconds from the command to the first page
        self._log = log or home.parent / f"{home.name}.log"

    # --- life -------------------------------------------------------------------------------------------

    def start(self, *arguments: str, patience: float = 60) -> "Served":
        self.home.mkdir(parents=True, exist_ok=True)
        began, offset = time.monotonic(), self._log.stat().st_size if self._log.exists() else 0
        with open(self._log, "ab") as log:
            self.process = subprocess.Popen(
                serve_command("--port", "0", *arguments),
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.url = until(lambda: self._address(offset), patience)
        self.visitor().get("/")
        self.started_in = time.monotonic() - began
        return self

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`manage.py serve` with these arguments on this home, to its end."""
        return subprocess.run(
            serve_command(*arguments), env=self._environment(), capture_output=True, text=True, timeout=60, check=False
        )

    def stop(self, number: int = signal.SIGTERM, patience: float = 20) -> float:
        """Ask the supervisor to end; seconds until it did. Whatever is left after that is killed."""
        if self.process is None:
            return 0.0
        family, began = self.family(), time.monotonic()
        self.process.send_signal(number)
        try:
            self.process.wait(patience)
        finally:
            for process in [found for found in family if lives(found)]:
                process.kill()
            self.process = None
        return time.monotonic() - began

    def _environment(self) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("SEGAPP_") and name not in ("OMP_NUM_THREADS", "DATABASE_URL", "REDIS_URL")
        }
        own = {
            "SEGAPP_HOME": str(self.home),
            "SEGAPP_RATE_LIMITS": "off",
            "OMP_WAIT_POLICY": "passive",
            "SEGAPP_PACE": "off",
            "SEGAPP_TRAIN_STEPS": "36",
        }
        return {**inherited, **own, **self.environment}

    def _address(self, offset: int) -> str:
        """The address that was printed behind `offset`, or ""."""
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"serve ended with {self.process.returncode}:\n{self.output()}")
        found = re.search(r"Segapp is at (\S+)", self.output()[offset:])
        return found.group(1) if found else ""

    # --- looking ----------------------------------------------------------------------------------------

    def output(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def family(self) -> list[psutil.Process]:
        """The supervisor and everything below it."""
        assert self.process is not None
        supervisor = psutil.Process(self.process.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def pid(self, part: str, patience: float = 30) -> int:
        """The process that leads this part; waits for it."""
        return until(lambda: self._find(part), patience)

    def _find(self, part: str) -> int:
        assert self.process is not None
        for process in psutil.Process(self.process.pid).children():
            try:
                if PARTS[part] in " ".join(process.cmdline()) and lives(process):
                    return process.pid
            except psutil.NoSuchProcess:
                continue
        return 0

    def visitor(self) -> "Browser":
        return Browser(self.url)

    def wait_ready(self, patience: float = 120) -> None:
        """Until both workers have their libraries and network in memory."""
        browser = self.visitor()
        until(lambda: len(_ready(browser.get("/api/health").json())) >= 2, patience)


def serve_command(*arguments: str) -> list[str]:
    return [sys.executable, str(PROJECT / "manage.py"), "serve", *arguments]


def lives(process: psutil.Process) -> bool:
    """Running, and not a zombie that only waits to be counted."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(condition: Callable[[], Any], patience: float = 30, pause: float = 0.05) -> Any:
    """What `condition` answers once that is true; AssertionError after `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"still not so after {patience} s: {condition}")
        time.sleep(pause)


def _ready(health: dict[str, Any]) -> list[dict[str, Any]]:
    return [worker for worker in health["workers"] if worker["ready"]]
