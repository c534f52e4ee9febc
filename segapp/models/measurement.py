"""The objects of one result, counted and measured in one way; another way of measuring is another row."""

import hashlib
import json
from pathlib import Path
from typing import Any

from django.db import models
from django.utils import timezone

from segapp.imaging import object_formats
from segapp.imaging.object_options import ObjectOptions
from segapp.models.analysis import Analysis
from segapp.models.work import UNFINISHED, State

VIEW = "view"  # what the page's viewer reads: outlines and table as JSON


class Measurement(models.Model):
    """`total`, `counts` and what follows are the worker's; files lie in `folder`, one a format."""

    analysis = models.ForeignKey(Analysis, on_delete=models.CASCADE, related_name="measurements")
    key = models.CharField(max_length=16, help_text="Digest of the options; the same options share a row")
    options = models.JSONField(default=dict, help_text="ObjectOptions.to_dict()")
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    formats = models.JSONField(default=list, help_text="Requested files: VIEW, or keys of object_formats")
    worker = models.CharField(max_length=120, blank=True, help_text="Worker that claimed it")
    attempts = models.PositiveSmallIntegerField(default=0)
    message = models.CharField(max_length=500, blank=True)
    asked = models.DateTimeField(default=timezone.now, help_text="The latest request of a result is the one shown")
    ended = models.DateTimeField(null=True, blank=True)
    total = models.PositiveIntegerField(default=0)
    counts = models.JSONField(default=dict, help_text="{class id: objects} of the classes that are counted")
    rows = models.JSONField(default=list, help_text="A row a class, as measurement.table.per_image gives it")
    pixel_size = models.JSONField(default=dict, help_text="PixelSize.to_dict(); empty: unknown")
    seconds = models.FloatField(null=True, blank=True)

    class Meta:
        ordering = ["-asked", "-pk"]
        constraints = [models.UniqueConstraint(fields=["analysis", "key"], name="one_measurement_per_way")]

    def __str__(self) -> str:
        return f"{self.total} objects ({self.state})"

    @property
    def unfinished(self) -> bool:
        return self.state in UNFINISHED

    @property
    def folder(self) -> Path:
        return self.analysis.folder / f"objects_{self.key}"

    def path(self, key: str) -> Path:
        """The file of a format, there or not."""
        return self.folder / f"{key}{'.json' if key == VIEW else object_formats.named(key).ending}"

    @property
    def measured(self) -> bool:
        """Whether its figures are known; files may still be made."""
        return self.ended is not None and self.state != State.FAILED

    @property
    def name(self) -> str:
        """Who waits for it asks by this name."""
        return f"{self.analysis.public_id}-{self.key}"


def key_of(options: ObjectOptions) -> str:
    """The same options have the same key."""
    text = json.dumps(options.to_dict(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def wanted(options: ObjectOptions) -> dict[str, Any]:
    """The values of a new row."""
    return {"key": key_of(options), "options": options.to_dict()}
