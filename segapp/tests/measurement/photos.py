"""Images of bright shapes of known size on black, and a network that finds exactly what is bright."""

import io

import numpy as np
import tifffile
from PIL import Image

from registry.runtime import LoadedNetwork
from segapp.tests.batch.sending import BrightInParts
from segapp.tests.measurement.drawing import disc
from segapp.tests.video.videos import bright_network

SIDE = 512
RADII = (20, 30, 40)
BRIGHT = 3  # the class that the network finds


def network(key: str = "user_" + "a" * 32) -> LoadedNetwork:
    """It sees images of SIDE pixels as they are, so its masks are exact."""
    found = bright_network(SIDE, key)
    found.module = BrightInParts()
    return found


def shapes() -> np.ndarray:
    """uint8 SIDE,SIDE of 0 and 1: three discs, a square of 60 that touches nothing, and one disc cut by the edge."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for place, radius in enumerate(RADII):
        disc(mask, 100 + 130 * place, 100, radius)
    mask[250:310, 80:140] = 1
    disc(mask, 300, 512, 30)
    return mask


def touching() -> np.ndarray:
    """Two discs of radius 40 that touch, and one apart."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    disc(mask, 120, 120, 40)
    disc(mask, 196, 120, 40)
    disc(mask, 400, 400, 30)
    return mask


def photo(mask: np.ndarray) -> np.ndarray:
    """uint8 H,W,3: what is set in the mask is bright."""
    return np.repeat((mask * 210 + 20)[..., None], 3, axis=2).astype(np.uint8)


def png(mask: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(photo(mask)).save(out, "PNG")
    return out.getvalue()


def imagej_tiff(mask: np.ndarray, micrometres: float) -> bytes:
    """A TIFF whose file says its pixel size."""
    out = io.BytesIO()
    across = 1 / micrometres
    tifffile.imwrite(out, photo(mask)[..., 0], imagej=True, resolution=(across, across), metadata={"unit": "um"})
    return out.getvalue()


def geotiff(mask: np.ndarray) -> bytes:
    """Half a metre a pixel, the upper left corner at 500,000 east and 5,000,000 north in UTM zone 32."""
    keys = (1, 1, 0, 2, 1024, 0, 1, 1, 3072, 0, 1, 32_632)
    tags = [
        (33550, "d", 3, (0.5, 0.5, 0.0), True),
        (33922, "d", 6, (0.0, 0.0, 0.0, 500_000.0, 5_000_000.0, 0.0), True),
        (34735, "H", len(keys), keys, True),
    ]
    out = io.BytesIO()
    tifffile.imwrite(out, photo(mask), photometric="rgb", extratags=tags)
    return out.getvalue()
