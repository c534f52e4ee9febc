"""The Celery app: where the broker is, how messages travel, what a worker does when it starts and stops.

A message is a hint with a primary key; the row it points to is the truth. So messages may be lost or doubled,
and publishing may fail, but it must never hold a page for long. Knows nothing of what tasks do.
"""

import atexit
import logging
import os
import sys
import warnings
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "segapp.settings")

from celery import Celery, signals
from celery.exceptions import CPendingDeprecationWarning, SecurityWarning
from django.conf import settings

WORKER = "worker" in sys.argv[1:]
# A page gives up on a frozen broker quickly and leaves dispatching to the reaper; a worker on a busy machine waits.
TIMEOUT = 5 * settings.BROKER_TIMEOUT if WORKER else settings.BROKER_TIMEOUT

app = Celery("segapp", include=["segapp.tasks"])
app.conf.update(
    broker_url=settings.REDIS_URL or f"redis+socket://{settings.REDIS_SOCKET}",
    broker_transport_options={
        "socket_timeout": TIMEOUT,
        "socket_connect_timeout": TIMEOUT,
        # Longer than any training, so that a message is not delivered again under a living worker. It need not be
        # exact: a doubled message finds the row taken, and a dead worker's row is dispatched again long before.
        "visibility_timeout": 6 * 3600,
        # A worker of several queues empties them in the order of their names: train before video.
        "queue_order_strategy": "sorted",
    },
    broker_connection_timeout=TIMEOUT,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,  # a worker waits for its broker forever
    task_publish_retry_policy={"max_retries": 1, "interval_start": 0.1, "interval_step": 0, "interval_max": 0.1},
    task_routes={
        "segapp.train": {"queue": "train"},
        "segapp.video": {"queue": "video"},
        "segapp.batch": {"queue": "video"},
        "segapp.export": {"queue": "video"},
        "segapp.analyze_windows": {"queue": "video"},
        "segapp.analyze": {"queue": "predict"},
        "segapp.live": {"queue": "predict"},
        "segapp.live_model": {"queue": "predict"},
        "segapp.region": {"queue": "predict"},
    },
    task_default_queue="predict",
    task_create_missing_queues=True,
    task_ignore_result=True,
    result_backend=None,
    task_serializer="json",
    accept_content=["json"],
    # A message is taken off the queue when its work is over, and a worker holds one at a time.
    task_acks_late=True,
    task_reject_on_worker_lost=False,
    worker_prefetch_multiplier=1,
    worker_pool="solo",
    worker_concurrency=1,
    worker_send_task_events=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    worker_enable_remote_control=False,  # a busy solo worker would not answer; its heartbeat row speaks for it
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    timezone="UTC",
)


def without_traceback(record: logging.LogRecord) -> bool:
    """A broker that went away while a task ran is worth a line, not a page."""
    if isinstance(record.msg, str) and record.msg.startswith("Couldn't"):
        record.exc_info = None
    return True


# --- a worker process's life ------------------------------------------------------------------------------
# The heartbeat starts before the tasks are imported, because that import brings torch and takes seconds.


@signals.import_modules.connect(sender=app, weak=False)
def begin(**_: Any) -> None:
    if WORKER:
        from segapp import heartbeat

        atexit.register(vanish)  # first to come, so last to run
        heartbeat.start()


def vanish() -> None:
    """End here. What is left of the interpreter's end collects torch's objects one by one: seconds on a busy
    machine, which the worker does not have when everything is to end within ten."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


@signals.celeryd_init.connect(weak=False)
def introduce(options: dict[str, Any], **_: Any) -> None:
    from segapp import heartbeat

    warnings.filterwarnings("ignore", category=SecurityWarning)  # against root; a container often has no other user
    queues = options.get("queues") or app.conf.task_default_queue
    heartbeat.describe(queues=queues if isinstance(queues, str) else ",".join(queues))


@signals.after_setup_logger.connect(weak=False)
def keep_quiet(**_: Any) -> None:
    # At every lost connection it announces another default for a setting that is set above.
    warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)
    logging.getLogger("celery.worker.request").addFilter(without_traceback)


@signals.task_prerun.connect(weak=False)
def belong_to_request(task: Any, **_: Any) -> None:
    """Log lines of the task carry the id of the request that sent it."""
    from segapp.logs import MESSAGE_HEADER, request_id

    if WORKER:
        from segapp import heartbeat

        heartbeat.task_began()
    request_id.set(str((task.request.headers or {}).get(MESSAGE_HEADER) or task.request.get(MESSAGE_HEADER) or "-"))


@signals.task_postrun.connect(weak=False)
def belong_to_none(**_: Any) -> None:
    from segapp.logs import request_id

    if WORKER:
        from segapp import heartbeat

        heartbeat.task_ended()
    request_id.set("-")


@signals.worker_shutting_down.connect(weak=False)
def asked_to_stop(**_: Any) -> None:
    from segapp import heartbeat

    heartbeat.stopping.set()


@signals.worker_shutdown.connect(weak=False)
def farewell(**_: Any) -> None:
    from segapp import heartbeat

    heartbeat.leave()
