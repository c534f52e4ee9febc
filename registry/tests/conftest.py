"""Small real bases in temporary folders."""

import copy
from pathlib import Path

import pytest
import torch

from registry import bases, checkpoint
from registry.network import ClassInfo, Network, Spec, build
from registry.weights import digest, load_encoder

SMALL_DECODER = {
    "decoder_pyramid_channels": 32,
    "decoder_segmentation_channels": 32,
    "decoder_merge_policy": "add",
    "decoder_dropout": 0.0,
    "upsampling": 4,
}


def spec_of(key: str, names: str = "ab") -> Spec:
    entry = bases.CATALOGUE[key]
    classes = tuple(ClassInfo(i, name, "#123456") for i, name in enumerate(names))
    return Spec(key, entry.encoder, dict(SMALL_DECODER), 64, entry.mean, entry.std, classes)


def write_small_base(key: str, media: Path, weights: Path, seed: int = 0) -> Network:
    """Build, save and return the whole network of a small base."""
    torch.manual_seed(seed)
    spec = spec_of(key)
    network = build(spec)
    network.encoder, _ = load_encoder(spec.encoder, weights)
    tensors = {k: v for k, v in network.state_dict().items() if not k.startswith("encoder.")}
    path = media / "bases" / f"base_{key}.pth"
    extra = {"encoder_digest": digest(network.encoder.state_dict())}
    sha256, _ = checkpoint.save(path, spec, tensors, "", extra)
    bases.write_card(path.with_suffix(".json"), {"key": key, "sha256": sha256})
    return network.eval()


@pytest.fixture
def media(tmp_path) -> Path:
    return tmp_path / "media"


@pytest.fixture
def weights(tmp_path) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    return folder


@pytest.fixture
def mit_b0(media, weights) -> Network:
    """A ready MiT-B0: its weights file is generated, as an operator would have put it there."""
    import segmentation_models_pytorch as smp

    torch.manual_seed(1)
    encoder = smp.encoders.get_encoder("mit_b0", weights=None)
    state = copy.deepcopy(encoder.state_dict())
    state["head.weight"] = torch.zeros(10, 256)  # classifiers are left out when loading
    torch.save(state, weights / "mit_b0.pth")
    return write_small_base("mit_b0", media, weights)
