"""A model as a file that needs nothing of this project, made by a worker and kept for a while."""

from pathlib import Path

from django.conf import settings
from django.db import models

from registry.models import UserModel
from segapp.models.work import Work, WorkQuerySet


class ExportFormat(models.TextChoices):
    PTH = "pth", "Full .pth"
    DETAILED = "pth_detail", "Full .pth with detail branch"  # of models that have one
    SAFETENSORS = "safetensors", "safetensors"
    ONNX = "onnx", "ONNX"


class Export(Work):
    model = models.ForeignKey(UserModel, on_delete=models.CASCADE, related_name="exports")
    format = models.CharField(max_length=12, choices=ExportFormat.choices)
    size_bytes = models.PositiveBigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True)

    by_turn = True
    objects = WorkQuerySet.as_manager()

    class Meta(Work.Meta):
        constraints = [models.UniqueConstraint(fields=["model", "format"], name="one_export_per_model_and_format")]

    @property
    def folder(self) -> Path:
        return Path(settings.MEDIA_ROOT) / "exports" / self.public_id

    @property
    def path(self) -> Path:
        """The file, under the name that it is downloaded with."""
        names = {ExportFormat.PTH: "_full.pth", ExportFormat.DETAILED: "_full_detail.pth"}  # unlike the kept file's
        return self.folder / f"{self.model.key}{names.get(ExportFormat(self.format), f'.{self.format}')}"
