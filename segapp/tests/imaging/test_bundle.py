"""Zips: pairs come out; what lies about its size or reaches out of its folder is refused before it is unpacked."""

import io
import struct
import zipfile

import pytest

from segapp.imaging import InvalidFile, archive, bundle
from segapp.tests.imaging.drawing import photo, saved, shapes


def packed(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out


@pytest.mark.fault(23)
@pytest.mark.parametrize(
    "files",
    [
        {"images/a.jpg": b"i", "masks/a.png": b"m"},
        {"set/JPEGImages/a.jpg": b"i", "set/SegmentationClass/a.png": b"m", "set/notes.txt": b"n"},
        {"labels of mine/images/a.jpg": b"i", "labels of mine/masks/a.png": b"m", "__MACOSX/masks/._a.png": b"x"},
        {"segmentation/images/a.png": b"i", "segmentation/masks/a.png": b"m"},
        {"images\\a.jpg": b"i", "masks\\a.png": b"m"},
        {"a.jpg": b"i", "a_mask.png": b"m"},
        {"a.jpg": b"i", "a.png": b"m"},
    ],
    ids=["folders", "as VOC", "hidden copies", "telling outer folder", "backslashes", "endings", "photo and PNG"],
)
def test_pairs_are_found(files):
    found = bundle.read_zip(packed(files), "set.zip")
    assert [member.file.getvalue() for member in found.images] == [b"i"]
    assert [member.file.getvalue() for member in found.masks] == [b"m"]
    assert all("/" not in member.name and "\\" not in member.name for member in (*found.images, *found.masks))


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("train/{}.png", "trainannot/{}.png"),
        ("x/{}.png", "y/{}.png"),
        ("StillsRaw/{}.jpg", "Approved/{}_L.png"),
        ("CameraRGB/{}.png", "CameraSeg/{}.png"),
        ("imagesTr/{}.png", "labelsTr/{}.png"),
        ("leftImg8bit/ulm/{}_leftImg8bit.png", "gtFine/ulm/{}_gtFine_labelIds.png"),
        ("JPEGImages/{}.jpg", "SegmentationClassPNG/{}.png"),
        ("{}.png", "{}_L.png"),
        ("{} (1).png", "{} (1)_mask_1.png"),
        ("{}_leftImg8bit.png", "{}_gtFine_labelIds.png"),
    ],
)
def test_masks_are_told_by_words_in_names_else_by_their_look(image, mask):
    files = {}
    for stem in ("ab_000001", "cd_000002"):
        files[image.format(stem)] = saved(photo(96), "JPEG" if image.endswith("jpg") else "PNG").getvalue()
        files[mask.format(stem)] = saved(shapes([0, 255])).getvalue()
    found = bundle.read_zip(packed(files), "set.zip")
    assert len(found.images) == len(found.masks) == 2
    assert {member.name for member in found.masks} == {
        mask.format(stem).rsplit("/", 1)[-1] for stem in ("ab_000001", "cd_000002")
    }


def test_two_folders_of_photos_hold_no_masks():
    files = {f"{folder}/a.png": saved(photo(96)).getvalue() for folder in ("x", "y")}
    with pytest.raises(InvalidFile, match="no folder of masks"):
        bundle.read_zip(packed(files), "set.zip")


@pytest.mark.fault(23)
def test_a_bomb_is_refused_by_its_ratio():
    with pytest.raises(InvalidFile, match="far more than it weighs"):
        bundle.read_zip(packed({"images/a.png": bytes(30 * 2**20), "masks/a.png": b"m"}), "bomb.zip")


def test_too_much_is_refused_by_its_declared_size(monkeypatch):
    monkeypatch.setattr(bundle, "MAX_POST_BYTES", 1000)
    with pytest.raises(InvalidFile, match="It unpacks to"):
        bundle.read_zip(packed({"images/a.png": b"i" * 600, "masks/a.png": b"m" * 600}), "large.zip")


@pytest.mark.fault(23)
def test_a_false_size_is_refused_while_unpacking():
    """The list says 10 bytes, the stream holds a megabyte: reading stops at what was declared."""
    content = packed({"images/a.png": bytes(2**20), "masks/a.png": b"m"}).getvalue()
    lying = content.replace(struct.pack("<L", 2**20), struct.pack("<L", 10))
    assert lying != content
    with pytest.raises(InvalidFile, match=r"cannot be unpacked|more than it says"):
        bundle.read_zip(io.BytesIO(lying), "liar.zip")


@pytest.mark.fault(23)
@pytest.mark.parametrize("name", ["../a.png", "images/../../a.png", "/etc/a.png", "C:\\a.png", "..\\a.png"])
def test_a_name_that_reaches_out_is_refused(name):
    with pytest.raises(InvalidFile, match="out of its folder"):
        bundle.read_zip(packed({name: b"i", "masks/a.png": b"m"}), "slip.zip")


def test_a_link_is_refused():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        link = zipfile.ZipInfo("images/a.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InvalidFile, match="link"):
        bundle.read_zip(out, "link.zip")


def test_unusual_packing_and_passwords_are_refused():
    with pytest.raises(InvalidFile, match="locked or packed unusually"):
        bundle.read_zip(packed({"images/a.png": b"i", "masks/a.png": b"m"}, zipfile.ZIP_LZMA), "lzma.zip")
    content = bytearray(packed({"images/a.png": b"i", "masks/a.png": b"m"}).getvalue())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(signature)
        while at >= 0:
            content[at + offset] |= 1
            at = content.find(signature, at + 1)
    with pytest.raises(InvalidFile, match="locked"):
        bundle.read_zip(io.BytesIO(bytes(content)), "locked.zip")


def test_a_long_list_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setattr(bundle, "MAX_LISTED", 10_000)
    monkeypatch.setattr(zipfile, "ZipFile", lambda *args: pytest.fail("it was opened"))
    content = io.BytesIO()
    content.write(archive.LAST_RECORD.pack(b"PK\x05\x06", 0, 0, 9000, 9000, 500_000, 0, 0))
    with pytest.raises(InvalidFile, match="far too many"):
        bundle.read_zip(content, "list.zip")


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x05\x06", b"hello" * 100])
def test_what_is_no_zip_is_refused(content):
    with pytest.raises(InvalidFile, match="not a zip"):
        bundle.read_zip(io.BytesIO(content), "set.zip")


def test_a_zip_of_one_kind_only_is_refused():
    with pytest.raises(InvalidFile, match="no folder of masks"):
        bundle.read_zip(packed({"images/a.png": b"i"}), "set.zip")
    with pytest.raises(InvalidFile, match="masks only"):
        bundle.read_zip(packed({"masks/a.png": b"m"}), "set.zip")
