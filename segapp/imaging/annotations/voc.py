"""labelmap.txt of Pascal VOC and CVAT's "Segmentation mask": the names of the colours in SegmentationClass."""

from segapp.imaging.annotations.shapes import MAX_LABELS, color, text

MAX_BYTES = 10**6


def is_labelmap(content: bytes) -> bool:
    lines = [line for line in content[:MAX_BYTES].splitlines() if line.strip() and not line.startswith(b"#")]
    return bool(lines) and all(line.count(b":") >= 3 for line in lines)


def names(content: bytes) -> dict[str, str]:
    """ "#rrggbb" -> name of each line `name:r,g,b:parts:actions`."""
    found: dict[str, str] = {}
    for line in content[:MAX_BYTES].decode("utf-8-sig", "replace").splitlines()[:MAX_LABELS]:
        name, _, rest = line.partition(":")
        parts = rest.split(":")[0].split(",")
        if not line.startswith("#") and len(parts) == 3 and (known := color(*parts)) and text(name):
            found.setdefault(known, text(name))
    return found
