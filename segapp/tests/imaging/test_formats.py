import re
from pathlib import Path

import pytest
from PIL import Image

from segapp.imaging import formats, palette


def test_each_suffix_and_type_belongs_to_one_kind():
    kinds = [*formats.IMAGE_KINDS, *formats.VIDEO_KINDS, *formats.ARCHIVE_KINDS]
    for values in ([s for k in kinds for s in k.suffixes], [m for k in kinds for m in k.mime_types]):
        assert len(values) == len(set(values))
    assert all(re.fullmatch(r"\.[a-z0-9]+", suffix) for kind in kinds for suffix in kind.suffixes)


@pytest.mark.parametrize("kind", [kind for kind in formats.IMAGE_KINDS if kind.pillow], ids=lambda kind: kind.name)
def test_pillow_opens_what_the_table_says_it_does(kind):
    Image.init()
    assert kind.pillow in Image.OPEN
    assert {suffix for suffix in kind.suffixes if Image.EXTENSION.get(suffix) == kind.pillow}


def test_names_are_told_apart_by_suffix_in_any_case():
    assert formats.is_image("A.PNG") and formats.is_image(Path("folder/b.Jpeg")) and not formats.is_image("c.mp4")
    assert formats.is_video("A.MOV") and not formats.is_video("mov")
    assert formats.is_archive("set.ZIP") and not formats.is_archive("zip")


def test_kinds_are_named_as_a_sentence_names_them():
    assert formats.listed(formats.IMAGE_KINDS[:3]) == "PNG, JPEG or WebP"
    assert formats.listed(formats.ARCHIVE_KINDS) == "zip"


def test_the_colours_of_classes_start_with_the_table_and_never_repeat():
    colors = [palette.color(k) for k in range(formats.MAX_CLASSES)]
    assert tuple(colors[: len(formats.FIRST_COLORS)]) == formats.FIRST_COLORS
    assert len(set(colors)) == len(colors)
