"""What is measured of a prediction: from the network's classes, the image and its file to the objects' document."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from registry.models import UserModel
from registry.network import ClassInfo
from registry.runtime import LoadedNetwork
from segapp.imaging import decode
from segapp.imaging.decode import Decoded
from segapp.imaging.image_input import ImageInput
from segapp.measurement import objects
from segapp.measurement.measured import is_background

LOOK = 1024  # pixels of a training mask's longer side are enough to tell objects from a ground


def with_things(
    classes: Sequence[ClassInfo], masks: Iterable[np.ndarray], parent: Sequence[dict[str, Any]] = ()
) -> list[ClassInfo]:
    """The classes with `things` stated for all that is not a background and occurs in the training masks (uint8 H,W).

    What the masks or the visitor say already stays; then counts what `parent`, the classes of the model that is trained
    on from, say; then what looks like separate objects on most masks.
    """
    known = {(row["id"], row["name"]): row.get("things") for row in parent}
    small = [mask[:: _step(mask), :: _step(mask)] for mask in masks]
    found = []
    for one in classes:
        things = one.things if one.things is not None else known.get((one.id, one.name))
        if things is None and not is_background(one.to_dict()):
            things = objects.countable_on_most(small, one.id)
        found.append(replace(one, things=things))
    return found


def _step(mask: np.ndarray) -> int:
    return max(1, max(mask.shape) // LOOK)


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
