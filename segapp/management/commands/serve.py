"""`manage.py serve`: broker, workers and web as one group of foreground processes."""

import errno
import fcntl
import hashlib
import ipaddress
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core import checks
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from registry import store
from segapp import parts
from segapp.home import PROJECT, locked
from segapp.supervisor import Supervisor

QUEUES = {"train": "train,video", "predict": "predict"}


class Command(BaseCommand):
    help = "Serve Segapp: embedded Redis (unless REDIS_URL), two workers and the web server, until Ctrl-C."
    requires_system_checks: list[str] = []  # the site's own checks run below, each on one line

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--bind", default="127.0.0.1", metavar="ADDR", help="address to listen on (127.0.0.1)")
        parser.add_argument("--port", type=int, default=8000, metavar="N", help="port; 0 takes a free one (8000)")
        parser.add_argument(
            "--only", choices=["web", *QUEUES], help="become just this part, unsupervised: for containers"
        )

    def handle(self, *, bind: str, port: int, only: str | None, **_: Any) -> None:
        if only is None:
            with only_one_per_home():
                self.supervise(bind, port)
            return
        if only in QUEUES:
            self.check_site(worker=True)
            variables = {**environment(settings.SEGAPP_URL), **parts.KEYLESS}
            become(parts.worker_command(only, QUEUES[only]), variables, parts.worker(only).nice)
        self.check_site()
        collect_static()
        listener = listen(bind, port)
        os.set_inheritable(listener.fileno(), True)
        become(parts.web(listener.fileno()).command, environment(public_url(bind, port)), 0)

    def supervise(self, bind: str, port: int) -> None:
        listener = listen(bind, port)
        self.check_site()
        collect_static()
        url = public_url(bind, listener.getsockname()[1])
        group = [parts.web(listener.fileno()), parts.worker("predict"), parts.worker("train")]
        lines = {
            "web": f"{local_url(bind, listener.getsockname()[1])}",
            "predict": "worker for the queue predict",
            "train": "worker for the queues train and video, at the lowest priority",
        }
        if settings.REDIS_URL:
            lines = {"redis": "the one that REDIS_URL names", **lines}
        else:
            lines = {"redis": f"embedded, {settings.REDIS_SOCKET}", **lines}
            try:
                folder = settings.SEGAPP_HOME / "var" / "redis"
                group.insert(0, parts.broker(folder, settings.REDIS_SOCKET, lambda text: supervisor.say("redis", text)))
            except parts.BrokerMissing as error:
                raise CommandError(str(error)) from None
        # Closed at once when the end begins: who comes then is refused instead of kept waiting.
        supervisor = Supervisor(group, environment(url), on_stop=listener.close)
        for name, text in lines.items():
            supervisor.say(name, text)
        self.stdout.write(f"Segapp is at {url} (Ctrl-C ends it)")
        self.stdout.flush()
        supervisor.run()
        self.stdout.write("Segapp has ended.")

    def check_site(self, worker: bool = False) -> None:
        try:
            store.fetch_folder(settings.MEDIA_ROOT / "bases", newer=True)  # what another machine has built
        except store.StoreUnreachable as error:
            raise CommandError(str(error)) from None
        for found in checks.run_checks(tags=["segapp"]):
            text = " ".join(part for part in (found.msg, found.hint) if part)
            if found.id == "segapp.E007" and worker:
                continue
            if found.level >= checks.ERROR:
                raise CommandError(text)
            self.stderr.write(f"{found.id}: {text}")


def listen(bind: str, port: int) -> socket.socket:
    """The listening socket. Raises CommandError when the address cannot be had."""
    if not 0 <= port <= 65535:
        raise CommandError(f"{port} is no port. Choose one from 0 to 65535 with --port.")
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    for patience in (1, 1, 0):  # a group that was just killed needs a moment to let go
        try:
            return socket.create_server((bind, port), family=family, backlog=256)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and patience:
                time.sleep(0.4)
                continue
            if error.errno == errno.EADDRINUSE:
                raise CommandError(
                    f"Port {port} on {bind} is in use. Stop the other program, or choose another port with --port."
                ) from None
            raise CommandError(f"Cannot listen on {bind} port {port}: {error.strerror or error}.") from None
    raise AssertionError("not reached")


@contextmanager
def only_one_per_home() -> Iterator[None]:
    """Held as long as this process lives. Raises CommandError when another one holds it."""
    path = settings.SEGAPP_HOME / "var" / "serve.lock"
    with open(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise CommandError(
                f"{settings.SEGAPP_HOME} is served already (process {file.read().strip() or 'unknown'}). "
                "Stop that one, or set SEGAPP_HOME to another folder."
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def local_url(bind: str, port: int) -> str:
    host = f"[{bind}]" if ":" in bind else bind
    return f"http://{host}:{port}"


def public_url(bind: str, port: int) -> str:
    """SEGAPP_URL, or what follows from where the server listens."""
    if os.environ.get("SEGAPP_URL"):
        return settings.SEGAPP_URL
    try:
        everywhere = ipaddress.ip_address(bind).is_unspecified
    except ValueError:
        everywhere = False
    return local_url("127.0.0.1" if everywhere else bind, port)


def environment(url: str) -> dict[str, str]:
    """What the parts run with: the same settings, wherever they were started from."""
    return {
        **parts.WAITING,
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "segapp.settings",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH", "")])),
        "PYTHONUNBUFFERED": "1",
        "SEGAPP_HOME": str(settings.SEGAPP_HOME),
        "SEGAPP_URL": url,
        "CELERY_SKIP_CHECKS": "1",  # they ran here
    }


def become(command: list[str], variables: dict[str, str], nice: int) -> None:
    os.nice(nice)
    os.execve(command[0], command, variables)


def collect_static() -> None:
    """Bring STATIC_ROOT up to date when a file changed; a fingerprint of the listing shows that in milliseconds."""
    listing = hashlib.sha256(settings.STORAGES["staticfiles"]["BACKEND"].encode())
    for finder in get_finders():
        for name, storage in sorted(finder.list([]), key=lambda found: found[0]):
            status = os.stat(storage.path(name))
            listing.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    stamp, fingerprint = Path(f"{settings.STATIC_ROOT}.stamp"), listing.hexdigest()
    with locked(settings.SEGAPP_HOME, "static"):
        if stamp.exists() and stamp.read_text() == fingerprint and settings.STATIC_ROOT.exists():
            return
        stamp.unlink(missing_ok=True)
        try:
            call_command("collectstatic", interactive=False, clear=True, verbosity=0)
        except (ValueError, OSError) as error:
            raise CommandError(f"The static files could not be collected: {error}") from None
        stamp.write_text(fingerprint)
