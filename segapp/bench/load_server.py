"""`bench load` inside its own home: models, a server, and numbers of visitors until one is too many.

Brings torch; run_load.py starts it in a process of its own.
"""

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

from django.conf import settings

from segapp.bench.client import Client
from segapp.bench.group import Group, ServerFailed
from segapp.bench.load_levels import figures, largest_held, next_level
from segapp.bench.load_visitor import LoadVisitor
from segapp.bench.run_load import Options
from segapp.bench.segment import encoded, pairs
from segapp.bench.serve import known, log
from segapp.bench.synthetic import publish_one
from segapp.visitors import new_id
from segapp.worker import networks

WITH_MODEL = 2  # every so manieth visitor has a model of their own, while there are models
PHOTOS = 240  # different ones, sent in turn: more than a worker keeps the features of
RAMP_SECONDS = 8.0  # of each level, that do not count: visitors come, queues fill
END_SECONDS = 120.0  # for the last acts of a level
REST_SECONDS = 2.0  # between two levels
APART = ("web", "predict", "predict", "train", "train")
TRAINING_SECONDS, LOOK_SECONDS = 180.0, 1.0  # until a training must have begun; between two looks at it
ENDED = ("done", "failed", "cancelled")


def run(options: Options) -> dict[str, Any]:
    """All levels; the home must be empty and used by nothing else."""
    runtime = networks.runtime()
    with runtime.use_base(runtime.base(options.base)) as base:
        log(f"Publishing {options.models} models on {base.key} ...")
        ids = [new_id() for _ in range(options.most)]
        own = {ids[n * WITH_MODEL]: n for n in range(min(options.models, -(-options.most // WITH_MODEL)))}
        models = {visitor: publish_one(base, number, visitor).public_id for visitor, number in own.items()}
        key = base.key
    photo = photos([Path(path) for path in options.images])
    apart = APART if options.apart else ()
    # Each visitor has an address, as behind a proxy: limits and quotas of an address hold as in production.
    environment = {"SEGAPP_PROXY": "1", "SEGAPP_RATE_LIMITS": "on", "SEGAPP_PACE": "off"}
    began, load = time.monotonic(), os.getloadavg()[0]
    with Group(Path(settings.SEGAPP_HOME), environment, apart=apart) as group:
        crowd = [LoadVisitor(n, browser(group.url, n, ids[n]), models.get(ids[n], ""), photo) for n in range(len(ids))]
        with trainings(group.url, apart.count("train") or 1 if options.training else 0) as ended:
            rows, complete = levels(group, crowd, options)
    held = {row["visitors"]: row["held"] for row in rows}
    return {
        "base": key,
        "cores": len(os.sched_getaffinity(0)),
        "setup": "apart" if apart else "one machine",
        "database": "PostgreSQL, Redis" if apart else "SQLite, embedded Redis",
        "load_before": round(load, 1),
        "minutes": round((time.monotonic() - began) / 60, 1),
        "trainings_ended": len(ended) if options.training else None,
        "levels": sorted(rows, key=lambda row: int(row["visitors"])),
        "held": largest_held(held),
        "complete": complete,
    }


def levels(group: Group, crowd: Sequence[LoadVisitor], options: Options) -> tuple[list[dict[str, Any]], bool]:
    """A row for each number of visitors, in the order tried, and whether the time was enough for all of them."""
    level(group, crowd[:1], 2.0)  # the first requests load what the others find loaded
    rows: list[dict[str, Any]] = []
    deadline = time.monotonic() + options.minutes * 60
    while (visitors := next_level({row["visitors"]: row["held"] for row in rows}, len(crowd))) is not None:
        if time.monotonic() + RAMP_SECONDS + options.seconds > deadline:
            return rows, False
        rows.append(level(group, crowd[:visitors], options.seconds))
        log(line(rows[-1]))
    return rows, True


def level(group: Group, visitors: Sequence[LoadVisitor], seconds: float) -> dict[str, Any]:
    """So many visitors at a time, for `seconds` after they have come."""
    stop = threading.Event()
    threads = [threading.Thread(target=visitor.live, args=(stop,), daemon=True) for visitor in visitors]
    for thread in threads:
        thread.start()
    time.sleep(RAMP_SECONDS)
    since, before = time.monotonic(), processor_seconds(group)
    time.sleep(seconds)
    until, after = time.monotonic(), processor_seconds(group)
    stop.set()
    deadline = time.monotonic() + END_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    acts = [act for visitor in visitors for act in visitor.acts]
    row = figures(len(visitors), acts, [sent for each in visitors for sent in each.requests], since, until)
    row["cores"] = cores({part: (after[part] - before[part]) / (until - since) for part in after})
    for visitor in visitors:
        visitor.acts, visitor.requests = [], []
    time.sleep(REST_SECONDS)
    return row


def processor_seconds(group: Group) -> dict[str, float]:
    """What each part, this process (`bench`) and the whole machine have taken so far."""
    # user nice system idle iowait irq softirq steal; guests' time is in user's already
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    machine = (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
    return {**group.processor_seconds(), "bench": time.process_time(), "machine": machine}


def cores(taken: dict[str, float]) -> dict[str, float]:
    """With `other` in place of `machine`: what ran here that is no part and not this process, as a database."""
    parts = {part: round(value, 2) for part, value in taken.items() if part != "machine"}
    return {**parts, "other": round(max(0.0, taken["machine"] - sum(parts.values())), 2)}


def line(row: dict[str, Any]) -> str:
    """A level for people."""
    times = ", ".join(f"{kind} p95 {row[f'{kind}_p95_ms']} ms" for kind in ("page", "analyze"))
    return f"{row['visitors']} visitors: {times}, {row['refused']} refused, {row['errors']} errors"


def browser(url: str, number: int, visitor: str) -> Client:
    """Of a visitor whom the server knows, at an address of their own."""
    address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    return Client(url, known(url, visitor).cookies, {"X-Forwarded-For": address})


def photos(images: list[Path]) -> Callable[[], bytes]:
    """JPEGs in turn, made beforehand so that making them takes no time from the server."""
    made = [encoded(number, images) for number in range(PHOTOS)]
    following = itertools.cycle(made)
    lock = threading.Lock()

    def photo() -> bytes:
        with lock:
            return next(following)

    return photo


@contextmanager
def trainings(url: str, count: int) -> Iterator[list[str]]:
    """So many visitors train all the time, each the next model when one is done; yields the states of those that ended.

    Raises ServerFailed when they do not begin.
    """
    stop, ended = threading.Event(), list[str]()
    begun = [threading.Event() for _ in range(count)]
    threads = [threading.Thread(target=_train, args=(url, n, stop, begun[n], ended), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    try:
        if not all(one.wait(TRAINING_SECONDS) for one in begun):
            raise ServerFailed("No training has begun.")
        yield ended
    finally:
        stop.set()
        for thread in threads:
            thread.join(LOOK_SECONDS + 30)


def _train(url: str, number: int, stop: threading.Event, begun: threading.Event, ended: list[str]) -> None:
    client = Client(url, headers={"X-Forwarded-For": f"10.255.0.{number}"})
    address = ""
    while not stop.wait(LOOK_SECONDS):
        with suppress(OSError, HTTPException, ValueError, KeyError):  # refused or busy: asked again
            if not address:
                address = client.post("/api/finetune", {"effort": "thorough"}, pairs()).json()["status_url"]
            run = client.get(address).json()
            if run["state"] == "running" and run["progress"] > 0:
                begun.set()
            if run["state"] in ENDED:
                ended.append(run["state"])
                address = ""
    if address:
        with suppress(OSError, HTTPException):
            client.post(f"{address}/stop", {"keep": "false"})
