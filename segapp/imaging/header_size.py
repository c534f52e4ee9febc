"""The size of an image that a confined reader is needed for, by its header alone: enough to plan memory by.

What is not understood counts as UNKNOWN; the reader itself decides by what it finds.
"""

import struct
from typing import IO

UNKNOWN = (4000, 3000)
HEAD = 1 << 16  # bytes in which a HEIF file's boxes of sizes stand
WIDTH, LENGTH = 256, 257  # TIFF tags
NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}  # TIFF types of whole numbers
MAX_TAGS, PAGES = 1000, 4


def of(reader: str, file: IO[bytes]) -> tuple[int, int]:
    """Width and height that a file for `reader` ("tiff", "heif", "deep_png") declares; it is left at its beginning."""
    try:
        file.seek(0)
        if reader == "tiff":
            return _tiff(file)
        head = file.read(HEAD)
        return _heif(head) if reader == "heif" else struct.unpack_from(">II", head, 16)
    except (struct.error, KeyError, OSError, OverflowError, ValueError):
        return UNKNOWN
    finally:
        file.seek(0)


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
