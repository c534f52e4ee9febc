"""Bytes on disk, one row for each thing that is stored: what quotas are counted by."""

from django.db import models


class LedgerEntry(models.Model):
    """`place` names a folder or file below media. `source` stands for the address it was sent from."""

    place = models.CharField(max_length=64, unique=True, help_text="Like examples/<public id>")
    visitor = models.CharField(max_length=64, db_index=True)
    source = models.CharField(max_length=32, blank=True, db_index=True, help_text="Digest of an address; empty: none")
    bytes = models.PositiveBigIntegerField(default=0)
    measured = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name_plural = "ledger entries"

    def __str__(self) -> str:
        return f"{self.place}: {self.bytes} bytes"
