"""Keeps a group of processes running: starts them, passes on what they print, restarts what dies, ends them all.

One thread and one selector, so that forking is safe and a child's parent-death signal means this process. Knows
nothing of Django, Redis or what the processes do.
"""

import ctypes
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

MAX_WAIT = 30.0  # seconds between a death and the next start, at most
HEALTHY = 60.0  # who lived so long starts again with the shortest wait
LINE_BYTES = 8192
PR_SET_PDEATHSIG = 1

_prctl = getattr(ctypes.CDLL(None), "prctl", None)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when `parent`, which started it, is gone; even after a kill -9."""
    if _prctl is not None:
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


@dataclass(frozen=True)
class Part:
    """What to run. `phase` orders the end: a phase is asked to stop when the ones before it are gone, or after
    `patience` seconds at the latest."""

    name: str
    command: list[str]
    phase: int
    patience: float
    nice: int = 0
    keep: tuple[int, ...] = ()  # file descriptors it inherits
    variables: Mapping[str, str] = field(default_factory=dict)  # of the environment, beside those of the group
    hide: tuple[bytes, ...] = ()  # lines that hold one of these are not passed on
    on_quick_death: Callable[[int], None] | None = None  # called with how often in a row it ended soon after its start


@dataclass
class _Child:
    part: Part
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    deaths: int = 0  # in a row, without a minute of health between
    due: float = 0.0  # when to start it (again)
    rest: bytearray = field(default_factory=bytearray)  # the begin of a line


class Supervisor:
    """run() starts the parts and returns when they have all ended, after SIGINT or SIGTERM."""

    TOTAL = 9.2  # seconds from being asked to stop to the last SIGKILL

    def __init__(self, parts: list[Part], environment: Mapping[str, str], on_stop: Callable[[], None]) -> None:
        self._children = [_Child(part) for part in parts]
        self._environment = dict(environment)
        self._on_stop = on_stop
        self._selector = selectors.DefaultSelector()
        self._width = max(len(part.name) for part in parts)
        self._asked: float | None = None
        self._waker, self._woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> None:
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        self._selector.register(self._waker, selectors.EVENT_READ)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGHUP, lambda *_: None)  # a closed terminal is no reason to end
        try:
            while self._asked is None:
                self._start_due()
                self._turn(self._until_due())
        finally:
            self._end_all()

    def say(self, name: str, text: str) -> None:
        """One line of output; a terminal that went away is not worth dying for."""
        with suppress(OSError, ValueError):
            print(f"{name:<{self._width}} | {text}", flush=True)

    # --- one turn ---------------------------------------------------------------------------------------

    def _stop(self, *_: object) -> None:
        self._asked = self._asked or time.monotonic()

    def _turn(self, seconds: float) -> None:
        """Pass on what was printed, notice who died; returns after `seconds` or when something happened."""
        for key, _ in self._selector.select(max(0.0, seconds)):
            if key.fd == self._waker:
                os.read(self._waker, 4096)
            else:
                self._read(key.data)
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                self._bury(child)

    def _until_due(self) -> float:
        waits = [child.due - time.monotonic() for child in self._children if child.process is None]
        return min(waits, default=3600.0)

    def _start_due(self) -> None:
        for child in self._children:
            if child.process is None and child.due <= time.monotonic() and self._asked is None:
                self._start(child)

    def _start(self, child: _Child) -> None:
        part, parent = child.part, os.getpid()

        def prepare() -> None:
            die_with_parent(parent)
            if part.nice:
                os.nice(part.nice)

        child.started = time.monotonic()
        try:
            child.process = subprocess.Popen(
                part.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**self._environment, **part.variables},
                process_group=0,
                pass_fds=part.keep,
                preexec_fn=prepare,
            )
        except OSError as error:
            self._again(child, f"cannot start: {error}")
            return
        assert child.process.stdout is not None
        os.set_blocking(child.process.stdout.fileno(), False)
        self._selector.register(child.process.stdout, selectors.EVENT_READ, child)

    def _bury(self, child: _Child) -> None:
        assert child.process is not None and child.process.stdout is not None
        self._read(child)
        _signal_group(child.process.pid, signal.SIGKILL)  # what it may have left behind
        self._forget_output(child)
        child.process.stdout.close()
        code = child.process.returncode
        child.process = None
        if self._asked is None:
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
            self._again(child, how)

    def _again(self, child: _Child, how: str) -> None:
        lived = time.monotonic() - child.started
        child.deaths = 1 if lived >= HEALTHY else child.deaths + 1
        wait = min(MAX_WAIT, 2.0 ** (child.deaths - 1))
        child.due = time.monotonic() + wait
        self.say(child.part.name, f"{how}; starts again in {wait:.0f} s")
        if child.part.on_quick_death and lived < HEALTHY:
            child.part.on_quick_death(child.deaths)

    def _read(self, child: _Child) -> None:
        """Print the complete lines a child has written."""
        assert child.process is not None and child.process.stdout is not None
        while True:
            try:
                data = os.read(child.process.stdout.fileno(), 65536)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            ended = not data
            child.rest += data
            *lines, rest = child.rest.split(b"\n")
            if ended or len(rest) > LINE_BYTES:
                lines, rest = [*lines, rest], bytearray()
            child.rest = rest
            for line in lines:
                if line.strip() and not any(words in line for words in child.part.hide):
                    self.say(child.part.name, line.decode(errors="replace").rstrip())
            if ended:
                self._forget_output(child)
                return

    def _forget_output(self, child: _Child) -> None:
        assert child.process is not None and child.process.stdout is not None
        with suppress(KeyError):
            self._selector.unregister(child.process.stdout)

    # --- the end ----------------------------------------------------------------------------------------

    def _end_all(self) -> None:
        """Ask phase by phase, wait, kill what is left."""
        deadline = (self._asked or time.monotonic()) + self.TOTAL
        self._asked = self._asked or time.monotonic()
        self._on_stop()
        for phase in sorted({child.part.phase for child in self._children}):
            members = [child for child in self._children if child.part.phase == phase]
            self._signal(members, signal.SIGTERM)
            patience = max(child.part.patience for child in members)
            self._wait(members, min(time.monotonic() + patience, deadline))
        self._wait(self._children, deadline)
        for child in _running(self._children):
            self.say(child.part.name, "did not end in time and is killed")
        self._signal(self._children, signal.SIGKILL)
        self._wait(self._children, deadline + 5)

    def _wait(self, children: list[_Child], until: float) -> None:
        while _running(children) and time.monotonic() < until:
            self._turn(min(0.2, until - time.monotonic()))

    def _signal(self, children: list[_Child], number: signal.Signals) -> None:
        for child in _running(children):
            assert child.process is not None
            # A polite request goes to the leader, which passes it on as it sees fit; a kill to the whole group.
            if number == signal.SIGKILL:
                _signal_group(child.process.pid, number)
            else:
                child.process.send_signal(number)


def _running(children: list[_Child]) -> list[_Child]:
    return [child for child in children if child.process is not None]


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
