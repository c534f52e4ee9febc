"""What breaks during the soak test: parts are killed, the broker stops, the disk fills. Knows nothing of visitors."""

import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from segapp.bench.group import Group

DISK_MB = 900
LEFT_BYTES = 200_000
BROKER_STOP_SECONDS = 6.0
DISK_FULL_SECONDS = 5.0
REST_SECONDS = 20.0  # in which a worker rests at some time, between two trainings
PAUSE = (6.0, 12.0)  # seconds between two faults


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A file system of its own for the home, so that it can be filled; False where that is not allowed."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "none", str(folder)]
    mounted = os.getuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


class Faults:
    """Breaks something every few seconds until `stop` is set; `counts` says what."""

    def __init__(self, group: Group, stop: threading.Event, seed: int, disk: bool, own_broker: bool) -> None:
        self.counts: Counter[str] = Counter()
        self._group, self._stop, self._rng = group, stop, random.Random(seed)
        self._kinds = [self.kill_trainer, self.kill_predictor, self.kill_web]
        if own_broker:
            self._kinds += [self.kill_broker, self.stop_broker]
        if disk:
            self._kinds.append(self.fill_disk)

    def run(self) -> None:
        """Each kind in turn, in a new order every round."""
        while True:
            for kind in self._rng.sample(self._kinds, len(self._kinds)):
                if self._stop.wait(self._rng.uniform(*PAUSE)):
                    return
                kind()
                self.counts[kind.__name__.replace("_", " ")] += 1

    def kill_trainer(self) -> None:
        self._kill("train", signal.SIGKILL)

    def kill_predictor(self) -> None:
        self._kill("predict", signal.SIGKILL)

    def kill_web(self) -> None:
        self._kill("web", signal.SIGKILL)

    def kill_broker(self) -> None:
        self._kill("redis", signal.SIGKILL)

    def stop_broker(self) -> None:
        self._kill("redis", signal.SIGSTOP)
        self._stop.wait(BROKER_STOP_SECONDS)
        self._kill("redis", signal.SIGCONT)

    def fill_disk(self) -> None:
        filler = self._group.home / "filler"
        try:
            with open(filler, "wb", buffering=0) as file, suppress(OSError):
                while (left := _free(self._group.home) - LEFT_BYTES) > 0:
                    file.write(bytes(min(left, 2**20)))
            self._stop.wait(DISK_FULL_SECONDS)
        finally:
            filler.unlink(missing_ok=True)

    def _kill(self, part: str, number: int) -> None:
        for pid in self._group.pids(part):
            with suppress(ProcessLookupError):
                os.kill(pid, number)


class MemoryWatch:
    """Resident megabytes of each part over time; a part that was restarted starts again.

    A worker takes a gigabyte while it trains and gives it back, so what counts is the least of each REST_SECONDS, in
    which it rests at some time.
    """

    def __init__(self, group: Group) -> None:
        self._group = group
        self._samples: dict[tuple[str, int], list[tuple[float, float]]] = {}

    def look(self) -> None:
        for part, pid, megabytes in self._group.resident():
            self._samples.setdefault((part, pid), []).append((time.monotonic(), megabytes))

    def slopes(self) -> dict[str, float]:
        """Megabytes a minute of each part's longest-lived process at rest, over the second half of its life."""
        return {part: round(_slope(rests[len(rests) // 2 :]) * 60, 2) for part, rests in self._longest().items()}

    def at_rest(self) -> dict[str, float]:
        """Megabytes of each part's longest-lived process when it last rested."""
        return {part: round(rests[-1][1], 1) for part, rests in self._longest().items()}

    def _longest(self) -> dict[str, list[tuple[float, float]]]:
        """(time, megabytes) of each part's largest and longest-lived process at rest: of the web server's two, the one
        that answers."""
        most: dict[str, float] = {}
        found: dict[str, list[tuple[float, float]]] = {}
        for (part, _), samples in self._samples.items():
            held = sum(megabytes for _, megabytes in samples)
            if held > most.get(part, 0.0):
                most[part], found[part] = held, _rests(samples)
        return found


def _rests(samples: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The sample with the least megabytes of each whole REST_SECONDS."""
    found: dict[int, tuple[float, float]] = {}
    for when, megabytes in samples:
        window = int((when - samples[0][0]) // REST_SECONDS)
        if window not in found or megabytes < found[window][1]:
            found[window] = (when, megabytes)
    rests = list(found.values())
    return rests[:-1] or rests  # the last one may not be over


def _slope(samples: list[tuple[float, float]]) -> float:
    """Least squares, per second; 0 for fewer than three samples."""
    if len(samples) < 3:
        return 0.0
    mean_x = sum(x for x, _ in samples) / len(samples)
    mean_y = sum(y for _, y in samples) / len(samples)
    spread = sum((x - mean_x) ** 2 for x, _ in samples)
    return sum((x - mean_x) * (y - mean_y) for x, y in samples) / spread if spread else 0.0


def _free(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize
