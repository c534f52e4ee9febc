"""Giving a visitor back to a browser that lost its cookie: signed tokens, and joining two visitors into one.

A token names a visitor, never a model, and says nothing without this server's key.
"""

from django.apps import apps
from django.core import signing
from django.db import models, transaction

from registry.models import UserModel
from segapp.models import (
    UNFINISHED,
    TrainingRun,
    TrainingSet,
    TransferCode,
    VisitorAlias,
)
from segapp.services.errors import InvalidToken
from segapp.visitors import current_id

TOKEN_SALT = "segapp.restore.token"


def kinds() -> list[type[models.Model]]:
    """Every kind of row that belongs to a visitor: those with a field `visitor`."""
    return [kind for kind in apps.get_models() if any(field.name == "visitor" for field in kind._meta.get_fields())]


def token(visitor: str) -> str:
    return signing.dumps(visitor, salt=TOKEN_SALT)


def restore(visitor: str, sent: str) -> str:
    """The visitor whom the token names; what `visitor` made until now joins them. Raises InvalidToken."""
    try:
        old = signing.loads(sent, salt=TOKEN_SALT)
    except signing.BadSignature:
        raise InvalidToken from None
    old = current_id(str(old))
    if old != visitor:
        join(visitor, old)
    return old


@transaction.atomic
def join(visitor: str, into: str) -> None:
    """Everything that `visitor` owns becomes `into`'s. A visitor that owns nothing leaves no trace."""
    TransferCode.objects.filter(visitor=visitor).update(visitor=into)  # who enters one gets what is here now
    owned = [kind for kind in kinds() if kind is not TransferCode]
    if not any(model._default_manager.filter(visitor=visitor).exists() for model in owned):
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
