"""Several trainings side by side: whichever is furthest behind takes the next step.

So the held-out score grows while the model that is kept is made, and a stop at any moment finds both.
Knows nothing of what is trained.
"""

from collections.abc import Callable, Iterator, Sequence

from segapp.pipeline.training.schedule import Pace, Schedule


class Course:
    """One of the trainings: an iterator that takes a step for each `next`, and how far it is.

    With `kept` its losses and its progress are the run's.
    """

    def __init__(self, pace: Pace, kept: bool = False) -> None:
        self.fraction = 0.0
        self.taken = 0  # steps of the stage it is in
        self.weight = 0  # what a step counts, where steps and not fractions decide whose turn it is
        self.steps: Iterator[None] = iter(())
        self._pace, self._kept = pace, kept

    @property
    def position(self) -> float:
        """How far it is, to be compared with the others'."""
        return self.taken * self.weight if self.weight else self.fraction

    def step(self) -> bool:
        """Take one step; False when there is none left."""
        return next(self.steps, self) is None

    def hear(self, start: float, end: float) -> Callable[[float, Schedule], None]:
        """What a stage tells its loss to, when it takes the course from `start` to `end` (fractions)."""

        def tell(loss: float, schedule: Schedule) -> None:
            self.fraction = start + (end - start) * schedule.fraction
            self.taken = schedule.step
            if not self._kept:
                self._pace.tick()
                return
            self._pace.losses.append(loss)
            if schedule.total is not None and end == 1.0:
                self._pace.counted(self.fraction)
            self._pace.tick(self.fraction, schedule.step)

        return tell


def take_turns(courses: Sequence[Course], between: Callable[[], None]) -> None:
    """Run the courses to their ends; `between` is called after every step. What either raises goes through."""
    running = list(courses)
    while running:
        behind = min(running, key=lambda course: course.position)
        if not behind.step():
            running.remove(behind)
        between()
