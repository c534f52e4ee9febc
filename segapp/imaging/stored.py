"""Opening images that this program stored itself, within the memory that decoded images may take."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from PIL import Image

from segapp.imaging import memory


@contextmanager
def opened(path: Path | IO[bytes], each: int = memory.STORED) -> Iterator[Image.Image]:
    """The image, not decoded yet; `each`: bytes a pixel that all that is done with it within the block may take.

    Raises OSError for what is gone or no image, and memory.DecodersBusy.
    """
    with Image.open(path) as image, memory.decoding.hold(each * image.width * image.height):
        yield image
