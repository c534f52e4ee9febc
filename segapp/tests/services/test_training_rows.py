"""What people bring to train on, as they bring it: names, folders, zips and masks, through the upload's own door."""

import io
import unicodedata
import zipfile

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image

from segapp.imaging import InvalidFile, class_mapping
from segapp.imaging.bundle import Member
from segapp.imaging.class_mapping import Choices
from segapp.models import Example, TrainingRun
from segapp.services import example_files, intake, runs, training_files
from segapp.services.errors import InvalidUpload
from segapp.tests.imaging.drawing import SIZE, photo, saved, shapes, truth
from segapp.worker.local_training import read_folders
from segapp.worker.training import read_examples

ALICE = "a" * 32
PHOTO = saved(photo(SIZE)).getvalue()
MASK = saved(shapes([0, 255])).getvalue()


@pytest.fixture(autouse=True)
def own_media(db, settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"


def sent(name: str, content: bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content)


def png(values: np.ndarray) -> bytes:
    return saved(Image.fromarray(values)).getvalue()


def packed(files: dict[str, bytes]) -> SimpleUploadedFile:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return sent("set.zip", out.getvalue())


def cells(count: int, size: int = 200, seed: int = 0) -> np.ndarray:
    """uint16 (size, size): numbered squares that do not touch."""
    ids = np.zeros((size, size), dtype=np.uint16)
    places = np.random.default_rng(seed).permutation((size // 8) ** 2)[:count]
    for number, place in enumerate(places, 1):
        y, x = divmod(int(place), size // 8)
        ids[8 * y + 1 : 8 * y + 7, 8 * x + 1 : 8 * x + 7] = number
    return ids


def store(masks: dict[str, bytes], size: int = SIZE, **options) -> list[Example]:
    image = saved(photo(size)).getvalue()
    images = [sent(f"{name.rsplit('.', 1)[0]}.jpg", image) for name in masks]
    return intake.store(ALICE, images, [sent(name, content) for name, content in masks.items()], **options)


# --- names and folders ----------------------------------------------------------------------------------------


def test_endings_on_both_sides_are_taken_off_and_said():
    images = [sent(f"00{k}_image.png", PHOTO) for k in (1, 2)]
    stored = intake.store(ALICE, images, [sent(f"00{k}_annotation.png", MASK) for k in (1, 2)])
    assert len(stored) == 2
    assert any("“_annotation”" in note and "“_image”" in note for note in intake.notes_of(stored))


def test_everything_that_is_wrong_with_a_file_is_in_one_answer():
    """A name that pairs with nothing and a kind that cannot be read: both are said at the first try."""
    images = [sent("a.png", PHOTO), sent("b.png", b"%PDF-1.7")]
    with pytest.raises(InvalidUpload) as refusal:
        intake.store(ALICE, images, [sent("a.png", b"<html>"), sent("c.png", b"")])
    found = {problem["file"]: problem["message"] for problem in refusal.value.problems}
    assert "no mask" in found["b.png"] and "a PDF" in found["b.png"]
    assert "no image" in found["c.png"] and "empty" in found["c.png"]
    assert "a web page" in found["a.png"]
    assert not Example.objects.exists()


def test_two_masks_of_one_image_are_united_and_both_are_there():
    first, second = np.zeros((2, SIZE, SIZE), dtype=np.uint8)
    first[5:20, 5:20], second[50:80, 50:80] = 255, 255
    masks = [sent("x_mask.png", png(first)), sent("x_mask_1.png", png(second))]
    stored = intake.store(ALICE, [sent("x.jpg", PHOTO)], masks)
    mapping = intake.review(stored)
    assert np.array_equal(example_files.ids_of(stored[0], mapping) == 1, (first > 0) | (second > 0))
    objects = example_files.instances_of(stored[0], mapping)
    assert set(np.unique(objects[first > 0])) == {1} and set(np.unique(objects[second > 0])) == {2}
    assert any("united" in note for note in intake.notes_of(stored))
    assert [row["things"] for row in mapping.classes] == [False, True]


def test_a_zip_with_a_folder_of_masks_for_each_image(settings):
    files = {}
    for name in ("ab12", "cd34"):
        files[f"stage1_train/{name}/images/{name}.png"] = PHOTO
        for k in range(4):
            mask = np.zeros((SIZE, SIZE), dtype=np.uint8)
            mask[20 * k : 20 * k + 12, 10:40] = 255
            files[f"stage1_train/{name}/masks/{name[::-1]}{k}f.png"] = png(mask)
    stored = intake.store(ALICE, [], [], [packed(files)])
    assert [example.stem for example in stored] == ["ab12", "cd34"]
    mapping = intake.review(stored)
    assert example_files.instances_of(stored[0], mapping).max() == 4


def test_the_same_stem_in_train_and_val_is_two_images():
    files = {
        f"set/{part}/{kind}/a.png": content
        for part in ("train", "val")
        for kind, content in (("images", PHOTO), ("masks", MASK))
    }
    stored = intake.store(ALICE, [], [], [packed(files)])
    assert sorted(example.stem for example in stored) == ["set_train_a", "set_val_a"]


def test_loose_files_keep_the_folders_that_the_page_sends():
    images = [Member("a.png", sent("a.png", PHOTO), f"{part}/images", 1) for part in ("train", "val")]
    masks = [Member("a.png", sent("a.png", MASK), f"{part}/masks", 1) for part in ("val", "train")]
    assert len(intake.store(ALICE, images, masks)) == 2


def raw_zip(names: list[tuple[bytes, bytes]], utf8: bool) -> SimpleUploadedFile:
    """A zip whose names are these bytes, with or without the flag that says UTF-8."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for k, (_, content) in enumerate(names):
            archive.writestr(f"{k:0{len(names[k][0])}d}"[: len(names[k][0])], content)
    content = out.getvalue()
    for k, (name, _) in enumerate(names):
        content = content.replace(f"{k:0{len(name)}d}".encode(), name)
    return sent("set.zip", content)


@pytest.mark.parametrize(
    "encoded",
    [
        lambda name: name.encode("utf-8"),
        lambda name: name.encode("cp437"),
        lambda name: unicodedata.normalize("NFD", name).encode("utf-8"),
    ],
    ids=["UTF-8 without the flag", "CP437", "NFD without the flag"],
)
def test_names_in_a_zip_are_shown_as_people_know_them(encoded):
    names = [(encoded("images/Übergroß.png"), PHOTO), (encoded("masks/Übergroß.png"), MASK)]
    (stored,) = intake.store(ALICE, [], [], [raw_zip(names, False)])
    assert stored.stem == "Übergroß"


def test_what_systems_leave_in_a_zip_is_passed_over():
    junk = (
        "Thumbs.db",
        "images/Thumbs.db",
        "desktop.ini",
        "labelmap.txt",
        "__MACOSX/images/._a.png",
        "images/.DS_Store",
    )
    files = {"images/a.png": PHOTO, "masks/a.png": MASK, **dict.fromkeys(junk, b"x")}
    stored = intake.store(ALICE, [], [], [packed(files)])
    assert len(stored) == 1 and not [note for note in intake.notes_of(stored) if "Thumbs" in note or "desktop" in note]


# --- whole exports ----------------------------------------------------------------------------------------------


def voc_colours(ids: np.ndarray) -> bytes:
    return png(np.array([(0, 0, 0), (250, 50, 83), (51, 221, 255)], dtype=np.uint8)[ids])


CVAT = {
    "labelmap.txt": b"# label:color_rgb:parts:actions\nbackground:0,0,0::\ncar:250,50,83::\nroad:51,221,255::\n",
    "ImageSets/Segmentation/default.txt": b"a\nb\n",
    "JPEGImages/a.png": PHOTO,
    "JPEGImages/b.png": PHOTO,
    "SegmentationClass/a.png": voc_colours(truth(3)),
    "SegmentationClass/b.png": voc_colours(truth(2)),
    "SegmentationObject/a.png": voc_colours(truth(3)),
    "SegmentationObject/b.png": voc_colours(truth(2)),
}


def test_a_cvat_segmentation_mask_export_brings_names_colours_and_objects():
    stored = intake.store(ALICE, [], [], [packed(CVAT)])
    mapping = intake.review(stored)
    assert [(row["name"], row["color"]) for row in mapping.classes[1:]] == [("road", "#33ddff"), ("car", "#fa3253")]
    assert mapping.classes[0]["name"] == "background"
    ids = example_files.ids_of(stored[0], mapping)
    assert np.array_equal(ids, np.array([0, 2, 1], dtype=np.uint8)[truth(3)])
    assert example_files.instances_of(stored[0], mapping).max() == 2
    assert all(row["things"] for row in mapping.classes[1:])


def test_a_roboflow_yolo_export_brings_images_outlines_and_names():
    box = "0.1 0.1 0.5 0.1 0.5 0.4 0.1 0.4"
    files = {
        "data.yaml": b"train: ../train/images\nnc: 2\nnames: ['crack', 'hole']\n",
        "README.dataset.txt": b"made by Roboflow",
        "README.roboflow.txt": b"made by Roboflow",
        "train/images/a_jpg.rf.1f2e.jpg": saved(photo(SIZE), "JPEG").getvalue(),
        "train/labels/a_jpg.rf.1f2e.txt": f"1 {box}\n0 0.6 0.6 0.9 0.6 0.9 0.9\n".encode(),
        "valid/images/b_jpg.rf.77aa.jpg": saved(photo(SIZE), "JPEG").getvalue(),
        "valid/labels/b_jpg.rf.77aa.txt": b"",
    }
    stored = intake.store(ALICE, [], [], [packed(files)])
    mapping = intake.review(stored)
    assert [(row["id"], row["name"]) for row in mapping.trained] == [(0, "background"), (1, "crack"), (2, "hole")]
    ids = example_files.ids_of(stored[0], mapping)
    assert (ids == 2).sum() == pytest.approx(0.4 * 0.3 * SIZE * SIZE, rel=0.05)


# --- masks ------------------------------------------------------------------------------------------------------


def nuclei(count: int, data) -> list[tuple[bytes, bytes]]:
    masks = sorted((data / "nuclei_dsb2018" / "instances").glob("*.png"))[:count]
    return [((data / "nuclei_dsb2018" / "images" / path.name).read_bytes(), path.read_bytes()) for path in masks]


@pytest.mark.data
def test_real_numbered_nuclei_are_objects_of_one_class(data):
    files = nuclei(5, data)
    images = [sent(f"{k}.png", image) for k, (image, _) in enumerate(files)]
    stored = intake.store(ALICE, images, [sent(f"{k}.png", mask) for k, (_, mask) in enumerate(files)])
    mapping = intake.review(stored)
    assert mapping.objects and [row["id"] for row in mapping.trained] == [0, 1] and mapping.trained[1]["things"]
    for example, (_, mask) in zip(stored, files, strict=True):
        numbers = np.asarray(Image.open(io.BytesIO(mask)))
        assert np.array_equal(example_files.ids_of(example, mapping), numbers > 0)
        assert np.array_equal(example_files.instances_of(example, mapping) > 0, numbers > 0)
        assert len(np.unique(example_files.instances_of(example, mapping))) == len(np.unique(numbers))
        with Image.open(example.folder / "instances.png") as kept:
            assert kept.mode == "I;16"
    assert any("number objects" in note for note in mapping.notes)


def test_counts_that_differ_are_objects_and_equal_ones_are_classes():
    stored = store({f"{k}.png": png(cells(count)) for k, count in enumerate((21, 63, 3))}, 200)
    assert intake.review(stored).objects
    intake.clear_drafts(ALICE)
    stored = store({f"{k}.png": png(cells(5, seed=k)) for k in range(3)}, 200)
    mapping = intake.review(stored)
    assert not mapping.objects and len(mapping.trained) == 6


@pytest.mark.fault(18)
@pytest.mark.parametrize("counts", [[100], [80, 80], [300, 12], [500]])
def test_more_objects_than_classes_can_be_are_no_photo(counts):
    stored = store({f"{k}.png": png(cells(count)) for k, count in enumerate(counts)}, 200)
    mapping = intake.review(stored)
    assert mapping.objects and len(mapping.trained) == 2
    assert [example_files.instances_of(example, mapping).max() for example in stored] == counts


def test_one_colour_an_object_is_recognised():
    def coloured(count: int, seed: int) -> bytes:
        table = np.random.default_rng(seed).integers(20, 255, (count + 1, 3)).astype(np.uint8)
        table[0] = 0
        return png(table[cells(count, seed=seed)])

    stored = store({f"{k}.png": coloured(count, k) for k, count in enumerate((9, 14, 30))}, 200)
    mapping = intake.review(stored)
    assert mapping.objects and example_files.instances_of(stored[2], mapping).max() == 30


def test_objects_can_be_said_and_denied():
    masks = {f"{k}.png": png(cells(count)) for k, count in enumerate((21, 8))}
    stored = store(masks, 200)
    denied = intake.review(stored, choices=Choices(objects=False))
    assert not denied.objects and len(denied.trained) == 22
    assert "objects" in denied.asks and any("objects=true" in note for note in denied.notes)
    assert intake.review(stored, {intake.CHOICES: {"objects": False}}).trained == denied.trained
    intake.clear_drafts(ALICE)
    stored = store({"a.png": png(cells(3))}, 200, objects=True)
    mapping = intake.review(stored, choices=Choices(objects=True))
    assert mapping.objects and example_files.instances_of(stored[0], mapping).max() == 3


def test_a_half_transparent_object_on_transparent_is_object_and_background():
    drawn = np.zeros((SIZE, SIZE, 4), dtype=np.uint8)
    drawn[truth() == 1] = (0, 255, 255, 178)
    stored = store({"a.png": png(drawn)})
    mapping = intake.review(stored)
    assert [(row["id"], row["name"]) for row in mapping.trained] == [(0, "background"), (1, "object")]
    assert np.array_equal(example_files.ids_of(stored[0], mapping), truth())


@pytest.mark.fault(17)
def test_one_class_is_refused_when_training_would_start():
    stored = store({"a.png": png(np.zeros((SIZE, SIZE), dtype=np.uint8))})
    with pytest.raises(InvalidFile, match="nothing to tell apart"):
        class_mapping.hold_trainable(intake.review(stored))


def test_255_that_would_ignore_nearly_everything_is_asked_about():
    ids = np.full((SIZE, SIZE), 255, dtype=np.uint8)
    ids[10:20, 10:20], ids[40:50, 40:49] = 0, 128
    stored = store({"a.png": png(ids)})
    mapping = intake.review(stored)
    assert [row["source"] for row in mapping.mostly_ignored] == ["255"]
    assert any("255 is ignored" in note and "98 %" in note for note in mapping.notes)
    taken = class_mapping.edit(mapping, [{"id": 255, "ignore": False, "name": "background"}])
    assert [row["name"] for row in taken.trained][-1] == "background" and len(taken.trained) == 3


def test_a_boundary_one_pixel_wide_survives_in_every_exact_mask():
    masks = {}
    for k in range(3):
        ids = np.zeros((SIZE, SIZE), dtype=np.uint8)
        ids[20 + k : 60 + 9 * k, 15:70] = 100
        ids[21 + k : 59 + 9 * k, 16:69] = 200
        masks[f"{k}.png"] = ids
    stored = store({name: png(ids) for name, ids in masks.items()})
    mapping = intake.review(stored)
    assert [row["id"] for row in mapping.trained] == [0, 100, 200]
    for example, ids in zip(stored, masks.values(), strict=True):
        assert np.array_equal(example_files.ids_of(example, mapping), ids)


def test_small_marks_of_seven_stay():
    ids = np.zeros((SIZE, SIZE), dtype=np.uint8)
    ids[50:90, 10:90] = 200
    for k in range(12):
        ids[5 + 3 * (k % 4), 6 * k + 3 : 6 * k + 6] = 7
    stored = store({"a.png": png(ids)})
    mapping = intake.review(stored)
    assert [row["id"] for row in mapping.trained] == [0, 7, 200]
    assert np.array_equal(example_files.ids_of(stored[0], mapping), ids)


@pytest.mark.fault(16)
@pytest.mark.parametrize("by", [-3, -1, 1, 2, 3])
def test_a_mask_off_by_rounding_is_fitted_and_it_is_said(by):
    small = Image.fromarray(truth(3)).resize((SIZE + by, SIZE), Image.Resampling.NEAREST)
    stored = store({"a.png": saved(small).getvalue()})
    found = example_files.ids_of(stored[0], intake.review(stored))
    assert found.shape == (SIZE, SIZE) and (found == truth(3)).mean() > 0.97
    assert any("fitted" in note and f"{SIZE + by} ×" in note for note in intake.notes_of(stored))


@pytest.mark.fault(16)
def test_a_mask_off_by_more_is_refused_with_both_sizes():
    with pytest.raises(InvalidUpload, match=r"100 × 96 pixels, its image a\.jpg is 96 × 96"):
        store({"a.png": saved(shapes([0, 255]).resize((100, 96))).getvalue()})


def test_masks_whose_class_fills_most_are_asked_about_and_swapped():
    masks = {f"{k}.png": saved(shapes([255, 0]).convert("1")).getvalue() for k in range(2)}
    stored = store(masks)
    mapping = intake.review(stored)
    assert mapping.asks == ["swap"] and any("fills most" in note for note in mapping.notes)
    assert (example_files.ids_of(stored[0], mapping) == 1).mean() > 0.5
    swapped = intake.review(stored, {intake.CHOICES: {"swap": True}})
    assert np.array_equal(example_files.ids_of(stored[0], swapped), truth())
    assert [row["name"] for row in swapped.trained] == ["background", "object"] and not swapped.asks


def test_one_bit_grey_rgb_and_rgba_go_together():
    drawn = shapes([0, 255])
    masks = {
        "a.png": saved(drawn.convert("1")).getvalue(),
        "b.png": saved(drawn).getvalue(),
        "c.png": saved(drawn.convert("RGB")).getvalue(),
        "d.png": saved(drawn.convert("RGBA")).getvalue(),
    }
    stored = store(masks)
    mapping = intake.review(stored)
    assert all(np.array_equal(example_files.ids_of(example, mapping), truth()) for example in stored)


@pytest.mark.parametrize("suffix", ["gif", "tif", "bmp"])
def test_masks_of_other_kinds_are_as_png(suffix):
    format = {"gif": "GIF", "tif": "TIFF", "bmp": "BMP"}[suffix]
    for colors in ([0, 255], [0, 1, 2]):
        stored = store({f"a.{suffix}": saved(shapes(colors), format).getvalue()})
        meant = truth(len(colors))
        assert np.array_equal(example_files.ids_of(stored[0], intake.review(stored)), meant), colors
        intake.clear_drafts(ALICE)


def test_a_tiff_of_16_bits_keeps_its_numbers():
    stored = store({"a.tif": saved(Image.fromarray(cells(90)), "TIFF").getvalue()}, 200)
    mapping = intake.review(stored)
    assert example_files.instances_of(stored[0], mapping).max() == 90


# --- the command takes the same files -----------------------------------------------------------------------------


def test_the_command_reads_the_same_files_alike(tmp_path):
    images, masks = tmp_path / "in" / "images", tmp_path / "in" / "masks"
    for folder in (images, masks):
        folder.mkdir(parents=True)
    numbers = {k: cells(count) for k, count in enumerate((21, 40, 3))}
    for k, ids in numbers.items():
        (images / f"0{k}_input.png").write_bytes(saved(photo(200)).getvalue())
        (masks / f"0{k}_expert1.tif").write_bytes(saved(Image.fromarray(ids), "TIFF").getvalue())
    examples, classes, notes, _ = read_folders(images, masks)
    assert [(found.id, found.name) for found in classes] == [(0, "background"), (1, "object")]
    assert all(np.array_equal(example.mask, numbers[k] > 0) for k, example in enumerate(examples))
    assert any("_expert1" in note for note in notes) and any("number objects" in note for note in notes)
    assert all(same_objects(example.instances, numbers[k]) for k, example in enumerate(examples))
    run = row_of({f"{k}.png": png(ids) for k, ids in numbers.items()})
    stored = {example.stem: example for example in read_examples(run)}
    assert all(same_objects(stored[str(k)].instances, ids) for k, ids in numbers.items())


def same_objects(found: np.ndarray, ids: np.ndarray) -> bool:
    """Whether both number the same objects, in whatever order."""
    pairs = set(zip(found.ravel().tolist(), ids.ravel().tolist(), strict=True))
    return len(pairs) == len(np.unique(ids)) == len(np.unique(found)) and (0, 0) in pairs


def row_of(masks: dict[str, bytes], **options) -> TrainingRun:
    """A queued run on these masks."""
    stored = store(masks, 200)
    return runs.start(ALICE, stored, intake.review(stored, **options))


def test_a_training_gets_no_object_numbers_of_masks_that_hold_classes():
    classes = np.zeros((200, 200), np.uint8)
    classes[20:60, 20:180], classes[90:150, 20:180] = 1, 2
    for example in read_examples(row_of({f"{k}.png": png(np.roll(classes, 9 * k, 0)) for k in range(3)})):
        assert example.instances is None and set(np.unique(example.mask)) == {0, 1, 2}


def test_a_training_gets_no_object_numbers_where_the_visitor_says_that_values_are_classes():
    few = {f"n{k}.png": png(cells(count).astype(np.uint8)) for k, count in enumerate((21, 40, 30))}
    for example in read_examples(row_of(few, choices=Choices(objects=False))):
        assert example.instances is None


def test_object_numbers_of_a_large_image_are_scaled_down_with_its_mask(tmp_path):
    ids = np.kron(cells(90), np.ones((11, 11), np.uint16))
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(saved(photo(2200), "JPEG").getvalue())
    (tmp_path / "masks" / "a.tif").write_bytes(saved(Image.fromarray(ids), "TIFF").getvalue())
    (example,), *_ = read_folders(tmp_path / "images", tmp_path / "masks")
    assert example.instances.shape == example.mask.shape == example.image.shape[:2] == (2048, 2048)
    assert set(np.unique(example.instances)) == set(range(91))
    assert np.array_equal(example.instances > 0, example.mask == 1)


def test_what_is_stored_nowhere_is_not_stored_by_looking(tmp_path):
    training_files.gather([sent("a.png", PHOTO)], [sent("a.png", MASK)])
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
