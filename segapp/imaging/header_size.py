"""The size of an image by its header alone, without a library: enough to plan memory by.

What is not understood counts as UNKNOWN; the reader itself decides by what it finds.
"""

import struct
from typing import IO

from segapp.imaging.formats import STILL_IMAGE_BRANDS

UNKNOWN = (4000, 3000)
HEAD = 1 << 16  # bytes in which a HEIF file's boxes of sizes stand
WIDTH, LENGTH = 256, 257  # TIFF tags
NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}  # TIFF types of whole numbers
MAX_TAGS, PAGES = 1000, 4


def of(reader: str, file: IO[bytes]) -> tuple[int, int]:
    """Width and height that a file declares; it is left at its beginning.

    `reader`: "tiff", "heif" or "deep_png", or what `container` calls it.
    """
    try:
        file.seek(0)
        if reader == "tiff":
            return _tiff(file)
        head = file.read(HEAD)
        if reader == "WEBP":
            return _webp(head)
        return _heif(head) if reader in ("heif", "AVIF") else struct.unpack_from(">II", head, 16)
    except (struct.error, KeyError, OSError, OverflowError, ValueError):
        return UNKNOWN
    finally:
        file.seek(0)


def container(head: bytes) -> str:
    """ "WEBP" or "AVIF" by the first bytes of a file that no other library than Pillow is needed for; else ""."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    return "AVIF" if head[4:8] == b"ftyp" and head[8:12] in STILL_IMAGE_BRANDS else ""


def _webp(head: bytes) -> tuple[int, int]:
    kind, body = head[12:16], head[20:30]
    if len(body) < 10:
        raise ValueError("cut off")
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", body, 6)
    return width & 0x3FFF, height & 0x3FFF


def _tiff(file: IO[bytes]) -> tuple[int, int]:
    """The largest of the first pages: before the image there may be a thumbnail, behind it are previews."""
    order = {b"II": "<", b"MM": ">"}[file.read(2)]
    (version,) = struct.unpack(order + "H", file.read(2))
    big = version == 43
    if big:
        file.seek(8)
    offset = order + ("Q" if big else "I")
    (place,) = struct.unpack(offset, file.read(struct.calcsize(offset)))
    sizes: list[tuple[int, int]] = []
    while place and len(sizes) < PAGES:
        file.seek(place)
        (count,) = struct.unpack(order + ("Q" if big else "H"), file.read(8 if big else 2))
        length = 20 if big else 12
        entries = file.read(length * min(count, MAX_TAGS))
        found: dict[int, int] = {}
        for at in range(0, len(entries) - length + 1, length):
            tag, kind = struct.unpack_from(order + "HH", entries, at)
            if tag in (WIDTH, LENGTH):
                (found[tag],) = struct.unpack_from(order + NUMBERS[kind], entries, at + (12 if big else 8))
        sizes.append((found[WIDTH], found[LENGTH]))
        rest = file.read(struct.calcsize(offset))
        place = struct.unpack(offset, rest)[0] if len(rest) == struct.calcsize(offset) else 0
    return max(sizes, key=lambda size: size[0] * size[1])


def _heif(head: bytes) -> tuple[int, int]:
    """The largest of the sizes that the file's items have."""
    sizes, at = [], head.find(b"ispe")
    while at >= 0:
        sizes.append(struct.unpack_from(">II", head, at + 8))
        at = head.find(b"ispe", at + 4)
    return max(sizes, key=lambda size: size[0] * size[1])
