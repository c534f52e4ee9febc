"""Files as microscopes, cameras, phones and map makers write them."""

import io

import imagecodecs
import numpy as np
import pillow_heif
import tifffile
from PIL import Image

from segapp.tests.imaging.drawing import photo


def grey(height: int = 96, width: int = 128) -> np.ndarray:
    """uint8 (H,W): smooth, from dark to bright, nothing symmetric."""
    y, x = np.mgrid[:height, :width]
    waves = np.sin(x / 9) + np.cos(y / 7 + x / 40) + x / width * 2
    return np.rint((waves - waves.min()) / np.ptp(waves) * 255).astype(np.uint8)


def colour(height: int = 96, width: int = 128) -> np.ndarray:
    """uint8 (H,W,3)."""
    return np.ascontiguousarray(np.asarray(photo(192))[:height, :width])


def tiff(values: np.ndarray, **options) -> io.BytesIO:
    out = io.BytesIO()
    tifffile.imwrite(out, values, **options)
    out.seek(0)
    return out


def deep_png(values: np.ndarray) -> io.BytesIO:
    """A PNG of uint16 (H,W), (H,W,2), (H,W,3) or (H,W,4)."""
    return io.BytesIO(imagecodecs.png_encode(values))


def heic(image: Image.Image, **options) -> io.BytesIO:
    out = io.BytesIO()
    pillow_heif.from_pillow(image).save(out, quality=95, **options)
    out.seek(0)
    return out


def six_encodings(picture: np.ndarray) -> dict[str, io.BytesIO]:
    """One grey image, uint8 (H,W), as six microscopes store it."""
    share = picture / 255.0
    random = np.random.default_rng(5)
    hot = np.rint(share * 4095 * 0.25).astype(np.uint16)
    places = random.integers(0, hot.size, max(3, hot.size // 20_000))
    hot.reshape(-1)[places] = 4095
    twelve = np.rint(np.repeat(share[..., None], 3, axis=2) * 4095).astype(np.uint16)
    return {
        "full.tif": tiff(np.rint(share * 65535).astype(np.uint16)),
        "thousand.tif": tiff(np.rint(share * 1000).astype(np.uint16)),
        "eleven_hundred.tif": tiff(np.rint(share * 1100).astype(np.uint16), compression="zlib"),
        "offset.tif": tiff(np.rint(33000 + share * 3900).astype(np.uint16), tile=(32, 32)),
        "hot.tif": tiff(hot),
        "rgb48.tif": tiff(twelve, photometric="rgb", compression="lzw"),
    }
