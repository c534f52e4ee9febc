"""How long a training runs, which of several trainings takes the next step, and what is reported meanwhile."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

HOLD = 2 / 3  # share of the steps at full learning rate; the rate falls over the rest
REPORT_INTERVAL = 0.3  # seconds between two reports, at least
MAX_CLOCK_FRACTION = 0.95  # how far the clock alone may move the progress
MIN_REMAINING = 0.6  # of the time spent so far remains, at least, before the first step: machines may be overloaded


class Cancelled(Exception):
    """The watcher wants no result."""


class Stopped(Exception):
    """The watcher wants the result so far."""


@dataclass(frozen=True)
class Progress:
    """State of a training.

    fraction 0 to 1; loss of the last step of the model that is kept; step counts from
    the stage's start; miou is the held-out score as far as it is known, baseline what
    the base or the majority class reaches on the same images; preview is the index of a
    held-out example with its mask (uint8 H,W of ids).
    """

    fraction: float
    loss: float | None
    eta_seconds: float
    step: int
    miou: float | None = None
    baseline: dict[str, Any] | None = None
    preview: tuple[int, np.ndarray] | None = None


Watch = Callable[[Progress], bool]
Clock = Callable[[], float]


class ProgressReporter:
    """Measures the time of a run and reports to its watcher.

    `timed`: the clock decides how many steps are taken, so it also gives the progress
    until the last stage knows its number of steps. `seconds` is what a run usually takes, `limit` (the same without
    it) when the clock ends one early.
    """

    def __init__(
        self,
        watch: Watch,
        seconds: float,
        clock: Clock = time.monotonic,
        timed: bool = False,
        limit: float | None = None,
    ) -> None:
        self.seconds = seconds
        self.limit = seconds if limit is None else limit
        self.timed = timed
        self.losses: list[float] = []
        self.miou: float | None = None
        self.baseline: dict[str, Any] | None = None
        self.clock = clock
        self.closing_seconds = 0.0  # that follow the last step
        self.closing_share = 0.0  # of the time of all steps, that follows the last one as well
        self._watch = watch
        self._started = clock()
        self._reported = float("-inf")
        self._fraction = 0.0
        self._step = 0
        self._stopped = False
        self._counting_since: tuple[float, float] | None = None  # seconds, fraction

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self.clock() - self._started

    @property
    def clock_fraction(self) -> float:
        """The share of the run that is done by the clock; 0 where steps are counted."""
        return self._clock_fraction(self.elapsed) if self.timed else 0.0

    def seconds_left(self, minimum: float) -> float:
        """Seconds that a last stage may take at most."""
        return max(minimum, self.limit - self.elapsed - self.closing_seconds)

    def count_steps_from(self, fraction: float) -> None:
        """From here on the number of remaining steps is known and gives the remaining time."""
        if self._counting_since is None:
            self._counting_since = (self.elapsed, fraction)

    def report(
        self,
        fraction: float | None = None,
        step: int | None = None,
        preview: tuple[int, np.ndarray] | None = None,
    ) -> None:
        """Call the watcher, not more often than it needs; raises Stopped when it returns False."""
        now = self.clock()
        if fraction is None and self.timed:
            fraction = self._clock_fraction(now - self._started)
        if fraction is not None:
            self._fraction = max(self._fraction, min(1.0, fraction))
        if step is not None:
            self._step = step
        if self._stopped or (preview is None and now - self._reported < REPORT_INTERVAL):
            return
        self._reported = now
        goes_on = self._watch(
            Progress(
                fraction=self._fraction,
                loss=self.losses[-1] if self.losses else None,
                eta_seconds=self._eta(now - self._started),
                step=self._step,
                miou=self.miou,
                baseline=self.baseline,
                preview=preview,
            )
        )
        if goes_on is False:
            self._stopped = True
            raise Stopped

    def _clock_fraction(self, elapsed: float) -> float:
        return min(MAX_CLOCK_FRACTION if self.losses else 1 / (1 + MIN_REMAINING), elapsed / self.seconds)

    def _eta(self, elapsed: float) -> float:
        by_budget = max(1.0, self.seconds - elapsed)
        if self.timed and self._counting_since is None:
            return by_budget if self.losses else max(by_budget, MIN_REMAINING * elapsed)
        since, done = self._counting_since if self.timed and self._counting_since else (0.0, 0.0)
        if self._fraction - done < 0.05:
            return by_budget
        rate = (elapsed - since) / (self._fraction - done)
        return rate * (1 - self._fraction + self.closing_share) + self.closing_seconds


class Schedule:
    """How many steps a stage takes, and its learning rate on the way.

    With `steps` it takes exactly these. Otherwise the clock chooses among `totals`, rising
    numbers of steps: at full rate until two thirds of a total are done, and when there is
    not enough time for the next total, the rate falls over the last third of this one. So the
    number of steps alone determines every learning rate, and taking as many again repeats the stage.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        steps: int | None = None,
        seconds: float = 0.0,
        totals: Sequence[int] = range(3, 30_000, 3),
        warmup_steps: int = 5,
    ) -> None:
        self.total = steps
        self.step = 0
        self._clock = clock
        self._started = clock()
        self._seconds = seconds
        self._totals = totals
        self._total_index = 0
        self._warmup = warmup_steps

    @property
    def max_steps(self) -> int:
        """Steps that are taken where there is time."""
        return self._totals[-1]

    @property
    def running(self) -> bool:
        """Whether another step is to be taken; fixes the total when the time requires it."""
        while self.total is None and self.step >= full_rate_steps(self._totals[self._total_index]):
            last = self._total_index + 1 == len(self._totals)
            if last or self._elapsed * self._next_ratio() >= HOLD * self._seconds:
                self.total = self._totals[self._total_index]
            else:
                self._total_index += 1
        return self.total is None or self.step < self.total

    @property
    def fraction(self) -> float:
        """Share of the stage that is done."""
        if self.total is not None:
            return self.step / max(1, self.total)
        return min(HOLD, max(self._elapsed / max(1e-9, self._seconds), self.step / self._totals[-1]))

    @property
    def _elapsed(self) -> float:
        return self._clock() - self._started

    def _next_ratio(self) -> float:
        """The next total over the present one."""
        return self._totals[self._total_index + 1] / self._totals[self._total_index]

    def lr_factor(self) -> float:
        """Factor on the learning rate for the step about to be taken."""
        warmup = min(1.0, (self.step + 1) / self._warmup)
        if self.total is None:
            return warmup
        full = full_rate_steps(self.total)
        if self.step < full:
            return warmup
        return warmup * max(0.02, 1.0 - (self.step - full) / max(1, self.total - full))


def full_rate_steps(total: int) -> int:
    """Of `total` steps, those at full learning rate."""
    return total * 2 // 3


class FollowerSchedule(Schedule):
    """The schedule of a short training in step with a longer one: one step for `ratio` of the leader's.

    Its total is computed from the leader's as soon as that is fixed, so it follows from the leader's steps.
    """

    def __init__(self, leader: Schedule, ratio: int, minimum: int) -> None:
        super().__init__(leader._clock)
        self._leader, self._ratio, self._minimum = leader, ratio, minimum

    @property
    def running(self) -> bool:
        if self.total is None and self._leader.total is not None:
            self.total = max(self._minimum, self._leader.total // self._ratio)
        return self.total is None or self.step < self.total

    @property
    def fraction(self) -> float:
        return self._leader.fraction if self.total is None else self.step / max(1, self.total)


class TrainingTask:
    """One of several interleaved trainings: an iterator that takes a step for each `next`, and its progress.

    With `kept` its losses and its progress are the run's.
    """

    def __init__(self, progress: ProgressReporter, kept: bool = False) -> None:
        self.fraction = 0.0
        self.steps_taken = 0  # in the present stage
        self.step_weight = 0  # of a step, where steps and not fractions decide which task is next
        self.steps: Iterator[None] = iter(())
        self._progress, self._kept = progress, kept

    @property
    def position(self) -> float:
        """Progress, comparable with the other tasks'."""
        return self.steps_taken * self.step_weight if self.step_weight else self.fraction

    def step(self) -> bool:
        """Take one step; False when none is left."""
        return next(self.steps, self) is None

    def stage(self, start: float, end: float) -> Callable[[float, Schedule], None]:
        """The on_step callback of a stage that takes the task from `start` to `end` (fractions)."""

        def on_step(loss: float, schedule: Schedule) -> None:
            self.fraction = start + (end - start) * schedule.fraction
            self.steps_taken = schedule.step
            if not self._kept:
                self._progress.report()
                return
            self._progress.losses.append(loss)
            if end == 1.0:
                self._progress.count_steps_from(self.fraction)
            self._progress.report(self.fraction, schedule.step)

        return on_step


def interleave(tasks: Sequence[TrainingTask], after_step: Callable[[], None]) -> None:
    """Run all tasks to their ends; the one that is furthest behind takes the next step.

    `after_step` is called after every step. What either raises is not caught.
    """
    running = list(tasks)
    while running:
        behind = min(running, key=lambda task: task.position)
        if not behind.step():
            running.remove(behind)
        after_step()
