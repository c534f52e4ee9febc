"""A base model that the server makes for itself while another one answers."""

from django.db import models

from segapp.models.work import Work, WorkQuerySet


class Phase(models.TextChoices):
    WAITING = "waiting", "waiting for a training worker"
    WEIGHTS = "weights", "fetching its weights"
    IMAGES = "images", "reading the sample images"
    DECODER = "decoder", "training its decoder"


class BasePreparation(Work):
    """One for each base that SEGAPP_BASE has named while it was not ready. It belongs to no visitor."""

    visitor = None  # type: ignore[assignment]  # Django leaves a field of an abstract model out that is None here
    key = models.CharField(max_length=64, unique=True)
    phase = models.CharField(max_length=10, choices=Phase.choices, default=Phase.WAITING)

    objects = WorkQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.key} ({self.state})"
