"""PNG, JPEG, WebP, AVIF, GIF and BMP, read by Pillow. Runs in the processes of fork_server.py, which open no files."""

import io
import re
from collections.abc import Sequence
from typing import IO, Any

import numpy as np
from PIL import Image

from segapp.imaging import bitmaps, decode, formats, profiles
from segapp.imaging.decode import MaskSource
from segapp.imaging.display_range import eight_bits
from segapp.imaging.formats import Kind
from segapp.imaging.image_input import ImageInput, Layout, resolve
from segapp.imaging.invalid_file import InvalidFile
from segapp.imaging.pixel_size import from_file
from segapp.imaging.readers.picked import Picked

PHONE_JPEG = "MPO"  # a JPEG with a second image behind it (depth, thumbnail): phones write them; the first counts
BAND = 1 << 20  # pixels composed at a time
CUT_OFF = "This file is cut off or damaged."
JPEG_END = b"\xff\xd9"
JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # the others are part of compressed data
PIECE = 1 << 20  # bytes of a file in memory at a time, where it is not decoded
MAX_SCANS = 100  # a progressive JPEG has about ten


def image(file: IO[bytes], name: str, choice: ImageInput) -> Picked:
    """An RGB image, turned upright; `turn` says how it was turned. Raises InvalidFile."""
    opened, whole = _open(file, name, formats.IMAGE_KINDS)
    turn, notes = _orientation(opened), () if whole else (f"{name} is cut off: it is used as far as it goes.",)
    if _animated(opened):
        notes = (*notes, f"{name} is animated: its first frame is used.")
    deep = decode.is_deep(opened)
    layout = Layout(1, 1 if opened.mode in ("1", "L", "LA", "La") or deep else 3)
    _, channels, more = resolve(choice, layout, name)
    size = from_file(opened)
    shown = decode.upright(opened, turn)
    rgb = _to_rgb(shown)
    as_stored = whole and turn == 1 and not deep and not _animated(opened)
    converted = profiles.to_srgb(shown if shown.mode in ("CMYK", "LAB") else rgb, opened.info.get("icc_profile"))
    if converted is not None:
        rgb, as_stored = converted, False
    if channels not in ((1,), (1, 2, 3)) or (channels == (1,) and layout.channels == 3):
        picked = np.asarray(rgb)[..., [number - 1 for number in channels]]
        rgb, as_stored = Image.fromarray(np.repeat(picked, 3, axis=2) if len(channels) == 1 else picked), False
    if size and turn in decode.SIDEWAYS:
        size = size.turned()
    told = size.to_dict() if size else {}
    return Picked(rgb, layout, turn, (*notes, *more), deep, size=told, as_stored=as_stored)


def original(file: IO[bytes], name: str) -> Picked:
    """A deep image's own values, upright, as the bytes of a PNG: uint8 (n). Raises InvalidFile."""
    opened, _ = _open(file, name, formats.IMAGE_KINDS)
    out = io.BytesIO()
    Image.fromarray(_narrow(np.asarray(decode.upright(opened, _orientation(opened))))).save(out, "PNG")
    return Picked(np.frombuffer(out.getvalue(), np.uint8), Layout(1, 1))


def values(file: IO[bytes], name: str) -> Picked:
    """A deep image's own values, upright: (H,W). Raises InvalidFile."""
    opened, _ = _open(file, name, formats.IMAGE_KINDS)
    return Picked(_narrow(np.asarray(decode.upright(opened, _orientation(opened)))), Layout(1, 1), deep=True)


def mask(file: IO[bytes], name: str) -> Picked:
    """A mask's own values, turned upright; `turn` says how it was turned. Raises InvalidFile."""
    opened, whole = _open(file, name, formats.MASK_KINDS)
    if not whole:
        raise InvalidFile(name, CUT_OFF, "Export or download it again.")
    lossy, turn = decode.is_lossy(file), _orientation(opened)
    found = _values(decode.upright(opened, turn), name, decode.is_deep_png(file))
    return Picked(found.values, Layout(), turn, kind=found.kind, lossy=lossy, palette=found.palette)


def grey(file: IO[bytes], name: str) -> Picked:
    """A PNG's brightness, uint8 (H,W): painted masks. Raises InvalidFile."""
    opened, _ = _open(file, name, formats.IMAGE_KINDS[:1])
    return Picked(np.asarray(opened.convert("L")), Layout(1, 1), kind="index")


def packed_bitmaps(file: IO[bytes], name: str) -> Picked:
    """The pixels of the PNGs that bitmaps.decode has packed, uint8 (n): 1 where one is not black, else 0, and DAMAGED
    all over one that cannot be decoded."""
    content, place, found = file.read(), 0, []
    while place < len(content):
        (length,) = bitmaps.LENGTH.unpack_from(content, place)
        place += bitmaps.LENGTH.size
        found.append(_bitmap(content[place : place + length]))
        place += length
    return Picked(np.concatenate(found), Layout(1, 1), kind="index")


def _bitmap(content: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as opened:
            return (np.asarray(opened.convert("L")) > 0).astype(np.uint8).ravel()
    except MemoryError:
        raise
    except Exception:  # strange bytes make decoders raise many kinds
        height, width = bitmaps.size_of(content) or (0, 0)
        return np.full(height * width, bitmaps.DAMAGED, np.uint8)


def _animated(opened: Image.Image) -> bool:
    return getattr(opened, "is_animated", False) and opened.format != PHONE_JPEG  # n_frames would read every frame


def _to_rgb(opened: Image.Image) -> Image.Image:
    """RGB without clipping: 16 bits are scaled by the bit depth in use, transparency lies on white."""
    if decode.is_deep(opened):
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
    if decode.is_deep(opened):
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
        turn = opened.getexif().get(decode.ORIENTATION, 1)
    except Exception:  # a damaged tag is no reason to refuse an image that decodes
        return 1
    return turn if turn in decode.TURNS else 1


def _open(file: IO[bytes], name: str, kinds: Sequence[Kind]) -> tuple[Image.Image, bool]:
    """A still image of an accepted format and size, decoded; and whether the file is whole.

    Only a JPEG may lack its end: it is decoded as far as it goes. Raises InvalidFile.
    """
    opened = decode.unread(file, name, kinds)
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
    ended = io.BufferedReader(_Ended(file))
    try:
        opened = decode.unread(ended, name, kinds)
        opened.load()
    except MemoryError:
        raise
    except Exception:
        raise InvalidFile(name, CUT_OFF, "Export or download it again.") from None
    return opened, False


class _Ended(io.RawIOBase):
    """A file with the end of a JPEG behind it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._length, self._place = file, file.seek(0, io.SEEK_END), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._length + len(JPEG_END)}[whence]
        self._place = max(0, start + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        if self._place < self._length:
            self._file.seek(self._place)
            piece = self._file.read(len(buffer))
        else:
            piece = JPEG_END[self._place - self._length :][: len(buffer)]
        buffer[: len(piece)] = piece
        self._place += len(piece)
        return len(piece)


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
