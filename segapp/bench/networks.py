"""What one custom model costs beside a whole network of its own: its file, its activation, its answer on an image that
another model has just looked at.

Encoders are filled with random numbers in a temporary folder: values change neither time nor size. Brings torch.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from registry import bases, checkpoint
from registry.network import DEFAULT_DECODER, ClassInfo, Network, Spec, build
from registry.runtime import LoadedNetwork, ModelRef, Runtime
from registry.weights import digest
from segapp.imaging import sample
from segapp.pipeline.inference import forward as passes
from segapp.pipeline.inference.predict import predict

CLASSES = (ClassInfo(0, "soil", "#4b5563"), ClassInfo(1, "leaf", "#e69f00"), ClassInfo(2, "spot", "#56b4e9"))
FULL_TIMES, COLD_TIMES, LOOKS = 3, 15, 5
COLD_TARGET, SWITCH_TARGET, FILE_TARGET_MB = 1 / 50, 1 / 3, 8.0
CACHE_BYTES = 2 << 30


def measure(key: str, log: Callable[[str], None]) -> dict[str, Any]:
    """Figures of the base `key`: medians in ms, sizes in MB, ratios with what they should be at most."""
    log(f"{key}: building and loading whole networks, and putting models beside their base ...")
    with tempfile.TemporaryDirectory(prefix="segapp-bench-") as folder:
        media = Path(folder) / "media"
        weights = Path(folder) / "weights"
        whole, spec = random_base(key, media, weights)
        runtime = Runtime(media, weights, "cpu", CACHE_BYTES)
        refs = [_custom(whole, spec, runtime, media, number) for number in range(COLD_TIMES + 2)]
        full_file = Path(folder) / "full.pth"
        torch.save(whole.state_dict(), full_file)
        full = [_timed(partial(_whole, spec, full_file)) for _ in range(FULL_TIMES)]
        with runtime.use_base(runtime.base(key)):
            cold = [_timed(partial(_activate, runtime, ref)) for ref in refs[:COLD_TIMES]]
            look, switch = _switching(runtime, refs[-2], refs[-1])
        sizes = {
            "full_mb": full_file.stat().st_size / 1e6,
            "file_mb": refs[0].path.stat().st_size / 1e6,
            "half_mb": _half(refs[0], media).stat().st_size / 1e6,
        }
    times = {name: statistics.median(found) for name, found in (("full_ms", full), ("cold_ms", cold))}
    return {
        "base": key,
        **{name: round(value, 3) for name, value in {**times, **sizes}.items()},
        "look_ms": round(look, 2),
        "switch_ms": round(switch, 2),
        "cold_over_full": round(times["cold_ms"] / times["full_ms"], 5),
        "switch_over_look": round(switch / look, 3),
        "targets": {"cold_over_full": COLD_TARGET, "switch_over_look": SWITCH_TARGET, "file_mb": FILE_TARGET_MB},
    }


def random_base(key: str, media: Path, weights: Path) -> tuple[Network, Spec]:
    """A ready base of random numbers in `media`, those of its encoder in `weights`."""
    entry = bases.CATALOGUE[key]
    spec = Spec(key, entry.encoder, dict(DEFAULT_DECODER), entry.input_size, entry.mean, entry.std, CLASSES)
    whole = build(spec)
    weights.mkdir()
    torch.save(whole.encoder.state_dict(), weights / f"{entry.encoder}.pth")
    path = media / "bases" / f"base_{key}.pth"
    extra = {"encoder_digest": digest(whole.encoder.state_dict())}
    sha256, _ = checkpoint.save(path, spec, _decoder(whole), "", extra)
    bases.write_card(path.with_suffix(".json"), {"key": key, "sha256": sha256})
    return whole, spec


def _custom(whole: Network, spec: Spec, runtime: Runtime, media: Path, number: int) -> ModelRef:
    """A quick model's file: decoder and head, a little different for each number."""
    ready = runtime.base(spec.base_key)
    tensors = {n: t * (1 + number / 1000) if t.is_floating_point() else t for n, t in _decoder(whole).items()}
    path = media / "models" / f"user_{number}.pth"
    sha256, _ = checkpoint.save(path, spec, tensors, ready.sha256)
    return ModelRef(f"user_{number}", path, sha256, ready.key, ready.sha256)


def _decoder(network: Network) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("encoder.")}


def _half(ref: ModelRef, media: Path) -> Path:
    saved = checkpoint.load(ref.path, ref.sha256)
    checkpoint.save(media / "half.pth", saved.spec, checkpoint.halve(saved.tensors), ref.base_sha256)
    return media / "half.pth"


def _whole(spec: Spec, file: Path) -> Network:
    """The usual way: build the network, load its checkpoint."""
    network = build(spec)
    network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return network.eval().to(memory_format=torch.channels_last)


def _activate(runtime: Runtime, ref: ModelRef) -> LoadedNetwork:
    """From the file, which was not read before, to a network that is ready to run."""
    with runtime.use(ref) as network:
        return network


def _switching(runtime: Runtime, one: ModelRef, two: ModelRef) -> tuple[float, float]:
    """Median ms of an image's first look, and of another model's look at the same image."""
    first, second = [], []
    with runtime.use(one) as a, runtime.use(two) as b:
        predict(a, np.zeros((64, 64, 3), np.uint8))
        for number in range(LOOKS):
            image = sample.draw(number)[0]
            with _forgetful():
                first.append(_timed(partial(predict, a, image)))
                second.append(_timed(partial(predict, b, image)))
    return statistics.median(first), statistics.median(second)


@contextmanager
def _forgetful() -> Iterator[None]:
    """With no features of earlier images in memory."""
    passes.forget()
    try:
        yield
    finally:
        passes.forget()


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000
