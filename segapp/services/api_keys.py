"""API keys: made for a visitor, shown once, revoked at any time. Knows nothing of requests.

A key is 256 random bits, so a plain digest of it cannot be searched for.
"""

import hashlib
import secrets
from datetime import timedelta

from django.db.models import Q, QuerySet
from django.utils import timezone

from segapp.models import ApiKey, Scope
from segapp.services.errors import Conflict, NotFound, UserError

PREFIX = "segapp_"
MAX_KEYS = 20  # of one visitor
MAX_DAYS = 3650
USE_NOTED_EVERY = timedelta(minutes=1)


class Unauthorized(UserError):
    """A key that is not one, was revoked or has expired: the answer does not tell which."""

    status, code = 401, "invalid_key"
    title = "This key is not valid"
    message = "This API key is not valid. It may be mistyped, revoked or expired."
    advice = "Make a new one on the Models page."


class OutOfScope(UserError):
    """The key may segment images and videos, and do nothing else."""

    status, code = 403, "out_of_scope"
    title = "This key may not do that"
    message = "This API key may only segment images and videos."
    advice = "Use a key with the scope “all”."


class TooManyKeys(Conflict):
    code = "too_many_keys"
    message = f"There are {MAX_KEYS} keys already."
    advice = "Revoke one that is not needed any more."


def make(visitor: str, name: str, scope: str = Scope.ALL, days: int | None = None) -> tuple[ApiKey, str]:
    """A new row and its key, which cannot be had again afterwards. Raises TooManyKeys."""
    if listed(visitor).count() >= MAX_KEYS:
        raise TooManyKeys
    key = PREFIX + secrets.token_urlsafe(32)
    expires = timezone.now() + timedelta(days=days) if days else None
    return ApiKey.objects.create(visitor=visitor, name=name, scope=scope, digest=_digest(key), expires=expires), key


def listed(visitor: str) -> QuerySet[ApiKey]:
    """The visitor's keys, newest first, those that have expired among them."""
    return ApiKey.objects.filter(visitor=visitor)


def revoke(visitor: str, public_id: str) -> ApiKey:
    """The key is refused from the next request on. Raises NotFound."""
    row = listed(visitor).filter(public_id=public_id).first()
    if row is None:
        raise NotFound("There is no such key among yours. Open Models to see the ones you have.")
    ApiKey.objects.filter(pk=row.pk).delete()
    return row


def authenticate(key: str) -> ApiKey:
    """The row of a key that is good now, asked at every request. Raises Unauthorized."""
    now = timezone.now()
    valid = ApiKey.objects.filter(Q(expires=None) | Q(expires__gt=now), digest=_digest(key))
    row = valid.first()
    if row is None:
        raise Unauthorized
    if row.last_used is None or now - row.last_used > USE_NOTED_EVERY:
        ApiKey.objects.filter(pk=row.pk).update(last_used=now)
    return row


def is_valid(row: ApiKey) -> bool:
    """Whether a key that was good a while ago still is."""
    return ApiKey.objects.filter(Q(expires=None) | Q(expires__gt=timezone.now()), pk=row.pk).exists()


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
