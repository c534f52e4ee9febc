"""What leaves a visitor's browser: codes that carry the visitor to another one, and links that open one model."""

from django.db import models

from registry.models import UserModel, new_public_id


class TransferCode(models.Model):
    """A code that gives another browser this visitor, once. Only its digest is kept, so it cannot be read here."""

    public_id = models.CharField(max_length=32, unique=True, default=new_public_id, editable=False)
    visitor = models.CharField(max_length=64, db_index=True)
    digest = models.CharField(max_length=64, unique=True)
    created = models.DateTimeField(auto_now_add=True)
    expires = models.DateTimeField(db_index=True)
    claimed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created", "-pk"]

    def __str__(self) -> str:
        return f"{self.public_id} ({'used' if self.claimed_at else 'not used'})"


class ModelShare(models.Model):
    """A link with which any visitor may analyze with one model, and do nothing else. It ends with the row."""

    token = models.CharField(max_length=32, unique=True, default=new_public_id, editable=False)
    model = models.ForeignKey(UserModel, on_delete=models.CASCADE, related_name="shares")
    label = models.CharField(max_length=60, blank=True, help_text="The owner's note on who the link is for")
    uses = models.PositiveIntegerField(default=0, help_text="Images sent through the link")
    created = models.DateTimeField(auto_now_add=True)
    last_used = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created", "-pk"]

    def __str__(self) -> str:
        return self.label or f"link {self.token[:6]}…"
