"""Large TIFFs read and written by windows: only the tiles or strips that a window touches are decoded.

Up to MAX_WINDOWED_PIXELS, with bounded memory whatever the image's size. Knows nothing of networks.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import tifffile
from tifffile import PHOTOMETRIC

from segapp.imaging.display_range import scaled, span
from segapp.imaging.formats import MAX_WINDOWED_PIXELS
from segapp.imaging.image_input import ImageInput, resolve
from segapp.imaging.invalid_file import InvalidFile
from segapp.imaging.readers import tiff
from segapp.imaging.readers.layers import as_rgb

CACHED = 128 << 20  # bytes of decoded segments in memory
SAMPLED = 48  # segments that decide the display range of more than eight bits
TILE = 512  # pixels a side, of what is written


class Windows:
    """One page of an open TIFF. Raises InvalidFile for what cannot be read by windows, or is larger than allowed."""

    def __init__(self, file: IO[bytes], name: str, choice: ImageInput) -> None:
        self._file, self._name = file, name
        self._tif = tiff.opened(file)
        stack = tiff.stack_of(self._tif, name)
        page, self.channels, self.notes = resolve(choice, stack.layout, name)
        self.height, self.width = stack.height, stack.width
        if not tiff.in_windows(stack):
            raise InvalidFile(name, "Its file cannot be read in parts.", "Save it as a tiled TIFF.")
        if self.height * self.width > MAX_WINDOWED_PIXELS:
            size = f"{self.width:,} × {self.height:,} pixels are {self.width * self.height / 1e9:.1f} gigapixels."
            raise InvalidFile(name, size, f"The limit is {MAX_WINDOWED_PIXELS // 10**9}. Cut it into parts.")
        if not page.isdigit():
            raise InvalidFile(name, f"It is too large for the {page} of its pages.", "Name one page by its number.")
        pages = stack.series.pages
        self._page: Any = pages[int(page) - 1] if len(pages) > 1 else stack.page
        self._keyframe: Any = stack.page
        self._planar = int(self._keyframe.planarconfig) == 2 and stack.samples > 1
        self.geo = tiff.geo_tags(self._keyframe)
        self.pixel_size = tiff.size_of(self._tif)
        self._missing = tiff.nodata(self._keyframe)
        self._decoded: OrderedDict[int, np.ndarray | None] = OrderedDict()
        self._bytes = 0
        tiled = self._keyframe.is_tiled
        self._rows = self._keyframe.tilelength if tiled else self._keyframe.rowsperstrip
        self._columns = self._keyframe.tilewidth if tiled else self.width
        self._across = -(-self.width // self._columns)
        self._down = -(-self.height // self._rows)
        self._spans = self._display_range()

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """uint8 (height, width, 3) of the image from (top, left) on, which must lie within it."""
        out = np.zeros((height, width, len(self.channels)), self._keyframe.dtype)
        for row in range(top // self._rows, -(-(top + height) // self._rows)):
            for column in range(left // self._columns, -(-(left + width) // self._columns)):
                self._paste(out, row, column, top, left)
        values = tiff.upward(out, self._keyframe)
        if self._spans is not None:
            planes = [scaled(values[..., k], self._spans[k], self._missing) for k in range(values.shape[2])]
            values = np.stack(planes, axis=-1)
        return as_rgb(values)

    def close(self) -> None:
        self._tif.close()

    def _paste(self, out: np.ndarray, row: int, column: int, top: int, left: int) -> None:
        y, x = row * self._rows, column * self._columns
        for place, channel in enumerate(self.channels):
            plane = (channel - 1) * self._across * self._down if self._planar else 0
            segment = self._segment(plane + row * self._across + column)
            if segment is None:
                continue  # a tile that was never written
            part = segment[..., 0 if self._planar or segment.shape[2] == 1 else channel - 1]
            y0, x0 = max(y, top), max(x, left)
            y1 = min(y + part.shape[0], top + out.shape[0])
            x1 = min(x + part.shape[1], left + out.shape[1])
            if y1 > y0 and x1 > x0:
                out[y0 - top : y1 - top, x0 - left : x1 - left, place] = part[y0 - y : y1 - y, x0 - x : x1 - x]

    def _segment(self, index: int) -> np.ndarray | None:
        """(rows, columns, samples) of one tile or strip, kept for a while. Raises InvalidFile when it is damaged."""
        if index in self._decoded:
            self._decoded.move_to_end(index)
            return self._decoded[index]
        offset, count = self._page.dataoffsets[index], self._page.databytecounts[index]
        found = None
        if count:
            try:
                decode, tables = self._keyframe.decode, self._keyframe.jpegtables  # which may read from the file first
                options = {"jpegtables": tables} if tables is not None else {}
                self._file.seek(offset)
                values, _, _ = decode(self._file.read(count), index, **options)
            except Exception:  # strange bytes make decoders raise many kinds
                raise InvalidFile(self._name, "A part of it is damaged.", "Export or download it again.") from None
            found = None if values is None else values[0]
        self._decoded[index] = found
        self._bytes += found.nbytes if found is not None else 0
        while self._bytes > CACHED and len(self._decoded) > 1:
            _, gone = self._decoded.popitem(last=False)
            self._bytes -= gone.nbytes if gone is not None else 0
        return found

    def _display_range(self) -> list[tuple[float, float]] | None:
        """Of more than eight bits the span of each channel, from some segments all over the image."""
        if self._keyframe.dtype in (np.uint8, bool) or self._keyframe.bitspersample < 8:
            return None
        count = self._across * self._down
        spans = []
        for channel in self.channels:
            some = []
            for index in sorted({round(k) for k in np.linspace(0, count - 1, SAMPLED)}):
                segment = self._segment(index + ((channel - 1) * count if self._planar else 0))
                if segment is not None:
                    values = segment[..., 0 if self._planar or segment.shape[2] == 1 else channel - 1]
                    some.append(tiff.upward(values[::3, ::3], self._keyframe).ravel())
            spans.append(span(np.concatenate(some), self._missing) if some else (0.0, 0.0))
        return spans


def write_mask(
    path: Path, rows: Callable[[int, int], np.ndarray], size: tuple[int, int], colors: np.ndarray, geo: dict[str, Any]
) -> None:
    """Write a tiled, compressed TIFF of class ids with its colours (uint8 (256, 3)) and its place on earth.

    `size` is (height, width); `rows(first, last)` gives ids uint8 (last - first, width), asked for from the top down.
    BigTIFF where it may pass 4 GB.
    """
    height, width = size
    tags = []
    for number, (kind, count, value) in geo.items():
        if isinstance(value, str):
            kind, count = "s", len(value)
        tags.append((int(number), kind, count, tuple(value) if isinstance(value, list) else value, True))
    temporary = path.with_name(f"{path.name}.part")
    try:
        tifffile.imwrite(
            temporary,
            _tiles(rows, height, width),
            shape=size,
            dtype=np.uint8,
            tile=(TILE, TILE),
            compression="zlib",
            photometric=PHOTOMETRIC.PALETTE,
            colormap=(colors.astype(np.uint16) * 257).T,
            bigtiff=height * width > 2**31,
            extratags=tags,
            metadata=None,
        )
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _tiles(rows: Callable[[int, int], np.ndarray], height: int, width: int) -> Iterator[np.ndarray]:
    for top in range(0, height, TILE):
        band = rows(top, min(top + TILE, height))
        for left in range(0, width, TILE):
            tile = np.zeros((TILE, TILE), np.uint8)
            part = band[:, left : left + TILE]
            tile[: part.shape[0], : part.shape[1]] = part
            yield tile
