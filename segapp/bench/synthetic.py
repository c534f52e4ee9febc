"""Custom models without trainings: the base with its decoder shaken, published as a training would publish it.

Real files, real rows, one for each number; number -1 is the base itself. Brings torch.
"""

import io
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from registry.checkpoint import halve
from registry.models import UserModel
from registry.network import Network, Spec, build
from registry.runtime import LoadedNetwork
from segapp.imaging import sample
from segapp.pipeline.inference.predict import predict
from segapp.pipeline.training.finetune import Trained
from segapp.worker import networks
from segapp.worker.publishing import publish

SHAKE = 0.4  # of each tensor's own spread: enough for another mask, too little for numbers out of range
DECODER = ("decoder.", "segmentation_head.")


def tensors(base: LoadedNetwork, number: int) -> dict[str, Tensor]:
    """Decoder and head of model `number`, the same each time; every other one in half precision, as files may be."""
    generator = torch.Generator().manual_seed(1000 + number)
    found = {}
    for name, tensor in base.module.state_dict().items():
        if not name.startswith(DECODER):
            continue
        tensor = tensor.detach().cpu().clone()
        if tensor.is_floating_point() and tensor.numel() > 1:
            tensor += SHAKE * tensor.std() * torch.randn(tensor.shape, generator=generator)
        found[name] = tensor
    return halve(found) if number % 2 else found


def publish_one(base: LoadedNetwork, number: int, visitor: str) -> UserModel:
    """Model `number` as this visitor's active one."""
    trained = Trained(
        spec=base.spec,
        tensors=tensors(base, number),
        metrics={},
        steps=0,
        seconds=0.0,
        recipe={"synthetic": number},
    )
    return publish(visitor, trained, name=f"Synthetic {number}", base=networks.runtime().base(base.key), image_count=1)


class Reference:
    """What each model must answer: a whole smp.FPN of its own, filled with strict keys, and none of the cache."""

    def __init__(self, base: LoadedNetwork) -> None:
        self._base = base
        self._network = plain(base.spec, base.module.state_dict())
        self._filled = -1

    def mask(self, number: int, image: np.ndarray) -> np.ndarray:
        """uint8 (H, W) class ids of model `number` on an image, uint8 (H, W, 3)."""
        if number != self._filled:
            own = tensors(self._base, number) if number >= 0 else {}
            self._network.load_state_dict({**self._base.module.state_dict(), **own}, strict=True)
            self._filled = number
        return predict(loaded(self._network, self._base.spec), image).ids


def plain(spec: Spec, state: dict[str, Tensor]) -> Network:
    """A whole network of its own from a full state dict, as smp's users build one."""
    network = build(spec)
    network.load_state_dict(state, strict=True)
    network.to(memory_format=torch.channels_last)
    return network.requires_grad_(False).eval()


def loaded(network: Network, spec: Spec) -> LoadedNetwork:
    """A network as `predict` takes it, with no encoder features kept."""
    return LoadedNetwork("plain", "", spec.base_key, spec, network, torch.device("cpu"))


@lru_cache(maxsize=8)
def _drawn(number: int) -> np.ndarray:
    return sample.draw(number)[0]


def image(number: int) -> np.ndarray:
    """Image `number`, uint8 (H, W, 3): a sample image shifted, so that no two requests send the same."""
    return np.roll(_drawn(number % len(sample.NAMES)), (number // 8 * 7, number * 5), (0, 1))


def encoded(number: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image(number)).save(out, "PNG", compress_level=1)
    return out.getvalue()
