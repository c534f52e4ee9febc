"""The one place that names tasks and queues, publishes them, and notifies those who wait for an analysis.

A message is only a hint that a row is queued. Whatever fails here is logged and left to the reaper, which dispatches
again: the row that the message points to is committed already. Knows nothing of what the tasks do.
"""

import logging
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import redis
from django.conf import settings
from django.db import transaction
from kombu.exceptions import OperationalError
from redis.backoff import NoBackoff
from redis.retry import Retry

from segapp.celery import app
from segapp.logs import MESSAGE_HEADER, request_id
from segapp.models import Analysis, Batch, Export, Measurement, TrainingRun, VideoJob, Work

logger = logging.getLogger(__name__)

TRAIN, VIDEO, PREDICT = "train", "video", "predict"
NOTIFICATION_SECONDS = 60


def training(run: TrainingRun) -> None:
    _after_commit("segapp.train", run.pk, TRAIN)


def video(job: VideoJob) -> None:
    _after_commit("segapp.video", job.pk, VIDEO)


def batch(row: Batch) -> None:
    """On the queue of videos: a worker takes it at low priority, and never one that answers single images."""
    _after_commit("segapp.batch", row.pk, VIDEO)


def batch_tables(row: Batch) -> None:
    _after_commit("segapp.batch_tables", row.pk, VIDEO)


def analysis(row: Analysis) -> None:
    """One that is read in windows takes minutes: it goes beside the videos, where no visitor waits for an image."""
    if row.windows:
        _after_commit("segapp.analyze_windows", row.pk, VIDEO)
    else:
        _after_commit("segapp.analyze", row.pk, PREDICT)


def measurement(row: Measurement) -> None:
    _after_commit("segapp.measure", row.pk, PREDICT)


def export(row: Export) -> None:
    """Beside the videos: an export may take as long as a hundred images, too long to hold up single images."""
    _after_commit("segapp.export", row.pk, VIDEO)


def live(painting: int) -> None:
    """A live answer is wanted for this painting; services/live_exchange.py holds the request itself."""
    _after_commit("segapp.live", painting, PREDICT)


def live_model(painting: int) -> None:
    """A model is to be made of the live head of this painting's set."""
    _after_commit("segapp.live_model", painting, PREDICT)


def region(painting: int) -> None:
    """A region is wanted from clicks on this painting; services/live_exchange.py holds the request itself."""
    _after_commit("segapp.region", painting, PREDICT)


def redispatch(row: Work) -> None:
    """Send a piece of work again, whatever its kind."""
    senders: dict[type[Work], Callable[[Any], None]] = {
        TrainingRun: training,
        VideoJob: video,
        Batch: batch,
        Export: export,
    }
    senders[type(row)](row)


def notify(public_id: str) -> None:
    """Wake the requests that wait for this analysis, or measurement by its name."""
    try:
        with connection().pipeline(transaction=False) as pipe:
            pipe.lpush(f"segapp:done:{public_id}", 1)
            pipe.expire(f"segapp:done:{public_id}", NOTIFICATION_SECONDS)
            pipe.execute()
    except (redis.RedisError, OSError) as error:
        logger.warning("could not notify those who wait for analysis %s: %s", public_id, error)


def wait_for_notification(public_id: str, seconds: float) -> None:
    """Return when `notify` was called for the analysis, or after about `seconds`; without a broker it only waits."""
    started = time.monotonic()
    try:
        connection().blpop([f"segapp:done:{public_id}"], timeout=seconds)
    except (redis.RedisError, OSError):
        time.sleep(max(0.0, min(seconds, 0.25) - (time.monotonic() - started)))


def is_waiting(queue: str) -> bool:
    """Whether messages stand in a queue that no worker has taken yet; False without a broker."""
    try:
        return bool(connection().llen(queue))
    except (redis.RedisError, OSError):
        return False


def redis_url() -> str:
    return settings.REDIS_URL or f"unix://{settings.REDIS_SOCKET}"


def _after_commit(task: str, pk: int, queue: str) -> None:
    transaction.on_commit(lambda: _publish(task, pk, queue))


def _publish(task: str, pk: int, queue: str) -> None:
    try:
        app.send_task(task, args=[pk], queue=queue, headers={MESSAGE_HEADER: request_id.get()})
    except (OperationalError, redis.RedisError, OSError) as error:
        logger.warning("%s %s stays queued, the broker did not take the message: %s", task, pk, error)


@cache
def connection() -> redis.Redis:
    """The process's connections to the broker's Redis; a call on them ends within about BROKER_TIMEOUT seconds."""
    timeout = settings.BROKER_TIMEOUT
    once = Retry(NoBackoff(), 0)  # the client's own ten retries would hold a page for half a minute
    return redis.Redis.from_url(redis_url(), socket_timeout=timeout + 1, socket_connect_timeout=timeout, retry=once)
