"""The admin's view of the work: trainings, videos, workers."""

from django.contrib import admin
from django.http import HttpRequest

from segapp.models import Batch, TrainingRun, VideoJob, Worker


class LookOnly(admin.ModelAdmin):
    """Rows that workers write: people look at them."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(TrainingRun)
class TrainingRunAdmin(LookOnly):
    list_display = [
        "public_id",
        "visitor",
        "name",
        "effort",
        "state",
        "progress",
        "attempts",
        "message",
        "created",
        "ended",
    ]
    list_filter = ["state", "effort", "created"]
    search_fields = ["public_id", "visitor", "name", "error"]


@admin.register(VideoJob)
class VideoJobAdmin(LookOnly):
    list_display = ["public_id", "visitor", "title", "state", "progress", "model_key", "message", "created", "ended"]
    list_filter = ["state", "created"]
    search_fields = ["public_id", "visitor", "title", "error"]


@admin.register(Batch)
class BatchAdmin(LookOnly):
    list_display = [
        "public_id",
        "visitor",
        "title",
        "state",
        "total",
        "done",
        "failed",
        "model_key",
        "created",
        "ended",
    ]
    list_filter = ["state", "created"]
    search_fields = ["public_id", "visitor", "title", "error"]


@admin.register(Worker)
class WorkerAdmin(LookOnly):
    list_display = ["name", "queues", "device", "ready", "started", "seen"]
