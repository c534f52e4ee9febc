"""Every export of objects, sent back with its image through the API, gives the same masks and objects to train on."""

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from scipy.ndimage import binary_fill_holes

from segapp.imaging import class_mapping, decode
from segapp.measurement import files
from segapp.models import TrainingRun
from segapp.services import example_files
from segapp.tests.imaging.drawing import photo, saved
from segapp.tests.measurement.drawing import document, tricky
from segapp.tests.readers.making import tiff

MASK = tricky()
FILLED = np.where(binary_fill_holes(MASK == 1) & (MASK == 0), 1, MASK)
# format, name of the file as it is downloaded, what it holds of classes, whether it holds the objects as they are
FORMATS = [
    ("geojson", "cells_geojson.geojson", MASK, True),
    ("coco", "cells_coco.json", MASK, True),
    ("labelme", "cells_labelme.json", MASK, True),
    ("yolo", "cells_yolo.zip", FILLED, False),
    ("imagej", "cells_imagej.zip", (MASK > 0).astype(np.uint8), True),
    ("instances", "cells_instances.png", (MASK > 0).astype(np.uint8), True),
    ("instances_tiff", "cells_instances_tiff.tif", (MASK > 0).astype(np.uint8), True),
]


@pytest.fixture(autouse=True)
def own_media(db, settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path


@pytest.mark.parametrize(("key", "name", "ids", "exact"), FORMATS, ids=[row[0] for row in FORMATS])
def test_an_export_comes_back_as_the_same_training_set(alice, key, name, ids, exact):
    exported = document(MASK, "cells.png")
    image = saved(photo(60).crop((0, 0, 60, 40))).getvalue()
    sent = {
        "images": [SimpleUploadedFile("cells.png", image)],
        "masks": [SimpleUploadedFile(name, files.content(key, exported))],
        **({"objects": "true"} if key.startswith("instances") else {}),
    }
    answer = alice.post("/api/finetune", sent)
    assert answer.status_code == 202, answer.content
    run = TrainingRun.objects.get()
    (example,) = run.examples.all()
    mapping = class_mapping.ClassMapping.from_dict(run.reading)
    found, objects = example_files.ids_of(example, mapping), example_files.instances_of(example, mapping)
    assert np.array_equal(found, ids)
    if exact:
        assert same_objects(objects, exported.objects.labels)
    else:
        assert objects.max() >= exported.objects.count and np.array_equal(objects > 0, ids > 0)
    if ids.max() > 1:
        assert [row["name"] for row in mapping.trained] == ["background", "nucleus", "=crack"]


def test_outlines_on_a_map_come_back_on_the_pixels_of_their_geotiff(alice):
    tags = [(33550, "d", 3, (0.5, 0.5, 0.0), True), (33922, "d", 6, (0, 0, 0, 500_000.0, 4_649_776.0, 0), True)]
    tags.append((34735, "H", 8, (1, 1, 0, 1, 3072, 0, 1, 32632), True))
    image = tiff(np.asarray(photo(60).crop((0, 0, 60, 40))), photometric="rgb", extratags=tags)
    geo = decode.read(image, "cells.tif").place
    exported = document(MASK, "cells.tif", geo=geo)
    outlines = files.content("geojson", exported)
    sent = {"images": [SimpleUploadedFile("cells.tif", image.getvalue())]}
    answer = alice.post("/api/finetune", {**sent, "masks": [SimpleUploadedFile("cells.geojson", outlines)]})
    assert answer.status_code == 202, answer.content
    run = TrainingRun.objects.get()
    mapping = class_mapping.ClassMapping.from_dict(run.reading)
    assert np.array_equal(example_files.ids_of(run.examples.get(), mapping), MASK)
    elsewhere = SimpleUploadedFile("cells.geojson", outlines.replace(b"32632", b"25832"))
    image.seek(0)
    run.delete()
    sent = {"images": [SimpleUploadedFile("cells.tif", image.getvalue())], "masks": [elsewhere]}
    answer = alice.post("/api/finetune", sent)
    assert answer.status_code == 422 and "EPSG:25832" in answer.content.decode()


def same_objects(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether both number the same objects, in any order."""
    pairs = set(zip(one.ravel().tolist(), other.ravel().tolist(), strict=True))
    return len(pairs) == len(np.unique(one)) == len(np.unique(other))
