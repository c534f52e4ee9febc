"""PNGs of 16 bits a channel with colour or transparency, of which Pillow keeps only the upper eight."""

from typing import IO

import imagecodecs
import numpy as np
from PIL import Image

from segapp.imaging.display_range import eight_bits
from segapp.imaging.image_input import ImageInput, Layout, resolve
from segapp.imaging.pixel_size import from_file
from segapp.imaging.readers.layers import as_rgb, over_white
from segapp.imaging.readers.picked import Picked, checked_size


def image(file: IO[bytes], name: str, choice: ImageInput, most: int) -> Picked:
    """Raises InvalidFile for a choice that does not fit, TooLarge, and what the decoder raises."""
    chosen, alpha, layout, notes = _chosen(file, name, choice, most)
    size = from_file(Image.open(file, formats=["PNG"]))
    told = size.to_dict() if size else {}
    return Picked(over_white(as_rgb(eight_bits(chosen)), alpha), layout, notes=notes, deep=True, size=told)


def values(file: IO[bytes], name: str, choice: ImageInput, most: int) -> Picked:
    """The chosen channels as they are, uint16 (H,W,C), without transparency. Raises as `image` does."""
    chosen, _, layout, _ = _chosen(file, name, choice, most)
    return Picked(chosen, layout, deep=True)


def _chosen(
    file: IO[bytes], name: str, choice: ImageInput, most: int
) -> tuple[np.ndarray, np.ndarray | None, Layout, tuple[str, ...]]:
    """The channels (H,W,C), transparency (H,W) where there is any, the layout and the notes."""
    content = file.read()
    file.seek(0)
    checked_size(int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big"), most)
    values = np.asarray(imagecodecs.png_decode(content))
    alpha = None
    if values.ndim == 3 and values.shape[2] in (2, 4):
        values, alpha = values[..., :-1], values[..., -1]
    if values.ndim == 2:
        values = values[..., None]
    layout = Layout(1, values.shape[2])
    _, channels, notes = resolve(choice, layout, name)
    return np.stack([values[..., number - 1] for number in channels], axis=-1), alpha, layout, notes
