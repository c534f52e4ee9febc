"""An image and its mask, read together: upright, of one size, with the mask's main values only."""

from dataclasses import dataclass
from typing import IO

import numpy as np
from PIL import Image

from segapp.imaging import align, decode, denoise
from segapp.imaging.decode import MaskSource
from segapp.imaging.invalid_file import InvalidFile
from segapp.imaging.values import Mask

SAME = 2.0  # grey levels that two saves of one image differ by on average


@dataclass(frozen=True)
class Pair:
    """image RGB and mask of the same size. `lossy`: the image came compressed with loss."""

    image: Image.Image
    mask: Mask
    lossy: bool


def read(image_file: IO[bytes], image_name: str, mask: IO[bytes], mask_name: str) -> Pair:
    """Raises InvalidFile for a file that cannot be read, a mask of another size, and a mask that is a photo."""
    image, turn = decode.image_and_turn(image_file, image_name)
    source = align.like(decode.mask(mask, mask_name), image, turn)
    height, width = source.values.shape[:2]
    if (width, height) != image.size:
        words = f"This mask is {width} × {height} pixels, its image {image_name} is {image.width} × {image.height}."
        raise InvalidFile(mask_name, words, "Save the mask at the image's size.")
    settled = denoise.read(source, mask_name)
    if settled.summary.soft and _is_the_image(source, image):
        raise InvalidFile(
            mask_name, f"This is the image {image_name} itself, not its mask.", "Choose its mask instead."
        )
    return Pair(image, settled, decode.is_lossy(image_file))


def _is_the_image(source: MaskSource, image: Image.Image) -> bool:
    """Whether the mask shows what the image shows: a microscope's bright spots on black pass for a soft mask."""
    if source.values.dtype != np.uint8 or source.palette is not None:
        return False
    grey = source.kind == "index"
    step = max(1, max(image.size) // 256)
    shown = np.asarray(image.convert("L") if grey else image)[::step, ::step].astype(np.int16)
    same = source.values[::step, ::step] if grey else source.values[::step, ::step, :3]
    return bool(np.abs(shown - same).mean() < SAME)
