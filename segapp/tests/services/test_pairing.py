"""Masks find their images by name, whatever the names are made of."""

from dataclasses import dataclass

import pytest

from segapp.services.errors import InvalidUpload
from segapp.services.pairing import arrange, pair, several, shown, stem_of


@dataclass(frozen=True)
class File:
    name: str
    folder: str = ""


ROADS = ["um_road_000000", "um_road_000001", "umm_road_000000"]


def pairs(images: list[str], masks: list[str]) -> list[tuple[str, str, str]]:
    found = pair([File(name) for name in images], [File(name) for name in masks])
    return [(group.stem, group.image.name, group.masks[0].name) for group in found]


def refused(images: list[str], masks: list[str]) -> dict[str, str]:
    with pytest.raises(InvalidUpload) as refusal:
        pairs(images, masks)
    return {problem["file"]: problem["message"] for problem in refusal.value.problems}


def test_stems_decide_and_never_the_order():
    assert pairs(["b.jpg", "a.jpg"], ["a.png", "b.png"]) == [("a", "a.jpg", "a.png"), ("b", "b.jpg", "b.png")]


@pytest.mark.parametrize("mask", ["a_mask.png", "a-mask.png", "a_label.png", "a_gt.png", "A_MASK.PNG", "a.jpg.png"])
def test_an_addition_to_the_stem_is_understood(mask):
    assert pairs(["a.jpg"], [mask]) == [("a", "a.jpg", mask)]


@pytest.mark.parametrize(
    "masks",
    [["a.png", "a_mask.png"], ["a_mask.png", "a_gt.png"], ["a_mask.png", "a_mask_1.png"], ["a_1.png", "a_2.png"]],
)
def test_several_masks_of_one_image_are_taken_together_and_it_is_said(masks):
    found = arrange([File("a.jpg")], [File(name) for name in masks])
    assert not found.problems
    assert [sorted(mask.name for mask in group.masks) for group in found.groups] == [sorted(masks)]
    (said,) = several(found.groups)
    assert "several masks" in said and "united" in said


def test_an_image_whose_own_name_ends_like_a_mask_keeps_its_mask():
    found = pairs(["a.jpg", "a_mask.jpg"], ["a.png", "a_mask.png"])
    assert [mask for _, _, mask in found] == ["a.png", "a_mask.png"]


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        (["001_image.png", "002_image.png"], ["001_annotation.png", "002_annotation.png"]),
        (["001_image.png"], ["001_annotation.png"]),
        (["ISIC_0000000.jpg", "ISIC_0000001.jpg"], ["ISIC_0000000_segmentation.png", "ISIC_0000001_segmentation.png"]),
        (["07_input.tif", "08_input.tif"], ["07_expert1.gif", "08_expert1.gif"]),
        (["07_input.tif"], ["07_expert1.gif"]),
        (["cell7.png"], ["cell7_cp_masks.png"]),
        (["a.ome.tif", "b.ome.tif"], ["a.mask.png", "b.mask.png"]),
        (["aachen_0_19_leftImg8bit.png"], ["aachen_0_19_gtFine_labelIds.png"]),
        (["img_1.png", "img_2.png"], ["mask_1.png", "mask_2.png"]),
        (["01_test.tif", "02_test.tif"], ["01_manual1.gif", "02_manual1.gif"]),
        (["x_before.png", "y_before.png"], ["x_after.png", "y_after.png"]),
        (["t000.tif", "t001.tif"], ["man_seg000.tif", "man_seg001.tif"]),
        (["A.PNG"], ["a_SEG.TIF"]),
        (["12345_sat.jpg", "22345_sat.jpg"], ["12345_mask.png", "22345_mask.png"]),
        (["0001TP_006690.png"], ["0001TP_006690_L.png"]),
        (["im0001.png"], ["im0001.ah.png"]),
        (["um_000000.png", "um_000001.png", "umm_000000.png"], [f"{n}.png" for n in ROADS]),
        (["z-stack-0321_a01_s1_w1aaf.tif", "z-stack-0321_a01_s2_w1bbf.tif"], ["a01_s1.png", "a01_s2.png"]),
        (["1a2b3c4d-photo1.png", "5e6f7a8b-photo2.png"], ["photo1.png", "photo2.png"]),
    ],
)
def test_endings_and_beginnings_that_a_side_shares_are_taken_off(images, masks):
    found = arrange([File(name) for name in reversed(images)], [File(name) for name in masks])
    assert [(group.image.name, [mask.name for mask in group.masks]) for group in found.groups] == [
        (image, [mask]) for image, mask in zip(images, masks, strict=True)
    ]


@pytest.mark.parametrize(
    ("images", "kinds"),
    [
        (["21_training.tif", "22_training.tif"], ["_manual1.gif", "_training_mask.gif"]),
        (["21_training.tif"], ["_manual1.gif", "_training_mask.gif"]),
        (["a_000001_leftImg8bit.png", "b_000019_leftImg8bit.png"], ["_gtFine_labelIds.png", "_gtFine_color.png"]),
        (["01_dr.jpg", "02_dr.jpg"], ["_dr.tif", "_dr_mask.tif"]),
        (["Image_01L.jpg", "Image_02R.jpg"], ["_1stHO.png", "_2ndHO.png"]),
    ],
)
def test_masks_of_several_kinds_all_find_their_image(images, kinds):
    cores = [name.rsplit(".", 1)[0].split("_training")[0].split("_leftImg")[0].split("_dr")[0] for name in images]
    found = arrange([File(name) for name in images], [File(f"{core}{kind}") for kind in kinds for core in cores])
    assert not found.problems
    masks = {group.image.name: sorted(mask.name for mask in group.masks) for group in found.groups}
    assert masks == {name: sorted(f"{core}{kind}" for kind in kinds) for name, core in zip(images, cores, strict=True)}


def test_the_endings_that_were_taken_off_are_said():
    found = arrange([File("001_image.png")], [File("001_annotation.png")])
    assert found.notes == [
        "Your masks end in “_annotation” and your images end in “_image”: they are paired by what is left."
    ]
    assert "“_L”" in arrange([File("0001TP_1.png")], [File("0001TP_1_L.png")]).notes[0]


@pytest.mark.fault(19)
@pytest.mark.parametrize(
    ("images", "masks"),
    [
        (["dog.jpg", "cat.jpg"], ["fish.png", "bird.png"]),
        (["scan_a.png"], ["scan_b.png"]),
        (["1.png", "2.png"], ["1.png", "1_2.png"]),
        (["dog_01.png"], ["cat_01.png"]),
        (["a1.jpg", "a2.jpg"], ["b3.png", "b4.png"]),
        (["scan_1.png", "scan_2.png"], ["scan_1.png", "scan_1_2.png"]),
        (["cat.jpg"], ["cat.png", "cat_dog.png"]),
        (["a_01.png", "b_01.png"], ["a_01.png", "c_a_01.png"]),
    ],
)
def test_other_names_are_never_paired(images, masks):
    assert refused(images, masks)


def test_a_refusal_names_the_pattern_that_was_seen():
    found = refused(
        ["a_image.png", "b_image.png", "c_image.png"], ["a_annotation.png", "b_annotation.png", "d_annotation.png"]
    )
    assert {"c_image.png", "d_annotation.png"} < found.keys()
    assert "your masks end in “_annotation”" in found[""].lower()


def test_the_same_stem_in_two_folders_is_two_images():
    images = [File("a.jpg", "set/train/images"), File("a.jpg", "set/val/images")]
    masks = [File("a.png", "set/val/masks"), File("a.png", "set/train/masks")]
    found = arrange(images, masks)
    assert not found.problems
    pairs_of_folders = [(group.image.folder, group.masks[0].folder) for group in found.groups]
    assert sorted(pairs_of_folders) == [("set/train/images", "set/train/masks"), ("set/val/images", "set/val/masks")]
    assert len({group.stem for group in found.groups}) == 2 and not any("/" in group.stem for group in found.groups)


def test_a_folder_of_one_mask_an_object_belongs_to_its_image():
    images = [File(f"{name}.png", f"stage1/{name}/images") for name in ("ab", "cd")]
    masks = [
        File(f"{name}{k}x.png", f"stage1/{folder}/masks")
        for folder, name in (("ab", "q"), ("cd", "r"))
        for k in range(3)
    ]
    found = arrange(images, masks)
    assert not found.problems and [len(group.masks) for group in found.groups] == [3, 3]
    assert {mask.folder for mask in found.groups[1].masks} == {"stage1/cd/masks"}


def test_object_masks_stand_beside_the_class_masks_of_the_same_name():
    masks = [File("a.png", "SegmentationClass"), File("a.png", "SegmentationObject")]
    (group,) = arrange([File("a.jpg", "JPEGImages")], masks).groups
    assert [mask.folder for mask in group.masks] == ["SegmentationClass"]
    assert [mask.folder for mask in group.objects] == ["SegmentationObject"]


def test_every_file_without_a_partner_is_listed():
    assert refused(["a.jpg", "b.jpg"], ["c.png", "d.png"]).keys() == {"a.jpg", "b.jpg", "c.png", "d.png"}


def test_forms_of_one_letter_meet():
    assert len(pairs(["caf\u00e9.jpg"], ["cafe\u0301.png"])) == 1
    assert len(pairs(["IMG_1.JPG"], ["img_1.png"])) == 1


def test_what_follows_a_dot_is_an_ending_only_when_it_looks_like_one():
    assert [stem for stem, _, _ in pairs(["scan.0001", "scan.0002"], ["scan.0001", "scan.0002"])] == [
        "scan.0001",
        "scan.0002",
    ]
    assert stem_of("photo.v2.png") == "photo.v2"
    assert stem_of(".png") == ".png" and stem_of("") == "unnamed"


def test_long_names_that_differ_at_the_end_are_two():
    long = "x" * 240
    assert len(pairs([f"{long}1.png", f"{long}2.png"], [f"{long}1.png", f"{long}2.png"])) == 2


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("../../etc/passwd.png", "passwd.png"),
        ("..\\..\\win.png", "win.png"),
        ("a\0b\n.png", "ab.png"),
        ("\u202egnp.exe", "gnp.exe"),
        ("", "unnamed"),
        ("\U0001f63a.png", "\U0001f63a.png"),
    ],
)
def test_names_are_shown_without_folders_and_tricks(name, seen):
    assert shown(name) == seen


def test_long_names_are_shortened_and_keep_their_ending():
    assert len(shown("x" * 300 + ".png")) <= 120 and shown("x" * 300 + ".png").endswith(".png")
