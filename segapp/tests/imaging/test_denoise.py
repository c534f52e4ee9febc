"""Blur told from thin classes: on real masks, and on photos that are none."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from segapp.imaging import InvalidFile, decode, denoise
from segapp.imaging.decode import MaskSource
from segapp.tests.imaging.drawing import saved

OTHER_SETS = ("camvid", "cats_feral", "flood_area", "road_crack_cfd")
SETS = ("human", "nuclei_dsb2018", *OTHER_SETS)
COLOURS = np.array(
    [
        *([0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128]),
        *([0, 128, 128], [128, 128, 128], [192, 0, 0], [64, 128, 0], [192, 128, 128], [255, 255, 255]),
    ],
    dtype=np.uint8,
)


def settled(file: io.BytesIO) -> np.ndarray:
    """The keys of a settled mask, (H, W)."""
    mask = denoise.read(decode.mask(file, "m"), "m")
    return np.array(mask.summary.keys)[mask.codes]


def some(folder, count: int) -> list:
    found = sorted(folder.iterdir())
    return found[:: max(1, len(found) // count)][:count]


@pytest.mark.data
@pytest.mark.parametrize("name", SETS)
def test_real_index_masks_are_left_as_they_are(data, name):
    """Poles, cracks and signs are a pixel or two wide, as blur is."""
    for path in some(data / name / "masks", 12):
        source = decode.mask(io.BytesIO(path.read_bytes()), path.name)
        mask = denoise.read(source, path.name)
        assert not mask.summary.soft, path.name
        assert np.array_equal(np.array(mask.summary.keys)[mask.codes], source.values)


@pytest.mark.fault(13)
@pytest.mark.data
@pytest.mark.parametrize(
    "name", ["human", "nuclei_dsb2018", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHER_SETS)]
)
def test_real_masks_come_back_from_jpeg_and_from_smooth_scaling(data, name):
    for path in some(data / name / "masks", 3):
        with Image.open(path) as stored:
            ids = (np.asarray(stored) % 255 > 0).astype(np.uint8) * 255
        image = Image.fromarray(ids)
        for quality in (60, 90):
            assert (settled(saved(image, "JPEG", quality=quality)) == ids).mean() > 0.995, (path.name, quality)
        double = (image.width * 2, image.height * 2)
        grown = settled(saved(image.resize(double, Image.Resampling.BILINEAR)))
        assert (grown == np.asarray(image.resize(double, Image.Resampling.NEAREST))).mean() > 0.99, path.name
        assert set(np.unique(grown)) <= {0, 255}


@pytest.mark.data
def test_eleven_colours_come_back_from_jpeg(data):
    for path in some(data / "camvid" / "masks", 3):
        with Image.open(path) as stored:
            ids = np.where(np.asarray(stored) == 255, 11, np.asarray(stored))
        keys = settled(saved(Image.fromarray(COLOURS[ids]), "JPEG", quality=90))
        found = np.stack([(keys >> 16) & 255, (keys >> 8) & 255, keys & 255], axis=2).astype(int)
        near = np.abs(found - COLOURS[ids]).max(axis=2) <= 24
        assert near.mean() > 0.94, path.name
        assert len(np.unique(keys)) <= 12, "no phantom classes"


@pytest.mark.data
@pytest.mark.parametrize("name", ["camvid", "human", "flood_area", pytest.param("cats_feral", marks=pytest.mark.slow)])
def test_real_photos_are_refused(data, name):
    for path in some(data / name / "images", 5):
        with Image.open(path) as stored:
            photo = stored.convert("RGB")
            photo.thumbnail((400, 400))
        for file in (saved(photo), saved(photo, "JPEG"), saved(photo.convert("L")), saved(photo.convert("L"), "JPEG")):
            with pytest.raises(InvalidFile, match="photo"):
                settled(file)


def test_thin_lines_drawn_with_a_soft_brush_survive():
    """Cracks: no pixel of them has plain neighbours, and few reach their full value."""
    big = Image.new("L", (960, 960))
    pen = ImageDraw.Draw(big)
    for k in range(6):
        pen.line([(40 + 150 * k, 0), (160 + 150 * k, 480), (20 + 150 * k, 959)], fill=255, width=7)
    small = np.asarray(big.resize((240, 240), Image.Resampling.BOX))
    found = settled(saved(Image.fromarray(small)))
    assert set(np.unique(found)) == {0, 255}
    assert (found == 255)[small >= 192].mean() > 0.95
    assert 0.5 < (found == 255).sum() / (small.sum() / 255) < 1.5


def test_a_blurred_edge_of_many_pixels_is_cut_in_the_middle():
    ramp = np.clip((np.arange(160) - 75) * 25, 0, 255).astype(np.uint8)[None].repeat(64, 0)
    found = settled(saved(Image.fromarray(ramp)))
    assert set(np.unique(found)) == {0, 255}
    assert abs(int((found[0] == 255).argmax()) - 80) <= 1


def test_a_mask_of_one_value_or_one_pixel_is_fine():
    for values in (np.zeros((1, 1), np.uint8), np.full((3, 1), 255, np.uint8), np.zeros((1, 4000, 4), np.uint8)):
        mask = denoise.read(MaskSource("index" if values.ndim == 2 else "colour", values), "m")
        assert mask.summary.counts == (values.shape[0] * values.shape[1],)


def test_objects_numbered_one_by_one_are_refused_with_advice():
    ids = np.zeros((200, 200), dtype=np.uint8)
    for k in range(100):
        ids[2 + 20 * (k // 10) : 18 + 20 * (k // 10), 2 + 20 * (k % 10) : 18 + 20 * (k % 10)] = k + 1
    with pytest.raises(InvalidFile, match=r"101 different values.*objects of one kind share"):
        denoise.read(MaskSource("index", ids), "nuclei.png")
