"""From a file to pixels, trusting neither its name nor its header. What cannot be read is refused in plain words."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import IO

import numpy as np
from PIL import Image

from segapp.imaging import formats
from segapp.imaging.formats import Kind
from segapp.imaging.invalid_file import InvalidFile

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
    (b"GIF8", "a GIF"),
    (b"II*\0", "a TIFF"),
    (b"MM\0*", "a TIFF"),
    (b"BM", "a BMP"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a zip archive"),
    (b"<", "a web page or a drawing (HTML, SVG)"),
)

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


def image(file: IO[bytes], name: str) -> Image.Image:
    """An RGB image, turned upright. Raises InvalidFile."""
    return image_and_turn(file, name)[0]


def image_and_turn(file: IO[bytes], name: str) -> tuple[Image.Image, int]:
    """An upright RGB image, and the EXIF orientation (1 to 8) it was turned by. Raises InvalidFile."""
    opened = _open(file, name)
    turn = _orientation(opened)
    rgb = to_rgb(upright(opened, turn))
    rgb.info = {}  # comments, profiles, positions: nothing of it is saved again
    return rgb, turn


def mask(file: IO[bytes], name: str) -> MaskSource:
    """A mask with its own values: palette indices, 16 bits unclipped, colours where it has any. Raises InvalidFile."""
    opened = _open(file, name, formats.MASK_KINDS)
    lossy, turn = is_lossy(file), _orientation(opened)
    source = _values(upright(opened, turn), name, _deep(file))
    return replace(source, lossy=lossy, turned=turn != 1)


def upright(opened: Image.Image, turn: int) -> Image.Image:
    """The image turned by EXIF orientation `turn`, its pixels unchanged otherwise."""
    return opened if turn == 1 else opened.transpose(TURNS[turn])


def turned_along(source: MaskSource, turn: int) -> MaskSource:
    """What EXIF orientation `turn` does to an image, done to the mask: H, W (, 4) -> H, W or W, H (, 4)."""
    values = np.swapaxes(source.values, 0, 1) if turn in SIDEWAYS else source.values
    down, right = FLIPS[turn]
    return replace(source, values=np.ascontiguousarray(values[:: -1 if down else 1, :: -1 if right else 1]))


def pixels(opened: Image.Image) -> np.ndarray:
    """A stored index mask as uint8 (H, W)."""
    return np.asarray(opened, dtype=np.uint8)


def to_rgb(opened: Image.Image) -> Image.Image:
    """RGB without clipping: 16 bits are scaled by the bit depth in use, transparency lies on white."""
    if opened.mode.startswith("I") or opened.mode == "F":
        return Image.fromarray(_eight_bits(np.asarray(opened))).convert("RGB")
    if opened.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in opened.info:
        layered = opened.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")
    return opened.convert("RGB")


def is_lossy(file: IO[bytes]) -> bool:
    """Whether the first bytes announce compression with loss: JPEG, or WebP's lossy kind."""
    head = _head(file)
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


def _with_full_alpha(values: np.ndarray) -> np.ndarray:
    """Colours whose alpha is 0 or 255: a brush that paints half transparent paints all the same."""
    alpha = values[..., 3]
    top = int(alpha.max())
    if 0 < top < 255:
        alpha[:] = np.where(alpha >= (top + 1) // 2, 255, 0)
    return values


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """Grey values of 8, 10, 12, 14 or 16 bits as uint8: cameras store 12 bits in 16, which would look black."""
    top = float(values.max())
    depth = next((most for most in (255, 1023, 4095, 16383) if top <= most), 65535)
    return (np.clip(values, 0, None).astype(np.float32) * (255.0 / max(depth, top))).round().astype(np.uint8)


def _orientation(opened: Image.Image) -> int:
    try:
        turn = opened.getexif().get(ORIENTATION, 1)
    except Exception:  # a damaged tag is no reason to refuse an image that decodes
        return 1
    return turn if turn in TURNS else 1


def glance(file: IO[bytes], name: str, kinds: Sequence[Kind] = formats.IMAGE_KINDS) -> tuple[int, int]:
    """Width and height as the header gives them, of a still image of an accepted format and size. Raises InvalidFile.

    Cheap: no pixel is decoded, so a file that is cut off is not noticed here.
    """
    return _unread(file, name, kinds).size


def _open(file: IO[bytes], name: str, kinds: Sequence[Kind] = formats.IMAGE_KINDS) -> Image.Image:
    """A still image of an accepted format and size, decoded to the end. Raises InvalidFile."""
    opened = _unread(file, name, kinds)
    try:
        opened.load()
    except MemoryError:
        raise
    except Exception:  # the same for decoders
        raise InvalidFile(name, "This file is cut off or damaged.", "Export or download it again.") from None
    return opened


def _unread(file: IO[bytes], name: str, kinds: Sequence[Kind]) -> Image.Image:
    head = _head(file)
    if not head:
        raise InvalidFile(name, "This file is empty.", "Export it again and add the new file.")
    try:
        opened = Image.open(file, formats=tuple(kind.pillow for kind in kinds if kind.pillow))
    except MemoryError:
        raise
    except Exception:  # strange bytes make parsers raise many kinds
        raise InvalidFile(name, _what_else(head, kinds), "Save it as one of these and add it again.") from None
    if opened.width * opened.height > formats.MAX_PIXELS:
        size = f"{opened.width:,} × {opened.height:,} pixels are {opened.width * opened.height / 1e6:.0f} megapixels."
        raise InvalidFile(
            name, size, f"The limit is {formats.MAX_PIXELS // 10**6}. Make it smaller or cut it into parts."
        )
    if getattr(opened, "n_frames", 1) > 1 and opened.format != PHONE_JPEG:
        raise InvalidFile(name, "This image is animated.", "Save one frame of it as a still image.")
    return opened


def _what_else(head: bytes, kinds: Sequence[Kind]) -> str:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    found = next((f"{words}, " for first, words in OTHERS if start.startswith(first)), "")
    if head[4:8] == b"ftyp" and head[8:12] in formats.STILL_IMAGE_BRANDS:
        found = "a HEIC or AVIF photo, "
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
