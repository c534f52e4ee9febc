"""What people have, row by row: files as they come, through the page, the API and the command, with one result.

A row: its name, the images and the masks by file name (with folders), the ids that are learnt, what the first pair's
mask must be, and words that a note must hold.
"""

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image

from segapp.imaging.class_mapping import ClassMapping
from segapp.models import Example, TrainingRun
from segapp.services import example_files, intake
from segapp.tests.fixtures import Visitor
from segapp.tests.imaging.drawing import photo, saved
from segapp.tests.readers.making import deep_png, heic, tiff
from segapp.worker.local_training import read_folders

WIDTH, HEIGHT = 64, 48
PHOTO = np.ascontiguousarray(np.asarray(photo(WIDTH))[:HEIGHT])
GREY = np.asarray(Image.fromarray(PHOTO).convert("L"))
DEEP = GREY.astype(np.uint16) * 40 + 300


class Row(NamedTuple):
    name: str
    images: dict[str, bytes]
    masks: dict[str, bytes]
    ids: list[int]
    first: np.ndarray | None = None
    note: str = ""
    pairs: int = 1


def ids(*values: int) -> np.ndarray:
    """uint8 (HEIGHT, WIDTH): the first value, with a box of the second and one of the third."""
    found = np.full((HEIGHT, WIDTH), values[0], np.uint8)
    found[5:20, 6:26] = values[1]
    if len(values) > 2:
        found[25:40, 30:60] = values[2]
    return found


def png(values: np.ndarray | Image.Image, format: str = "PNG", **options: Any) -> bytes:
    image = values if isinstance(values, Image.Image) else Image.fromarray(values)
    return saved(image, format, **options).getvalue()


def cells(count: int) -> np.ndarray:
    """uint16 (HEIGHT, WIDTH): so many squares, numbered from 1."""
    found = np.zeros((HEIGHT, WIDTH), np.uint16)
    for k in range(count):
        row, column = divmod(k, 12)
        found[1 + 5 * row : 5 + 5 * row, 1 + 5 * column : 5 + 5 * column] = k + 1
    return found


SHOT, TWO, PLAIN = png(PHOTO), png(ids(0, 255)), ids(0, 1)
SQUARE = [[6, 5], [26, 5], [26, 20], [6, 20]]
LABELME = {"version": "5", "imagePath": "x.png", "imageData": "AAAA", "imageWidth": WIDTH, "imageHeight": HEIGHT}
LABELME["shapes"] = [{"label": "cell", "points": SQUARE, "shape_type": "polygon", "group_id": None}]
COLOUR = np.array([(0, 0, 0), (250, 50, 83)], np.uint8)
CYAN = np.array([(0, 0, 0, 0), (0, 255, 255, 178)], np.uint8)
JPEG = png(PHOTO, "JPEG", quality=95)


def turned(format: str, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return png(Image.fromarray(PHOTO).transpose(Image.Transpose.ROTATE_90), format, exif=exif, **options)


def row(name: str, image: bytes, mask: bytes = TWO, **more: Any) -> Row:
    """One pair of the usual names."""
    image_name, mask_name = more.pop("names", ("a.png", "a.png"))
    return Row(name, {image_name: image}, {mask_name: mask}, more.pop("ids", [0, 1]), more.pop("first", PLAIN), **more)


def thin(values: tuple[int, int, int]) -> np.ndarray:
    found = ids(values[0], values[2])
    found[5, 6:26] = found[19, 6:26] = values[1]
    return found


def in_modes(*modes: str) -> Iterator[tuple[str, bytes]]:
    for k, mode in enumerate(modes):
        yield f"{k}.png", png(Image.fromarray(ids(0, 255)).convert(mode))


NAMES = [
    row("N1 endings on both sides", SHOT, names=("001_image.png", "001_annotation.png"), note="“_annotation”"),
    row("N2 ISIC", SHOT, names=("ISIC_0000000.jpg", "ISIC_0000000_segmentation.png")),
    row("N2 expert", SHOT, png(ids(0, 255), "GIF"), names=("07_input.tif", "07_expert1.gif")),
    row("N2 cellpose", SHOT, names=("cell7.png", "cell7_cp_masks.png")),
    row("N2 .mask and .ome", tiff(DEEP, ome=True).getvalue(), names=("b.ome.tif", "b.mask.png")),
    row("N2 Cityscapes", SHOT, names=("ulm_0_1_leftImg8bit.png", "ulm_0_1_gtFine_labelIds.png")),
    row("N2 capitals", SHOT, names=("A.PNG", "a_MASK.Png")),
    Row("N4 two lesions", {"x.png": SHOT}, {"x_mask.png": TWO, "x_mask_1.png": png(np.flip(ids(0, 255)))}, [0, 1],
        np.maximum(PLAIN, np.flip(PLAIN)), "united"),
    Row("N4 a folder an image", {"q/images/q.png": SHOT},
        {"q/masks/h1.png": TWO, "q/masks/k7.png": png(np.flip(ids(0, 255)))}, [0, 1],
        np.maximum(PLAIN, np.flip(PLAIN)), "united"),
    Row("N5 train and val", {"train/images/a.png": SHOT, "val/images/a.png": SHOT},
        {"train/masks/a.png": TWO, "val/masks/a.png": png(np.flip(ids(0, 255)))}, [0, 1], PLAIN, pairs=2),
    Row("N5 object folder", {"JPEGImages/a.jpg": SHOT},
        {"SegmentationClass/a.png": png(COLOUR[PLAIN]), "SegmentationObject/a.png": png(COLOUR[PLAIN])}, [0, 1], PLAIN),
    row("N6 NFD", SHOT, names=("u\u0308.png", "\u00fc.png")),
    Row("N7 what systems leave", {"a.png": SHOT, "Thumbs.db": b"x"}, {"a.png": TWO, "desktop.ini": b"x"}, [0, 1],
        PLAIN),
    Row("N8 CVAT names", {"a.png": SHOT}, {"a.png": png(COLOUR[PLAIN]), "labelmap.txt": b"cell:250,50,83::\n"}, [0, 1],
        PLAIN),
    Row("N8 labelme", {"x.png": SHOT}, {"x.json": json.dumps(LABELME).encode()}, [0, 1], PLAIN),
    Row("N8 YOLO", {"x.png": SHOT}, {"data.yaml": b"names: [cell]",
        "x.txt": ("0 " + " ".join(f"{x / WIDTH} {y / HEIGHT}" for x, y in SQUARE)).encode()}, [0, 1], PLAIN),
]  # fmt: skip
IMAGES = [
    row("I1 16 bits", tiff(DEEP).getvalue()),
    row("I1 48-bit colour", deep_png(PHOTO.astype(np.uint16) * 16).getvalue()),
    row("I2 planar LZW", tiff(PHOTO.transpose(2, 0, 1), planarconfig="separate", compression="lzw",
                              photometric="rgb").getvalue()),
    row("I2 tiled BigTIFF, ZSTD", tiff(PHOTO, bigtiff=True, tile=(16, 16), compression="zstd",
                                       photometric="rgb").getvalue()),
    row("I2 float with NaN", tiff(np.where(GREY > 250, np.nan, GREY / 255).astype(np.float32)).getvalue()),
    row("I2 JPEG in TIFF", tiff(PHOTO, compression="jpeg", photometric="rgb").getvalue()),
    row("I2 CMYK TIFF", png(Image.fromarray(PHOTO).convert("CMYK"), "TIFF")),
    row("I2 palette TIFF", png(Image.fromarray(PHOTO).quantize(255), "TIFF")),
    row("I2 stack", tiff(np.stack([DEEP, DEEP[::-1]]), imagej=True, metadata={"axes": "ZYX"}).getvalue(),
        note="2 pages"),
    row("I2 hyperstack", tiff(np.stack([[DEEP] * 4] * 3), imagej=True, metadata={"axes": "ZCYX"}).getvalue(),
        note="4 channels"),
    row("I3 HEIC named .jpg", heic(Image.fromarray(PHOTO)).getvalue(), names=("a.jpg", "a.png")),
    row("I3 AVIF", png(PHOTO, "AVIF")),
    row("I3 BMP", png(PHOTO, "BMP")),
    row("I3 GIF", png(Image.fromarray(PHOTO).quantize(255), "GIF")),
    row("I4 JPEG without its end", JPEG[:-2], note="cut off"),
    row("I5 turned JPEG", turned("JPEG", quality=95)),
    row("I5 turned AVIF", turned("AVIF")),
    row("I5 turned WebP", turned("WEBP", lossless=True)),
    row("I5 turned TIFF", turned("TIFF")),
    row("I6 CMYK JPEG", png(Image.fromarray(PHOTO).convert("CMYK"), "JPEG", quality=95)),
    row("I6 grey with alpha", png(Image.fromarray(PHOTO).convert("LA"))),
    row("I7 GeoTIFF", tiff(PHOTO, tile=(16, 16), photometric="rgb",
                           extratags=[(33550, "d", 3, (0.5, 0.5, 0.0), True)]).getvalue()),
    row("I8 animated WebP", png(Image.fromarray(PHOTO), "WEBP", save_all=True, lossless=True,
                                append_images=[Image.fromarray(PHOTO[::-1])]), note="first frame"),
    row("MPO", png(Image.fromarray(PHOTO), "MPO", save_all=True, append_images=[Image.fromarray(PHOTO[::-1])])),
]  # fmt: skip
MASKS = [
    Row("M1 numbered cells", {"a.png": SHOT, "b.png": SHOT}, {"a.png": png(cells(21)), "b.png": png(cells(8))}, [0, 1],
        (cells(21) > 0).astype(np.uint8), "29 objects", pairs=2),
    row("M2 more than 64 cells", SHOT, png(cells(100)), first=(cells(100) > 0).astype(np.uint8), note="100 objects"),
    row("M3 transparent is the background", SHOT, png(CYAN[PLAIN]), note="transparent is the background"),
    row("M4 255 fills most", SHOT, png(ids(255, 0, 128)), ids=[0, 128], first=ids(255, 0, 128), note="255 is ignored"),
    row("M5 exact, thin boundary", SHOT, png(thin((0, 100, 200))), ids=[0, 100, 200], first=thin((0, 100, 200))),
    row("M6 ids with gaps", SHOT, png(ids(0, 7, 200)), ids=[0, 7, 200], first=ids(0, 7, 200)),
    row("M7 a pixel smaller", SHOT, png(ids(0, 255)[:, :-1]), first=None, note="fitted"),
    row("M8 black is the object", SHOT, png(Image.fromarray(ids(255, 0)).convert("1")), first=ids(1, 0), note="swap"),
    Row("M9 modes mixed", {f"{k}.png": SHOT for k in range(4)}, dict(in_modes("1", "L", "RGB", "RGBA")), [0, 1], PLAIN,
        pairs=4),
    row("M10 JPEG", SHOT, png(ids(0, 120, 240), "JPEG", quality=80), ids=[0, 120, 240], first=ids(0, 120, 240)),
    row("M11 GIF", SHOT, png(ids(0, 7, 200), "GIF"), ids=[0, 7, 200], first=ids(0, 7, 200)),
    row("M11 TIFF", SHOT, tiff(ids(0, 7, 200), compression="lzw").getvalue(), ids=[0, 7, 200], first=ids(0, 7, 200)),
    row("M11 BMP", SHOT, png(ids(0, 7, 200), "BMP"), ids=[0, 7, 200], first=ids(0, 7, 200)),
]  # fmt: skip
ROWS = [*NAMES, *IMAGES, *MASKS]
# Each starts a confined process several times; readers/ tests the same kinds of file without the three ways.
LONG = (
    "I2 tiled",
    "I2 float",
    "I2 JPEG",
    "I2 CMYK",
    "I2 palette",
    "I2 stack",
    "I3 HEIC",
    "I5 turned TIFF",
    "I7",
    "I1 48",
)


@pytest.fixture(autouse=True)
def own_media(db, settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.SEGAPP_RATE_LIMITS = False


def posted(found: Row) -> dict[str, Any]:
    """The row as a browser and a program send it."""
    sent: dict[str, Any] = {"paths": json.dumps({"images": list(found.images), "masks": list(found.masks)})}
    for kind, files in (("images", found.images), ("masks", found.masks)):
        sent[kind] = [SimpleUploadedFile(Path(name).name, content) for name, content in files.items()]
    return sent


def of_page(found: Row, _: Path) -> tuple:
    alice = Visitor()
    answer = alice.post("/finetune/", posted(found))
    assert answer.status_code == 302, answer.content.decode()[-3000:]
    examples = sorted(Example.objects.filter(visitor=alice.visitor), key=lambda example: example.stem)
    mapping = intake.review(examples)
    return told(examples, mapping, [*intake.notes_of(examples), *mapping.notes])


def of_api(found: Row, _: Path) -> tuple:
    answer = Visitor().post("/api/finetune", posted(found))
    assert answer.status_code == 202, answer.content
    run = TrainingRun.objects.get()
    examples = sorted(run.examples.all(), key=lambda example: example.stem)
    return told(examples, ClassMapping.from_dict(run.reading), answer.json()["notes"])


def told(examples: list[Example], mapping: ClassMapping, notes: list[str]) -> tuple:
    pixels = [(example_files.image_of(one), example_files.ids_of(one, mapping)) for one in examples]
    return [row["id"] for row in mapping.trained], pixels, notes


def of_command(found: Row, tmp_path: Path) -> tuple:
    for kind, files in (("images", found.images), ("masks", found.masks)):
        for name, content in files.items():
            target = tmp_path / kind / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    examples, classes, notes, _ = read_folders(tmp_path / "images", tmp_path / "masks")
    examples = sorted(examples, key=lambda example: example.stem)
    return [one.id for one in classes], [(one.image, one.mask) for one in examples], notes


WAYS: dict[str, Callable[[Row, Path], tuple]] = {"page": of_page, "api": of_api, "command": of_command}


@pytest.mark.parametrize(
    "found",
    [pytest.param(one, id=one.name, marks=[pytest.mark.slow] if one.name.startswith(LONG) else []) for one in ROWS],
)
def test_page_api_and_command_take_what_people_have_alike(found, tmp_path):
    results = {way: take(found, tmp_path) for way, take in WAYS.items()}
    for way, (classes, pixels, notes) in results.items():
        assert classes == found.ids, way
        assert len(pixels) == found.pairs, way
        image, mask = pixels[0]
        assert image.shape == (HEIGHT, WIDTH, 3) and mask.shape == (HEIGHT, WIDTH)
        grey = np.asarray(Image.fromarray(image).convert("L"), float)
        assert np.corrcoef(grey.ravel(), GREY.ravel())[0, 1] > 0.9, way
        if found.first is not None:
            assert (mask == found.first).mean() > 0.99, way
        assert any(found.note in note for note in notes) or not found.note, (way, notes)
    page, api, command = (result[1] for result in results.values())
    for one, *others in zip(page, api, command, strict=True):
        for other in others:
            assert np.array_equal(one[0], other[0]) and np.array_equal(one[1], other[1])


def test_names_and_kinds_that_are_wrong_are_answered_at_once(tmp_path):
    """N3: each file with all that is wrong with it."""
    bad = Row("", {"one.png": b"<svg/>"}, {"two.png": b"%PDF-1.7"}, [])
    answer = Visitor().post("/api/finetune", posted(bad))
    files = {entry["file"]: entry["message"] for entry in answer.json()["error"]["files"]}
    assert answer.status_code == 422 and not Example.objects.exists()
    assert "no mask" in files["one.png"] and "drawing" in files["one.png"]
    assert "no image" in files["two.png"] and "a PDF" in files["two.png"]


@pytest.mark.parametrize("flags", ["utf-8", "cp437"])
def test_names_in_zips_are_as_people_know_them(flags):
    """N6 and N7: without the flag for UTF-8, and with what systems leave beside files."""

    class Info(zipfile.ZipInfo):
        def _encodeFilenameFlags(self):  # noqa: N802  # as programs do that know nothing of the flag
            return self.filename.encode(flags), self.flag_bits & ~0x800

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in (("images/Übergröße.png", SHOT), ("masks/Übergröße.png", TWO)):
            archive.writestr(Info(name), content)
        for name in ("__MACOSX/images/._a.png", "images/Thumbs.db", "desktop.ini", "masks/.DS_Store"):
            archive.writestr(name, b"x")
    answer = Visitor().post("/api/finetune", {"images": [SimpleUploadedFile("set.zip", out.getvalue())]})
    assert answer.status_code == 202, answer.content
    assert [example.stem for example in TrainingRun.objects.get().examples.all()] == ["Übergröße"]
    assert not any("Thumbs" in note or "desktop" in note for note in answer.json()["notes"])
