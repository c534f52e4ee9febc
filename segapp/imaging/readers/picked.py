"""What a reader returns: an image's chosen page and channels, brought to eight bits, or a mask's own values."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from segapp.imaging.image_input import Layout


@dataclass(frozen=True)
class Picked:
    """values: an image as uint8 (H,W,3) or as RGB of Pillow, its own values of any type (H,W,C), or a mask as the kind
    says: "index" uint8 or uint16 (H,W), "colour" uint8 (H,W,4). `turn` is the EXIF orientation: readers/pillow.py has
    applied it, for others it is still to be applied. `deep`: the file holds more than eight bits. `as_stored`: the
    pixels are the file's own. `geo`: the tags that say where on earth it lies. `size`: of a pixel, as PixelSize.to_dict
    gives it, {} unknown. `lossy`, `palette` ("#rrggbb" by index): of a mask."""

    values: np.ndarray | Image.Image
    layout: Layout
    turn: int = 1
    notes: tuple[str, ...] = ()
    deep: bool = False
    kind: str = "image"
    lossy: bool = False
    palette: tuple[str, ...] | None = None
    geo: dict[str, Any] = field(default_factory=dict)
    size: dict[str, Any] = field(default_factory=dict)
    as_stored: bool = False


def checked_size(width: int, height: int, most: int) -> None:
    """Raises TooLarge above `most` pixels."""
    if width * height > most:
        raise TooLarge(width, height)


class TooLarge(Exception):
    """The image has more pixels than are read at once."""

    def __init__(self, width: int, height: int, windows: bool = False) -> None:
        super().__init__(f"{width} x {height}")
        self.width, self.height, self.windows = width, height, windows
