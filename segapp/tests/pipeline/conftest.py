"""A tiny base and tiny images that the engine's tests share."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from registry.network import ClassInfo, Spec, build
from registry.runtime import LoadedNetwork, with_base
from registry.weights import load_encoder
from segapp.pipeline.training import detail
from segapp.pipeline.training.finetune import Example, Trained, finetune

SIDE = 64
TINY_DECODER = {
    "decoder_pyramid_channels": 32,
    "decoder_segmentation_channels": 32,
    "decoder_merge_policy": "cat",
    "decoder_dropout": 0.0,
    "upsampling": 4,
}
CLASSES = [ClassInfo(0, "background", "#000000"), ClassInfo(3, "disc", "#ff0000")]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def base() -> LoadedNetwork:
    """A base that sees images at 64 pixels: a trained encoder, a decoder that knows nothing."""
    torch.manual_seed(0)
    spec = Spec(
        base_key="efficientnet_lite0",
        encoder="tu-tf_efficientnet_lite0",
        decoder=dict(TINY_DECODER),
        input_size=SIDE,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        classes=(ClassInfo(0, "nothing", "#000000"), ClassInfo(1, "Disc", "#00ff00")),
    )
    module = build(spec)
    module.encoder, _ = load_encoder(spec.encoder, Path("no-such-folder"))
    module.requires_grad_(False).eval().to(memory_format=torch.channels_last)
    return LoadedNetwork("efficientnet_lite0", "0" * 64, spec.base_key, spec, module, torch.device("cpu"), "0" * 64)


def disc(number: int, side: int = SIDE) -> Example:
    """A red disc on noisy grey, and its mask with ids 0 and 3."""
    noise = np.random.default_rng(number)
    rows, columns = np.mgrid[:side, :side]
    centre = noise.uniform(0.3 * side, 0.7 * side, 2)
    inside = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < (0.25 * side) ** 2
    image = noise.integers(90, 150, (side, side, 3), dtype=np.uint8)
    image[inside] = noise.integers(0, 50, (int(inside.sum()), 3)) + np.array([180, 0, 0])
    return Example(f"disc{number}", image, np.where(inside, 3, 0).astype(np.uint8))


def disc_set(folder: Path, count: int = 8) -> Path:
    """The folder with so many discs in images/ and masks/."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(count):
        example = disc(number)
        Image.fromarray(example.image).save(folder / "images" / f"{number}.png")
        Image.fromarray(example.mask).save(folder / "masks" / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def discs() -> list[Example]:
    return [disc(number) for number in range(4)]


@pytest.fixture(scope="session")
def trained(base, discs) -> Trained:
    """A short quick training on the discs."""
    torch.set_num_threads(1)
    return finetune(base, discs, CLASSES, steps=40)


def loaded(base: LoadedNetwork, trained: Trained) -> LoadedNetwork:
    """The network of a training's result, as a worker would run it."""
    module = with_base(base, trained.spec, trained.tensors).eval()
    return LoadedNetwork("u", "", base.base_key, trained.spec, module, base.device)


@pytest.fixture
def short_detail(monkeypatch):
    """Detail branches train for a few steps, where a test is not about what they learn."""
    monkeypatch.setattr(detail, "STEPS", 20)


class FakeClock:
    """A clock that moves on by a fixed step at every look."""

    def __init__(self, step: float) -> None:
        self.now = 0.0
        self._step = step

    def __call__(self) -> float:
        self.now += self._step
        return self.now
