"""What is being painted on an image: which classes, what unpainted means, and how often it was saved."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from registry.models import UserModel
from segapp.models.training import Example

IGNORE = 255


class PaintingQuerySet(models.QuerySet["Painting"]):
    def save_next(self, pk: int, base: int, editor: str, sequence: int, **values: object) -> bool:
        """Count the revision up, if no other request has since `base`. Of two tabs that started from it one sees True.

        `editor` is a page that was opened, `sequence` counts its saves: a save that is sent again after its answer was
        lost goes through, and one that arrives after a later one of the same page does not.
        """
        unchanged = Q(revision=base) & ~Q(editor=editor)
        mine = Q(editor=editor, sequence__lt=sequence)
        rows = self.filter(unchanged | mine, pk=pk, example__draft=True, example__runs=None)
        taken = rows.update(
            revision=models.F("revision") + 1, editor=editor, sequence=sequence, updated=timezone.now(), **values
        )
        return taken == 1


class Painting(models.Model):
    """The painted mask of one example. Each revision has a file of its own: class ids, 255 where nothing is painted."""

    example = models.OneToOneField(Example, on_delete=models.CASCADE, related_name="painting")
    classes = models.JSONField(default=list, help_text="[{id, name, color, source?}], also those not painted yet")
    unpainted = models.PositiveSmallIntegerField(
        default=0, help_text="What unpainted pixels count as: a class id, or 255 for ignore"
    )
    empty = models.BooleanField(default=True, help_text="No pixel is painted")
    nothing_there = models.BooleanField(default=False, help_text="The visitor says that there is nothing to paint")
    corrects = models.ForeignKey(
        UserModel,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="Model whose answer is corrected",
    )
    origin = models.CharField(max_length=32, blank=True, db_index=True, help_text="Public id of the corrected result")
    proposal = models.CharField(max_length=8, blank=True, help_text="Source of the stored proposal: live or model")
    accepted = models.DateTimeField(null=True, blank=True, help_text="When a visitor accepted the answer unchanged")
    dice = models.FloatField(null=True, blank=True, help_text="Dice of the proposal against the accepted mask, 0 to 1")
    doubt = models.FloatField(null=True, blank=True, help_text="Doubt of the latest answer at class borders, 0 to 1")
    unlike = models.FloatField(null=True, blank=True, help_text="Distance to the painted images in feature space")
    revision = models.PositiveIntegerField(default=0)
    editor = models.CharField(max_length=32, blank=True)
    sequence = models.PositiveIntegerField(default=0)
    updated = models.DateTimeField(default=timezone.now)

    objects = PaintingQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.example_id}, revision {self.revision}"

    @property
    def state(self) -> str:
        """none, proposed, corrected or accepted."""
        if self.accepted is not None:
            return "accepted"
        if self.ready:
            return "corrected"
        return "proposed" if self.proposal else "none"

    @property
    def ready(self) -> bool:
        """Whether it can be trained on."""
        return not self.empty or self.nothing_there
