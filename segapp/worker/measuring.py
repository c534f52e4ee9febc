"""What is measured of a prediction: from the network's classes, the image and its file to the objects' document."""

from typing import Any

import numpy as np

from registry.models import UserModel
from registry.runtime import LoadedNetwork
from segapp.imaging.decode import Decoded


def classes_of(network: LoadedNetwork, model: UserModel | None = None) -> list[dict[str, Any]]:
    """[{id, name, color, things}] of what answered; what its owner says of `things` goes before the file's."""
    return [{"id": c.id, "name": c.name, "color": c.color, "things": None} for c in network.spec.classes]


def intensity_of(decoded: Decoded) -> np.ndarray | None:
    """The image's values as they are measured: H,W of grey images, else H,W,3."""
    values = np.asarray(decoded.image)
    return values[..., 0] if decoded.layout.channels == 1 else values
