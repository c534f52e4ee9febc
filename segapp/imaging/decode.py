"""From a file to pixels, trusting neither its name nor its header. What cannot be read is refused in plain words.

No file is decoded in this process. What Pillow reads exactly is decoded in a process that was forked for it
(forked.py), everything else in one that was started for it (confined.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from segapp.imaging import confined, forked, formats, header_size, memory
from segapp.imaging.formats import Kind
from segapp.imaging.image_input import ImageInput, Layout
from segapp.imaging.invalid_file import InvalidFile
from segapp.imaging.pixel_size import GeoReference, PixelSize, place_from_tags

ORIENTATION = 0x0112  # the EXIF tag

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height
# The same for arrays: after swapping the axes where the image lies sideways, flip (up-down, left-right).
FLIPS = {
    2: (False, True),
    3: (True, True),
    4: (True, False),
    5: (False, False),
    6: (False, True),
    7: (True, True),
    8: (True, False),
}

# First bytes of what people send by mistake, and what to do with it instead.
OTHERS = (
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a zip archive"),
    (b"<", "a web page or a drawing (HTML, SVG)"),
)

PYTHON_HEADERS = ("PNG", "JPEG", "GIF", "BMP")  # formats whose header Pillow reads in Python; it decodes nothing

Image.MAX_IMAGE_PIXELS = None  # the limit above is checked for every file before a pixel is decoded


@dataclass(frozen=True)
class MaskSource:
    """A mask as it came: kind "index" with values uint8 or uint16 (H, W), or "colour" with values uint8 (H, W, 4).

    `lossy`: it was compressed with loss, so values near an edge are not to be believed. `palette`: the colours
    ("#rrggbb") that the file itself gives its indices, None where it has none. `turned`: its own EXIF tag turned it.
    """

    kind: str
    values: np.ndarray
    lossy: bool = False
    palette: tuple[str, ...] | None = None
    turned: bool = False


@dataclass(frozen=True)
class Decoded:
    """An upright RGB image. `turn`: the EXIF orientation (1 to 8) it was turned by. `notes`: sentences on what was
    decided. `as_stored`: its pixels are the file's own, so its bytes may be kept. `deep`: the file holds more than
    eight bits. `geo`: TIFF tags that say where on earth it lies, {number: [type, count, value]}. `pixel_size`: where
    the file says it. `place`: where on a map its pixels lie."""

    image: Image.Image
    layout: Layout
    turn: int = 1
    notes: tuple[str, ...] = ()
    as_stored: bool = False
    deep: bool = False
    geo: dict[str, Any] = field(default_factory=dict)
    pixel_size: PixelSize | None = None

    @property
    def place(self) -> GeoReference | None:
        return place_of(self.geo) if self.turn == 1 else None


def place_of(geo: dict[str, Any]) -> GeoReference | None:
    """The map coordinates of pixels, from the tags as `Decoded.geo` has them."""
    return place_from_tags({int(number): value for number, (_, _, value) in geo.items()})


def image(file: IO[bytes], name: str, choice: ImageInput | None = None) -> Image.Image:
    """An RGB image, turned upright. Raises InvalidFile and memory.DecodersBusy."""
    return read(file, name, choice).image


def image_and_turn(file: IO[bytes], name: str, choice: ImageInput | None = None) -> tuple[Image.Image, int]:
    """An upright RGB image, and the EXIF orientation (1 to 8) it was turned by. Raises as `read` does."""
    decoded = read(file, name, choice)
    return decoded.image, decoded.turn


def read(file: IO[bytes], name: str, choice: ImageInput | None = None) -> Decoded:
    """The image that the chosen page and channels of a file make; the usual ones where nothing is chosen.

    Raises InvalidFile, also for a choice that the file does not fit, and memory.DecodersBusy.
    """
    try:
        return read_or_windows(file, name, choice)
    except confined.NeedsWindows as large:
        raise too_large(name, large.width, large.height) from None


def read_or_windows(file: IO[bytes], name: str, choice: ImageInput | None = None) -> Decoded:
    """As `read`, but raises confined.NeedsWindows for an image above the limit that can be read in parts."""
    need = cost(file, name)
    with memory.decoding.hold(need):
        return _read(file, name, choice or ImageInput(), need)


def cost(file: IO[bytes], name: str, kinds: Sequence[Kind] = formats.IMAGE_KINDS, each: int = memory.READ) -> int:
    """Bytes that decoding the file may take, by its header; `each`: for a pixel. Raises InvalidFile."""
    reader = reader_of(file)
    if reader:
        width, height = header_size.of(reader, file)
        return memory.READ_CONFINED * width * height if width * height <= formats.MAX_PIXELS else 0
    if container := header_size.container(_head(file)):
        width, height = _native_size(container, file, name)
        return max(each, memory.READ_BY[container]) * width * height
    opened = _header(file, name, kinds)
    return max(each, 2 * memory.READ if is_deep(opened) else 0) * opened.width * opened.height


def _read(file: IO[bytes], name: str, choice: ImageInput, need: int) -> Decoded:
    reader = reader_of(file)
    if reader:
        try:
            found = confined.read(reader, "image", file, name, choice, formats.MAX_PIXELS)
        except confined.NeedsWindows as large:
            if large.windows:
                raise
            raise too_large(name, large.width, large.height) from None
        rgb = upright(Image.fromarray(found.values), found.turn)
    else:
        found = forked.read("image", file, name, choice, need)
        rgb = Image.fromarray(found.values)
    size = PixelSize.from_dict(found.size) if found.size else None
    if size and reader and found.turn in SIDEWAYS:
        size = size.turned()
    return Decoded(rgb, found.layout, found.turn, found.notes, found.as_stored, found.deep, found.geo, size)


def stored(path: Path) -> np.ndarray:
    """uint8 (H, W, 3) of an image that was stored as it came (bare.py): its bytes are still untrusted.

    Raises OSError for what is gone, else as `read` does.
    """
    with path.open("rb") as file:
        need = cost(file, path.name)
        with memory.decoding.hold(need):
            return forked.read("image", file, path.name, ImageInput(), need).values


def original(file: IO[bytes], name: str, deep: bool, layout: Layout) -> tuple[str, bytes] | None:
    """The image's own values, upright, as a lossless file: its suffix and bytes. None where RGB or grey of eight bits
    holds them, or where they are not kept (inks, palettes, stacks over half a gigabyte).

    `deep`, `layout`: as `read` found them. Raises InvalidFile and memory.DecodersBusy.
    """
    if not deep and layout.pages == 1 and layout.channels in (1, 3):
        return None
    reader, need = reader_of(file), cost(file, name)
    with memory.decoding.hold(need):
        if reader in ("tiff", "deep_png"):
            found = confined.read(reader, "original", file, name, ImageInput(), formats.MAX_PIXELS)
        elif reader or not deep:
            return None
        else:
            found = forked.read("original", file, name, ImageInput(), need)
        return (".tif" if reader == "tiff" else ".png", found.values.tobytes()) if found.values.size else None


def values(file: IO[bytes], name: str, choice: ImageInput | None = None) -> np.ndarray | None:
    """The chosen page and channels with the file's own values, upright: (H,W) of one channel, else (H,W,C); no number
    where a pixel is missing. None where they are not brightness (inks, palettes), and for images whose values `read`
    gives unchanged.

    Raises InvalidFile and memory.DecodersBusy.
    """
    reader, need = reader_of(file), cost(file, name)
    with memory.decoding.hold(need):
        if reader in ("tiff", "deep_png"):
            found = confined.read(reader, "values", file, name, choice or ImageInput(), formats.MAX_PIXELS)
            if not found.values.size:
                return None
            upright_values = turned(found.values, found.turn)
            return upright_values[..., 0] if upright_values.shape[2] == 1 else upright_values
        if reader or header_size.container(_head(file)) or not is_deep(_header(file, name, formats.IMAGE_KINDS)):
            return None
        return forked.read("values", file, name, ImageInput(), need).values


def too_large(name: str, width: int, height: int) -> InvalidFile:
    """What to say of an image above the limit."""
    size = f"{width:,} × {height:,} pixels are {width * height / 1e6:.0f} megapixels."
    return InvalidFile(name, size, f"The limit is {formats.MAX_PIXELS // 10**6}. Make it smaller or cut it into parts.")


def reader_of(file: IO[bytes]) -> str:
    """Which confined reader a file needs by its first bytes; "" where Pillow reads it exactly."""
    head = _head(file)
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff"
    if head[4:8] == b"ftyp" and _is_heif(head):
        return "heif"
    if head.startswith(b"\x89PNG") and head[24:25] == b"\x10" and head[25:26] in (b"\2", b"\4", b"\6"):
        return "deep_png"
    return ""


def _is_heif(head: bytes) -> bool:
    """Whether the brands of the first box are HEIC's and none is AVIF's, which Pillow reads."""
    size = min(int.from_bytes(head[:4], "big"), 256)
    brands = {head[k : k + 4] for k in (8, *range(16, size, 4))}
    return not brands & {b"avif", b"avis"} and bool(brands & set(formats.STILL_IMAGE_BRANDS))


def mask(file: IO[bytes], name: str) -> MaskSource:
    """A mask with its own values: palette indices, 16 bits unclipped, colours where it has any.

    Raises InvalidFile and memory.DecodersBusy.
    """
    reader, need = reader_of(file), cost(file, name, formats.MASK_KINDS, memory.READ_MASK)
    with memory.decoding.hold(need):
        if reader not in ("tiff", "heif"):
            return _mask_source(forked.read("mask", file, name, ImageInput(), need))
        try:
            found = confined.read(reader, "mask", file, name, ImageInput(), formats.MAX_PIXELS)
        except confined.NeedsWindows as large:
            raise too_large(name, large.width, large.height) from None
        source = _mask_source(found)
        return source if found.turn == 1 else turned_along(source, found.turn)


def _mask_source(found: confined.Answer) -> MaskSource:
    return MaskSource(found.kind, found.values, found.lossy, found.palette, found.turn != 1)


def upright(opened: Image.Image, turn: int) -> Image.Image:
    """The image turned by EXIF orientation `turn`, its pixels unchanged otherwise."""
    return opened if turn == 1 else opened.transpose(TURNS[turn])


def turned_like(source: MaskSource, turn: int, size: tuple[int, int]) -> MaskSource:
    """The mask of an image that EXIF turned: turned along when only then it has the image's (width, height)."""
    height, width = source.values.shape[:2]
    if turn not in SIDEWAYS or (width, height) == size or (height, width) != size:
        return source
    return turned_along(source, turn)


def turned_along(source: MaskSource, turn: int) -> MaskSource:
    """What EXIF orientation `turn` does to an image, done to the mask: H, W (, 4) -> H, W or W, H (, 4)."""
    return replace(source, values=turned(source.values, turn))


def turned(values: np.ndarray, turn: int) -> np.ndarray:
    """An array (H, W, …) turned upright by EXIF orientation `turn`, 1 to 8."""
    if turn == 1:
        return values
    values = np.swapaxes(values, 0, 1) if turn in SIDEWAYS else values
    down, right = FLIPS[turn]
    return np.ascontiguousarray(values[:: -1 if down else 1, :: -1 if right else 1])


def pixels(opened: Image.Image) -> np.ndarray:
    """A stored index mask as uint8 (H, W)."""
    return np.asarray(opened, dtype=np.uint8)


def is_lossy(file: IO[bytes]) -> bool:
    """Whether the first bytes announce compression with loss: JPEG, WebP's lossy kind, AVIF and HEIC."""
    head = _head(file)
    if head[4:8] == b"ftyp":
        return True
    return head.startswith(b"\xff\xd8") or (head[:4] == b"RIFF" and not _lossless_webp(head))


def _lossless_webp(head: bytes) -> bool:
    if head[12:16] == b"VP8X":  # an extended file: the image's own chunk comes further on
        return b"VP8L" in head[30:]
    return head[12:16] == b"VP8L"


def glance(file: IO[bytes], name: str, kinds: Sequence[Kind] = formats.IMAGE_KINDS) -> tuple[int, int]:
    """Width and height as the header gives them, of a still image of an accepted format and size. Raises InvalidFile.

    Cheap: no pixel is decoded, so a file that is cut off is not noticed here, and of a file that a confined reader is
    needed for nothing is known but its kind: (0, 0).
    """
    if reader_of(file):
        return (0, 0)
    if container := header_size.container(_head(file)):
        return _native_size(container, file, name)
    return _header(file, name, kinds).size


def _native_size(container: str, file: IO[bytes], name: str) -> tuple[int, int]:
    """Width and height that a WebP or AVIF declares. Raises InvalidFile above the limit."""
    width, height = header_size.of(container, file)
    if width * height > formats.MAX_PIXELS:
        raise too_large(name, width, height)
    return width, height


def _header(file: IO[bytes], name: str, kinds: Sequence[Kind]) -> Image.Image:
    """An image of a kind whose header Pillow reads without a decoder: in Python. Raises as `unread` does."""
    return unread(file, name, kinds, [kind.pillow for kind in kinds if kind.pillow in PYTHON_HEADERS])


def unread(file: IO[bytes], name: str, kinds: Sequence[Kind], tried: Sequence[str] | None = None) -> Image.Image:
    """An image of one of the kinds, of which no pixel is decoded yet; `tried`: Pillow's names of those it may be.

    Raises InvalidFile for others, and above the limit of pixels.
    """
    head = _head(file)
    if not head:
        raise InvalidFile(name, "This file is empty.", "Export it again and add the new file.")
    try:
        opened = Image.open(file, formats=list(tried) if tried else [kind.pillow for kind in kinds if kind.pillow])
    except MemoryError:
        raise
    except Exception:  # the same for parsers
        raise InvalidFile(name, _what_else(head, kinds), "Save it as one of these and add it again.") from None
    if opened.width * opened.height > formats.MAX_PIXELS:
        raise too_large(name, opened.width, opened.height)
    return opened


def is_deep(opened: Image.Image) -> bool:
    """Whether Pillow holds more than eight bits a value of this image."""
    return opened.mode.startswith("I") or opened.mode == "F"


def _what_else(head: bytes, kinds: Sequence[Kind]) -> str:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    found = next((f"{words}, " for first, words in OTHERS if start.startswith(first)), "")
    return f"This is {found}no {formats.listed(kinds)} image, whatever it is called."


def is_deep_png(file: IO[bytes]) -> bool:
    """Whether this is a PNG of 16 bits a channel."""
    head = _head(file)
    return head.startswith(b"\x89PNG") and head[24:25] == b"\x10"


def _head(file: IO[bytes]) -> bytes:
    file.seek(0)
    head = file.read(4096)
    file.seek(0)
    return head
