"""A head beside the class head that says how far inside its object each pixel lies: touching objects come apart by it.

It sees what the decoder and the encoder's finest features say, and answers at their stride of 4.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

LAYOUT = 1  # of the layers below; a model file names the one it was trained with
STRIDE = 4  # of the map


class InteriorHead(nn.Module):
    """Map N,1,h,w, 0 between objects and at their borders to 1 in their middle, of features N,C,h,w at stride 4.

    `mean` and `scale` standardise the features.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))
        self.layers = nn.Sequential(
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(inplace=True),
            *_separable(hidden),
            *_separable(hidden),
            nn.Conv2d(hidden, 1, 1),
        )

    def options(self) -> dict[str, Any]:
        """This head's entry in a spec."""
        return {"layout": LAYOUT, "channels": len(self.mean), "hidden": self.layers[0].out_channels}

    def forward(self, features: Tensor) -> Tensor:
        return torch.sigmoid(self.logits(features))

    def logits(self, features: Tensor) -> Tensor:
        """The map before the sigmoid, N,1,h,w."""
        found: Tensor = self.layers((features - self.mean[:, None, None]) * self.scale[:, None, None])
        return found


def interior_features(decoded: Tensor, features: Sequence[Tensor]) -> Tensor:
    """What the head sees, N,C,h,w: the decoder's output and the encoder's stride-4 features."""
    return torch.cat([decoded, features[-4]], dim=1)


def interior_head(options: dict[str, Any]) -> InteriorHead:
    """The head that a spec describes, freshly initialised. Raises ValueError for layers of a later version."""
    if options["layout"] != LAYOUT:
        raise ValueError(f"The interior head has layout {options['layout']}; this version knows {LAYOUT}.")
    return InteriorHead(int(options["channels"]), int(options["hidden"])).eval().requires_grad_(False)


def _separable(hidden: int) -> list[nn.Module]:
    """A depthwise 3×3 convolution and one that mixes channels."""
    return [
        nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden),
        nn.Conv2d(hidden, hidden, 1),
        nn.ReLU(inplace=True),
    ]
