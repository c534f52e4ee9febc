"""How often one address may ask for expensive work. Counted in Redis; without a broker nobody is held up."""

import time
from dataclasses import dataclass

import redis
from django.conf import settings
from django.http import HttpRequest

from segapp import dispatch


@dataclass(frozen=True)
class Limit:
    name: str
    count: int
    seconds: int
    words: str


TRAININGS = Limit("train", 30, 3600, "That were many trainings in one hour.")
ANALYSES = Limit("analyze", 120, 60, "That were many images in one minute.")
UPLOADS = Limit("upload", 60, 600, "That were many uploads in ten minutes.")
TRANSFERS = Limit("transfer", 10, 600, "Those were many codes in ten minutes.")
EXPORTS = Limit("export", 40, 3600, "Those were many files in one hour.")


class TooOften(Exception):
    """The limit is reached; `retry_after` is in seconds."""

    def __init__(self, limit: Limit, retry_after: int) -> None:
        super().__init__(f"{limit.words} Try again in {retry_after} seconds.")
        self.retry_after = retry_after


def check(request: HttpRequest, limit: Limit) -> None:
    """Count this request. Raises TooOften when its address has had more than its share in the present window.

    Counted by address: a visitor without a cookie would be a new one each time.
    """
    if not settings.SEGAPP_RATE_LIMITS:
        return
    now = int(time.time())
    key = f"segapp:limit:{limit.name}:{address(request)}:{now // limit.seconds}"
    try:
        with dispatch.connection().pipeline() as pipe:
            pipe.incr(key)
            pipe.expire(key, limit.seconds)
            count, _ = pipe.execute()
    except (redis.RedisError, OSError):
        return
    if count > limit.count:
        raise TooOften(limit, limit.seconds - now % limit.seconds)


def address(request: HttpRequest) -> str:
    """The client's address; behind the proxy that an https SEGAPP_URL implies, the last one it added."""
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")
    if settings.SECURE and forwarded:
        return forwarded.rpartition(",")[2].strip()
    return request.META.get("REMOTE_ADDR", "")
