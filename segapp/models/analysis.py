"""One image and what a model found in it."""

from pathlib import Path

from django.conf import settings
from django.db import models
from django.db.models import Q

from registry.models import new_public_id
from segapp.models.work import UNFINISHED, Pinned, State


class Analysis(Pinned):
    public_id = models.CharField(max_length=32, unique=True, default=new_public_id, editable=False)
    visitor = models.CharField(max_length=64, db_index=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    progress = models.FloatField(default=0, help_text="0 to 1, for images that are looked at in many tiles")
    title = models.CharField(max_length=200)
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    suffix = models.CharField(max_length=5, default=".png", help_text="Of the stored image: .png or .jpg")
    shared = models.BooleanField(default=False, help_text="Asked for through a share link, with another's model")
    timings = models.JSONField(default=dict, help_text="Milliseconds per stage, as the worker measured them")
    message = models.CharField(max_length=500, blank=True)
    notes = models.JSONField(default=list, help_text="Decisions made about the file: sentences")
    image_input = models.JSONField(default=dict, help_text="Page and channels to use, of a file that a worker reads")
    source = models.JSONField(default=dict, help_text="Read from the file: {pixel_size, place, channels, deep}")
    windows = models.BooleanField(default=False, help_text="Too large to read at once: read and written in parts")
    passes = models.PositiveIntegerField(default=1, help_text="Forward passes it takes: what it costs in the queue")
    worker = models.CharField(max_length=120, blank=True, help_text="Worker that claimed it")
    attempts = models.PositiveSmallIntegerField(default=0)
    created = models.DateTimeField(auto_now_add=True, db_index=True)
    ended = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created", "-pk"]
        verbose_name_plural = "analyses"
        indexes = [
            # Asked with every image that comes in (how many wait), over a table that holds days of results.
            models.Index(fields=["state"], condition=Q(state__in=UNFINISHED), name="unfinished_analyses"),
        ]

    def __str__(self) -> str:
        return f"{self.title} ({self.state})"

    @property
    def unfinished(self) -> bool:
        return self.state in UNFINISHED

    @property
    def folder(self) -> Path:
        """Holds the image, mask.png (palette, class ids) and sure.png, the confidence on the network's own grid;
        interior.png, how far inside an object each pixel lies, of models that know it; and objects_<key>/, the files of
        each measurement.

        Of an image with more than eight bits values.npy.gz has its own values; upload, the file as it came, goes when a
        worker has read them. pixels.npy is there until a worker has answered (services/handover.py).

        What is drawn from these comes when somebody asks: overlay.jpg, confidence.png, and shown.jpg of a large one.
        """
        return Path(settings.MEDIA_ROOT) / "analyses" / self.public_id

    @property
    def upload_path(self) -> Path:
        return self.folder / "upload"

    @property
    def values_path(self) -> Path:
        return self.folder / "values.npy.gz"

    @property
    def pixels_path(self) -> Path:
        """What the web process decoded, until a worker has answered."""
        return self.folder / "pixels.npy"

    @property
    def image_path(self) -> Path:
        return self.folder / f"image{self.suffix}"
