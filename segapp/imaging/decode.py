"""From a file to pixels, trusting neither its name nor its header; what cannot be read is refused in plain words."""

from dataclasses import dataclass
from typing import IO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from segapp.imaging.refused import Refused

FORMATS = ("PNG", "JPEG", "WEBP")
MOST_PIXELS = 50_000_000
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height
ORIENTATION = 0x0112

Image.MAX_IMAGE_PIXELS = None  # the limit below is checked for every file before a pixel is decoded


@dataclass(frozen=True)
class MaskSource:
    """A mask as it came: kind "index" with values uint8 or uint16 (H, W), or "colour" with values uint8 (H, W, 4).

    `lossy`: it came from a JPEG, so values near an edge are not to be believed.
    """

    kind: str
    values: np.ndarray
    lossy: bool = False


def picture(file: IO[bytes], name: str) -> Image.Image:
    """An RGB picture, turned upright. Raises Refused."""
    return to_rgb(ImageOps.exif_transpose(_open(file, name)))


def picture_and_turn(file: IO[bytes], name: str) -> tuple[Image.Image, int]:
    """An upright RGB picture, and the EXIF orientation (1 to 8) it was turned by. Raises Refused."""
    opened = _open(file, name)
    turn = opened.getexif().get(ORIENTATION, 1)
    return to_rgb(ImageOps.exif_transpose(opened)), turn


def mask(file: IO[bytes], name: str) -> MaskSource:
    """A mask with its own values: indices of a palette, 16 bits unclipped, colours where it has any. Raises Refused."""
    opened = _open(file, name)
    lossy = opened.format == "JPEG"
    upright = ImageOps.exif_transpose(opened)
    if upright.mode == "1":
        return MaskSource("index", np.asarray(upright, dtype=np.uint8), lossy)
    if upright.mode in ("L", "P"):
        return MaskSource("index", np.asarray(upright, dtype=np.uint8), lossy)
    if upright.mode.startswith("I"):
        values = np.asarray(upright)
        if values.size and (values.min() < 0 or values.max() > 65535):
            raise Refused(name, "Its values are larger than 65535.", "Save it as an 8-bit or 16-bit PNG.")
        return MaskSource("index", values.astype(np.uint16), lossy)
    return MaskSource("colour", np.asarray(upright.convert("RGBA")), lossy)


def turned_like(source: MaskSource, turn: int, size: tuple[int, int]) -> MaskSource:
    """The mask of a picture that EXIF turned: turned along when it was drawn on the unturned pixels.

    `size` is the upright picture's (width, height). Only the size can tell: a mask that fits already is left alone.
    """
    height, width = source.values.shape[:2]
    if turn not in SIDEWAYS or (width, height) == size or (height, width) != size:
        return source
    # What exif_transpose does to the picture, done to the array: H, W (, 4) -> W, H (, 4).
    flipped = np.swapaxes(source.values, 0, 1)
    turns = {5: flipped, 6: flipped[:, ::-1], 7: flipped[::-1, ::-1], 8: flipped[::-1]}
    return MaskSource(source.kind, np.ascontiguousarray(turns[turn]), source.lossy)


def pixels(opened: Image.Image) -> np.ndarray:
    """A stored index mask as uint8 (H, W)."""
    return np.asarray(opened, dtype=np.uint8)


def to_rgb(opened: Image.Image) -> Image.Image:
    """RGB without clipping: 16 bits are scaled by the bit depth in use, transparency lies on white."""
    if opened.mode.startswith("I") or opened.mode == "F":
        return Image.fromarray(_eight_bits(np.asarray(opened))).convert("RGB")
    if opened.mode in ("RGBA", "LA", "PA") or (opened.mode == "P" and "transparency" in opened.info):
        layered = opened.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")
    return opened.convert("RGB")


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """Grey values of 8, 10, 12, 14 or 16 bits as uint8: cameras store 12 in 16, and those are not to look black."""
    top = float(values.max()) if values.size else 0.0
    depth = next((most for most in (255, 1023, 4095, 16383) if top <= most), 65535)
    return (np.clip(values, 0, None).astype(np.float32) * (255.0 / max(depth, top))).round().astype(np.uint8)


def _open(file: IO[bytes], name: str) -> Image.Image:
    """A still image of an accepted format and size, decoded to the end. Raises Refused."""
    file.seek(0, 2)
    if file.tell() == 0:
        raise Refused(name, "This file is empty.", "Export it again and add the new file.")
    file.seek(0)
    try:
        opened = Image.open(file, formats=FORMATS)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        problem = "This is no PNG, JPEG or WebP picture, whatever it is called."
        raise Refused(name, problem, "Save it as one of these and add it again.") from None
    if opened.width * opened.height > MOST_PIXELS:
        size = f"{opened.width} × {opened.height} pixels are {opened.width * opened.height / 1e6:.0f} megapixels."
        raise Refused(name, size, f"The limit is {MOST_PIXELS // 10**6}. Make it smaller or cut it into parts.")
    if getattr(opened, "n_frames", 1) > 1:
        raise Refused(name, "This picture is animated.", "Save one frame of it as a still picture.")
    try:
        opened.load()
    except Exception:  # a broken file makes decoders raise many kinds
        raise Refused(name, "This file is cut off or damaged.", "Export or download it again.") from None
    return opened
