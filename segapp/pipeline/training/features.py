"""Features of a frozen encoder: computed once for each view of an image, cut into crops many times.

Every example has views: view 0 is the plain image, the others are flipped,
scaled and recoloured, each fixed by the seed, the example and its number alone.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from registry.network import Network
from registry.runtime import LoadedNetwork
from registry.stages import deepest_stage, run_stage
from segapp.imaging.tiling import fitted
from segapp.pipeline.constants import IGNORE, STRIDE
from segapp.pipeline.inference.forward import normalised
from segapp.pipeline.inference.predict import resized
from segapp.pipeline.training.augment import MILD, Variation, recolor

TARGET_STRIDE = 4
SHALLOW_LEVELS = 3  # of features, before the encoder's deepest stage: strides 4, 8 and 16
MAX_CACHE_BYTES = 1 << 30  # for all views of a run
STEPS_PER_VIEW = 3  # steps between two new views of PLAIN_PIXELS pixels
PLAIN_PIXELS = 512 * 512


@dataclass(frozen=True)
class Prepared:
    """An example at the network's input size: image uint8 H,W,3; mask uint8 H,W of channels."""

    image: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class EncodedView:
    """Encoder features of one view, from stride 4 to 32, each 1,C,H,W; and its targets. Where the deepest stage learns,
    so that it makes the last of the features anew, they may end at stride 16.

    target: H/4,W/4 int64 of channels. cells[k] lists the stride-32 cells (row, column)
    in which channel k occurs. size: height and width in pixels before padding. encoder: the
    key of the one that computed them.
    """

    features: tuple[Tensor, ...]
    target: Tensor
    cells: dict[int, np.ndarray]
    size: tuple[int, int]
    encoder: Network


@dataclass(frozen=True)
class Crops:
    """A batch cut from views: features N,C,h,w per stride that all of them have, target N,H/4,W/4."""

    features: list[Tensor]
    target: Tensor


class FeatureCache:
    """Encoded views of a run's examples, computed at the first request.

    `report` is called before each computation; all views together take at most `max_bytes`. `variation` may be set
    as long as only plain views have been asked for, and so may `adapted`, with which the other views have no features
    of stride 32.
    """

    def __init__(
        self,
        net: LoadedNetwork,
        prepared: Sequence[Prepared],
        seed: int,
        report: Callable[[], None] = lambda: None,
        max_bytes: int = MAX_CACHE_BYTES,
    ) -> None:
        self._net = net
        self._prepared = prepared
        self.seed = seed
        self.variation = MILD
        self.adapted = False
        self._report = report
        self._max_bytes = max_bytes
        self._encoded: dict[tuple[int, int], EncodedView] = {}

    def get(self, example: int, number: int) -> EncodedView:
        """EncodedView `number` of an example."""
        key = (example, number)
        if key not in self._encoded:
            self._report()
            prepared = self._prepared[example]
            if number > 0:
                rng = random.Random(f"{self.seed}/{example}/{number}")
                prepared = varied(prepared, number, rng, self.variation)
            self._encoded[key] = encode(self._net, prepared, deepest=number == 0 or not self.adapted)
        return self._encoded[key]

    @property
    def steps_per_view(self) -> int:
        """Steps between two new views: more where views are large, so that encoding never takes most of the time."""
        pixels = sum(p.mask.size for p in self._prepared) / len(self._prepared)
        return max(STEPS_PER_VIEW, round(STEPS_PER_VIEW * pixels / PLAIN_PIXELS))

    @property
    def per_example(self) -> int:
        """How many views an example may have, from sizes alone, so that memory stays bounded."""
        plain = self.get(0, 0)
        size = sum(f.numel() * f.element_size() for f in plain.features)
        return max(1, min(self.variation.views, self._max_bytes // (size * len(self._prepared))))


def prepare(image: np.ndarray, channels: np.ndarray, input_size: int) -> Prepared:
    """An example with its long side at `input_size`; channels is the mask as channel numbers."""
    size = fitted(image.shape[0], image.shape[1], input_size)
    mask = Image.fromarray(channels).resize((size[1], size[0]), Image.Resampling.NEAREST)
    return Prepared(resized(image, size), np.asarray(mask))


def varied(prepared: Prepared, number: int, rng: random.Random, variation: Variation = MILD) -> Prepared:
    """A random variation of an example: odd numbers are mirrored, all are scaled and recoloured."""
    labels = varied_labels(prepared.mask, number, rng, variation)
    image = prepared.image[:, ::-1] if number % 2 else prepared.image
    size = labels.shape[1], labels.shape[0]
    scaled = Image.fromarray(np.ascontiguousarray(image)).resize(size, Image.Resampling.BILINEAR)
    return Prepared(recolor(np.asarray(scaled), rng, variation.recolor), labels)


def varied_labels(labels: np.ndarray, number: int, rng: random.Random, variation: Variation = MILD) -> np.ndarray:
    """Labels (H,W, uint8 or int32) of the variation of this number, from `rng` as it is before the variation."""
    low, high = variation.scales
    scale = low * (high / low) ** rng.random()
    size = max(1, round(labels.shape[1] * scale)), max(1, round(labels.shape[0] * scale))
    whole = Image.fromarray(np.ascontiguousarray(labels[:, ::-1] if number % 2 else labels))
    return np.asarray(whole.resize(size, Image.Resampling.NEAREST))


def encode(net: LoadedNetwork, prepared: Prepared, deepest: bool = True) -> EncodedView:
    """Run the encoder on one view, its deepest stage where that is asked for; the padding to multiples of 32 is ignored
    in the target."""
    images = normalised(prepared.image, net)
    features = net.features(images) if deepest else net.shallow_features(images)
    height, width = prepared.mask.shape
    below, right = -height % STRIDE, -width % STRIDE
    mask = np.pad(prepared.mask, ((0, below), (0, right)), constant_values=IGNORE)
    half = TARGET_STRIDE // 2
    target = torch.from_numpy(mask[half::TARGET_STRIDE, half::TARGET_STRIDE].astype(np.int64))
    blocks = mask.reshape(mask.shape[0] // STRIDE, STRIDE, mask.shape[1] // STRIDE, STRIDE)
    cells = {
        int(channel): np.argwhere((blocks == channel).any(axis=(1, 3)))
        for channel in np.unique(mask)
        if channel != IGNORE
    }
    return EncodedView(tuple(features), target.to(net.device), cells, (height, width), net.module.encoder)


def features_for(network: Network, view: EncodedView) -> list[Tensor]:
    """The features of a view as the network's own encoder gives them, where that differs in its deepest stage only."""
    if network.encoder is view.encoder:
        return list(view.features)
    return with_stage(view.features, deepest_stage(network.encoder).values())


def with_stage(features: Sequence[Tensor], stage: Iterable[nn.Module]) -> list[Tensor]:
    """Features of stride 4 to 32 of those to stride 16: `stage` makes the last, whatever there was."""
    return [*features[:SHALLOW_LEVELS], run_stage(stage, features[SHALLOW_LEVELS - 1])]


def crops(views: Sequence[EncodedView], side: int, rng: random.Random) -> Crops:
    """One crop from each view, at most `side` stride-32 cells a side, all of one shape.

    Every other crop contains a class chosen uniformly among the view's, so rare classes
    occur about as often as common ones.
    """
    factor = STRIDE // TARGET_STRIDE
    shapes = [(view.target.shape[0] // factor, view.target.shape[1] // factor) for view in views]
    tall = min(side, min(shape[0] for shape in shapes))
    wide = min(side, min(shape[1] for shape in shapes))
    levels = min(len(view.features) for view in views)
    parts: list[list[Tensor]] = [[] for _ in range(levels)]
    targets = []
    for number, (view, shape) in enumerate(zip(views, shapes, strict=True)):
        top, left = _corner(view, shape, (tall, wide), number % 2 == 1, rng)
        for level, part in enumerate(parts):
            part.append(view.features[level][:, :, *_places(top, left, tall, wide, factor >> level)])
        targets.append(view.target[_places(top, left, tall, wide, factor)])
    return Crops([torch.cat(part) for part in parts], torch.stack(targets))


def _places(top: int, left: int, tall: int, wide: int, factor: int) -> tuple[slice, slice]:
    """A crop's rows and columns where a stride-32 cell has `factor` of either."""
    return slice(top * factor, (top + tall) * factor), slice(left * factor, (left + wide) * factor)


def _corner(
    view: EncodedView, shape: Sequence[int], size: tuple[int, int], targeted: bool, rng: random.Random
) -> tuple[int, int]:
    """Top left cell of a crop; a targeted one covers a cell of a uniformly chosen class."""
    low, high = (0, 0), (shape[0] - size[0], shape[1] - size[1])
    if targeted and view.cells:
        cells = view.cells[rng.choice(sorted(view.cells))]
        row, column = (int(v) for v in cells[rng.randrange(len(cells))])
        low = (max(0, row - size[0] + 1), max(0, column - size[1] + 1))
        high = (min(high[0], row), min(high[1], column))
    return rng.randint(low[0], high[0]), rng.randint(low[1], high[1])
