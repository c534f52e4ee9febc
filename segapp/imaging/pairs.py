"""An image and its mask, read together: upright, of one size, with the mask's main values only."""

from dataclasses import dataclass, replace
from typing import IO

import numpy as np
from PIL import Image

from segapp.imaging import align, decode, denoise, instances
from segapp.imaging.decode import MaskSource
from segapp.imaging.invalid_file import InvalidFile
from segapp.imaging.values import Mask

SAME = 2.0  # grey levels that two saves of one image differ by on average


@dataclass(frozen=True)
class Pair:
    """image RGB and mask of the same size. `lossy`: the image came compressed with loss. notes: what was changed."""

    image: Image.Image
    mask: Mask
    lossy: bool
    notes: tuple[str, ...] = ()


def read(
    image_file: IO[bytes],
    image_name: str,
    mask: IO[bytes],
    mask_name: str,
    *,
    exact: bool = False,
    objects: bool | None = None,
) -> Pair:
    """`exact`: as `denoise.is_exact` says of the set. `objects`: the values number objects, do not, or may (None).

    Raises InvalidFile for a file that cannot be read, a mask of another size, and a mask that is a photo.
    """
    image, turn = decode.image_and_turn(image_file, image_name)
    source = align.like(decode.mask(mask, mask_name), image, turn)
    sent = source.values.shape[1::-1]
    source = align.fitted(source, image.size)
    if source.values.shape[1::-1] != image.size:
        problem = (
            f"This mask is {sent[0]} × {sent[1]} pixels, its image {image_name} is {image.width} × {image.height}."
        )
        raise InvalidFile(mask_name, problem, "Save the mask at the image's size.")
    read_mask = _mask(source, mask_name, exact, objects)
    if read_mask.summary.soft and _is_the_image(source, image):
        raise InvalidFile(
            mask_name, f"This is the image {image_name} itself, not its mask.", "Choose its mask instead."
        )
    notes = []
    if sent != image.size:
        size = f"{sent[0]} × {sent[1]} pixels, its image {image.width} × {image.height}"
        notes.append(f"{mask_name} is {size}: it was fitted to the image.")
    return Pair(image, read_mask, decode.is_lossy(image_file), tuple(notes))


def _mask(source: MaskSource, name: str, exact: bool, objects: bool | None) -> Mask:
    """The mask's values, with its object numbers where it may hold them."""
    found = instances.survey(source)
    if found is not None and objects is not False and (objects or instances.is_plausible(found)):
        return denoise.numbered(source, found)
    mask = denoise.read(source, name, exact)
    if found is None or mask.summary.soft:
        return mask
    return replace(mask, summary=replace(mask.summary, objects=found.to_dict()))


def _is_the_image(source: MaskSource, image: Image.Image) -> bool:
    """Whether the mask shows what the image shows: a microscope's bright spots on black pass for a soft mask."""
    if source.values.dtype != np.uint8 or source.palette is not None:
        return False
    grey = source.kind == "index"
    step = max(1, max(image.size) // 256)
    shown = np.asarray(image.convert("L") if grey else image)[::step, ::step].astype(np.int16)
    same = source.values[::step, ::step] if grey else source.values[::step, ::step, :3]
    return bool(np.abs(shown - same).mean() < SAME)
