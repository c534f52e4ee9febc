"""Keys with which programs act for a visitor."""

from django.db import models

from registry.models import new_public_id


class Scope(models.TextChoices):
    PREDICT = "predict", "segment images and videos"
    ALL = "all", "everything"


class ApiKey(models.Model):
    """A key that stands for its visitor. Only its digest is kept, so it cannot be read here."""

    public_id = models.CharField(max_length=32, unique=True, default=new_public_id, editable=False)
    visitor = models.CharField(max_length=64, db_index=True)
    name = models.CharField(max_length=60)
    scope = models.CharField(max_length=8, choices=Scope.choices, default=Scope.ALL)
    digest = models.CharField(max_length=64, unique=True)
    created = models.DateTimeField(auto_now_add=True)
    expires = models.DateTimeField(null=True, blank=True)
    last_used = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "API key"
        ordering = ["-created", "-pk"]

    def __str__(self) -> str:
        return f"{self.name} ({self.scope})"
