"""From a file to pixels, trusting neither its name nor its header. What cannot be read is refused in plain words.

What Pillow reads exactly is decoded here; everything else in a confined process (confined.py).
"""

import io
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import IO, Any

import numpy as np
from PIL import Image

from segapp.imaging import confined, formats, header_size, memory, profiles
from segapp.imaging.display_range import eight_bits
from segapp.imaging.formats import Kind
from segapp.imaging.image_input import ImageInput, Layout, resolve
from segapp.imaging.invalid_file import InvalidFile
from segapp.imaging.pixel_size import GeoReference, PixelSize, from_file, place_from_tags

ORIENTATION = 0x0112  # the EXIF tag
PHONE_JPEG = "MPO"  # a JPEG with a second image behind it (depth, thumbnail): phones write them; the first counts

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

BAND = 1 << 20  # pixels composed at a time
CUT_OFF = "This file is cut off or damaged."
JPEG_END = b"\xff\xd9"
JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # the others are part of compressed data
PIECE = 1 << 20  # bytes of a file in memory at a time, where it is not decoded
MAX_SCANS = 100  # a progressive JPEG has about ten

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
    with memory.decoding.hold(cost(file, name)):
        return _read(file, name, choice or ImageInput())


def cost(file: IO[bytes], name: str, kinds: Sequence[Kind] = formats.IMAGE_KINDS, each: int = memory.READ) -> int:
    """Bytes that decoding the file may take, by its header; `each`: for a pixel. Raises InvalidFile."""
    reader = reader_of(file)
    if reader:
        width, height = header_size.of(reader, file)
        return memory.READ_CONFINED * width * height if width * height <= formats.MAX_PIXELS else 0
    opened = _unread(file, name, kinds)
    deep = opened.mode.startswith("I") or opened.mode == "F"
    each = max(each, memory.READ_BY.get(opened.format or "", 0), 2 * memory.READ if deep else 0)
    return each * opened.width * opened.height


def _read(file: IO[bytes], name: str, choice: ImageInput) -> Decoded:
    reader = reader_of(file)
    if reader:
        try:
            return _read_confined(reader, file, name, choice)
        except confined.NeedsWindows as large:
            if large.windows:
                raise
            raise too_large(name, large.width, large.height) from None
    opened, whole = _open(file, name)
    turn, notes = _orientation(opened), () if whole else (f"{name} is cut off: it is used as far as it goes.",)
    if _animated(opened):
        notes = (*notes, f"{name} is animated: its first frame is used.")
    layout = Layout(1, 1 if opened.mode in ("1", "L", "LA", "La") or opened.mode.startswith(("I", "F")) else 3)
    _, channels, more = resolve(choice, layout, name)
    shown = upright(opened, turn)
    rgb = to_rgb(shown)
    as_stored = whole and turn == 1 and rgb is not None and not _animated(opened)
    converted = profiles.to_srgb(shown if shown.mode in ("CMYK", "LAB") else rgb, opened.info.get("icc_profile"))
    if converted is not None:
        rgb, as_stored = converted, False
    if channels not in ((1,), (1, 2, 3)) or (channels == (1,) and layout.channels == 3):
        picked = np.asarray(rgb)[..., [number - 1 for number in channels]]
        rgb, as_stored = Image.fromarray(np.repeat(picked, 3, axis=2) if len(channels) == 1 else picked), False
    size = _sideways(from_file(opened), turn)
    rgb.info = {}  # comments, profiles, positions: nothing of it is saved again
    deep = opened.mode.startswith("I") or opened.mode == "F"
    return Decoded(rgb, layout, turn, (*notes, *more), as_stored and not deep, deep, pixel_size=size)


def _read_confined(reader: str, file: IO[bytes], name: str, choice: ImageInput) -> Decoded:
    found = confined.read(reader, "image", file, name, choice, formats.MAX_PIXELS)
    rgb = upright(Image.fromarray(found.values), found.turn)
    size = PixelSize.from_dict(found.size) if found.size else None
    if reader == "deep_png":
        size = from_file(Image.open(file, formats=["PNG"]))
    size = _sideways(size, found.turn)
    return Decoded(rgb, found.layout, found.turn, found.notes, deep=found.deep, geo=found.geo, pixel_size=size)


def _sideways(size: PixelSize | None, turn: int) -> PixelSize | None:
    return size.turned() if size and turn in SIDEWAYS else size


def original(file: IO[bytes], name: str, deep: bool, layout: Layout) -> tuple[str, bytes] | None:
    """The image's own values, upright, as a lossless file: its suffix and bytes. None where RGB or grey of eight bits
    holds them, or where they are not kept (inks, palettes, stacks over half a gigabyte).

    `deep`, `layout`: as `read` found them. Raises InvalidFile and memory.DecodersBusy.
    """
    if not deep and layout.pages == 1 and layout.channels in (1, 3):
        return None
    with memory.decoding.hold(cost(file, name)):
        return _original(file, name, deep)


def _original(file: IO[bytes], name: str, deep: bool) -> tuple[str, bytes] | None:
    reader = reader_of(file)
    if reader in ("tiff", "deep_png"):
        found = confined.read(reader, "original", file, name, ImageInput(), formats.MAX_PIXELS)
        return (".tif" if reader == "tiff" else ".png", found.values.tobytes()) if found.values.size else None
    if reader or not deep:
        return None
    opened, _ = _open(file, name)
    out = io.BytesIO()
    Image.fromarray(_narrow(np.asarray(upright(opened, _orientation(opened))))).save(out, "PNG")
    return ".png", out.getvalue()


def values(file: IO[bytes], name: str, choice: ImageInput | None = None) -> np.ndarray | None:
    """The chosen page and channels with the file's own values, upright: (H,W) of one channel, else (H,W,C); no number
    where a pixel is missing. None where they are not brightness (inks, palettes), and for images whose values `read`
    gives unchanged.

    Raises InvalidFile and memory.DecodersBusy.
    """
    with memory.decoding.hold(cost(file, name)):
        reader = reader_of(file)
        if reader in ("tiff", "deep_png"):
            found = confined.read(reader, "values", file, name, choice or ImageInput(), formats.MAX_PIXELS)
            if not found.values.size:
                return None
            upright_values = turned(found.values, found.turn)
            return upright_values[..., 0] if upright_values.shape[2] == 1 else upright_values
        if reader:
            return None
        opened, _ = _open(file, name)
        if not (opened.mode.startswith("I") or opened.mode == "F"):
            return None
        return _narrow(np.asarray(upright(opened, _orientation(opened))))


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
    with memory.decoding.hold(cost(file, name, formats.MASK_KINDS, memory.READ_MASK)):
        return _mask(file, name)


def _mask(file: IO[bytes], name: str) -> MaskSource:
    reader = reader_of(file)
    if reader in ("tiff", "heif"):
        return _mask_confined(reader, file, name)
    opened, whole = _open(file, name, formats.MASK_KINDS)
    if not whole:
        raise InvalidFile(name, CUT_OFF, "Export or download it again.")
    lossy, turn = is_lossy(file), _orientation(opened)
    source = _values(upright(opened, turn), name, _deep(file))
    return replace(source, lossy=lossy, turned=turn != 1)


def _mask_confined(reader: str, file: IO[bytes], name: str) -> MaskSource:
    try:
        found = confined.read(reader, "mask", file, name, ImageInput(), formats.MAX_PIXELS)
    except confined.NeedsWindows as large:
        raise too_large(name, large.width, large.height) from None
    source = MaskSource(found.kind, found.values, found.lossy, found.palette, found.turn != 1)
    return source if found.turn == 1 else turned_along(source, found.turn)


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


def to_rgb(opened: Image.Image) -> Image.Image:
    """RGB without clipping: 16 bits are scaled by the bit depth in use, transparency lies on white."""
    if opened.mode.startswith("I") or opened.mode == "F":
        return Image.fromarray(eight_bits(_narrow(np.asarray(opened)))).convert("RGB")
    if opened.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in opened.info:
        return _on_white(opened)
    return opened if opened.mode == "RGB" else opened.convert("RGB")


def _on_white(opened: Image.Image) -> Image.Image:
    """RGB, in bands: composing the whole image at once takes four copies of it."""
    out = Image.new("RGB", opened.size)
    rows = max(1, BAND // max(1, opened.width))
    for top in range(0, opened.height, rows):
        band = opened.crop((0, top, opened.width, min(opened.height, top + rows))).convert("RGBA")
        out.paste(Image.alpha_composite(Image.new("RGBA", band.size, "white"), band).convert("RGB"), (0, top))
    return out


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


def _values(opened: Image.Image, name: str, deep: bool) -> MaskSource:
    if opened.mode == "1":  # one bit is black and white, as the same mask with eight bits would be
        return MaskSource("index", np.asarray(opened.convert("L")))
    if opened.mode == "L" and "transparency" not in opened.info:
        return MaskSource("index", np.asarray(opened))
    if opened.mode == "P":
        colours = np.array(opened.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3)
        if (
            colours == np.arange(len(colours))[:, None]
        ).all():  # index 7 looks like grey 7: a grey mask by another name
            return MaskSource("index", np.asarray(opened))
        if opened.format == "GIF" and (greys := _greys(np.asarray(opened), colours)) is not None:
            return MaskSource("index", greys)
        return MaskSource("index", np.asarray(opened), palette=tuple(f"#{r:02x}{g:02x}{b:02x}" for r, g, b in colours))
    if opened.mode.startswith("I") or opened.mode == "F":
        values = np.asarray(opened)
        if opened.mode == "F" and not (np.isfinite(values).all() and (values == np.rint(values)).all()):
            raise InvalidFile(name, "Its values are no whole numbers.", "Save it as an 8-bit or 16-bit PNG.")
        if values.min() < 0 or values.max() > 65535:
            raise InvalidFile(name, "Its values are larger than 65535.", "Save it as an 8-bit or 16-bit PNG.")
        return MaskSource("index", values.astype(np.uint16))
    if deep:  # Pillow keeps the upper 8 of 16 bits, which would make one class of many
        raise InvalidFile(name, "This colour mask has 16 bits a channel.", "Save it with 8 bits a channel.")
    return MaskSource("colour", _with_full_alpha(np.array(opened.convert("RGBA"))))


def _greys(indices: np.ndarray, colours: np.ndarray) -> np.ndarray | None:
    """The greys of a GIF, which has no grey values but a palette in its encoder's order; None where it has colours."""
    used = np.unique(indices)
    if used[-1] >= len(colours) or np.ptp(colours[used], axis=1).any():
        return None
    greys = colours[:, 0]
    return greys[indices] if len(np.unique(greys[used])) == len(used) else None


def _with_full_alpha(values: np.ndarray) -> np.ndarray:
    """Colours whose alpha is 0 or 255: a brush that paints half transparent paints all the same."""
    alpha = values[..., 3]
    top = int(alpha.max())
    if 0 < top < 255:
        alpha[:] = np.where(alpha >= (top + 1) // 2, 255, 0)
    return values


def _narrow(values: np.ndarray) -> np.ndarray:
    """Pillow's 32-bit values of a 16-bit image as 16 bits."""
    if values.dtype.kind != "f" and values.min() >= 0 and values.max() <= 65535:
        return values.astype(np.uint16)
    return values


def _orientation(opened: Image.Image) -> int:
    try:
        turn = opened.getexif().get(ORIENTATION, 1)
    except Exception:  # a damaged tag is no reason to refuse an image that decodes
        return 1
    return turn if turn in TURNS else 1


def glance(file: IO[bytes], name: str, kinds: Sequence[Kind] = formats.IMAGE_KINDS) -> tuple[int, int]:
    """Width and height as the header gives them, of a still image of an accepted format and size. Raises InvalidFile.

    Cheap: no pixel is decoded, so a file that is cut off is not noticed here, and of a file that a confined reader is
    needed for nothing is known but its kind: (0, 0).
    """
    return (0, 0) if reader_of(file) else _unread(file, name, kinds).size


def _open(file: IO[bytes], name: str, kinds: Sequence[Kind] = formats.IMAGE_KINDS) -> tuple[Image.Image, bool]:
    """A still image of an accepted format and size, decoded; and whether the file is whole.

    Only a JPEG may lack its end: it is decoded as far as it goes. Raises InvalidFile.
    """
    opened = _unread(file, name, kinds)
    if opened.format in ("JPEG", PHONE_JPEG):
        _hold_scans(file, name)
    try:
        opened.load()
        return opened, True
    except MemoryError:
        raise
    except Exception:  # strange bytes make decoders raise many kinds
        if opened.format != "JPEG":
            raise InvalidFile(name, CUT_OFF, "Export or download it again.") from None
    file.seek(0)
    with tempfile.SpooledTemporaryFile(max_size=PIECE) as ended:
        shutil.copyfileobj(file, ended, PIECE)
        ended.write(JPEG_END)
        file.seek(0)
        try:
            opened = _unread(ended, name, kinds)
            opened.load()
        except MemoryError:
            raise
        except Exception:
            raise InvalidFile(name, CUT_OFF, "Export or download it again.") from None
    return opened, False


def _hold_scans(file: IO[bytes], name: str) -> None:
    """A decoder goes over the whole image for each scan, and a scan takes as little as 23 bytes: a small file would
    keep it busy for hours."""
    file.seek(0)
    scans = _scans(file)
    file.seek(0)
    if scans > MAX_SCANS:
        raise InvalidFile(name, "This JPEG is stored in far too many scans.", "Save it again as JPEG or PNG.")


def _scans(file: IO[bytes]) -> int:
    """Scans of a JPEG up to its end, as far as it matters; what stands behind the end may be a whole video.

    Of the file one piece at a time is in memory.
    """
    scans, place = 0, 2
    start, piece = 0, b""  # where the piece begins in the file
    while scans <= MAX_SCANS:
        if not start <= place < start + len(piece):
            file.seek(place)
            start, piece = place, file.read(PIECE)
        last = len(piece) < PIECE
        marker = JPEG_MARKER.search(piece, place - start)
        if not last and (marker is None or marker.end() + 2 > len(piece)):  # it may go on in the next piece
            place = start + (len(piece) - 1 if marker is None else marker.start())
            piece = b""
            continue
        if marker is None or piece[marker.end() - 1] == 0xD9:
            break
        code, place = piece[marker.end() - 1], start + marker.end()
        scans += code == 0xDA
        if code not in (0x01, 0xD8):  # all others have a length: thumbnails in them are passed over
            place += int.from_bytes(piece[marker.end() : marker.end() + 2])
    return scans


def _unread(file: IO[bytes], name: str, kinds: Sequence[Kind]) -> Image.Image:
    head = _head(file)
    if not head:
        raise InvalidFile(name, "This file is empty.", "Export it again and add the new file.")
    try:
        opened = Image.open(file, formats=tuple(kind.pillow for kind in kinds if kind.pillow))
    except MemoryError:
        raise
    except Exception:  # the same for parsers
        raise InvalidFile(name, _what_else(head, kinds), "Save it as one of these and add it again.") from None
    if opened.width * opened.height > formats.MAX_PIXELS:
        raise too_large(name, opened.width, opened.height)
    return opened


def _animated(opened: Image.Image) -> bool:
    return getattr(opened, "is_animated", False) and opened.format != PHONE_JPEG  # n_frames would read every frame


def _what_else(head: bytes, kinds: Sequence[Kind]) -> str:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    found = next((f"{words}, " for first, words in OTHERS if start.startswith(first)), "")
    return f"This is {found}no {formats.listed(kinds)} image, whatever it is called."


def _deep(file: IO[bytes]) -> bool:
    """Whether this is a PNG of 16 bits a channel."""
    head = _head(file)
    return head.startswith(b"\x89PNG") and head[24:25] == b"\x10"


def _head(file: IO[bytes]) -> bytes:
    file.seek(0)
    head = file.read(4096)
    file.seek(0)
    return head
