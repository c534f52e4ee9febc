"""Images with masks that a visitor keeps under a name."""

from typing import Any

from django.db import models, transaction
from django.db.models import Q

from registry.models import new_public_id
from segapp.models.training import Example


class TrainingSetQuerySet(models.QuerySet["TrainingSet"]):
    def follow_drafts(self, visitor: str) -> None:
        """Give the visitor's open set the drafts as its images."""
        opened = self.filter(visitor=visitor, open=True).first()
        if opened is None:
            return
        with transaction.atomic():  # locked, so that cleanup removes none of them in between
            opened.examples.set(Example.objects.select_for_update().filter(visitor=visitor, draft=True))

    def close(self, visitor: str) -> None:
        """Leave the set that is open as it is."""
        self.filter(visitor=visitor, open=True).update(open=False)


class TrainingSet(models.Model):
    """A named set. While it is open, the visitor's drafts are its images; the others' images are no drafts."""

    public_id = models.CharField(max_length=32, unique=True, default=new_public_id, editable=False)
    visitor = models.CharField(max_length=64, db_index=True)
    name = models.CharField(max_length=80)
    open = models.BooleanField(default=False)
    examples = models.ManyToManyField(Example, related_name="sets")
    edits: Any = models.JSONField(default=dict, help_text="What was changed in the class table, by mask value")
    created = models.DateTimeField(auto_now_add=True)
    updated = models.DateTimeField(auto_now=True)

    objects = TrainingSetQuerySet.as_manager()

    class Meta:
        ordering = ["name", "pk"]
        constraints = [
            models.UniqueConstraint(fields=["visitor"], condition=Q(open=True), name="one_open_set_per_visitor")
        ]

    def __str__(self) -> str:
        return self.name
