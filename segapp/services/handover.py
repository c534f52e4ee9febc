"""Decoded pixels that the web process leaves for the worker, so that an upload is decoded once until it is answered.

Untrusted bytes are decoded in a confined process, which costs more than reading pixels back. Only for images of
usual size while few wait, so that the files take little room; a worker that finds none decodes the stored image, as one
does that shares no folder with the web process. Knows nothing of torch.
"""

from contextlib import suppress

import numpy as np
from PIL import Image

from registry import store
from registry.files import write_atomically
from segapp.models import UNFINISHED, Analysis

MAX_PIXELS = 4_000_000  # 12 MB
MAX_LEFT = 16  # images that wait, from which on nothing is left


def leave(analysis: Analysis, image: Image.Image) -> None:
    """Write the pixels of an RGB image beside the stored one, before a worker hears of it. Fails nothing."""
    if image.mode != "RGB" or image.width * image.height > MAX_PIXELS or store.is_shared():
        return
    if Analysis.objects.filter(windows=False, state__in=UNFINISHED).count() >= MAX_LEFT:
        return
    with suppress(OSError):
        write_atomically(
            analysis.pixels_path, lambda out: np.save(out, np.asarray(image)), announce=False, durable=False
        )


def pixels(analysis: Analysis) -> np.ndarray | None:
    """uint8 (H, W, 3) as it was left; None where nothing was, or nothing of the image's size."""
    try:
        found = np.load(analysis.pixels_path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.dtype == np.uint8 and found.shape == (analysis.height, analysis.width, 3) else None


def forget(analysis: Analysis) -> None:
    """Remove what was left, once it has been answered."""
    with suppress(OSError):
        analysis.pixels_path.unlink(missing_ok=True)
