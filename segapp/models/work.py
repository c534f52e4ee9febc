"""Work that is queued, claimed and ended: its states, its lease, and the transitions between them.

A row is the queue's truth and a broker's message only a hint, so every claim and every end of a piece of work is one
conditional UPDATE whose count decides.
"""

from typing import Any

from django.apps import apps
from django.db import models
from django.db.models import F
from django.utils import timezone

from registry.models import UserModel, new_public_id

MAX_ATTEMPTS = 2


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


class WorkQuerySet(models.QuerySet):
    """Transitions that training runs and videos share."""

    def claim(self, pk: int, owner: str, token: str) -> bool:
        """Take a queued row. Of several messages and workers exactly one sees True."""
        taken = self.filter(pk=pk, state=State.QUEUED, attempts__lt=MAX_ATTEMPTS).update(
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
    """What training runs and videos have in common: an owner, a state, a lease, progress.

    `by_turn`: visitors take turns across all such kinds, which share a worker; others are done in the order they came.
    """

    by_turn = False

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
        """How many stand before this one at most, running ones included; 0 when it runs or has ended."""
        return len(self.ahead())

    def ahead(self) -> list[Any]:
        """What is done before this one at most, running first. A row that was claimed since it was read does not stand
        before itself.

        Where visitors take turns, that is what the visitor asked for before it, and as many of each other visitor's as
        it has turns to wait for.
        """
        if self.state != State.QUEUED:
            return []
        if self.by_turn:
            return ahead_by_turn(self)
        rows = type(self)._default_manager.exclude(pk=self.pk)
        return [*rows.filter(state=State.RUNNING), *rows.filter(state=State.QUEUED, pk__lt=self.pk).order_by("pk")]


def ahead_by_turn(row: Any) -> list[Any]:
    """What is done before a queued row beside the videos at most, images that are read in parts among it."""
    rows: list[Any] = [kind._default_manager.all() for kind in Work.__subclasses__() if kind.by_turn]
    rows.append(apps.get_model("segapp.Analysis")._default_manager.filter(windows=True))
    found = [each for kind in rows for each in kind.filter(state__in=UNFINISHED) if each != row]
    running = [each for each in found if each.state == State.RUNNING]
    queued = sorted((each for each in found if each.state == State.QUEUED), key=lambda each: each.created)
    mine = [each for each in queued if each.visitor == row.visitor and each.created < row.created]
    others: dict[str, list[Any]] = {}
    for each in queued:
        if each.visitor != row.visitor:
            others.setdefault(each.visitor, []).append(each)
    turns = len(mine) + 1
    return [*running, *mine, *(each for theirs in others.values() for each in theirs[:turns])]


class Pinned(models.Model):
    """Which model a piece of inference uses, decided at submission; what answered in the end, with its proof."""

    model = models.ForeignKey(UserModel, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    base_key = models.CharField(max_length=64, blank=True)
    base_sha256 = models.CharField(max_length=64, blank=True)
    model_key = models.CharField(max_length=64, blank=True, help_text="Model that answered: user_<id> or a base's key")
    model_name = models.CharField(max_length=80, blank=True)
    model_sha256 = models.CharField(max_length=64, blank=True)
    classes = models.JSONField(default=list, help_text="[{id, name, color, pixels, percent}]")

    class Meta:
        abstract = True
