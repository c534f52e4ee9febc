"""The workers, as their heartbeats describe them."""

from datetime import timedelta

from django.db import models
from django.utils import timezone


class WorkerQuerySet(models.QuerySet["Worker"]):
    def alive(self) -> "WorkerQuerySet":
        return self.filter(seen__gte=timezone.now() - timedelta(seconds=Worker.SILENCE))


class Worker(models.Model):
    """A worker process, as its heartbeat thread describes it. The web side knows the device from here only."""

    SILENCE = 20  # seconds without a heartbeat after which a worker counts as gone

    name = models.CharField(max_length=120, unique=True)
    queues = models.CharField(max_length=60)
    device = models.CharField(max_length=20)
    ready = models.BooleanField(default=False, help_text="Libraries imported and base network in memory")
    info = models.JSONField(default=dict, help_text="Cache counters, memory, versions")
    started = models.DateTimeField(auto_now_add=True)
    seen = models.DateTimeField()
    beats = models.PositiveBigIntegerField(default=0, help_text="Incremented with every heartbeat")

    objects = WorkerQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name
