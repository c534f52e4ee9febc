"""What a visitor trains on, and the trainings."""

from pathlib import Path

from django.conf import settings
from django.db import models
from django.db.models import Q

from registry.models import UserModel, new_public_id
from segapp.models.work import UNFINISHED, Work, WorkQuerySet


class Example(models.Model):
    """An image with its mask, re-encoded and stored under a server-made name."""

    public_id = models.CharField(max_length=32, unique=True, default=new_public_id, editable=False)
    visitor = models.CharField(max_length=64, db_index=True)
    stem = models.CharField(max_length=200)
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    mask_kind = models.CharField(
        max_length=8, help_text="index, colour or painted: how the mask's values are to be read"
    )
    size_bytes = models.PositiveBigIntegerField(default=0)
    notes = models.JSONField(default=list, help_text="Decisions and changes made on upload: sentences")
    image_input = models.JSONField(default=dict, help_text="Pages and channels of its file, and which were chosen")
    draft = models.BooleanField(default=True, help_text="Uploaded and not trained on yet")
    created = models.DateTimeField(auto_now_add=True)
    drafted = models.DateTimeField(null=True, blank=True, help_text="When it last became a draft again")

    class Meta:
        ordering = ["stem", "pk"]
        indexes = [models.Index(fields=["visitor", "draft"])]

    def __str__(self) -> str:
        return self.stem

    @property
    def folder(self) -> Path:
        return Path(settings.MEDIA_ROOT) / "examples" / self.public_id

    @property
    def image_path(self) -> Path:
        jpeg = self.folder / "image.jpg"  # large photos that came as JPEG stay JPEG
        return jpeg if jpeg.exists() else self.folder / "image.png"

    @property
    def mask_path(self) -> Path:
        """The uploaded mask as codes; a painted one has a file for each revision."""
        return self.folder / "mask.png"

    @property
    def thumbnail_path(self) -> Path:
        return self.folder / "thumbnail.webp"

    @property
    def to_paint(self) -> bool:
        """Whether its mask is still to be painted; until then it cannot be trained on."""
        painting = getattr(self, "painting", None)
        return painting is not None and not painting.ready

    @property
    def mask_stamp(self) -> str:
        """Changes with the mask; part of the addresses of what shows it."""
        painting = getattr(self, "painting", None)
        return f"{painting.revision}.{painting.unpainted}.{painting.ready:d}" if painting else "0"


class Effort(models.TextChoices):
    QUICK = "quick", "Quick"
    THOROUGH = "thorough", "Thorough"


class TrainingRun(Work):
    name = models.CharField(max_length=80)
    effort = models.CharField(max_length=10, choices=Effort.choices, default=Effort.QUICK)
    seed = models.PositiveIntegerField(default=0)
    base_key = models.CharField(max_length=64, blank=True, help_text="Requested base; empty: the server's")
    classes = models.JSONField(default=list, help_text="[{id, name, color}]")
    reading = models.JSONField(default=dict, help_text="How mask values become class ids: ClassMapping.to_dict()")
    examples = models.ManyToManyField(Example, related_name="runs")
    continued_from = models.ForeignKey(UserModel, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    activate = models.BooleanField(default=True, help_text="Cleared by a reset during training")
    losses = models.JSONField(default=list)
    scores = models.JSONField(default=list, help_text="[[fraction, held-out mIoU], …]")
    metrics = models.JSONField(default=dict)
    model = models.ForeignKey(UserModel, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    error = models.TextField(blank=True, help_text="Cause for the log; visitors read `message`")

    objects = WorkQuerySet.as_manager()

    class Meta(Work.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["visitor"], condition=Q(state__in=UNFINISHED), name="one_unfinished_run_per_visitor"
            )
        ]

    @property
    def folder(self) -> Path:
        """Previews and before/after images of the run."""
        return Path(settings.MEDIA_ROOT) / "runs" / self.public_id
