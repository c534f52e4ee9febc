"""Photos that EXIF turns, and masks drawn on either form of them."""

import numpy as np
import pytest
from PIL import Image

from segapp.imaging import InvalidFile, decode, pairs
from segapp.tests.imaging.drawing import saved, shapes, truth


def turned_photo(turn: int, raw: Image.Image) -> object:
    exif = Image.Exif()
    exif[decode.ORIENTATION] = turn
    return saved(raw, "JPEG", quality=95, exif=exif)


def scene(size: tuple[int, int]) -> tuple[Image.Image, Image.Image]:
    """An image of a bright disc and box on dark ground, and its mask: nothing in it is symmetric."""
    image = shapes([(40, 50, 40), (220, 200, 60), (90, 160, 230)], "RGB").crop((0, 0, *size))
    return image, Image.fromarray(truth(3)).crop((0, 0, *size))


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("size", [(96, 96), (96, 64)], ids=["square", "oblong"])
@pytest.mark.parametrize("drawn_on", ["the file's pixels", "the upright image"])
def test_a_mask_stays_on_its_image(turn, size, drawn_on):
    image, mask = scene(size)
    upright = decode.upright(mask, turn)
    sent = mask if drawn_on == "the file's pixels" else upright
    pair = pairs.read(turned_photo(turn, image), "p.jpg", saved(sent), "p.png")
    assert pair.image.size == upright.size
    assert np.array_equal(pair.mask.codes, np.asarray(upright))


def test_a_mask_with_a_turn_of_its_own_is_not_turned_twice():
    image, mask = scene((96, 64))
    exif = Image.Exif()
    exif[decode.ORIENTATION] = 6
    pair = pairs.read(turned_photo(6, image), "p.jpg", saved(mask, exif=exif), "p.png")
    assert np.array_equal(pair.mask.codes, np.asarray(decode.upright(mask, 6)))


def test_a_mask_of_another_size_is_refused_with_both_sizes():
    image, mask = scene((96, 64))
    with pytest.raises(InvalidFile, match=r"p\.png: This mask is 40 × 30 pixels, its image p\.jpg is 64 × 96"):
        pairs.read(turned_photo(6, image), "p.jpg", saved(mask.crop((0, 0, 40, 30))), "p.png")
