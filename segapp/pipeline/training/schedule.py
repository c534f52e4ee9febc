"""How long a training runs and what it tells while it does."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

HOLD = 2 / 3  # share of the steps at full learning rate; the rate falls over the rest
TICK = 0.3  # seconds between two reports, at most
ALMOST = 0.95  # how far the clock alone may move the progress
AHEAD = 0.6  # of the time spent so far is still to come, at least, while no step was taken: machines may be overloaded


class Cancelled(Exception):
    """The watcher wants no result."""


class Stopped(Exception):
    """The watcher wants what there is so far."""


@dataclass(frozen=True)
class Progress:
    """Where a training stands.

    fraction 0 to 1; loss of the last step of the model that is kept; step counts from
    the stage's start; miou is the held-out score as far as it is known, rival the
    comparison's on the same images; preview is the index of a held-out example with
    its mask (uint8 H,W of ids).
    """

    fraction: float
    loss: float | None
    eta_seconds: float
    step: int
    miou: float | None = None
    rival: dict[str, Any] | None = None
    preview: tuple[int, np.ndarray] | None = None


Watch = Callable[[Progress], bool]
Clock = Callable[[], float]


class Pace:
    """Keeps the time of a run and reports to its watcher.

    `timed`: the clock decides how many steps are taken, so it also tells the progress
    until the last stage counts its steps.
    """

    def __init__(self, watch: Watch, seconds: float, clock: Clock = time.monotonic, timed: bool = False) -> None:
        self.seconds = seconds
        self.timed = timed
        self.losses: list[float] = []
        self.miou: float | None = None
        self.rival: dict[str, Any] | None = None
        self.clock = clock
        self._watch = watch
        self._started = clock()
        self._told = float("-inf")
        self._fraction = 0.0
        self._step = 0
        self._stopped = False
        self._counted: tuple[float, float] | None = None
        self.closing = 0.0  # seconds that come after the last step

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self.clock() - self._started

    @property
    def part(self) -> float:
        """The share of the run that the clock says is done; 0 where steps are counted."""
        return self._part(self.elapsed) if self.timed else 0.0

    def _part(self, elapsed: float) -> float:
        return min(ALMOST if self.losses else 1 / (1 + AHEAD), elapsed / self.seconds)

    def counted(self, fraction: float) -> None:
        """From here on the steps that are left are known, and tell the time."""
        if self._counted is None:
            self._counted = (self.elapsed, fraction)

    def tick(
        self,
        fraction: float | None = None,
        step: int | None = None,
        preview: tuple[int, np.ndarray] | None = None,
    ) -> None:
        """Tell the watcher, not more often than it needs; raises Stopped when it says so."""
        now = self.clock()
        if fraction is None and self.timed:
            fraction = self._part(now - self._started)
        if fraction is not None:
            self._fraction = max(self._fraction, min(1.0, fraction))
        if step is not None:
            self._step = step
        if self._stopped or (preview is None and now - self._told < TICK):
            return
        self._told = now
        goes_on = self._watch(
            Progress(
                fraction=self._fraction,
                loss=self.losses[-1] if self.losses else None,
                eta_seconds=self._eta(now - self._started),
                step=self._step,
                miou=self.miou,
                rival=self.rival,
                preview=preview,
            )
        )
        if goes_on is False:
            self._stopped = True
            raise Stopped

    def _eta(self, elapsed: float) -> float:
        due = max(1.0, self.seconds - elapsed)
        if self.timed and self._counted is None:
            return due if self.losses else max(due, AHEAD * elapsed)
        since, done = self._counted if self.timed and self._counted else (0.0, 0.0)
        if self._fraction - done < 0.05:
            return due
        rate = (elapsed - since) / (self._fraction - done)
        return rate * (1 - self._fraction) + self.closing


class Schedule:
    """How many steps a stage takes, and its learning rate on the way.

    With `steps` it takes exactly these. Otherwise the clock chooses among `totals`, rising
    numbers of steps: at full rate until two thirds of a total are done, and when the time
    would not do for the next total, the rate falls over the last third of this one. So the
    number of steps alone tells the whole course, and taking it again repeats it.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        steps: int | None = None,
        seconds: float = 0.0,
        totals: Sequence[int] = range(3, 30_000, 3),
        warm: int = 5,
    ) -> None:
        self.total = steps
        self.step = 0
        self._clock = clock
        self._started = clock()
        self._seconds = seconds
        self._totals = totals
        self._at = 0
        self._warm = warm

    @property
    def running(self) -> bool:
        """Whether another step is to be taken; fixes the total when the time has come."""
        while self.total is None and self.step >= held(self._totals[self._at]):
            last = self._at + 1 == len(self._totals)
            if last or self._spent * self._growth() >= HOLD * self._seconds:
                self.total = self._totals[self._at]
            else:
                self._at += 1
        return self.total is None or self.step < self.total

    @property
    def fraction(self) -> float:
        """Share of the stage that is done."""
        if self.total is not None:
            return self.step / max(1, self.total)
        return min(HOLD, max(self._spent / max(1e-9, self._seconds), self.step / self._totals[-1]))

    @property
    def _spent(self) -> float:
        return self._clock() - self._started

    def _growth(self) -> float:
        """How many times the present total the next one is."""
        return self._totals[self._at + 1] / self._totals[self._at]

    def rate(self) -> float:
        """Factor on the learning rate for the step about to be taken."""
        warm = min(1.0, (self.step + 1) / self._warm)
        if self.total is None:
            return warm
        hold = held(self.total)
        if self.step < hold:
            return warm
        return warm * max(0.02, 1.0 - (self.step - hold) / max(1, self.total - hold))


def held(total: int) -> int:
    """Of `total` steps, those at full learning rate."""
    return total * 2 // 3


class Beside(Schedule):
    """The schedule of a short training in step with a longer one: one step for `every` of the leader's.

    Its total follows from the leader's, and is fixed at the same moment, so the leader's steps tell its whole course.
    """

    def __init__(self, leader: Schedule, every: int, least: int) -> None:
        super().__init__(leader._clock)
        self._leader, self._every, self._least = leader, every, least

    @property
    def running(self) -> bool:
        if self.total is None and self._leader.total is not None:
            self.total = max(self._least, self._leader.total // self._every)
        return self.total is None or self.step < self.total

    @property
    def fraction(self) -> float:
        return self._leader.fraction if self.total is None else self.step / max(1, self.total)
