"""How often one address may ask for expensive work. Counted in Redis; without a broker there is no limit."""

import time
from dataclasses import dataclass

import redis
from django.conf import settings
from django.http import HttpRequest

from segapp import dispatch
from segapp.services.errors import RateLimited


@dataclass(frozen=True)
class Limit:
    name: str
    count: int
    seconds: int
    message: str


TRAININGS = Limit("train", 30, 3600, "Those were many trainings in one hour.")
ANALYSES = Limit("analyze", 120, 60, "Those were many images in one minute.")
UPLOADS = Limit("upload", 60, 600, "Those were many uploads in ten minutes.")
TRANSFERS = Limit("transfer", 10, 600, "Those were many codes in ten minutes.")
LOGINS = Limit("login", 10, 600, "Those were many tries to sign in within ten minutes.")
KEYS = Limit("key", 20, 600, "Those were many keys in ten minutes.")
LIVE = Limit("live", 1200, 60, "Those were many live answers in one minute.")
HOOKS = Limit("hook", 30, 600, "Those were many webhooks and tests in ten minutes.")
EXPORTS = Limit("export", 40, 3600, "Those were many files in one hour.")


def check(request: HttpRequest, limit: Limit) -> None:
    """Count this request. Raises RateLimited when it is more than the share of its key, or its address, for now.

    Without a key it is counted by address: a visitor without a cookie would be a new one each time.
    """
    if not settings.SEGAPP_RATE_LIMITS:
        return
    now = int(time.time())
    key = f"segapp:limit:{limit.name}:{_counted_by(request)}:{now // limit.seconds}"
    try:
        with dispatch.connection().pipeline() as pipe:
            pipe.incr(key)
            pipe.expire(key, limit.seconds)
            count, _ = pipe.execute()
    except (redis.RedisError, OSError):
        return
    if count > limit.count:
        wait = limit.seconds - now % limit.seconds
        raise RateLimited(f"{limit.message} Try again in {wait} seconds.", retry_after=wait)


def _counted_by(request: HttpRequest) -> str:
    key = getattr(request, "api_key", None)
    return address(request) if key is None else f"key-{key.pk}"


def address(request: HttpRequest) -> str:
    """The client's address; behind a proxy, the last one it added."""
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")
    if settings.PROXY and forwarded:
        return forwarded.rpartition(",")[2].strip()
    return request.META.get("REMOTE_ADDR", "")
