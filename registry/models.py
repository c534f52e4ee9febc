"""The `UserModel` row: one immutable version of one visitor's model. Knows nothing of torch or of the site."""

import secrets
from pathlib import Path

from django.conf import settings
from django.db import models
from django.db.models import Q


def new_public_id() -> str:
    """128 random bits as 32 hexadecimal digits: safe in URLs, file names and shells."""
    return secrets.token_hex(16)


class FileState(models.TextChoices):
    OK = "ok", "in order"
    MISSING = "missing", "missing"
    DAMAGED = "damaged", "damaged"


class UserModelQuerySet(models.QuerySet["UserModel"]):
    def of(self, visitor: str) -> "UserModelQuerySet":
        """What the visitor owns and has not put into the trash, newest first."""
        return self.filter(visitor=visitor, trashed_at=None).order_by("-created", "-pk")

    def usable(self) -> "UserModelQuerySet":
        return self.filter(trashed_at=None, file_state=FileState.OK)


class UserModel(models.Model):
    public_id = models.CharField(max_length=32, unique=True, default=new_public_id, editable=False)
    visitor = models.CharField(max_length=64, db_index=True)
    name = models.CharField(max_length=80)
    active = models.BooleanField(default=False)
    file_state = models.CharField(max_length=8, choices=FileState.choices, default=FileState.OK)
    active_when_found = models.BooleanField(default=False, help_text="Was active when its file was lost")
    notice = models.CharField(max_length=200, blank=True, help_text="Why this model stopped answering, until dismissed")
    base_key = models.CharField(max_length=64)
    base_name = models.CharField(max_length=64)
    base_sha256 = models.CharField(max_length=64)
    classes = models.JSONField(default=list, help_text="[{id, name, color}] in channel order")
    image_input = models.JSONField(default=dict, help_text="Page and channels it learnt from; empty: plain images")
    input_size = models.PositiveIntegerField(default=0, help_text="Long side at which the network runs; 0: unknown")
    example_side = models.PositiveIntegerField(default=0, help_text="Long side of its examples; 0: unknown")
    metrics = models.JSONField(default=dict)
    recipe = models.JSONField(default=dict, help_text="What reproduces the weights: seed, steps, versions")
    sha256 = models.CharField(max_length=64)
    size_bytes = models.PositiveBigIntegerField()
    seconds = models.FloatField(help_text="Training time")
    image_count = models.PositiveIntegerField()
    run_id = models.CharField(max_length=32, blank=True, db_index=True, help_text="Public id of the training run")
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="children")
    created = models.DateTimeField(auto_now_add=True)
    last_used = models.DateTimeField(null=True, blank=True)
    trashed_at = models.DateTimeField(null=True, blank=True)

    objects = UserModelQuerySet.as_manager()

    class Meta:
        ordering = ["-created", "-pk"]
        constraints = [
            models.UniqueConstraint(fields=["visitor"], condition=Q(active=True), name="one_active_model_per_visitor"),
            models.CheckConstraint(
                condition=Q(active=False) | Q(trashed_at=None, file_state=FileState.OK), name="active_model_is_usable"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.key})"

    @property
    def key(self) -> str:
        return f"user_{self.public_id}"

    @property
    def file_name(self) -> str:
        """Path of the weights below media."""
        return f"models/{self.key}.pth"

    @property
    def path(self) -> Path:
        return Path(settings.MEDIA_ROOT) / self.file_name

    @property
    def preview_path(self) -> Path:
        """A small before/after image beside the weights; may be absent."""
        return Path(settings.MEDIA_ROOT) / "models" / f"{self.key}.webp"
