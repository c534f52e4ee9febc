"""Object numbers as an image of 16 bits a pixel: PNG, and TIFF with the pixel size in it."""

import io

import numpy as np
import tifffile
from PIL import Image

from segapp.measurement.document import Document


def png(labels: np.ndarray) -> bytes:
    """labels: H,W of 0 to 65,535."""
    out = io.BytesIO()
    Image.fromarray(labels.astype(np.uint16)).save(out, "PNG", compress_level=1)
    return out.getvalue()


def read_png(content: bytes) -> np.ndarray:
    """int32 H,W, as `png` wrote it."""
    with Image.open(io.BytesIO(content)) as opened:
        return np.asarray(opened).astype(np.int32)


def tiff(document: Document) -> bytes:
    """As ImageJ writes it; other programs read it as a plain TIFF."""
    out = io.BytesIO()
    options: dict = {"imagej": True}
    if document.size is not None:
        options["resolution"] = (1 / document.size.x, 1 / document.size.y)
        options["metadata"] = {"unit": "um"}
    tifffile.imwrite(out, document.objects.labels.astype(np.uint16), **options)
    return out.getvalue()
