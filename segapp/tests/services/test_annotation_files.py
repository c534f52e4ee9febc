"""Annotation files of the usual tools, dropped in with their images: outlines, names and colours come along."""

import base64
import io
import json
import struct
import zipfile

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image
from roifile import ImagejRoi

from segapp.imaging.annotations import rle
from segapp.models import Example
from segapp.services import example_files, intake
from segapp.services.errors import InvalidUpload
from segapp.tests.imaging.drawing import photo, saved
from segapp.worker.local_training import read_folders

ALICE = "a" * 32
WIDTH, HEIGHT = 120, 90
SQUARE = [[10, 10], [50, 10], [50, 40], [10, 40]]  # rows 10 to 39, columns 10 to 49
OTHER = [[70, 50], [110, 50], [110, 80], [70, 80]]


@pytest.fixture(autouse=True)
def own_media(db, settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"


def sent(name: str, content: bytes | str | dict | list) -> SimpleUploadedFile:
    if isinstance(content, dict | list):
        content = json.dumps(content)
    return SimpleUploadedFile(name, content.encode() if isinstance(content, str) else content)


def shot(name: str = "a.jpg") -> SimpleUploadedFile:
    image = photo(WIDTH).crop((0, 0, WIDTH, HEIGHT))
    return sent(name, saved(image, "PNG" if name.endswith("png") else "JPEG").getvalue())


def meant() -> np.ndarray:
    """uint8 (HEIGHT, WIDTH): the square is class 1, the other one class 2."""
    ids = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    ids[10:40, 10:50], ids[50:80, 70:110] = 1, 2
    return ids


def flat(points: list) -> list:
    return [value for point in points for value in point]


def coco() -> dict:
    both = meant()
    crowd = {"size": [HEIGHT, WIDTH], "counts": rle.counts_of(both == 2)}
    return {
        "images": [
            {"id": 5, "file_name": "photos/a.jpg", "width": WIDTH, "height": HEIGHT},
            {"id": 9, "file_name": "not_sent.jpg", "width": 10, "height": 10},
        ],
        "categories": [{"id": 3, "name": "cell", "color": "#ff0000"}, {"id": 1, "name": "gland"}],
        "annotations": [
            {"id": 1, "image_id": 5, "category_id": 3, "segmentation": [flat(SQUARE)], "iscrowd": 0},
            {"id": 2, "image_id": 5, "category_id": 1, "segmentation": crowd, "iscrowd": 1},
            {"id": 3, "image_id": 5, "category_id": 1, "bbox": [0, 0, 5, 5], "segmentation": []},
            {"id": 4, "image_id": 77, "category_id": 1, "segmentation": [flat(SQUARE)]},
        ],
    }


def labelme() -> dict:
    stamp = saved(Image.fromarray(np.full((30, 40), 255, np.uint8)).convert("1")).getvalue()
    return {
        "version": "5.4.1",
        "imagePath": "..\\photos\\a.jpg",
        "imageWidth": WIDTH,
        "imageHeight": HEIGHT,
        "imageData": None,
        "shapes": [
            {"label": "cell", "shape_type": "polygon", "points": SQUARE, "group_id": None},
            {
                "label": "gland",
                "shape_type": "mask",
                "points": [[70, 50], [109, 79]],
                "mask": base64.b64encode(stamp).decode(),
            },
            {"label": "cell", "shape_type": "line", "points": [[0, 0], [5, 5]]},
        ],
    }


def geojson() -> dict:
    def feature(points: list, name: str, color: list[int]) -> dict:
        return {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [[*points, points[0]]]},
            "properties": {"objectType": "annotation", "classification": {"name": name, "color": color}},
        }

    line = {"type": "Feature", "geometry": {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}, "properties": {}}
    found = [feature(SQUARE, "cell", [255, 0, 0]), feature(OTHER, "gland", [0, 0, 255]), line]
    return {"type": "FeatureCollection", "features": found}


def cvat() -> str:
    def points(shape: list) -> str:
        return ";".join(f"{x},{y}" for x, y in shape)

    stamp = f'<mask label="gland" rle="0, {40 * 30}" left="70" top="50" width="40" height="30" z_order="1"/>'
    return f"""<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version><meta><job><labels>
    <label><name>cell</name><color>#ff0000</color></label><label><name>gland</name><color>#00ff00</color></label>
    </labels></job></meta><image id="0" name="photos/a.jpg" width="{WIDTH}" height="{HEIGHT}">
    <polygon label="cell" points="{points(SQUARE)}" z_order="0"/>{stamp}
    <points label="cell" points="1,1"/></image></annotations>"""


def yolo(shapes: list) -> str:
    lines = [
        f"{k} " + " ".join(f"{x / WIDTH:.6f} {y / HEIGHT:.6f}" for x, y in shape) for k, shape in enumerate(shapes)
    ]
    return "\n".join([*lines, "0 0.5 0.5 0.1 0.1"])


# name, files beside the image, colours of the two classes ("" for any), words of a note
FORMATS = [
    ("COCO", {"_annotations.coco.json": coco()}, ["#ff0000", ""], "boxes or points"),
    ("labelme", {"a.json": labelme()}, ["", ""], "line"),
    ("QuPath GeoJSON", {"a.geojson": geojson()}, ["#ff0000", "#0000ff"], "LineString"),
    ("CVAT for images", {"annotations.xml": cvat()}, ["#ff0000", "#00ff00"], "points"),
    ("YOLO", {"a.txt": yolo([SQUARE, OTHER]), "data.yaml": "names: {0: cell, 1: gland}"}, ["", ""], "boxes"),
]


@pytest.mark.parametrize(("files", "colors", "words"), [row[1:] for row in FORMATS], ids=[row[0] for row in FORMATS])
def test_outlines_become_masks_with_names_and_colours(files, colors, words):
    stored = intake.store(ALICE, [shot()], [sent(name, content) for name, content in files.items()])
    mapping = intake.review(stored)
    assert [(row["id"], row["name"]) for row in mapping.trained] == [(0, "background"), (1, "cell"), (2, "gland")]
    assert all(not color or row["color"] == color for row, color in zip(mapping.trained[1:], colors, strict=True))
    assert np.array_equal(example_files.ids_of(stored[0], mapping), meant())
    objects = example_files.instances_of(stored[0], mapping)
    assert (objects[meant() == 1] == 1).all() and objects[0, 0] == 0
    assert any(words in note and "Not used" in note for note in intake.notes_of(stored)), intake.notes_of(stored)
    assert [row["things"] for row in mapping.classes] == [False, True, True]


@pytest.mark.parametrize("files", [row[1] for row in FORMATS], ids=[row[0] for row in FORMATS])
def test_zip_page_and_command_understand_them_alike(files, tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("set/images/a.jpg", shot().read())
        for name, content in files.items():
            archive.writestr(f"set/labels/{name}", sent(name, content).read())
    stored = intake.store(ALICE, [], [], [sent("set.zip", out.getvalue())])
    assert np.array_equal(example_files.ids_of(stored[0], intake.review(stored)), meant())
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(shot().read())
    for name, content in files.items():
        (tmp_path / "labels" / name).write_bytes(sent(name, content).read())
    examples, classes, notes, _ = read_folders(tmp_path / "images", tmp_path / "labels")
    assert np.array_equal(examples[0].mask, meant()) and [found.name for found in classes][1:] == ["cell", "gland"]
    assert any("Not used" in note for note in notes)


def test_what_a_coco_file_says_of_images_that_were_not_sent_is_named():
    stored = intake.store(ALICE, [shot()], [sent("instances.json", coco())])
    notes = " ".join(intake.notes_of(stored))
    assert "not_sent.jpg" in notes and "1 crowd" in notes and "does not list" in notes


@pytest.mark.parametrize(
    ("image", "file", "content"),
    [
        ("a.jpg", "a.json", {**labelme(), "imagePath": "IMG_0815.jpg"}),
        ("a.jpg", "export.geojson", geojson()),
        ("photo-a.jpg", "c.json", json.loads(json.dumps(coco()).replace("a.jpg", "0a1b2c3d-photo-a.jpg"))),
        ("0a1b2c3d-a.jpg", "c.json", coco()),
        ("a.jpg", "c.json", json.loads(json.dumps(coco()).replace('"image_id": 5', '"image_id": "5"'))),
    ],
    ids=["renamed", "no name", "prefix in the file", "prefix of the image", "ids as text"],
)
def test_an_image_is_found_by_the_other_names_that_tools_give_it(image, file, content):
    stored = intake.store(ALICE, [shot(image)], [sent(file, content)])
    assert np.array_equal(example_files.ids_of(stored[0], intake.review(stored)), meant())


def test_yolo_of_cvat_has_its_names_in_obj_names():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("obj.names", "cell\ngland\n")
        archive.writestr("train.txt", "data/obj_train_data/a.jpg\n")
        archive.writestr("obj_train_data/a.jpg", shot().read())
        archive.writestr("obj_train_data/a.txt", yolo([SQUARE, OTHER]))
    stored = intake.store(ALICE, [], [], [sent("set.zip", out.getvalue())])
    mapping = intake.review(stored)
    assert [row["name"] for row in mapping.trained] == ["background", "cell", "gland"]
    assert not any("train.txt" in note for note in intake.notes_of(stored))


def test_coco_without_categories_has_classes_by_number():
    stored = intake.store(ALICE, [shot()], [sent("c.json", {**coco(), "categories": []})])
    assert [row["name"] for row in intake.review(stored).trained] == ["background", "class 3", "class 1"]


def test_where_objects_overlap_the_later_one_wins_and_it_is_said():
    data = coco()
    data["annotations"] = [
        {"id": k, "image_id": 5, "category_id": kind, "segmentation": [flat(SQUARE)]} for k, kind in enumerate((3, 1))
    ]
    stored = intake.store(ALICE, [shot()], [sent("c.json", data)])
    ids = example_files.ids_of(stored[0], intake.review(stored))
    assert set(np.unique(ids)) == {0, 2} and any("later one wins" in note for note in intake.notes_of(stored))


@pytest.mark.parametrize("packed", [False, True], ids=["one ROI", "ROI zip"])
def test_imagej_rois_are_objects_of_their_image(packed):
    rois = [ImagejRoi.frompoints(np.array(points, dtype=np.int32)) for points in (SQUARE, OTHER)]
    if packed:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for k, roi in enumerate(rois):
                archive.writestr(f"{k:04d}-0001.roi", roi.tobytes())
        file = sent("a.zip", out.getvalue())
    else:
        file = sent("a.roi", rois[0].tobytes())
    stored = intake.store(ALICE, [shot()], [file])
    mapping = intake.review(stored)
    ids = example_files.ids_of(stored[0], mapping)
    assert np.array_equal(ids > 0, meant() > 0 if packed else meant() == 1)
    assert example_files.instances_of(stored[0], mapping).max() == (2 if packed else 1)


def test_compressed_run_lengths_are_those_of_coco():
    """The text is what pycocotools writes for this mask of 5 × 4 pixels."""
    mask = np.zeros((4, 5), dtype=bool)
    mask[1:3, 1:4] = True
    assert np.array_equal(rle.coco("5220003", 4, 5), mask)
    assert np.array_equal(rle.coco(rle.counts_of(mask), 4, 5), mask)


def test_holes_are_no_part_of_an_object():
    data = geojson()
    data["features"][0]["geometry"]["coordinates"].append([[20, 20], [30, 20], [30, 30], [20, 30], [20, 20]])
    stored = intake.store(ALICE, [shot()], [sent("a.geojson", data)])
    ids = example_files.ids_of(stored[0], intake.review(stored))
    assert (ids[20:30, 20:30] == 0).all() and (ids == 1).sum() == 30 * 40 - 100


BOMB = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]><annotations>&c;</annotations>'
HOSTILE = [
    ("deep JSON", "a.json", "[" * 100_000),
    ("cut JSON", "a.json", '{"images": [{"id": 1'),
    ("entities", "annotations.xml", BOMB),
    ("outside reference", "annotations.xml", '<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotations/>'),
    ("no XML", "annotations.xml", "<annotations"),
    ("a cut ROI", "a.roi", b"Iout" + struct.pack(">hBxhhhhH", 227, 0, 0, 0, 9, 9, 5000) + bytes(60)),
    ("no ROI", "a.roi", b"hello"),
]


@pytest.mark.parametrize(("name", "content"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
def test_hostile_files_are_refused_by_name_and_nothing_is_stored(name, content, tmp_path):
    with pytest.raises(InvalidUpload) as refusal:
        intake.store(ALICE, [shot()], [sent(name, content)])
    assert name in {problem["file"] for problem in refusal.value.problems}
    assert not Example.objects.exists() and not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "damage",
    [
        {"segmentation": {"size": [10**9, 10**9], "counts": [10**18]}},
        {"segmentation": {"size": [HEIGHT, WIDTH], "counts": "zzzz" * 1000}},
        {"segmentation": {"size": [HEIGHT, WIDTH], "counts": [1, -5, 10]}},
        {"segmentation": [[1, 2], [float("1e300")] * 8, ["a", "b", "c", "d", "e", "f"]]},
        {"segmentation": "M 0 0", "category_id": {"a": 1}},
        {"image_id": [1]},
    ],
    ids=["size", "letters", "negative", "coordinates", "types", "unhashable"],
)
def test_impossible_outlines_are_named_and_the_rest_is_used(damage):
    data = coco()
    data["annotations"].append({"id": 50, "image_id": 5, "category_id": 3, **damage})
    stored = intake.store(ALICE, [shot()], [sent("c.json", data)])
    assert np.array_equal(example_files.ids_of(stored[0], intake.review(stored)), meant())


def test_too_many_shapes_over_each_other_are_refused_before_they_take_long(monkeypatch):
    from segapp.imaging.annotations import drawing

    monkeypatch.setattr(drawing, "MIN_DRAWN", 10_000)
    whole = [[0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT]]
    data = coco()
    data["annotations"] = [
        {"id": k, "image_id": 5, "category_id": 3, "segmentation": [flat(whole)]} for k in range(100)
    ]
    with pytest.raises(InvalidUpload, match="too often"):
        intake.store(ALICE, [shot()], [sent("c.json", data)])


def test_an_image_of_another_size_than_annotated_is_refused_with_both():
    data = coco()
    data["images"][0]["width"] = 400
    with pytest.raises(InvalidUpload, match=r"400 × 90 pixels, and a\.jpg is 120 × 90"):
        intake.store(ALICE, [shot()], [sent("c.json", data)])


def test_later_uploads_keep_the_ids_of_the_names():
    first, second = labelme(), labelme()
    second["imagePath"] = "b.jpg"
    second["shapes"] = list(reversed(second["shapes"]))
    intake.store(ALICE, [shot()], [sent("a.json", first)])
    intake.store(ALICE, [shot("b.jpg")], [sent("b.json", second)])
    drafts = list(intake.drafts(ALICE))
    mapping = intake.review(drafts)
    assert [row["name"] for row in mapping.trained] == ["background", "cell", "gland"]
    assert np.array_equal(example_files.ids_of(drafts[1], mapping), meant())
