"""One video and what a model found in it over time."""

from pathlib import Path

from django.conf import settings
from django.db import models

from segapp.models.work import Pinned, Work, WorkQuerySet


class VideoJob(Work, Pinned):
    title = models.CharField(max_length=200)
    options = models.JSONField(default=dict, help_text="Frames per second to predict, and the like")
    source = models.JSONField(default=dict, help_text="Probe result: size, rate, frames, seconds, audio")
    segments_done = models.PositiveIntegerField(default=0)
    frames = models.PositiveIntegerField(default=0)
    frames_skipped = models.PositiveIntegerField(default=0)
    timeline = models.JSONField(default=list, help_text="[[seconds, {class id: percent}], …]")
    object_timeline = models.JSONField(default=list, help_text="[[seconds, {class id: mean count}], …]")
    doubtful = models.JSONField(default=list, help_text="[[seconds, doubt, frame], …], the most doubtful moments first")
    error = models.TextField(blank=True)

    by_turn = True
    objects = WorkQuerySet.as_manager()

    @property
    def folder(self) -> Path:
        return Path(settings.MEDIA_ROOT) / "videos" / self.public_id
