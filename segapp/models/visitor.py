"""Which visitors became one, which were replaced, and which restore tokens were used."""

from django.db import models


class VisitorAlias(models.Model):
    """A visitor id that was joined into another one: its cookies and tokens lead there."""

    old = models.CharField(max_length=64, unique=True)
    new = models.CharField(max_length=64, db_index=True)
    created = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.old} is now {self.new}"


class VisitorMove(models.Model):
    """A sign-out of other browsers, a deletion of everything, or a restore in a browser that owned nothing.

    Cookies do not follow it; requests that were under way do.
    """

    old = models.CharField(max_length=64, db_index=True)
    new = models.CharField(max_length=64, blank=True, help_text="New owner; empty: everything was deleted")
    joined = models.BooleanField(default=False, help_text="A restore: both ids are the same person's")
    created = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.old} moved to {self.new or 'nobody'}"


class RestoreUse(models.Model):
    """A restore token that was used: its browser's chain, and its place in it. The next place is its successor's."""

    chain = models.CharField(max_length=64)
    step = models.PositiveIntegerField()
    used = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["chain", "step"], name="one_use_per_token")]

    def __str__(self) -> str:
        return f"{self.chain}.{self.step}"
