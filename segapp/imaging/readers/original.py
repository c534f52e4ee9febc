"""An image's own values, encoded again without loss: every page, channel and bit that its file held."""

import io
from typing import IO

import imagecodecs
import numpy as np
import tifffile
from tifffile import PHOTOMETRIC

from segapp.imaging.decode import FLIPS, SIDEWAYS
from segapp.imaging.image_input import Layout
from segapp.imaging.readers import tiff
from segapp.imaging.readers.picked import Picked, checked_size


def encoded(reader: str, file: IO[bytes], name: str, most: int) -> Picked:
    """The bytes of a TIFF or PNG as uint8 (n); none where the values are not kept: inks, palettes, very large stacks.

    Raises InvalidFile, TooLarge above `most` pixels a page, and what the libraries raise.
    """
    content = _tiff(file, name, most) if reader == "tiff" else _png(file, most)
    return Picked(np.frombuffer(content, np.uint8), Layout())


def _png(file: IO[bytes], most: int) -> bytes:
    content = file.read()
    checked_size(int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big"), most)
    return bytes(imagecodecs.png_encode(imagecodecs.png_decode(content), level=6))


def _tiff(file: IO[bytes], name: str, most: int) -> bytes:
    with tiff.opened(file) as tif:
        stack = tiff.stack_of(tif, name)
        checked_size(stack.width, stack.height, most)
        page, count = stack.page, stack.layout.pages
        bytes_whole = count * stack.height * stack.width * stack.samples * stack.series.dtype.itemsize
        if tiff.is_ink(page) or page.photometric == PHOTOMETRIC.PALETTE or bytes_whole > tiff.WHOLE_BYTES:
            return b""
        values = np.stack([tiff.upward(tiff.one_page(stack, str(number + 1)), page) for number in range(count)])
        values = _upright(values, tiff.turn_of(page))
        colours = 3 if page.photometric == PHOTOMETRIC.RGB and stack.samples >= 3 else 1
        tags = [(int(number), *kept) for number, kept in tiff.geo_tags(page).items()]
        if (missing := page.tags.valueof(tiff.NODATA)) is not None:
            tags.append((tiff.NODATA, "s", 0, str(missing)))
        return _written(values, colours, stack.alpha, tags)


def _written(values: np.ndarray, colours: int, alpha: bool, tags: list[tuple]) -> bytes:
    """A TIFF of (P,H,W,C), of which the first `colours` channels are RGB or grey."""
    axes, extra = "ZYXS", values.shape[3] - colours
    if values.shape[3] == 1:
        axes, values = "ZYX", values[..., 0]
    if len(values) == 1:
        axes, values = axes[1:], values[0]
    out = io.BytesIO()
    tifffile.imwrite(
        out,
        np.ascontiguousarray(values.astype(values.dtype.newbyteorder("="))),
        photometric="rgb" if colours == 3 else "minisblack",
        planarconfig="contig" if axes.endswith("S") else None,
        extrasamples=["unassalpha" if alpha else "unspecified"] * extra or None,
        compression="zlib",
        extratags=[
            (number, kind, count, tuple(v) if isinstance(v, list) else v, True) for number, kind, count, v in tags
        ],
        metadata={"axes": axes},
    )
    return out.getvalue()


def _upright(values: np.ndarray, turn: int) -> np.ndarray:
    """(P,H,W,C) turned by an EXIF orientation."""
    if turn == 1:
        return values
    if turn in SIDEWAYS:
        values = np.swapaxes(values, 1, 2)
    down, right = FLIPS[turn]
    return values[:, :: -1 if down else 1, :: -1 if right else 1]
