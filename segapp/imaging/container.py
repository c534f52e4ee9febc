"""Which video container a file's first bytes announce. Plain bytes: both sides may import it.

A name proves nothing: a playlist called .mp4 would make a demuxer open what the playlist points to. Only the
families below are ever opened, and each by its own demuxer.
"""

from segapp.imaging.formats import STILL_IMAGE_BRANDS

HEAD = 64  # bytes that are enough to tell

ISO_MEDIA = "mov"  # MP4, MOV: boxes
MATROSKA = "matroska"  # MKV, WebM: EBML
AVI = "avi"  # RIFF chunks

# What an MP4 or MOV may begin with; all but `ftyp` come from older QuickTime files.
FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
EBML = b"\x1a\x45\xdf\xa3"


def family(head: bytes) -> str | None:
    """ISO_MEDIA, MATROSKA, or None when the bytes begin no accepted container."""
    if head.startswith(EBML):
        return MATROSKA
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return AVI
    if head[4:8] in FIRST_BOXES and not (head[4:8] == b"ftyp" and head[8:12] in STILL_IMAGE_BRANDS):
        size = int.from_bytes(head[:4], "big")
        if size == 0 or size == 1 or size >= 8:  # to the end of the file, 64-bit size, or itself
            return ISO_MEDIA
    return None


def suffix(head: bytes) -> str:
    """The ending under which a file is stored, by what it holds and not by what it was called."""
    return {MATROSKA: ".mkv", AVI: ".avi"}.get(family(head) or "", ".mp4")
