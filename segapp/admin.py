"""The admin's view of the work: trainings, videos, exports, workers; and of what was given out: links, codes."""

from django.contrib import admin
from django.http import HttpRequest

from segapp.models import (
    ApiKey,
    BasePreparation,
    Batch,
    Delivery,
    Export,
    Hook,
    ModelShare,
    TrainingRun,
    TransferCode,
    VideoJob,
    Worker,
)


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


@admin.register(ModelShare)
class ModelShareAdmin(LookOnly):
    """Links can be deleted here, which revokes them; their tokens are shown to their owners only."""

    list_display = ["id", "model", "label", "uses", "created", "last_used"]
    search_fields = ["model__public_id", "model__visitor", "label"]
    list_select_related = ["model"]
    fields = ["model", "label", "uses", "created", "last_used"]


@admin.register(TransferCode)
class TransferCodeAdmin(LookOnly):
    list_display = ["public_id", "visitor", "created", "expires", "claimed_at"]
    list_filter = ["created"]
    search_fields = ["public_id", "visitor"]
    fields = ["public_id", "visitor", "created", "expires", "claimed_at"]


@admin.register(BasePreparation)
class BasePreparationAdmin(LookOnly):
    list_display = ["key", "state", "phase", "progress", "attempts", "message", "created", "ended"]


@admin.register(Export)
class ExportAdmin(LookOnly):
    list_display = ["public_id", "visitor", "model", "format", "state", "size_bytes", "message", "created", "ended"]
    list_filter = ["state", "format", "created"]
    search_fields = ["public_id", "visitor", "model__public_id"]
    list_select_related = ["model"]


@admin.register(ApiKey)
class ApiKeyAdmin(LookOnly):
    list_display = ["name", "scope", "visitor", "created", "expires", "last_used"]
    list_filter = ["scope", "created"]
    search_fields = ["public_id", "visitor", "name"]


@admin.register(Hook)
class HookAdmin(LookOnly):
    """Hooks can be deleted here; their secrets are shown to their owners only."""

    list_display = ["public_id", "visitor", "url", "events", "created"]
    search_fields = ["public_id", "visitor", "url"]
    fields = ["public_id", "visitor", "url", "events", "created"]


@admin.register(Delivery)
class DeliveryAdmin(LookOnly):
    list_display = ["public_id", "hook", "event", "state", "attempts", "status", "message", "created", "ended"]
    list_filter = ["state", "event", "created"]
    search_fields = ["public_id", "hook__public_id", "hook__visitor", "hook__url"]
    list_select_related = ["hook"]
