"""Masks find their images by name, whatever the names are made of."""

from dataclasses import dataclass

import pytest

from segapp.services.errors import InvalidUpload
from segapp.services.pairing import pair, shown, stem_of


@dataclass(frozen=True)
class File:
    name: str


def pairs(images: list[str], masks: list[str]) -> list[tuple[str, str, str]]:
    found = pair([File(name) for name in images], [File(name) for name in masks])
    return [(stem, image.name, mask.name) for stem, image, mask in found]


def refused(images: list[str], masks: list[str]) -> dict[str, str]:
    with pytest.raises(InvalidUpload) as refusal:
        pairs(images, masks)
    return {problem["file"]: problem["message"] for problem in refusal.value.problems}


def test_stems_decide_and_never_the_order():
    assert pairs(["b.jpg", "a.jpg"], ["a.png", "b.png"]) == [("a", "a.jpg", "a.png"), ("b", "b.jpg", "b.png")]


@pytest.mark.parametrize("mask", ["a_mask.png", "a-mask.png", "a_label.png", "a_gt.png", "A_MASK.PNG", "a.jpg.png"])
def test_an_addition_to_the_stem_is_understood(mask):
    assert pairs(["a.jpg"], [mask]) == [("a", "a.jpg", mask)]


def test_the_exact_name_wins_and_the_other_mask_is_listed():
    assert refused(["a.jpg"], ["a.png", "a_mask.png"]).keys() == {"a_mask.png"}


def test_two_masks_with_additions_are_not_chosen_between():
    assert refused(["a.jpg"], ["a_mask.png", "a_gt.png"]).keys() == {"a.jpg", "a_mask.png", "a_gt.png"}


def test_an_image_whose_own_name_ends_like_a_mask_keeps_its_mask():
    found = pairs(["a.jpg", "a_mask.jpg"], ["a.png", "a_mask.png"])
    assert [mask for _, _, mask in found] == ["a.png", "a_mask.png"]


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
