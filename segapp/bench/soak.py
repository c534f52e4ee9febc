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
LOOK_SECONDS = 2.0
END_SECONDS = 1200.0  # for the last runs, as long as they move


def run(
    minutes: float, visitors: int, seed: int, database: str, redis: str, log: Callable[[str], None]
) -> dict[str, Any]:
    """What `--json` prints. `database` and `redis` are addresses of empty servers, or "" for the embedded ones.

    Raises ServerFailed when the server does not start.
    """
    variables = {name: value for name, value in (("DATABASE_URL", database), ("REDIS_URL", redis)) if value}
    with tempfile.TemporaryDirectory(prefix="segapp-soak-") as folder, small_disk(Path(folder)) as disk:
        environment = {**home_environment(Path(folder)), **variables}
        with Group(Path(folder), environment, inherits=False) as group:
            log(f"{visitors} visitors for {minutes:g} minutes" + ("" if disk else ", without filling the disk"))
            return _soak(group, minutes, visitors, seed, disk, own_broker=not redis)


def _soak(group: Group, minutes: float, visitors: int, seed: int, disk: bool, own_broker: bool) -> dict[str, Any]:
    tally, leave, calm = Tally(), threading.Event(), threading.Event()
    faults, memory = Faults(group, calm, seed, disk, own_broker), MemoryWatch(group)
    crowd = [SoakVisitor(seed * 1000 + number, group.url, tally, leave) for number in range(visitors)]
    threads = [threading.Thread(target=each.live, daemon=True) for each in crowd]
    breaking = threading.Thread(target=faults.run, daemon=True)
    began = time.monotonic()
    for thread in [*threads, breaking]:
        thread.start()
    while (left := began + minutes * 60 - time.monotonic()) > 0:
        if left < LAST_FAULT:
            calm.set()
        memory.look()
        time.sleep(min(LOOK_SECONDS, left))
    calm.set()
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
        "details": lost[:50],
        "lost": bool(lost),
    }


def table(result: dict[str, Any]) -> str:
    """The result as lines for people."""
    figures = ("minutes", "visitors", "requests", "errors", "lost_models", "wrong_answers", "stuck_runs")
    lines = [f"{name.replace('_', ' '):<22}{result[name]}" for name in figures]
    for name in ("by_status", "done", "faults", "memory_mb_per_minute"):
        rows = ", ".join(f"{key} {value}" for key, value in result[name].items()) or "none"
        lines.append(f"{name.replace('_', ' '):<22}{rows}")
    return "\n".join([*lines, *(f"lost: {words}" for words in result["details"])])
