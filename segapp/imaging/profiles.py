"""Colours brought to sRGB by the profile that is embedded in a file, with LittleCMS."""

import io

import numpy as np
from PIL import Image, ImageCms

SAME = 3  # levels of eight bits: a profile that changes no colour by more is sRGB under one of its many names
INPUTS = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK", "LAB": "Lab"}

_srgb = ImageCms.createProfile("sRGB")


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image | None:
    """The image in sRGB, RGB; None when there is nothing to convert: no usable profile, or one that is sRGB itself.

    `image` has no transparency. Modes other than RGB, L, CMYK and LAB are left alone.
    """
    if image.mode not in INPUTS:
        return None
    try:
        source = _profile(image.mode, profile)
        if source is None:
            return None
        transform = ImageCms.buildTransform(source, _srgb, image.mode, "RGB")
        if image.mode == "RGB" and _changes_nothing(transform):
            return None
        return transform.apply(image)
    except (ImageCms.PyCMSError, OSError, ValueError):  # a damaged profile is no reason to refuse an image
        return None


def _profile(mode: str, profile: bytes | None) -> ImageCms.ImageCmsProfile | None:
    if profile:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if opened.profile.xcolor_space.strip() == INPUTS[mode]:
            return opened
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")) if mode == "LAB" else None


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    steps = np.linspace(0, 255, 8).round().astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(8, 64, 3)
    after = np.asarray(transform.apply(Image.fromarray(colours)))
    return bool(np.abs(after.astype(np.int16) - colours).max() <= SAME)
