"""A picture and its mask, read together: upright, of one size, with the mask's main values only."""

from dataclasses import dataclass
from typing import IO

import numpy as np
from PIL import Image

from segapp.imaging import align, decode, snapping
from segapp.imaging.decode import MaskSource
from segapp.imaging.refused import Refused
from segapp.imaging.values import Mask

SAME = 2.0  # grey levels that two saves of one picture differ by on average


@dataclass(frozen=True)
class Pair:
    """picture RGB and mask of the same size. `lossy`: the picture came compressed with loss."""

    picture: Image.Image
    mask: Mask
    lossy: bool


def read(image: IO[bytes], image_name: str, mask: IO[bytes], mask_name: str) -> Pair:
    """Raises Refused for a file that cannot be read, a mask of another size, and a mask that is a photo."""
    picture, turn = decode.picture_and_turn(image, image_name)
    source = align.like(decode.mask(mask, mask_name), picture, turn)
    height, width = source.values.shape[:2]
    if (width, height) != picture.size:
        words = (
            f"This mask is {width} × {height} pixels, its picture {image_name} is {picture.width} × {picture.height}."
        )
        raise Refused(mask_name, words, "Save the mask at the picture's size.")
    settled = snapping.settle(source, mask_name)
    if settled.summary.soft and _is_the_picture(source, picture):
        raise Refused(mask_name, f"This is the picture {image_name} itself, not its mask.", "Choose its mask instead.")
    return Pair(picture, settled, decode.is_lossy(image))


def _is_the_picture(source: MaskSource, picture: Image.Image) -> bool:
    """Whether the mask shows what the picture shows: a microscope's bright spots on black pass for a soft mask."""
    if source.values.dtype != np.uint8 or source.palette is not None:
        return False
    grey = source.kind == "index"
    step = max(1, max(picture.size) // 256)
    shown = np.asarray(picture.convert("L") if grey else picture)[::step, ::step].astype(np.int16)
    same = source.values[::step, ::step] if grey else source.values[::step, ::step, :3]
    return bool(np.abs(shown - same).mean() < SAME)
