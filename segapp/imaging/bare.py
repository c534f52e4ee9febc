"""An uploaded image's own bytes with nothing in them but the image: no EXIF, no comments, nothing behind its end.

Cutting takes no time, where encoding again takes longer than a small network's pass, and no pixel changes. Only plain
cases are cut; for whatever is unusual the answer is None, and the caller encodes the pixels again.
"""

import struct

PNG_HEAD = b"\x89PNG\r\n\x1a\n"
PNG_KEPT = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
PNG_COLOURS = (0, 2, 3)  # grey, RGB, palette: all without transparency

SOI, EOI, SOS, DRI = 0xD8, 0xD9, 0xDA, 0xDD
APP0, APP14 = 0xE0, 0xEE
FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive
TABLES = (0xC4, 0xDB, DRI)  # Huffman, quantisation, restarts
ALONE = (0x00, 0xFF, *range(0xD0, 0xD8))  # what may follow 0xFF inside a scan
PLAIN_APP0 = 16  # bytes of a JFIF segment without a thumbnail
PLAIN_APP14 = 14  # of Adobe's, which says how the colours are coded


def bare(content: bytes) -> tuple[str, bytes] | None:
    """(suffix, bytes) of a JPEG or PNG that decodes to the same pixels. None: encode the pixels again.

    `content` was decoded before and found whole and upright.
    """
    try:
        if content.startswith(b"\xff\xd8"):
            return ".jpg", _jpeg(content)
        if content.startswith(PNG_HEAD):
            return ".png", _png(content)
    except (ValueError, IndexError, struct.error):
        pass
    return None


def _jpeg(content: bytes) -> bytes:
    """Raises ValueError, IndexError or struct.error for what is not plain."""
    kept, at = [content[:2]], 2
    while True:
        if content[at] != 0xFF:
            raise ValueError("no marker")
        while content[at + 1] == 0xFF:  # fill bytes
            at += 1
        marker = content[at + 1]
        if marker == EOI:
            return b"".join([*kept, b"\xff\xd9"])
        (length,) = struct.unpack_from(">H", content, at + 2)
        segment = content[at : at + 2 + length]
        at += 2 + length
        if marker in FRAMES:
            if segment[4] != 8 or segment[9] not in (1, 3):
                raise ValueError("not eight bits of grey or three colours")
        elif marker == SOS:
            end = _scan_end(content, at)
            segment, at = segment + content[at:end], end
        elif marker == APP0 and length != PLAIN_APP0:
            if segment[4:8] == b"JFIF":
                raise ValueError("a thumbnail inside")
            continue
        elif marker not in TABLES and (marker, length) not in ((APP0, PLAIN_APP0), (APP14, PLAIN_APP14)):
            if not 0xE0 <= marker <= 0xEF and marker != 0xFE:
                raise ValueError("an unusual segment")
            continue  # EXIF, profiles, positions, comments
        kept.append(segment)


def _scan_end(content: bytes, at: int) -> int:
    """Where the next marker stands behind compressed data."""
    while True:
        at = content.index(b"\xff", at)
        if content[at + 1] not in ALONE:
            return at
        at += 1 if content[at + 1] == 0xFF else 2


def _png(content: bytes) -> bytes:
    """Raises ValueError, IndexError or struct.error for what is not plain."""
    kept, at = [PNG_HEAD], len(PNG_HEAD)
    while True:
        length, kind = struct.unpack_from(">I4s", content, at)
        chunk = content[at : at + 12 + length]
        at += 12 + length
        if kind == b"IHDR" and (chunk[16] != 8 or chunk[17] not in PNG_COLOURS):
            raise ValueError("not eight bits, or with transparency")
        if kind in (b"tRNS", b"acTL"):
            raise ValueError("transparent or animated")
        if kind in PNG_KEPT:
            kept.append(chunk)
        if kind == b"IEND":
            return b"".join(kept)
