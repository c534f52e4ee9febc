"""HEIC and HEIF photos, turned upright by the library itself."""

from typing import IO

import numpy as np
import pillow_heif
from PIL import Image

from segapp.imaging import profiles
from segapp.imaging.image_input import ImageInput, Layout, resolve
from segapp.imaging.readers.picked import Picked, checked_size


def image(file: IO[bytes], name: str, choice: ImageInput, most: int) -> Picked:
    """The primary image in sRGB. Raises InvalidFile for a choice that does not fit, TooLarge, what libheif raises."""
    opened = pillow_heif.open_heif(file, convert_hdr_to_8bit=True)
    width, height = opened.size
    checked_size(width, height, most)
    whole = opened.to_pillow()
    if whole.mode in ("RGBA", "LA"):
        layered = whole.convert("RGBA")
        whole = Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")
    converted = profiles.to_srgb(whole, opened.info.get("icc_profile"))
    grey = whole.mode == "L"
    rgb = np.asarray((converted or whole).convert("RGB"))
    layout = Layout(1, 1 if grey else 3)
    _, channels, notes = resolve(choice, layout, name)
    chosen = np.stack([rgb[..., number - 1] for number in channels], axis=-1)
    if len(channels) == 1:
        chosen = np.repeat(chosen, 3, axis=2)
    return Picked(np.ascontiguousarray(chosen), layout, notes=notes)
