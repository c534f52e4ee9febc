"""Images and masks that tests draw: a disc and a box on a background, saved in every way people save them."""

import io
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw

from segapp.imaging import class_mapping, denoise
from segapp.imaging.decode import MaskSource
from segapp.imaging.values import Mask

SIZE = 96


def shapes(colors, mode: str = "L", soft: bool = False) -> Image.Image:
    """Background colors[0], a disc in colors[1], a box in colors[2]; `soft`: with anti-aliased edges."""
    scale = 4 if soft else 1
    image = Image.new(mode, (SIZE * scale, SIZE * scale), colors[0])
    pen = ImageDraw.Draw(image)
    pen.ellipse([20 * scale, 30 * scale, 80 * scale, 90 * scale], fill=colors[1])
    for color in colors[2:3]:
        pen.rectangle([5 * scale, 5 * scale, 45 * scale, 22 * scale], fill=color)
    return image.resize((SIZE, SIZE), Image.Resampling.LANCZOS) if soft else image


def truth(classes: int = 2) -> np.ndarray:
    """uint8 (SIZE, SIZE): 0 background, 1 disc, 2 box when there are three classes."""
    return np.asarray(shapes([0, 1, 2][:classes]))


def saved(image: Image.Image, format: str = "PNG", **options) -> io.BytesIO:
    out = io.BytesIO()
    image.save(out, format, **options)
    out.seek(0)
    return out


def photo(side: int = 192, mode: str = "RGB") -> Image.Image:
    """Something that no mask looks like: smooth colours everywhere."""
    small = np.random.default_rng(7).integers(0, 255, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC).convert(mode)


def mapping_of(sources: Iterable[MaskSource | Mask], names: Sequence[str] | None = None) -> class_mapping.ClassMapping:
    """The mapping of a set of masks, held in memory together. Raises InvalidFile for photos and over 64 classes."""
    given = list(sources)
    names = list(names or [f"mask {k + 1}" for k in range(len(given))])
    exact = denoise.is_exact(denoise.survey(source) for source in given if isinstance(source, MaskSource))
    masks = [
        source if isinstance(source, Mask) else denoise.read(source, name, exact)
        for source, name in zip(given, names, strict=True)
    ]
    return class_mapping.read_summaries([mask.summary for mask in masks], names)
