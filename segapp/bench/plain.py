"""The plain way beside ours: each visitor's model a whole checkpoint, loaded as the server's one active model.

A request for another visitor than the last one's builds the network and loads the checkpoint first. Runs in this
process, without HTTP, rows or queue, which is in the plain way's favour. Brings torch.
"""

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from registry.network import Network, Spec, own_bytes
from registry.runtime import LoadedNetwork
from segapp.bench import synthetic
from segapp.bench.load import percentile
from segapp.imaging import render
from segapp.pipeline.inference.predict import predict

MB = 2**20


class PlainWay:
    """Whole checkpoints of models 0 to `count` in `folder`, and the one that is loaded. Times are in ms."""

    def __init__(self, base: LoadedNetwork, count: int, folder: Path) -> None:
        self._spec = base.spec
        self._files = [_checkpoint(base, number, folder) for number in range(count)]
        self._first = _activate(self._spec, self._files[0])
        self._one: list[float] = []
        self._rotated: list[float] = []
        self._switches: list[float] = []
        for number in range(2):
            _answer(self._first, self._spec, number)

    def turn(self, number: int) -> None:
        """An image for the model that is loaded already, and one for the next in the round."""
        began = time.perf_counter()
        _answer(self._first, self._spec, number)
        self._one.append((time.perf_counter() - began) * 1000)
        began = time.perf_counter()
        other = _activate(self._spec, self._files[(number + 1) % len(self._files)])
        self._switches.append((time.perf_counter() - began) * 1000)
        _answer(other, self._spec, number)
        self._rotated.append((time.perf_counter() - began) * 1000)

    def summary(self) -> dict[str, Any]:
        return {
            "models": len(self._files),
            "requests": len(self._one),
            "one_p50_ms": percentile(sorted(self._one), 50),
            "rotated_p50_ms": percentile(sorted(self._rotated), 50),
            "rotated_p95_ms": percentile(sorted(self._rotated), 95),
            "switch_p50_ms": percentile(sorted(self._switches), 50),
            "file_mb": round(self._files[0].stat().st_size / 1e6, 2),
            "memory_mb": round(own_bytes(self._first.state_dict().values()) / MB, 2),
        }


def _checkpoint(base: LoadedNetwork, number: int, folder: Path) -> Path:
    path = folder / f"plain_{number}.pth"
    state = {name: tensor.detach().cpu().clone() for name, tensor in base.module.state_dict().items()}
    own = synthetic.tensors(base, number)
    torch.save({**state, **{name: tensor.to(state[name].dtype) for name, tensor in own.items()}}, path)
    return path


def _activate(spec: Spec, path: Path) -> Network:
    return synthetic.plain(spec, torch.load(path, map_location="cpu", weights_only=True))


def _answer(network: Network, spec: Spec, number: int) -> bytes:
    """From an image's PNG to the mask's PNG."""
    with Image.open(io.BytesIO(synthetic.encoded(number))) as sent:
        image = np.asarray(sent.convert("RGB"))
    found = predict(synthetic.loaded(network, spec), image)
    return render.palette_png(found.ids, [{"id": c.id, "name": c.name, "color": c.color} for c in spec.classes])
