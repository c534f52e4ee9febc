"""One image as six microscopes store it gives the same mask."""

from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from segapp.imaging import decode
from segapp.pipeline.inference.predict import predict
from segapp.pipeline.training.finetune import Example, finetune
from segapp.tests.pipeline.conftest import CLASSES, disc, loaded
from segapp.tests.readers.making import six_encodings


def grey(example: Example) -> np.ndarray:
    """uint8 (H,W): a bright disc on a dark ground, as microscopes show cells."""
    shown = np.asarray(Image.fromarray(example.image).convert("L")).astype(int)
    return np.where(example.mask > 0, shown + 90, shown // 3).clip(0, 255).astype(np.uint8)


def read(example: Example) -> dict[str, np.ndarray]:
    """The image as RGB from each of the six files."""
    files = six_encodings(grey(example))
    return {name: np.asarray(decode.image(file, name)) for name, file in files.items()}


@pytest.mark.slow
@pytest.mark.usefixtures("short_detail")
def test_six_encodings_of_an_image_give_one_mask(base):
    examples = [Example(f"{k}", read(disc(k))["full.tif"], disc(k).mask) for k in range(3)]
    network = loaded(base, finetune(base, examples, CLASSES, steps=40))
    masks = {name: predict(network, image).ids == 3 for name, image in read(disc(7)).items()}
    assert 0.05 < masks["full.tif"].mean() < 0.6
    for one, other in combinations(masks, 2):
        both, either = masks[one] & masks[other], masks[one] | masks[other]
        assert both.sum() / either.sum() > 0.9, (one, other)
