"""Published sets with several kinds of masks for each image: classes, colours, object numbers, fields of view."""

import numpy as np
import pytest
from PIL import Image

from segapp.tests.imaging.drawing import photo
from segapp.worker.local_training import read_folders

SIZE = (80, 60)


def disc(value: int, x: int = 40, radius: int = 8) -> np.ndarray:
    """uint16 (60, 80): a disc of this value on 0."""
    rows, columns = np.mgrid[:60, :80]
    return np.where((rows - 30) ** 2 + (columns - x) ** 2 < radius**2, value, 0).astype(np.uint16)


def write(folder, files: dict[str, np.ndarray]) -> None:
    folder.mkdir()
    for name, values in files.items():
        Image.fromarray(values if values.max() > 255 else values.astype(np.uint8)).save(folder / name)


def trained(tmp_path, images: list[str], masks: dict[str, np.ndarray]):
    write(tmp_path / "images", {name: np.asarray(photo(96).crop((0, 0, *SIZE))) for name in images})
    write(tmp_path / "masks", masks)
    return read_folders(tmp_path / "images", tmp_path / "masks")


@pytest.mark.parametrize("count", [1, 2])
def test_a_field_of_view_is_left_out_and_said(tmp_path, count):
    numbers = range(21, 21 + count)
    masks = {f"{k}_manual1.gif": disc(255, k) for k in numbers}
    masks |= {f"{k}_training_mask.gif": disc(255, radius=44) for k in numbers}
    examples, classes, notes, _ = trained(tmp_path, [f"{k}_training.png" for k in numbers], masks)
    assert [found.id for found in classes] == [0, 1]
    for k, example in zip(numbers, examples, strict=True):
        assert np.array_equal(example.mask, disc(1, k))
    assert any("field of view" in note and "21_training_mask.gif" in note for note in notes)


def test_cityscapes_gives_classes_and_numbered_objects_and_its_colours_are_left_out(tmp_path):
    cars = disc(19, 20) + disc(19, 60)
    masks = {}
    for town in ("ulm_000000_000019", "bonn_000001_000019"):
        masks[f"{town}_gtFine_labelIds.png"] = cars + 7
        masks[f"{town}_gtFine_instanceIds.png"] = disc(25993, 20) + disc(25994, 60) + 7
        colour = np.full((60, 80, 3), 90, np.uint8)
        colour[cars > 0] = (0, 0, 142)
        masks[f"{town}_gtFine_color.png"] = colour
    images = [f"{town}_leftImg8bit.png" for town in ("ulm_000000_000019", "bonn_000001_000019")]
    examples, classes, notes, _ = trained(tmp_path, images, masks)
    assert [(found.id, bool(found.things)) for found in classes] == [(7, False), (26, True)]
    for example in examples:
        assert np.array_equal(example.mask, cars + 7)
        assert set(np.unique(example.instances)) == {0, 1, 2} and (example.instances[cars == 0] == 0).all()
    assert any("say the same" in note and "color" in note for note in notes)


def test_values_that_do_not_go_together_are_not_mixed(tmp_path):
    masks = {f"man_seg{k:03d}.png": disc(1, 20) + disc(2, 50) for k in range(2)}
    masks |= {f"man_track{k:03d}.png": disc(7, 20, 3) + disc(8, 50, 3) for k in range(2)}
    examples, _, notes, _ = trained(tmp_path, ["t000.png", "t001.png"], masks)
    assert np.array_equal(examples[0].mask, disc(1, 20) + disc(2, 50))
    assert any("Not used" in note and "man_track000.png" in note for note in notes)


def test_masks_that_differ_by_a_number_are_no_kinds(tmp_path):
    masks = {f"{k}_mask{more}.png": disc(255, x) for k in "ab" for more, x in (("", 20), ("_1", 50))}
    examples, _, notes, _ = trained(tmp_path, ["a.png", "b.png"], masks)
    assert np.array_equal(examples[0].mask, disc(1, 20) + disc(1, 50)) and examples[0].instances.max() == 2
    assert any("united" in note for note in notes)
