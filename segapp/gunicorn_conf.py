"""gunicorn: one process with an event loop and threads. Where it listens comes from the command line."""

import os
from typing import Any

workers = 1
worker_class = "segapp.gunicorn_worker.BufferedWorker"
# Requests that wait for a worker hold a thread for up to a minute, event streams for up to a quarter of an hour, and
# pages must still answer beside them: so many more than may wait for a worker (services/admission.py) and for memory to
# decode an image (imaging/memory.py), and than may be open (services/events.py).
threads = 56
timeout = 120
graceful_timeout = 7
backlog = 256
loglevel = "warning"
accesslog = None
errorlog = "-"
control_socket_disable = True
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # its heartbeat file never waits for a disk


def post_fork(server: Any, worker: Any) -> None:
    """The worker goes with its master, even when that is killed outright."""
    from segapp.supervisor import die_with_parent

    die_with_parent(server.pid)
