"""Visitors and faults at once on a server of their own, and what was lost in the end: `manage.py soak`."""

import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from segapp.bench.apart import home_environment
from segapp.bench.group import Group
from segapp.bench.soak_faults import Faults, MemoryWatch, small_disk
from segapp.bench.soak_visitor import SoakVisitor, Tally

LAST_FAULT = 15.0  # seconds before the end from which nothing is broken any more
LOOK_SECONDS, CALM_LOOK_SECONDS = 2.0, 0.25
TRAIN_STEPS = "36"  # so that trainings end between two faults on a busy machine, too
END_SECONDS = 1200.0  # for the last runs, as long as they move


def run(
    minutes: float,
    visitors: int,
    seed: int,
    database: str,
    redis: str,
    log: Callable[[str], None],
    calm: float = 0.0,
) -> dict[str, Any]:
    """What `--json` prints. `database` and `redis` are addresses of empty servers, or "" for the embedded ones. `calm`:
    so many minutes without faults before the others, so that every process lives long enough to show whether it grows.

    Raises ServerFailed when the server does not start.
    """
    variables = {name: value for name, value in (("DATABASE_URL", database), ("REDIS_URL", redis)) if value}
    variables["SEGAPP_TRAIN_STEPS"] = TRAIN_STEPS
    with tempfile.TemporaryDirectory(prefix="segapp-soak-") as folder, small_disk(Path(folder)) as disk:
        environment = {**home_environment(Path(folder)), **variables}
        with Group(Path(folder), environment, inherits=False) as group:
            before = f"{calm:g} calm ones and " if calm else ""
            log(f"{visitors} visitors for {before}{minutes:g} minutes" + ("" if disk else ", without filling the disk"))
            return _soak(group, minutes, visitors, seed, disk, not redis, calm)


def _soak(
    group: Group, minutes: float, visitors: int, seed: int, disk: bool, own_broker: bool, calm: float
) -> dict[str, Any]:
    tally, leave, mended = Tally(), threading.Event(), threading.Event()
    faults, memory = Faults(group, mended, seed, disk, own_broker), MemoryWatch(group)
    crowd = [SoakVisitor(seed * 1000 + number, group.url, tally, leave) for number in range(visitors)]
    threads = [threading.Thread(target=each.live, daemon=True) for each in crowd]
    breaking = threading.Thread(target=faults.run, daemon=True)
    for thread in threads:
        thread.start()
    in_calm = _calm(calm, memory, tally) if calm else None
    began = time.monotonic()
    breaking.start()
    while (left := began + minutes * 60 - time.monotonic()) > 0:
        if left < LAST_FAULT:
            mended.set()
        memory.look()
        time.sleep(min(LOOK_SECONDS, left))
    mended.set()
    leave.set()
    deadline = time.monotonic() + END_SECONDS
    for thread in [breaking, *threads]:
        thread.join(max(0.0, deadline - time.monotonic()))
    hung = sum(thread.is_alive() for thread in threads)
    if hung:
        tally.add(tally.stuck_runs, f"{hung} visitors never got their last answer")
    lost = [*tally.errors, *tally.lost_models, *tally.wrong_answers, *tally.stuck_runs]
    return {
        "minutes": round((time.monotonic() - began) / 60, 2),
        "visitors": visitors,
        "requests": sum(tally.requests.values()),
        "by_status": dict(sorted(tally.requests.items())),
        "done": dict(tally.done),
        "faults": dict(faults.counts),
        "errors": len(tally.errors),
        "lost_models": len(tally.lost_models),
        "wrong_answers": len(tally.wrong_answers),
        "stuck_runs": len(tally.stuck_runs),
        "memory_mb_per_minute": memory.slopes(),
        **({"calm": in_calm} if in_calm else {}),
        "details": lost[:50],
        "lost": bool(lost),
    }


def _calm(minutes: float, memory: MemoryWatch, tally: Tally) -> dict[str, Any]:
    """What visitors did meanwhile, and how much memory each part held at rest in the end and gained a minute."""
    until = time.monotonic() + minutes * 60
    while time.monotonic() < until:
        memory.look()
        time.sleep(CALM_LOOK_SECONDS)
    return {
        "minutes": minutes,
        "done": dict(tally.done),
        "memory_mb": memory.at_rest(),
        "memory_mb_per_minute": memory.slopes(),
    }


def table(result: dict[str, Any]) -> str:
    """The result as lines for people."""
    figures = ("minutes", "visitors", "requests", "errors", "lost_models", "wrong_answers", "stuck_runs")
    lines = [_row(name, result[name]) for name in figures]
    lines += [_row(name, _listed(result[name])) for name in ("by_status", "done", "faults", "memory_mb_per_minute")]
    if "calm" in result:
        calm = result["calm"]
        lines.append(f"calm: {calm['minutes']:g} minutes, {_listed(calm['done'])}")
        lines += [_row(name, _listed(calm[name])) for name in ("memory_mb", "memory_mb_per_minute")]
    return "\n".join([*lines, *(f"lost: {words}" for words in result["details"])])


def _row(name: str, value: object) -> str:
    return f"{name.replace('_', ' '):<22}{value}"


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items()) or "none"
