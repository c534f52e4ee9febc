"""Looks at held-out images while the networks learn: a score on the way, and one image to watch.

A look costs a decoder's pass over features that are known, at the network's size; looks take a small share of the time.
"""

from collections.abc import Sequence

import numpy as np

from segapp.pipeline.training import cross_validation as holdout
from segapp.pipeline.training.job import Job
from segapp.pipeline.training.judging import Rehearsal
from segapp.pipeline.training.metrics import channels, confusion, ious, mean

EVERY = 2.0  # seconds between two looks, at least
SHARE = 0.07  # of the time that looks may take, unless that would leave the page without news
NEWS = 4.0  # seconds between two looks, at most


class Glances:
    """Called after every step; looks when it is time. The first look takes in every image, later ones the watched
    one and the next of the others, so the score is over the newest look at each of them."""

    def __init__(self, job: Job, rehearsals: Sequence[Rehearsal]) -> None:
        self._job = job
        self._ids = [c.id for c in job.spec.classes]
        places = [(rehearsal, index) for rehearsal in rehearsals for index in rehearsal.fold.judge]
        self._watched = max(places, key=lambda place: len(np.unique(job.prepared[place[1]].mask)))
        self._others = [place for place in places if place is not self._watched]
        self._tables: list[np.ndarray] = []
        self._places = [self._watched, *self._others]
        self._next = 0
        self._due = float("-inf")
        self.seconds = 0.0  # that the first look took, over every image

    def __call__(self) -> None:
        clock = self._job.pace.clock
        began = clock()
        if began < self._due:
            return
        ids = self._look(0)
        spent = 2 * (clock() - began)
        if len(self._tables) < len(self._places):
            self._job.pace.tick(preview=(self._watched[1], ids))
            for number in range(1, len(self._places)):
                self._look(number)
                self._job.pace.tick()
            self.seconds = clock() - began
        elif self._others:
            self._next = self._next % len(self._others) + 1
            self._look(self._next)
        self._job.pace.miou = mean(ious(sum(self._tables, np.zeros_like(self._tables[0]))))
        self._due = clock() + min(NEWS, max(EVERY, spent / SHARE))
        self._job.pace.tick(preview=(self._watched[1], ids))

    def _look(self, number: int) -> np.ndarray:
        """What the rehearsal's network now makes of an image, uint8 H,W of ids at the network's size; keeps score."""
        rehearsal, index = self._places[number]
        view = self._job.unseeing_views.get(index, 0)
        found = holdout.mask_of(rehearsal.student.average, view, view.size, self._job.spec.classes)
        truth = holdout.judged_part(self._job.prepared[index].mask, rehearsal.fold)
        table = confusion(truth, channels(found, self._ids), len(self._ids))
        if number < len(self._tables):
            self._tables[number] = table
        else:
            self._tables.append(table)
        return found
