"""`bench segment` inside its own home: a request's cost beside the bare network's, alone and during a training.

Brings torch; run.py starts it in a process of its own.
"""

import io
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from django.conf import settings
from PIL import Image

from registry.memory import keep_freed
from registry.runtime import LoadedNetwork, Runtime
from segapp.bench import networks as one_network
from segapp.bench.client import Client, Upload
from segapp.bench.group import Group
from segapp.imaging import render, sample
from segapp.imaging.tiling import fitted
from segapp.pipeline.inference.forward import normalised
from segapp.pipeline.inference.predict import resized

REFERENCE = "mit_b3"
REFERENCE_REQUESTS = 15  # each, with its bare pass, takes about a second
OVERHEAD_TARGET, TRAINING_TARGET = 1.15, 2.2
WARM_UP = 4
SHIFT = 7  # pixels, so that no two requests send the same image
TRAINING_SECONDS = 120.0  # until it must have begun
PATIENCE = 240.0
STAGES = ("decode_ms", "inference_ms", "encode_ms")  # of a request, as in a plain process; the rest is the service


def run(requests: int, base: str, images: list[str]) -> dict[str, Any]:
    """All phases; the home must be empty and used by nothing else. `images` are files; without them some are drawn."""
    # Not the workers' runtime: the bare network runs as in any plain process.
    runtime = Runtime(settings.MEDIA_ROOT, settings.SEGAPP_WEIGHTS, settings.SEGAPP_DEVICE)
    files = [Path(p) for p in images]
    with runtime.use_base(runtime.base(base)) as network, Group(Path(settings.SEGAPP_HOME)) as group:
        log(f"{network.key}: {requests} requests beside the bare network, in turns ...")
        rows = [request(network, group, requests, files)]
        log(f"{requests} requests alone and as many while a thorough training runs ...")
        training = beside_training(group, requests)
    models = [one_network.measure(key, log) for key in dict.fromkeys((REFERENCE, network.key))]
    if network.key != REFERENCE:
        log(f"{REFERENCE}: requests beside the bare network, in turns ...")
        rows.insert(0, of_reference(min(requests, REFERENCE_REQUESTS), files))
    with runtime.use_base(runtime.base(base)) as network, Group(Path(settings.SEGAPP_HOME)) as group:
        log(f"{network.key}: the same with freed memory kept on both sides ...")
        rows[-1] |= beside_kept(network, group, requests, files)
    return {
        "base": network.key,
        "threads": torch.get_num_threads(),
        "requests": rows,
        "training": training,
        "models": models,
    }


def of_reference(requests: int, images: list[Path]) -> dict[str, Any]:
    """`request` with the reference encoder, whose weights need not be at hand, on a server of its own."""
    with tempfile.TemporaryDirectory(prefix="segapp-bench-") as folder:
        home = Path(folder)
        (home / "var").mkdir()
        media, weights = home / "media", home / "weights"
        one_network.random_base(REFERENCE, media, weights)
        runtime = Runtime(media, weights, settings.SEGAPP_DEVICE)
        own = {"SEGAPP_HOME": folder, "SEGAPP_WEIGHTS": str(weights), "SEGAPP_BASE": REFERENCE}
        with runtime.use_base(runtime.base(REFERENCE)) as network, Group(home, own) as group:
            row = request(network, group, requests, images)
            return row | beside_kept(network, group, requests, images)


def beside_kept(network: LoadedNetwork, group: Group, requests: int, images: list[Path]) -> dict[str, float]:
    """`request` again, beside the bare network in a process that keeps freed memory, as the workers do.

    Comes after everything that is to be plain: a process cannot be told otherwise again.
    """
    keep_freed()
    again = request(network, group, requests, images, first=requests + WARM_UP)
    return {"bare_kept_p50_ms": again["bare_p50_ms"], "overhead_of_kept": again["overhead"]}


def request(network: LoadedNetwork, group: Group, requests: int, images: list[Path], first: int = 0) -> dict[str, Any]:
    """p50 from HTTP in to JSON out, and of decoding, the bare forward, resizing back and encoding in one plain process.

    around_p50_ms is what the server takes beside its own decoding, network and encoding. `first`: the number of the
    first image, so that the server has none of them in memory.
    """
    client = Client(group.url)
    alone, whole, stages = [], [], []
    for number in range(first - WARM_UP, first + requests):
        body = encoded(number, images)
        began = time.perf_counter()
        bare(network, body)
        between = time.perf_counter()
        found = analyze(client, body)
        ended = time.perf_counter()
        if number >= first:
            alone.append((between - began) * 1000)
            whole.append((ended - between) * 1000)
            stages.append(found["timings"])
    around = [ms - sum(s[name] for name in STAGES) for ms, s in zip(whole, stages, strict=True)]
    p50 = {"bare_p50_ms": statistics.median(alone), "request_p50_ms": statistics.median(whole)}
    return {
        "base": network.key,
        "requests": requests,
        **{name: round(value, 2) for name, value in p50.items()},
        "overhead": round(p50["request_p50_ms"] / p50["bare_p50_ms"], 3),
        "overhead_of_pairs": round(statistics.median(b / a for a, b in zip(alone, whole, strict=True)), 3),
        "around_p50_ms": round(statistics.median(around), 2),
        "stages_p50_ms": {name: round(statistics.median(s[name] for s in stages), 2) for name in stages[0]},
        "target": OVERHEAD_TARGET,
    }


def beside_training(group: Group, requests: int) -> dict[str, Any]:
    """p50 of requests on an idle server and beside a training."""
    client, trainer = Client(group.url), Client(group.url)
    idle = [_timed(client, number) for number in range(requests)]
    run = trainer.post("/api/finetune", {"effort": "thorough"}, pairs(), timeout=60).json()
    busy, states = [], []
    try:
        _until(lambda: trainer.get(run["status_url"]).json()["progress"] > 0.02, TRAINING_SECONDS)
        for number in range(requests):
            busy.append(_timed(client, 1000 + number))
            if trainer.get(run["status_url"]).json()["state"] != "running":
                break
        states.append(len(busy))
    finally:
        trainer.post(run["status_url"] + "/stop", {"keep": "false"})
    _until(lambda: trainer.get(run["status_url"]).json()["state"] not in ("queued", "running"), PATIENCE)
    idle += [_timed(client, 2000 + number) for number in range(requests)]
    p50 = {"idle_p50_ms": statistics.median(idle), "training_p50_ms": statistics.median(busy)}
    return {
        "requests": len(busy),
        **{name: round(value, 2) for name, value in p50.items()},
        "slower": round(p50["training_p50_ms"] / p50["idle_p50_ms"], 3),
        "target": TRAINING_TARGET,
    }


def bare(network: LoadedNetwork, body: bytes) -> bytes:
    """From an image's file to its mask's PNG, with nothing around the network."""
    with Image.open(io.BytesIO(body)) as sent:
        image = np.asarray(sent.convert("RGB"))
    height, width = image.shape[:2]
    small = resized(image, fitted(height, width, network.spec.input_size))
    with torch.inference_mode():
        logits = network.module(normalised(small, network))[:, :, : small.shape[0], : small.shape[1]]
        full = F.interpolate(logits.float(), size=(height, width), mode="bilinear", align_corners=False)
        channels = full[0].argmax(dim=0).to(torch.uint8).cpu().numpy()
    ids = np.array([c.id for c in network.spec.classes], np.uint8)[channels]
    return render.palette_png(ids, [{"id": c.id, "color": c.color} for c in network.spec.classes])


def analyze(client: Client, body: bytes) -> dict[str, Any]:
    answer = client.post("/api/segment", {}, [("file", "image.jpg", body)])
    if answer.status != 200:
        raise RuntimeError(f"The server answered {answer.status}: {answer.body[:200]!r}")
    found: dict[str, Any] = answer.json()
    return found


def encoded(number: int, images: list[Path]) -> bytes:
    """A JPEG that was not sent before."""
    if images:
        with Image.open(images[number % len(images)]) as stored:
            image = np.asarray(stored.convert("RGB"))
    else:
        image = sample.draw(number % len(sample.NAMES))[0]
    out = io.BytesIO()
    Image.fromarray(np.roll(image, number * SHIFT, 1)).save(out, "JPEG", quality=92)
    return out.getvalue()


def _timed(client: Client, number: int) -> float:
    body = encoded(number, [])
    began = time.perf_counter()
    analyze(client, body)
    return (time.perf_counter() - began) * 1000


def pairs() -> list[Upload]:
    """Five sample images and their masks, as a form sends them."""
    files: list[Upload] = []
    for number, name in enumerate(sample.NAMES[:5]):
        for field, array in zip(("images", "masks"), sample.draw(number), strict=True):
            out = io.BytesIO()
            Image.fromarray(array).save(out, "PNG")
            files.append((field, f"{name}.png", out.getvalue()))
    return files


def _until(condition: Any, patience: float) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("The training did not do what it should in time.")
        time.sleep(0.3)


def log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
