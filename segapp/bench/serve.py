"""`bench serve` inside its own home: publish models, start the server group, send, look at what came back.

Brings torch; run.py starts it in a process of its own.
"""

import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core import signing

from registry.network import own_bytes
from registry.runtime import LoadedNetwork
from segapp.bench import load, masks, synthetic
from segapp.bench.client import Client
from segapp.bench.group import Group
from segapp.bench.load import Sent, Visitor
from segapp.bench.plain import PlainWay
from segapp.bench.run_serve import Options
from segapp.visitors import COOKIE, COOKIE_SALT, new_id
from segapp.worker import networks

WARM_UP = 5  # requests that are not counted
WARM_UP_FIRST, RATE_FIRST = 500_000, 200_000  # their images' numbers; those of the turns begin with 0
LOAD_FACTOR = 0.7  # of what one request after the other gives, where no rate is named
PLAIN_MODELS = 8  # whole checkpoints to rotate over the plain way
MB = 2**20


def run(options: Options) -> dict[str, Any]:
    """All phases; the home must be empty and used by nothing else."""
    runtime = networks.runtime()
    with runtime.use_base(runtime.base(options.base)) as base:
        result = {"base": base.key, "visitors": options.visitors, "models": options.models, "rotate": options.rotate}
        log(f"Publishing {options.models} models on {base.key} ...")
        began = time.monotonic()
        owners, sizes = publish_all(base, options)
        result["publish_ms"] = round((time.monotonic() - began) * 1000 / options.models, 1)
        result["file_mb"] = round(sum(sizes) / len(sizes) / 1e6, 3)
        way = PlainWay(base, min(PLAIN_MODELS, options.rotate), Path(settings.SEGAPP_HOME))
        sent, figures = _send(owners, options, way)
        result |= {**figures, "plain": way.summary()}
        log("Holding every mask to its own model's reference ...")
        result["masks"] = masks.check(sent, synthetic.Reference(base))
        result["memory_mb_per_model"] = round(own_bytes(synthetic.tensors(base, 0).values()) / MB, 3)
    return {**result, "ratios": ratios(result)}


def publish_all(base: LoadedNetwork, options: Options) -> tuple[list[tuple[str, int, str]], list[int]]:
    """(id, model's number, model's key) for each visitor, and the files' sizes in bytes.

    A visitor's last published model is the active one, so model n is visitor n's, and later numbers, earlier
    versions of theirs, come first. Visitors without a model have the base, number -1.
    """
    ids = [new_id() for _ in range(options.visitors)]
    order = [*range(options.visitors, options.models), *range(min(options.visitors, options.models))]
    keys, sizes = {}, []
    for done, number in enumerate(order, 1):
        model = synthetic.publish_one(base, number, ids[number % options.visitors])
        keys[number] = model.key
        sizes.append(model.size_bytes)
        if done % 200 == 0:
            log(f"  {done} of {options.models}")
    owners = [
        (visitor, number, keys[number]) if number < options.models else (visitor, -1, base.key)
        for number, visitor in enumerate(ids)
    ]
    return owners, sizes


def _send(owners: Sequence[tuple[str, int, str]], options: Options, way: PlainWay) -> tuple[list[Sent], dict[str, Any]]:
    """All requests against a server group that lives only for them, and the figures of the phases."""
    with Group(Path(settings.SEGAPP_HOME)) as group:
        visitors = [Visitor(known(group.url, visitor), number, key) for visitor, number, key in owners]
        own, on_base = visitors[: options.rotate], visitors[options.models :]
        load.one_by_one([own[0]] * WARM_UP, synthetic.encoded, WARM_UP_FIRST)
        looks = {"before": look(group)}
        log(f"{options.requests} requests to one model and as many over {options.rotate}, in turns ...")
        one, rotated = in_turns(own, options.requests, way, options.plain)
        looks["after_rotation"] = look(group)
        rate = options.rate or round(LOAD_FACTOR * len(rotated) / sum(sent.seconds for sent in rotated), 2)
        log(f"{options.requests} requests at {rate:g} a second ...")
        chosen = random.Random(0).choices([*own, *on_base], k=options.requests)
        loaded, took = load.at_rate(chosen, rate, synthetic.encoded, RATE_FIRST)
        looks["after"] = look(group)
    figures = {
        "one": load.summary(one),
        "rotated": load.summary(rotated),
        "rotated_first_time": load.summary(rotated[: len(own)]),
        "rotated_again": load.summary(rotated[len(own) :]),
        "at_rate": {"rate": rate, **load.summary(loaded, took)},
        "cache": {when: cache for when, (cache, _) in looks.items()},
        "memory_mb": {when: memory for when, (_, memory) in looks.items()},
    }
    return [*one, *rotated, *loaded], figures


def known(url: str, visitor: str) -> Client:
    """A client that the server knows as this visitor."""
    return Client(url, {COOKIE: signing.get_cookie_signer(salt=COOKIE + COOKIE_SALT).sign(visitor)})


def look(group: Group) -> tuple[dict[str, float], dict[str, float]]:
    return group.cache(), group.memory()


def in_turns(own: Sequence[Visitor], requests: int, way: PlainWay, plain: int) -> tuple[list[Sent], list[Sent]]:
    """A request of the first visitor, one of the next in the round, for the first rounds the same the plain way, and so
    on: all meet the same machine."""
    one, rotated = [], []
    for number in range(requests):
        one += load.one_by_one([own[0]], synthetic.encoded, 2 * number)
        rotated += load.one_by_one([own[(number + 1) % len(own)]], synthetic.encoded, 2 * number + 1)
        if number < plain:
            way.turn(number)
    return one, rotated


def ratios(result: dict[str, Any]) -> dict[str, Any]:
    """The figures against one another; of those named plain_over_ours, above 1 is in our favour."""
    one, rotated, way = result["one"], result["rotated"], result["plain"]
    cache, memory = result["cache"], result["memory_mb"]
    before, middle, after = cache["before"], cache["after_rotation"], cache["after"]
    loads = middle.get("loads", 0) - before.get("loads", 0)
    load_ms = round((middle.get("load_ms", 0) - before.get("load_ms", 0)) / loads, 2) if loads else None
    grown = round(memory["after"]["predict"] - memory["before"]["predict"], 1)
    limit = after.get("limit_bytes", 0) / MB
    return {
        "rotated_over_one": quotient(rotated["p50_ms"], one["p50_ms"]),
        "rotated_over_one_mean": quotient(rotated["mean_ms"], one["mean_ms"]),
        "plain_rotated_over_one": quotient(way["rotated_p50_ms"], way["one_p50_ms"]),
        "plain_over_ours_rotated": quotient(way["rotated_p50_ms"], rotated["p50_ms"]),
        "plain_over_ours_load": quotient(way["switch_p50_ms"], load_ms),
        "plain_over_ours_file": quotient(way["file_mb"], result["file_mb"]),
        "plain_over_ours_memory": quotient(way["memory_mb"], result["memory_mb_per_model"]),
        "cold_load_ms": load_ms,
        "memory_growth_mb": grown,
        "cache_growth_mb": round((after.get("bytes", 0) - before.get("bytes", 0)) / MB, 1),
        "cache_limit_mb": round(limit, 1),
        "growth_over_limit": quotient(grown, settings.SEGAPP_CACHE_BYTES / MB),  # features of images included
    }


def quotient(above: float | None, below: float | None) -> float | None:
    return round(above / below, 3) if above is not None and below else None


def log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
