"""Which visitors became one."""

from django.db import models


class VisitorAlias(models.Model):
    """A visitor id that was joined into another one: its cookies and tokens lead there."""

    old = models.CharField(max_length=64, unique=True)
    new = models.CharField(max_length=64, db_index=True)
    created = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.old} is now {self.new}"
