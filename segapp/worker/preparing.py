"""Making the base model that SEGAPP_BASE names, while another one answers and trains.

A chore of the training workers. One of them claims the row and runs `manage.py build_base` as a child process, which
fetches the encoder's weights and teaches the decoder; the child ends with its worker, and what it has written is moved
to media/bases only while the lease holds. Knows nothing of how a base is built.
"""

import json
import logging
import os
import secrets
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from django.conf import settings

from registry import store
from registry.bases import CATALOGUE, is_built
from segapp import heartbeat
from segapp.home import PROJECT
from segapp.models import BasePreparation, Phase, State
from segapp.services import preparing, runs

logger = logging.getLogger(__name__)

LABEL = "segapp.BasePreparation"
RETRY_SECONDS = 300.0
AGAIN = "It is tried again every five minutes, and when the service starts."
FOLDER = ".preparing-"
# Where each part of the work begins and ends, as shares of the whole; what build_base reports lies between.
SPANS = {Phase.WEIGHTS: (0.0, 0.2), Phase.IMAGES: (0.2, 0.3), Phase.DECODER: (0.3, 1.0)}
PHASES = {"weights": Phase.WEIGHTS, "teacher": Phase.IMAGES, "features": Phase.IMAGES}

_failed_since: dict[str, float] = {}  # base key -> when this process first saw that it failed, on the monotonic clock


class Stopped(Exception):
    """This worker was asked to end, or another one has the row."""


class Failed(Exception):
    """The base could not be made; the message says what to do."""


def turn() -> None:
    """Prepare the wanted base if it is not ready and no other process prepares it; returns when that has ended."""
    if "train" not in heartbeat.queues():
        return
    if preparing.wanted() is not None and store.is_shared():
        store.fetch_folder(settings.MEDIA_ROOT / "bases", newer=True)  # another machine may have made it
    key = preparing.wanted()
    if key is None:
        return
    rows = BasePreparation.objects.filter(key=key)
    row, _ = BasePreparation.objects.get_or_create(key=key)
    runs.requeue_expired(rows)
    _queue_again(key)
    token = secrets.token_hex(16)
    if not BasePreparation.objects.claim(row.pk, heartbeat.NAME, token):
        return
    heartbeat.hold(LABEL, row.pk, token, apart=True)
    try:
        _prepare(BasePreparation.objects.get(pk=row.pk))
    finally:
        heartbeat.release(LABEL, row.pk)


def _queue_again(key: str) -> None:
    """What failed is queued after a while, and at a process's first look; what was made and is gone, at once."""
    row = BasePreparation.objects.get(key=key)
    if row.unfinished:
        _failed_since[key] = time.monotonic()
        return
    now = time.monotonic()
    if row.state == State.FAILED and now - _failed_since.setdefault(key, now - RETRY_SECONDS) < RETRY_SECONDS:
        return
    _failed_since[key] = now
    BasePreparation.objects.filter(pk=row.pk, state=row.state, ended=row.ended).update(
        state=State.QUEUED, attempts=0, progress=0, eta_seconds=None, phase=Phase.WAITING, message=""
    )


def _prepare(row: BasePreparation) -> None:
    logger.warning("preparing the base model %s; another one answers until it is ready", row.key)
    try:
        if is_built(row.key, settings.MEDIA_ROOT):  # only the encoder's weights are not on this machine
            _run(row, "--weights-only")
        else:
            with _folder() as folder:
                _run(row, "--out", str(folder), "--steps", str(settings.SEGAPP_PREPARE_STEPS))
                _publish(row, folder)
    except Stopped:
        BasePreparation.objects.hand_back(row.pk, row.lease)
    except (Failed, OSError) as error:
        _failed_since[row.key] = time.monotonic()
        message = f"{CATALOGUE[row.key].name} could not be prepared. {error}"
        logger.warning("%s", message)
        BasePreparation.objects.end(row.pk, row.lease, State.FAILED, message=_fitted(message))
    else:
        BasePreparation.objects.end(row.pk, row.lease, State.DONE)
        logger.warning("the base model %s is ready and answers from now on", row.key)


def _fitted(message: str) -> str:
    """The message with what happens next, within the column."""
    most = BasePreparation._meta.get_field("message").max_length or 500
    return f"{message[: most - len(AGAIN) - 1].rstrip()} {AGAIN}"


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder beside the bases, so that a move is one rename; what a killed worker has left there goes."""
    parent = settings.MEDIA_ROOT / "bases"
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f"{FOLDER}*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=FOLDER, dir=parent, ignore_cleanup_errors=True) as name:
        yield Path(name)


def _run(row: BasePreparation, *options: str) -> None:
    """Run build_base as a child to its end and pass on how far it is. Raises Stopped and Failed."""
    command = [sys.executable, str(PROJECT / "manage.py"), "build_base", row.key, *options]
    command += ["--for-worker", str(os.getpid())]
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints) as child,
    ):
        try:
            _follow(row, child)
        except BaseException:
            child.kill()
            raise
        if child.wait():
            raise Failed(_reason(child.returncode, complaints))


def _follow(row: BasePreparation, child: subprocess.Popen[bytes]) -> None:
    """Write what the child reports into the row until it closes its output. Raises Stopped."""
    assert child.stdout is not None
    began: dict[Phase, tuple[float, float]] = {}
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            if heartbeat.stopping.is_set() or not heartbeat.holds(LABEL, row.pk):
                raise Stopped
            if not selector.select(timeout=1.0):
                continue
            data = os.read(child.stdout.fileno(), 65536)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            reports = [json.loads(line) for line in lines if line.startswith(b"{")]
            if reports and not _note(row, reports[-1], began):
                raise Stopped


def _note(row: BasePreparation, report: dict[str, Any], began: dict[Phase, tuple[float, float]]) -> bool:
    """One report of build_base ({"stage", "fraction"}) as phase, progress and time left; False: the lease is lost."""
    phase = PHASES.get(str(report.get("stage")), Phase.DECODER)
    low, high = SPANS[phase]
    fraction = float(report.get("fraction", 0.0))
    # build_base counts from its first image on: images are the first half of its own scale, steps the second.
    inside = {Phase.WEIGHTS: fraction, Phase.IMAGES: 2 * fraction, Phase.DECODER: 2 * fraction - 1}[phase]
    inside = min(1.0, max(0.0, inside))
    now = time.monotonic()
    since, start = began.setdefault(phase, (now, inside))
    left = (now - since) / (inside - start) * (1 - inside) if phase == Phase.DECODER and inside > start else None
    values = {"phase": phase, "progress": low + (high - low) * inside, "eta_seconds": left}
    return BasePreparation.objects.held(row.pk, row.lease).update(**values) == 1


def _publish(row: BasePreparation, folder: Path) -> None:
    """Move the base's file and then its card, which makes it ready. Raises Stopped when the lease is lost."""
    bases = settings.MEDIA_ROOT / "bases"
    card, network = bases / f"base_{row.key}.json", bases / f"base_{row.key}.pth"
    if not BasePreparation.objects.held(row.pk, row.lease).update(progress=1, eta_seconds=0):
        raise Stopped
    card.unlink(missing_ok=True)  # one of an earlier file would not fit the new one
    for path in (network, card):
        os.replace(folder / path.name, path)
    try:
        for path in (network, card):
            store.push(path)
    except store.StoreUnreachable as error:
        logger.warning("%s The base is ready on this machine only.", error)


def _reason(status: int, complaints: IO[bytes]) -> str:
    """The child's one line on stderr, or how it was ended."""
    if status < 0:
        return f"Its process was ended by signal {-status}, perhaps because memory ran out. Free some."
    complaints.seek(0)
    lines = [line for line in complaints.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("CommandError: ") if lines else f"Its process ended with status {status}."
