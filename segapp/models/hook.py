"""Addresses that are notified when work ends, and each of their deliveries."""

from django.db import models

from registry.models import new_public_id


class Event(models.TextChoices):
    TRAINING = "training", "a training ends"
    BATCH = "batch", "a batch ends"
    VIDEO = "video", "a video ends"


class Hook(models.Model):
    """An address of the visitor's. The secret is kept as it is, because every delivery is signed with it."""

    public_id = models.CharField(max_length=32, unique=True, default=new_public_id, editable=False)
    visitor = models.CharField(max_length=64, db_index=True)
    url = models.CharField(max_length=500)
    events = models.JSONField(default=list, help_text="Kinds of work it is notified about: training, batch, video")
    secret = models.CharField(max_length=80)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "webhook"
        ordering = ["created", "pk"]

    def __str__(self) -> str:
        return self.url


class DeliveryState(models.TextChoices):
    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


class Delivery(models.Model):
    """One event for one hook, at most once for each piece of work.

    `due` is when it is sent next. Its sender first moves `due` into the future by one conditional update, so
    that a sender that dies leaves it to the next one.
    """

    TEST = "test"

    public_id = models.CharField(max_length=32, unique=True, default=new_public_id, editable=False)
    hook = models.ForeignKey(Hook, on_delete=models.CASCADE, related_name="deliveries")
    event = models.CharField(max_length=10)
    subject = models.CharField(max_length=32, help_text="Public id of the work that ended")
    body = models.TextField(help_text="JSON as it is sent and signed")
    state = models.CharField(max_length=10, choices=DeliveryState.choices, default=DeliveryState.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0)
    due = models.DateTimeField()
    status = models.PositiveSmallIntegerField(null=True, blank=True, help_text="HTTP status of the last answer")
    message = models.CharField(max_length=300, blank=True)
    created = models.DateTimeField(auto_now_add=True)
    ended = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "deliveries"
        ordering = ["-created", "-pk"]
        indexes = [models.Index(fields=["state", "due"])]
        constraints = [
            models.UniqueConstraint(fields=["hook", "event", "subject"], name="one_delivery_per_hook_and_work")
        ]

    def __str__(self) -> str:
        return f"{self.event} ({self.state})"
