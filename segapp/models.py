"""The site's rows and the transitions between their states.

A row is the queue's truth and the broker only a doorbell, so every claim and every end of a piece of work is one
conditional UPDATE whose count decides. Knows nothing of requests, tasks or torch.
"""

from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from registry.models import UserModel, new_public_id

MOST_ATTEMPTS = 2


class State(models.TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNFINISHED = (State.QUEUED, State.RUNNING)


class Stop(models.TextChoices):
    NONE = ""
    KEEP = "keep", "stop and keep the best so far"
    DISCARD = "discard", "cancel and discard"


class VisitorAlias(models.Model):
    """A visitor id that was joined into another one: its cookies and tokens lead there."""

    old = models.CharField(max_length=64, unique=True)
    new = models.CharField(max_length=64, db_index=True)
    created = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.old} is now {self.new}"


class Example(models.Model):
    """A picture with its mask, re-encoded and stored under a server-made name."""

    public_id = models.CharField(max_length=32, unique=True, default=new_public_id, editable=False)
    visitor = models.CharField(max_length=64, db_index=True)
    stem = models.CharField(max_length=200)
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    mask_kind = models.CharField(max_length=8, help_text="index or colour: how the mask's values are to be read")
    size_bytes = models.PositiveBigIntegerField(default=0)
    draft = models.BooleanField(default=True, help_text="Uploaded and not trained on yet")
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["stem", "pk"]
        indexes = [models.Index(fields=["visitor", "draft"])]

    def __str__(self) -> str:
        return self.stem

    @property
    def folder(self) -> Path:
        return Path(settings.MEDIA_ROOT) / "examples" / self.public_id

    @property
    def image_path(self) -> Path:
        jpeg = self.folder / "image.jpg"  # large photos that came as JPEG stay JPEG
        return jpeg if jpeg.exists() else self.folder / "image.png"

    @property
    def mask_path(self) -> Path:
        return self.folder / "mask.png"

    @property
    def thumbnail_path(self) -> Path:
        return self.folder / "thumbnail.webp"


class WorkQuerySet(models.QuerySet):
    """Transitions that training runs and videos share."""

    def claim(self, pk: int, owner: str, token: str) -> bool:
        """Take a queued row. Of several messages and workers exactly one sees True."""
        taken = self.filter(pk=pk, state=State.QUEUED, attempts__lt=MOST_ATTEMPTS).update(
            state=State.RUNNING,
            lease=token,
            lease_owner=owner,
            lease_beats=F("lease_beats") + 1,
            attempts=F("attempts") + 1,
            started=timezone.now(),
            message="",
        )
        return taken == 1

    def held(self, pk: int, token: str) -> models.QuerySet:
        """The row, as long as the lease is still this token's: every write of a worker goes through here."""
        return self.filter(pk=pk, state=State.RUNNING, lease=token)

    def end(self, pk: int, token: str, state: State, **values: object) -> bool:
        """Running -> an end state, only if the lease still holds."""
        return self.held(pk, token).update(state=state, ended=timezone.now(), eta_seconds=0, **values) == 1

    def hand_back(self, pk: int, token: str, free: bool = True) -> bool:
        """Running -> queued again; a worker that was asked to stop does not use up an attempt (`free`)."""
        values: dict[str, object] = {"attempts": F("attempts") - 1} if free else {}
        return self.held(pk, token).update(state=State.QUEUED, lease="", lease_owner="", **values) == 1

    def cancel_queued(self, pk: int) -> bool:
        return (
            self.filter(pk=pk, state=State.QUEUED).update(
                state=State.CANCELLED, stop=Stop.DISCARD, ended=timezone.now(), message="Cancelled before it started."
            )
            == 1
        )

    def ask_to_stop(self, pk: int, how: Stop) -> bool:
        return self.filter(pk=pk, state=State.RUNNING).exclude(stop=Stop.DISCARD).update(stop=how) == 1


class Work(models.Model):
    """What training runs and videos have in common: an owner, a state, a lease, progress."""

    public_id = models.CharField(max_length=32, unique=True, default=new_public_id, editable=False)
    visitor = models.CharField(max_length=64, db_index=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED, db_index=True)
    progress = models.FloatField(default=0)
    eta_seconds = models.FloatField(null=True, blank=True)
    message = models.CharField(max_length=500, blank=True)
    stop = models.CharField(max_length=8, choices=Stop.choices, default=Stop.NONE, blank=True)
    lease = models.CharField(max_length=32, blank=True)
    lease_owner = models.CharField(max_length=120, blank=True)
    # Counted up by the owner's heartbeat. Whoever watches it stand still on a clock of their own may take over:
    # wall clocks jump, a counter does not.
    lease_beats = models.PositiveBigIntegerField(default=0)
    attempts = models.PositiveSmallIntegerField(default=0)
    created = models.DateTimeField(auto_now_add=True)
    started = models.DateTimeField(null=True, blank=True)
    ended = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True
        ordering = ["-created", "-pk"]

    def __str__(self) -> str:
        return f"{self.public_id} ({self.state})"

    @property
    def unfinished(self) -> bool:
        return self.state in UNFINISHED

    def queue_position(self) -> int:
        """How many of the same kind stand before this one, running ones included; 0 when it runs or has ended."""
        if self.state != State.QUEUED:
            return 0
        rows = type(self)._default_manager
        return rows.filter(Q(state=State.RUNNING) | Q(state=State.QUEUED, pk__lt=self.pk)).count()


class Effort(models.TextChoices):
    QUICK = "quick", "Quick"
    THOROUGH = "thorough", "Thorough"


class TrainingRun(Work):
    name = models.CharField(max_length=80)
    effort = models.CharField(max_length=10, choices=Effort.choices, default=Effort.QUICK)
    seed = models.PositiveIntegerField(default=0)
    base_key = models.CharField(max_length=64, blank=True, help_text="Wanted base; empty: the server's")
    classes = models.JSONField(default=list, help_text="[{id, name, color}]")
    reading = models.JSONField(default=dict, help_text="How mask values become class ids, as imaging.masks writes it")
    examples = models.ManyToManyField(Example, related_name="runs")
    continued_from = models.ForeignKey(UserModel, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    activate = models.BooleanField(default=True, help_text="Unset by a reset while it trains")
    losses = models.JSONField(default=list)
    scores = models.JSONField(default=list, help_text="[[fraction, held-out mIoU], …]")
    metrics = models.JSONField(default=dict)
    model = models.ForeignKey(UserModel, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    error = models.TextField(blank=True, help_text="What the log says; the visitor reads `message`")

    objects = WorkQuerySet.as_manager()

    class Meta(Work.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["visitor"], condition=Q(state__in=UNFINISHED), name="one_unfinished_run_per_visitor"
            )
        ]

    @property
    def folder(self) -> Path:
        """Previews and before/after pictures of the run."""
        return Path(settings.MEDIA_ROOT) / "runs" / self.public_id


class Pinned(models.Model):
    """Which model a piece of inference uses, decided at submission; what answered in the end, with its proof."""

    model = models.ForeignKey(UserModel, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    base_key = models.CharField(max_length=64, blank=True)
    base_sha256 = models.CharField(max_length=64, blank=True)
    model_key = models.CharField(max_length=64, blank=True, help_text="What answered: user_<id> or a base's key")
    model_name = models.CharField(max_length=80, blank=True)
    model_sha256 = models.CharField(max_length=64, blank=True)
    classes = models.JSONField(default=list, help_text="[{id, name, color, pixels, percent}]")

    class Meta:
        abstract = True


class Analysis(Pinned):
    public_id = models.CharField(max_length=32, unique=True, default=new_public_id, editable=False)
    visitor = models.CharField(max_length=64, db_index=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    title = models.CharField(max_length=200)
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    timings = models.JSONField(default=dict, help_text="Milliseconds per stage, as the worker measured them")
    message = models.CharField(max_length=500, blank=True)
    worker = models.CharField(max_length=120, blank=True, help_text="Who claimed it")
    attempts = models.PositiveSmallIntegerField(default=0)
    created = models.DateTimeField(auto_now_add=True, db_index=True)
    ended = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created", "-pk"]
        verbose_name_plural = "analyses"

    def __str__(self) -> str:
        return f"{self.title} ({self.state})"

    @property
    def unfinished(self) -> bool:
        return self.state in UNFINISHED

    @property
    def folder(self) -> Path:
        """Holds image.png, mask.png (palette, class ids), confidence.png; overlay.jpg once somebody asked for it."""
        return Path(settings.MEDIA_ROOT) / "analyses" / self.public_id


class VideoJob(Pinned, Work):
    title = models.CharField(max_length=200)
    options = models.JSONField(default=dict, help_text="Frames per second to predict, and the like")
    source = models.JSONField(default=dict, help_text="What the probe found: size, rate, frames, seconds, audio")
    segments_done = models.PositiveIntegerField(default=0)
    frames = models.PositiveIntegerField(default=0)
    frames_skipped = models.PositiveIntegerField(default=0)
    timeline = models.JSONField(default=list, help_text="[[seconds, {class id: percent}], …]")
    error = models.TextField(blank=True)

    objects = WorkQuerySet.as_manager()

    @property
    def folder(self) -> Path:
        return Path(settings.MEDIA_ROOT) / "videos" / self.public_id


class WorkerQuerySet(models.QuerySet["Worker"]):
    def alive(self) -> "WorkerQuerySet":
        return self.filter(seen__gte=timezone.now() - timedelta(seconds=Worker.SILENCE))


class Worker(models.Model):
    """A worker process, as its heartbeat thread describes it. The web side knows the device from here only."""

    SILENCE = 20  # seconds without a heartbeat after which a worker counts as gone

    name = models.CharField(max_length=120, unique=True)
    queues = models.CharField(max_length=60)
    device = models.CharField(max_length=20)
    ready = models.BooleanField(default=False, help_text="Libraries imported and base network in memory")
    info = models.JSONField(default=dict, help_text="Cache counters, memory, versions")
    started = models.DateTimeField(auto_now_add=True)
    seen = models.DateTimeField()

    objects = WorkerQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name
