"""What is measured of a prediction: from the network's classes, the image and its file to the objects' document."""

from pathlib import Path
from typing import Any

import numpy as np

from registry.models import UserModel
from registry.runtime import LoadedNetwork
from segapp.imaging import decode
from segapp.imaging.decode import Decoded
from segapp.imaging.image_input import ImageInput


def classes_of(network: LoadedNetwork) -> list[dict[str, Any]]:
    """[{id, name, color, things}] of what answered; what its owner says of `things` goes before what its file says."""
    public_id = network.key.removeprefix("user_")
    model = UserModel.objects.filter(public_id=public_id).only("classes").first() if public_id != network.key else None
    own = {row["id"]: row["things"] for row in model.classes if "things" in row} if model else {}
    return [{**c.to_dict(), "things": own.get(c.id, c.things)} for c in network.spec.classes]


def intensity_of(decoded: Decoded, source: Path, choice: ImageInput) -> np.ndarray | None:
    """The image's values as they are measured: H,W of one channel, else H,W,C. Of more than eight bits they are read
    from `source`, the file it was decoded from with this choice; None where that holds no brightness (inks)."""
    if decoded.deep:
        with source.open("rb") as file:
            return decode.values(file, source.name, choice)
    values = np.asarray(decoded.image)
    return values[..., 0] if decoded.layout.channels == 1 else values
