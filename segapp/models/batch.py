"""Many images sent at once, and what a model found in each of them."""

from pathlib import Path

from django.conf import settings
from django.db import models

from segapp.models.work import Pinned, State, Work, WorkQuerySet


class Batch(Pinned, Work):
    """`classes` are summed over all finished images; `model_key` and `model_sha256` are of what answered last."""

    title = models.CharField(max_length=200)
    total = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0, help_text="Refused on upload or by the worker")
    pace = models.FloatField(null=True, blank=True, help_text="Seconds an image took, as measured")
    image_input = models.JSONField(default=dict, help_text="Page and channels to use; empty: the model's own")
    objects_wanted = models.JSONField(default=dict, help_text="ObjectOptions.to_dict(); empty: not asked for")
    error = models.TextField(blank=True, help_text="Cause for the log; visitors read `message`")

    by_turn = True
    objects = WorkQuerySet.as_manager()

    class Meta(Work.Meta):
        verbose_name_plural = "batches"

    @property
    def folder(self) -> Path:
        """Holds sources/, masks/, masks_shown/, overlays/, shown/, small/, and of objects polygons/, instances/ and
        measures/. Files are named by the image's number."""
        return Path(settings.MEDIA_ROOT) / "batches" / self.public_id

    @property
    def waiting(self) -> int:
        return self.total - self.done - self.failed

    @property
    def has_results(self) -> bool:
        """Whether there is something to take along: also what was done before the rest failed."""
        return self.state in (State.DONE, State.FAILED) and self.done > 0


class ItemState(models.TextChoices):
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"


class BatchItem(models.Model):
    """One image of a batch. A worker that takes the batch over goes on with those that wait."""

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="items")
    number = models.PositiveIntegerField(help_text="Its place in the batch, from 1; its files are named by it")
    name = models.CharField(max_length=200, help_text="As it was sent")
    stem = models.CharField(max_length=200, help_text="Its name in the results, different from every other's")
    state = models.CharField(max_length=10, choices=ItemState.choices, default=ItemState.WAITING)
    message = models.CharField(max_length=500, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0, help_text="Number of attempts by workers")
    width = models.PositiveIntegerField(default=0)
    height = models.PositiveIntegerField(default=0)
    windows = models.BooleanField(default=False, help_text="Too large to read at once: read and written in parts")
    classes = models.JSONField(default=list, help_text="[{id, name, color, pixels, percent}]")
    counted = models.JSONField(default=dict, help_text="{counts, total, rows, things, pixel_size}; empty: not counted")
    doubt = models.FloatField(
        null=True, blank=True, help_text="Doubt of the answer at class borders, 0 to 1; null: unknown"
    )
    model_key = models.CharField(max_length=64, blank=True)
    model_sha256 = models.CharField(max_length=64, blank=True)

    class Meta:
        ordering = ["batch", "number"]
        constraints = [models.UniqueConstraint(fields=["batch", "number"], name="one_picture_per_number_in_a_batch")]

    def __str__(self) -> str:
        return f"{self.name} ({self.state})"

    @property
    def source(self) -> Path:
        """The image as it was sent; gone when its turn is over."""
        return self.batch.folder / "sources" / f"{self.number:05d}"

    @property
    def mask(self) -> Path:
        """Class ids with their colours at the image's own size: a PNG, or a tiled TIFF of a large image."""
        return self.batch.folder / "masks" / f"{self.number:05d}{'.tif' if self.windows else '.png'}"

    @property
    def mask_shown(self) -> Path:
        """The mask to show: of a large image a PNG as small as `shown`."""
        return self.batch.folder / "masks_shown" / f"{self.number:05d}.png" if self.windows else self.mask

    @property
    def overlay(self) -> Path:
        return self.batch.folder / "overlays" / f"{self.number:05d}.jpg"

    @property
    def shown(self) -> Path:
        """The image, no larger than a screen, to look at under its mask."""
        return self.batch.folder / "shown" / f"{self.number:05d}.jpg"

    @property
    def small(self) -> Path:
        """The image with its mask over it, as a thumbnail."""
        return self.batch.folder / "small" / f"{self.number:05d}.webp"

    @property
    def polygons(self) -> Path:
        """Its objects as GeoJSON."""
        return self.batch.folder / "polygons" / f"{self.number:05d}.geojson"

    @property
    def instances(self) -> Path:
        """16-bit PNG of object numbers."""
        return self.batch.folder / "instances" / f"{self.number:05d}.png"

    @property
    def measures(self) -> Path:
        """The columns of its table of objects, as numpy writes them."""
        return self.batch.folder / "measures" / f"{self.number:05d}.npz"
