"""A visitor on another device: codes that are good for a quarter of an hour and for one browser.

A code is shown once, when it is made; what is kept is a digest that says nothing without this server's key. Knows
nothing of requests and cookies.
"""

import secrets
from datetime import timedelta

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.crypto import salted_hmac

from segapp.models import UNFINISHED, TrainingRun, TransferCode, VisitorAlias, VisitorMove
from segapp.services import restore, runs
from segapp.services.errors import Conflict, UserError
from segapp.visitors import current_id, new_id

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # 32 signs; none is taken for another one
ALIKE = str.maketrans("ILO", "110")  # what people type for the signs that are in it
GROUPS, SIGNS = 3, 4  # 12 signs of 5 bits: 60 bits
LIFE = timedelta(minutes=15)
SHOWN = timedelta(days=1)  # how long the owner sees that a code was used
MAX_VALID = 5  # a sixth code ends the oldest
SALT = "segapp.transfer.code"


class InvalidCode(UserError):
    """Not a code, used, revoked or too old: the answer does not tell which."""

    status, code = 422, "invalid_code"
    title = "This code is not valid"
    message = "This code is not valid. It may be mistyped, used already, or older than 15 minutes."
    advice = "Make a new one on the device that has your models."


class AlreadyHere(Conflict):
    """The code is good, and was made by the very visitor who enters it."""

    message = "This browser already has these models."
    advice = "Enter the code in the other browser."


def make(visitor: str) -> tuple[TransferCode, str]:
    """A new code, and its row. The code cannot be had again afterwards."""
    code = "-".join("".join(secrets.choice(ALPHABET) for _ in range(SIGNS)) for _ in range(GROUPS))
    row = TransferCode.objects.create(visitor=visitor, digest=_digest(code), expires=timezone.now() + LIFE)
    for old in _valid().filter(visitor=visitor).order_by("-created", "-pk")[MAX_VALID:]:
        old.delete()
    return row, code


def listed(visitor: str) -> QuerySet[TransferCode]:
    """What the owner is shown: codes that are still good, and those that were used within a day."""
    used = Q(claimed_at__gt=timezone.now() - SHOWN)
    return TransferCode.objects.filter(visitor=visitor).filter(used | Q(claimed_at=None, expires__gt=timezone.now()))


def revoke(visitor: str, public_id: str) -> bool:
    """Whether there was such a code of the visitor's that was not used yet."""
    gone, _ = TransferCode.objects.filter(visitor=visitor, public_id=public_id, claimed_at=None).delete()
    return gone > 0


@transaction.atomic
def claim(visitor: str, code: str) -> str:
    """The visitor who made the code; what `visitor` made until now joins them. Raises InvalidCode or AlreadyHere."""
    row = _valid().filter(digest=_digest(code)).first()
    if row is None:
        raise InvalidCode
    owner = current_id(row.visitor)
    if owner == visitor:
        raise AlreadyHere
    # Of two browsers that send it at once exactly one sees 1.
    if _valid().filter(pk=row.pk).update(claimed_at=timezone.now()) != 1:
        raise InvalidCode
    restore.join(visitor, owner)
    return owner


@transaction.atomic
def sign_out_others(visitor: str) -> str:
    """A new id that owns everything of the visitor's. Cookies, tokens and codes of the old one lead to nothing."""
    fresh = new_id()
    for kind in restore.kinds():
        kind._default_manager.filter(visitor=visitor).update(visitor=fresh)
    aliases = VisitorAlias.objects.filter(new=visitor)
    # A training that goes on under a joined id would bring that id back into use.
    for run in TrainingRun.objects.filter(visitor__in=aliases.values("old"), state__in=UNFINISHED):
        runs.stop(run, keep=False)
    aliases.delete()
    TransferCode.objects.filter(visitor=fresh).delete()
    VisitorMove.objects.create(old=visitor, new=fresh)
    transaction.on_commit(lambda: restore.take_along(visitor, fresh))  # what a request stored that could not see this
    return fresh


def expired() -> QuerySet[TransferCode]:
    """Codes that no page shows any more."""
    return TransferCode.objects.filter(expires__lt=timezone.now() - SHOWN)


def _valid() -> QuerySet[TransferCode]:
    return TransferCode.objects.filter(claimed_at=None, expires__gt=timezone.now())


def _digest(code: str) -> str:
    """Keyed, so that a stolen database cannot be searched for codes."""
    plain = "".join(sign for sign in code.upper().translate(ALIKE) if sign in ALPHABET)
    return salted_hmac(SALT, plain, algorithm="sha256").hexdigest()
