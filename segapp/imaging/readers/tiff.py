"""TIFF as microscopes, cameras and maps write it: one page and its channels out of whatever the file holds.

Strips and tiles, all compressions of imagecodecs, planar and interleaved, stacks, OME, ImageJ, BigTIFF.
"""

from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from PIL import Image
from tifffile import PHOTOMETRIC, TiffFile, TiffPage, TiffPageSeries

from segapp.imaging import pixel_size, profiles
from segapp.imaging.display_range import eight_bits
from segapp.imaging.image_input import MAX, MEAN, ImageInput, Layout, resolve
from segapp.imaging.invalid_file import InvalidFile
from segapp.imaging.readers.layers import as_rgb, over_white
from segapp.imaging.readers.picked import Picked, TooLarge, checked_size

ORIENTATION, PROFILE, NODATA = 274, 34675, 42113
# Where an image lies on earth: pixel scale, tie points, transformation, and the keys of the reference system.
GEO_TAGS = (33550, 33922, 34264, 34735, 34736, 34737)
GEO_KEYS = 34735
SIZE_TAGS = (
    *(pixel_size.X_RESOLUTION, pixel_size.Y_RESOLUTION, pixel_size.RESOLUTION_UNIT, pixel_size.DESCRIPTION),
    *(pixel_size.GEO_PIXEL_SCALE, pixel_size.GEO_KEYS),
)
WHOLE_BYTES = 512 << 20  # of a stack that is read in one go
JPEGS = (6, 7, 33003, 33005, 34712, 34892, 33007)  # compressions with loss: JPEG, JPEG 2000, old ones
NO_IMAGE = "There is no image in this TIFF."


@dataclass(frozen=True)
class Stack:
    """The image series of an open file that counts. `pages` and `bands` are the positions of those axes in `shape`."""

    series: TiffPageSeries
    axes: str
    shape: tuple[int, ...]
    band: str  # the axis that holds the channels, "" for one channel
    alpha: bool

    @property
    def page(self) -> Any:
        return self.series.keyframe

    @property
    def height(self) -> int:
        return int(self.shape[self.axes.index("Y")])

    @property
    def width(self) -> int:
        return int(self.shape[self.axes.index("X")])

    @property
    def samples(self) -> int:
        return int(self.shape[self.axes.index(self.band)]) if self.band else 1

    @property
    def page_axes(self) -> list[int]:
        return [k for k, axis in enumerate(self.axes) if axis not in ("Y", "X", self.band)]

    @property
    def layout(self) -> Layout:
        if self.page.photometric == PHOTOMETRIC.PALETTE or is_ink(self.page):
            channels = 3
        else:
            channels = self.samples - self.alpha
        return Layout(int(np.prod([self.shape[k] for k in self.page_axes], dtype=np.int64)), channels)


def opened(file: IO[bytes]) -> TiffFile:
    """The file, which may not refer to others."""
    return TiffFile(file, name="image.tif", _multifile=False)  # it asks an open file for a name in text


def stack_of(tif: TiffFile, name: str) -> Stack:
    """Raises InvalidFile when there is no image in the file."""
    found = [one for one in tif.series if "Y" in one.axes and "X" in one.axes and one.size]
    if not found:
        raise InvalidFile(name, NO_IMAGE, "Export the image itself and add that file.")
    series = next((one for one in found if not one.keyframe.is_reduced), found[0])  # cameras put a thumbnail first
    axes, page = series.axes, series.keyframe
    band = "S" if "S" in axes else "C" if "C" in axes else ""
    extra = [int(kind) for kind in page.extrasamples or ()]
    colours = {int(PHOTOMETRIC.RGB): 3, int(PHOTOMETRIC.MINISBLACK): 1, int(PHOTOMETRIC.MINISWHITE): 1}.get(
        int(page.photometric), 0
    )
    samples = series.shape[axes.index(band)] if band else 1
    alpha = band == "S" and colours > 0 and samples == colours + 1 and extra[:1] in ([1], [2])
    return Stack(series, axes, tuple(series.shape), band, alpha)


def image(file: IO[bytes], name: str, choice: ImageInput, most: int) -> Picked:
    """The chosen page and channels as RGB.

    Raises InvalidFile, TooLarge above `most` pixels, and what tifffile raises.
    """
    with opened(file) as tif:
        stack = stack_of(tif, name)
        layout = stack.layout
        page_choice, channels, notes = resolve(choice, layout, name)
        if stack.width * stack.height > most:
            raise TooLarge(stack.width, stack.height, in_windows(stack))
        turn = turn_of(stack.page)
        missing = nodata(stack.page)
        profile = stack.page.tags.valueof(PROFILE)
        deep = stack.page.bitspersample > 8
        if is_ink(stack.page):
            rgb = _inks(file, stack, profile)
            return Picked(rgb, layout, turn, notes, deep, geo=geo_tags(stack.page), size=size_of(tif))
        if stack.page.photometric == PHOTOMETRIC.PALETTE:
            indices = one_page(stack, page_choice if page_choice.isdigit() else "1")[..., 0]
            rgb = _colours(stack.page)[indices]
            alpha = None
        else:
            wanted = [number - 1 for number in channels] + ([stack.samples - 1] if stack.alpha else [])
            values = one_page(stack, page_choice, wanted)
            values = upward(values, stack.page)
            alpha = values[..., -1] if stack.alpha else None
            rgb = as_rgb(eight_bits(values[..., : len(channels)], missing))
        rgb = over_white(rgb, alpha)
        if profile and len(channels) == 3 and channels == (1, 2, 3):
            converted = profiles.to_srgb(Image.fromarray(rgb), profile)
            rgb = rgb if converted is None else np.asarray(converted)
        if len(tif.series) > 1:
            number = next((k for k, one in enumerate(tif.series, 1) if one is stack.series), 1)
            which = "the first" if number == 1 else f"number {number}"
            notes = (*notes, f"{name} holds {len(tif.series)} images of different sizes: {which} is used.")
        return Picked(rgb, layout, turn, notes, deep, geo=geo_tags(stack.page), size=size_of(tif))


def values(file: IO[bytes], name: str, choice: ImageInput, most: int) -> Picked:
    """The chosen page and channels as the file holds them, (H,W,C) without transparency; pixels that hold the file's
    value for missing ones become no number. Empty for inks and palettes, whose values are not brightness.

    Raises as `image` does.
    """
    with opened(file) as tif:
        stack = stack_of(tif, name)
        page_choice, channels, _ = resolve(choice, stack.layout, name)
        checked_size(stack.width, stack.height, most)
        page = stack.page
        if is_ink(page) or page.photometric == PHOTOMETRIC.PALETTE:
            return Picked(np.zeros(0, np.uint8), stack.layout)
        found = upward(one_page(stack, page_choice, [number - 1 for number in channels]), page)
        if (missing := nodata(page)) is not None:
            wide = found.astype(np.float64 if found.dtype.itemsize > 2 else np.float32)
            found = np.where(found == missing, np.nan, wide)
        return Picked(found.astype(found.dtype.newbyteorder("=")), stack.layout, turn_of(page), deep=True)


def mask(file: IO[bytes], name: str, most: int) -> Picked:
    """A mask's own values. Raises InvalidFile, TooLarge, and what tifffile raises."""
    with opened(file) as tif:
        stack = stack_of(tif, name)
        if stack.width * stack.height > most:
            raise TooLarge(stack.width, stack.height)
        layout, page = stack.layout, stack.page
        if layout.pages > 1:
            raise InvalidFile(name, f"This mask has {layout.pages} pages.", "Save one page of it as the mask.")
        turn, lossy = turn_of(page), int(page.compression) in JPEGS
        values = one_page(stack, "1")
        common: dict[str, Any] = {"layout": layout, "turn": turn, "lossy": lossy}
        if page.photometric == PHOTOMETRIC.PALETTE:
            table = _colours(page)
            palette = tuple(f"#{r:02x}{g:02x}{b:02x}" for r, g, b in table[:256])
            return Picked(_whole(values[..., 0], name), kind="index", palette=palette, **common)
        if stack.samples - stack.alpha == 1:
            found = values[..., 0]
            if page.bitspersample == 1:
                found = (found > 0).astype(np.uint8) * np.uint8(255)
                # tifffile marks arrays of bools as white-is-zero, and means the values.
                inverted = page.photometric == PHOTOMETRIC.MINISWHITE and not page.is_shaped
                found = 255 - found if inverted else found
            return Picked(_whole(found, name), kind="index", **common)
        if values.dtype != np.uint8:
            raise InvalidFile(
                name, "This colour mask has more than 8 bits a channel.", "Save it with 8 bits a channel."
            )
        if is_ink(page) or stack.samples not in (3, 4):
            raise InvalidFile(
                name, f"This mask has {layout.channels} channels.", "Save it as a grey, palette or RGB image."
            )
        if stack.samples == 3:
            values = np.concatenate([values, np.full_like(values[..., :1], 255)], axis=2)
        return Picked(np.ascontiguousarray(values), kind="colour", **common)


def in_windows(stack: Stack) -> bool:
    """Whether parts of the image can be read without reading all of it: tiles, or strips of some rows."""
    page = stack.page
    rows = page.tilelength if page.is_tiled else min(page.rowsperstrip or page.imagelength, page.imagelength)
    plain = (PHOTOMETRIC.RGB, PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.YCBCR)
    simple = page.photometric in plain and not is_ink(page) and turn_of(page) == 1
    return bool(rows < page.imagelength) and simple


def is_ink(page: TiffPage) -> bool:
    """Whether the colours need converting before they can be shown: CMYK, Lab, YCbCr that is no JPEG."""
    lab = (PHOTOMETRIC.SEPARATED, PHOTOMETRIC.CIELAB, PHOTOMETRIC.ICCLAB)
    return page.photometric in lab or (page.photometric == PHOTOMETRIC.YCBCR and int(page.compression) not in JPEGS)


def upward(values: np.ndarray, page: TiffPage) -> np.ndarray:
    """Values that grow with brightness and, below eight bits, fill the eight."""
    bits = page.bitspersample
    if values.dtype == bool:
        values = values.astype(np.uint8)
    if bits < 8 and values.dtype == np.uint8:
        values = (values.astype(np.uint16) * 255 // (2**bits - 1)).astype(np.uint8)
    if page.photometric == PHOTOMETRIC.MINISWHITE and values.dtype.kind == "u":
        values = np.iinfo(values.dtype).max - values
    return values


def nodata(page: TiffPage) -> float | None:
    """The value that stands for missing pixels in rasters, None where there is none."""
    try:
        value = float(str(page.tags.valueof(NODATA)).strip("\0 "))
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def geo_tags(page: TiffPage) -> dict[str, Any]:
    """The tags that say where on earth the image lies, as a TIFF takes them back: {number: [type, count, values]}."""
    found: dict[str, Any] = {}
    if GEO_KEYS not in page.tags and 33550 not in page.tags:
        return found
    for number in GEO_TAGS:
        tag = page.tags.get(number)
        if tag is None:
            continue
        value = tag.value
        if isinstance(value, bytes):
            value = value.decode("latin-1")
        found[str(number)] = [int(tag.dtype), int(tag.count), list(value) if isinstance(value, tuple) else value]
    return found


def size_of(tif: TiffFile) -> dict[str, Any]:
    """The size of a pixel as `PixelSize.to_dict` gives it; {} where the file does not say it."""
    tags: dict[int, Any] = {}
    first: Any = tif.pages[0]
    for number in SIZE_TAGS:
        value = first.tags.valueof(number)
        if value is not None:
            # Fractions are two numbers here; Pillow's are one.
            fraction = number in (pixel_size.X_RESOLUTION, pixel_size.Y_RESOLUTION) and isinstance(value, tuple)
            tags[number] = value[0] / value[1] if fraction and value[1] else value
    found = pixel_size.from_tags(tags)
    return found.to_dict() if found else {}


def turn_of(page: TiffPage) -> int:
    turn = page.tags.valueof(ORIENTATION, default=1)
    return int(turn) if isinstance(turn, int) and 1 <= turn <= 8 else 1


def _colours(page: TiffPage) -> np.ndarray:
    """uint8 (n, 3): the colour of each index. Some programs write eight bits where the format wants sixteen."""
    table = np.asarray(page.colormap).T
    return (table if table.max() < 256 else table >> 8).astype(np.uint8)


def _whole(values: np.ndarray, name: str) -> np.ndarray:
    """A mask's values as uint8 or uint16. Raises InvalidFile for others."""
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.rint(values)).all()):
        raise InvalidFile(name, "Its values are no whole numbers.", "Save it as an 8-bit or 16-bit image of class ids.")
    if values.dtype == bool or (values.dtype.itemsize == 1 and values.dtype.kind == "u"):
        return np.ascontiguousarray(values.astype(np.uint8))
    if values.min() < 0 or values.max() > 65535:
        raise InvalidFile(name, "Its values are below 0 or above 65535.", "Save it as an 8-bit or 16-bit image.")
    kind = np.uint8 if values.dtype.itemsize == 1 else np.uint16
    return np.ascontiguousarray(values.astype(kind))


def one_page(stack: Stack, page: str, channels: list[int] | None = None) -> np.ndarray:
    """(H,W,C) of one page, or of a projection over all; `channels` from 0, all when None."""
    count = stack.layout.pages
    if page.isdigit():
        return _one(stack, int(page) - 1, channels)
    if page == MAX:
        best = _one(stack, 0, channels)
        for number in range(1, count):
            best = np.maximum(best, _one(stack, number, channels))
        return best
    if page != MEAN:
        raise ValueError(f"no page {page}")
    first = _one(stack, 0, channels)
    total: Any = first.astype(np.float64 if first.dtype.itemsize > 2 else np.float32)
    for number in range(1, count):
        total += _one(stack, number, channels)
    total /= count
    return total if first.dtype.kind == "f" else np.rint(total).astype(first.dtype)


def _one(stack: Stack, number: int, channels: list[int] | None) -> np.ndarray:
    """(H,W,C) of the page of this number, from 0, in the order of the file."""
    axes, shape = stack.axes, stack.shape
    place = np.unravel_index(number, [shape[k] for k in stack.page_axes] or [1])
    index: list[Any] = [slice(None)] * len(shape)
    for axis, where in zip(stack.page_axes, place, strict=False):
        index[axis] = int(where)
    lazily = _Frames(stack.series)
    if stack.band:
        at = axes.index(stack.band)
        wanted = range(shape[at]) if channels is None else channels
        planes = []
        whole = None
        for channel in wanted:
            if lazily.within(at):  # the channels lie in one frame: read it once
                if whole is None:
                    whole = lazily.read(tuple(index))
                left = [axis for k, axis in enumerate(axes) if k not in stack.page_axes]
                planes.append(np.take(whole, channel, axis=left.index(stack.band)))
            else:
                index[at] = channel
                planes.append(lazily.read(tuple(index)))
        left = [axis for k, axis in enumerate(axes) if k not in stack.page_axes and axis != stack.band]
        planes = [plane if left == ["Y", "X"] else plane.T for plane in planes]
        return np.stack(planes, axis=-1)
    plane = lazily.read(tuple(index))
    left = [axis for k, axis in enumerate(axes) if k not in stack.page_axes]
    return (plane if left == ["Y", "X"] else plane.T)[..., None]


class _Frames:
    """Parts of a series without reading all of it where that is large: its last axes lie in one frame of the file."""

    def __init__(self, series: TiffPageSeries) -> None:
        self.series = series
        frame = tuple(series.keyframe.shape)
        self.leading = len(series.shape) - len(frame)
        self.split = self.leading >= 0 and tuple(series.shape[self.leading :]) == frame
        offset = series.dataoffset
        self.mapped = offset is not None
        if not self.split and not self.mapped and series.nbytes > WHOLE_BYTES:
            raise MemoryError

    def within(self, axis: int) -> bool:
        """Whether this axis lies in one frame."""
        return not self.split or axis >= self.leading

    def read(self, index: tuple[Any, ...]) -> np.ndarray:
        series = self.series
        if self.mapped:
            parent: Any = series.parent
            kind = parent.byteorder + series.dtype.char
            values = parent.filehandle.memmap_array(kind, series.shape, offset=series.dataoffset)
            return np.array(values[index], dtype=series.dtype)
        if self.split and all(isinstance(where, int) for where in index[: self.leading]):
            number = (
                int(np.ravel_multi_index(index[: self.leading], series.shape[: self.leading])) if self.leading else 0
            )
            page = series.pages[number]
            if page is None:
                return np.zeros(series.shape[self.leading :], series.dtype)[index[self.leading :]]
            return np.asarray(page.asarray())[index[self.leading :]]
        if series.nbytes > WHOLE_BYTES:
            raise MemoryError
        return np.asarray(series.asarray())[index]


def _inks(file: IO[bytes], stack: Stack, profile: bytes | None) -> np.ndarray:
    """RGB of CMYK, Lab and YCbCr, by Pillow, or for 16 bits from the values themselves."""
    page = stack.page
    if page.bitspersample <= 8:
        file.seek(0)
        whole: Image.Image = Image.open(file, formats=["TIFF"])
        whole.load()
    else:
        values = (one_page(stack, "1") >> 8).astype(np.uint8)
        if page.photometric != PHOTOMETRIC.SEPARATED:
            values[..., 1:3] ^= 128  # Pillow's a and b count from the middle
        mode = "CMYK" if page.photometric == PHOTOMETRIC.SEPARATED else "LAB"
        values = np.ascontiguousarray(values[..., : 4 if mode == "CMYK" else 3])
        whole = Image.frombytes(mode, (stack.width, stack.height), values.tobytes())
    converted = profiles.to_srgb(whole, profile)
    return np.asarray((converted or whole).convert("RGB"))
