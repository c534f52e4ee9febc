"""Giving a visitor back to a browser that lost its cookie: signed tokens, and joining two visitors into one.

A token names a visitor, never a model, and says nothing without this server's key. It is good for a year. Whoever uses
one gets its successor, which stands in the same chain; the used one is good until its successor is used, and for at
least ten minutes, since two tabs of one browser may send it at once.
"""

import hashlib
import secrets
from datetime import timedelta

from django.apps import apps
from django.core import signing
from django.db import models, transaction
from django.db.models import QuerySet
from django.utils import timezone

from registry.models import UserModel
from segapp.models import (
    UNFINISHED,
    ApiKey,
    Hook,
    RestoreUse,
    Stop,
    TrainingRun,
    TrainingSet,
    TransferCode,
    VisitorAlias,
    VisitorMove,
)
from segapp.services.errors import InvalidToken
from segapp.visitors import YEAR, current_id

TOKEN_SALT = "segapp.restore.token"
TABS = timedelta(minutes=10)  # a used token is good at least so long


def kinds() -> list[type[models.Model]]:
    """Every kind of row that belongs to a visitor: those with a field `visitor`."""
    return [kind for kind in apps.get_models() if any(field.name == "visitor" for field in kind._meta.get_fields())]


def token(visitor: str, chain: str = "") -> str:
    """What makes another browser this visitor. `chain`: where the asking browser stands, "" before it has used one."""
    return signing.dumps([visitor, chain or f"{secrets.token_hex(8)}.0"], salt=TOKEN_SALT)


def restore(visitor: str, sent: str) -> tuple[str, str]:
    """The visitor whom the token names, and where its successor stands in the chain.

    What `visitor` made until now joins them. Raises InvalidToken.
    """
    try:
        content = signing.loads(sent, salt=TOKEN_SALT, max_age=YEAR)
    except signing.BadSignature:
        raise InvalidToken from None
    if isinstance(content, str):  # of a version whose tokens stood in no chain
        content = [content, f"{hashlib.sha256(sent.encode()).hexdigest()[:32]}.0"]
    old, chain = current_id(content[0]), _use(content[1])
    if old != visitor:
        join(visitor, old)
    return old, chain


def _use(place: str) -> str:
    """The place of the successor. Raises InvalidToken when that has been used, and this one not just now."""
    chain, _, step = place.rpartition(".")
    row, first = RestoreUse.objects.get_or_create(chain=chain, step=int(step))
    followed = RestoreUse.objects.filter(chain=chain, step__gt=row.step).exists()
    if not first and followed and timezone.now() - row.used > TABS:
        raise InvalidToken
    return f"{chain}.{row.step + 1}"


def expired_uses() -> QuerySet[RestoreUse]:
    """Uses of tokens that are older than a year by now."""
    return RestoreUse.objects.filter(used__lt=timezone.now() - timedelta(seconds=YEAR) - timedelta(days=1))


def join(visitor: str, into: str) -> None:
    """Everything that `visitor` owns becomes `into`'s. A visitor that owns nothing leaves no trace."""
    with transaction.atomic():
        _join(visitor, into)
        # Once more when the alias can be seen: a request that did not see it yet may have stored something meanwhile.
        transaction.on_commit(lambda: _join(visitor, into))


@transaction.atomic
def _join(visitor: str, into: str) -> None:
    TransferCode.objects.filter(visitor=visitor).update(visitor=into)  # who enters one gets what is here now
    owned = [kind for kind in kinds() if kind is not TransferCode]
    if not any(model._default_manager.filter(visitor=visitor).exists() for model in owned):
        VisitorMove.objects.get_or_create(old=visitor, new=into, joined=True)
        return
    UserModel.objects.filter(visitor=visitor).update(active=False)  # `into` keeps its own choice
    if TrainingRun.objects.filter(visitor=into, state__in=UNFINISHED).exists():
        # One run at a time: the joining visitor's goes on under its old id, which leads here, and publishes here.
        owned.remove(TrainingRun)
        TrainingRun.objects.filter(visitor=visitor).exclude(state__in=UNFINISHED).update(visitor=into)
    TrainingSet.objects.close(visitor)  # one is open at a time; the drafts of both are `into`'s
    for model in owned:
        model._default_manager.filter(visitor=visitor).update(visitor=into)
    TrainingSet.objects.follow_drafts(into)
    VisitorAlias.objects.filter(new=visitor).update(new=into)
    VisitorAlias.objects.update_or_create(old=visitor, defaults={"new": into})


@transaction.atomic
def take_along(visitor: str, into: str) -> None:
    """What a request of `visitor` stored while everything became `into`'s. No keys, codes and webhooks: a browser that
    was signed out must not leave itself a way back."""
    UserModel.objects.filter(visitor=visitor).update(active=False)
    owned = [kind for kind in kinds() if kind not in (ApiKey, Hook, TransferCode)]
    if TrainingRun.objects.filter(visitor=into, state__in=UNFINISHED).exists():  # one at a time
        for run in TrainingRun.objects.filter(visitor=visitor, state__in=UNFINISHED):
            if not TrainingRun.objects.cancel_queued(run.pk):
                TrainingRun.objects.ask_to_stop(run.pk, Stop.DISCARD)
        owned.remove(TrainingRun)
        TrainingRun.objects.filter(visitor=visitor).exclude(state__in=UNFINISHED).update(visitor=into)
    TrainingSet.objects.close(visitor)
    for kind in owned:
        kind._default_manager.filter(visitor=visitor).update(visitor=into)
    TrainingSet.objects.follow_drafts(into)
