"""What a training tells its row while it runs, and what the row tells it: stop, cancel, or not ours any more."""

import time
from typing import Any

from segapp import heartbeat
from segapp.models import MAX_ATTEMPTS, State, Stop, TrainingRun
from segapp.pipeline.training.finetune import Cancelled, Example, Progress
from segapp.worker import images
from segapp.worker.publishing import LeaseLost

PUBLISHING = 2.0  # seconds from the last step to the end of the run, until a run has shown how long it takes here
SECONDS = 0.4  # between two writes; pages look once a second
POINTS = 240  # of a curve; a longer one is thinned


_publishing = PUBLISHING


def publishing_took(seconds: float) -> None:
    """Remember how long it took to draw and publish, for the time left of the runs to come."""
    global _publishing
    _publishing = 0.5 * _publishing + 0.5 * seconds


class HandBack(BaseException):
    """The worker was asked to end: put the run back into the queue. No `Exception`, so that nothing swallows it."""


def training_waits() -> bool:
    """Whether a training could begin: a visitor follows it, so videos and batches make room for it."""
    return TrainingRun.objects.filter(state=State.QUEUED, attempts__lt=MAX_ATTEMPTS).exists()


class Watcher:
    """The engine's `watch`: writes progress into the row, and answers whether to go on."""

    def __init__(self, row: TrainingRun, examples: list[Example], classes: list[dict[str, Any]]) -> None:
        self.row, self.examples, self.classes = row, examples, classes
        self.losses: list[float] = []
        self.scores: list[tuple[float, float]] = []
        self.written = float("-inf")

    def __call__(self, progress: Progress) -> bool:
        """False: stop and keep the best so far. Raises Cancelled, LeaseLost or HandBack."""
        heartbeat.tick()
        if progress.loss is not None:
            self.losses.append(round(progress.loss, 5))
        if progress.miou is not None and (progress.preview is not None or not self.scores):
            self.scores.append((round(progress.fraction, 4), round(progress.miou, 4)))
        if heartbeat.stopping.is_set():
            raise HandBack
        if progress.preview is not None:
            index, ids = progress.preview
            images.draw_preview(self.row.folder, self.examples[index], ids, self.classes)
        if time.monotonic() - self.written < SECONDS:
            return True
        self.written = time.monotonic()
        held = TrainingRun.objects.held(self.row.pk, self.row.lease)
        written = held.update(
            progress=min(progress.fraction, 0.999),
            eta_seconds=round(progress.eta_seconds + _publishing, 1),
            losses=thinned(self.losses),
            scores=thinned(self.scores),
            metrics={"comparison": progress.baseline} if progress.baseline else {},
        )
        if not written:
            raise LeaseLost
        stop = held.values_list("stop", flat=True).first()
        if stop == Stop.DISCARD:
            raise Cancelled
        return stop != Stop.KEEP


def thinned(values: list[Any]) -> list[Any]:
    """At most POINTS of the values, evenly spread, the last one among them."""
    step = -(-len(values) // POINTS) or 1
    return values[::-1][::step][::-1]
