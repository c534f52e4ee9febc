"""Parts of a file, as players ask for them (RFC 9110, one range): without them a video cannot be sought in."""

import re
from collections.abc import Iterator
from pathlib import Path

from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

PIECE = 256 * 1024  # bytes
ONE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)  # more digits than any file has bytes: no range


def send(request: HttpRequest, path: Path, content_type: str) -> HttpResponseBase:
    """The file, or the one part of it that the request names; several parts at once are answered with the whole."""
    size = path.stat().st_size
    match = ONE_RANGE.fullmatch(request.headers.get("Range", "").strip())
    response: HttpResponseBase
    if match is None or match.groups() == ("", ""):
        response = FileResponse(path.open("rb"), content_type=content_type)
    elif (part := span(match.group(1), match.group(2), size)) is None:
        response = HttpResponse(status=416)
        response["Content-Range"] = f"bytes */{size}"
    else:
        first, last = part
        response = StreamingHttpResponse(pieces(path, first, last), status=206, content_type=content_type)
        response["Content-Range"] = f"bytes {first}-{last}/{size}"
        response["Content-Length"] = str(last - first + 1)
    response["Accept-Ranges"] = "bytes"
    return response


def span(first: str, last: str, size: int) -> tuple[int, int] | None:
    """First and last byte of what is meant, both included; None when it lies behind the end."""
    if first:
        begin, end = int(first), min(int(last), size - 1) if last else size - 1
    else:
        begin, end = max(0, size - int(last)), size - 1
    return (begin, end) if begin <= end else None


def pieces(path: Path, first: int, last: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(first)
        left = last - first + 1
        while left > 0 and (piece := file.read(min(PIECE, left))):
            left -= len(piece)
            yield piece
