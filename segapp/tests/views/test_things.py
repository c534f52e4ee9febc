"""Which classes of a version are counted: said by the training masks, changed by the owner."""

import numpy as np
import pytest

from registry.network import ClassInfo
from registry.tests.test_services import make
from segapp.imaging import InvalidFile
from segapp.models import TrainingRun
from segapp.tests.imaging.drawing import photo, saved, shapes
from segapp.tests.measurement import photos
from segapp.tests.views.rows import HTMX, pairs, trained
from segapp.worker import measuring
from segapp.worker.local_training import read_folders
from segapp.worker.training_examples import with_things


def test_the_owner_ticks_what_is_counted_and_the_worker_follows(alice, charlie):
    model = make(alice.visitor, active=True)
    model.classes = [{"id": 0, "name": "background", "color": "#000000"}, {"id": 3, "name": "cell", "color": "#ff0000"}]
    model.save()
    page = alice.get(f"/models/{model.public_id}/").content.decode()
    assert 'name="things" value="3"' in page and "checked" not in page.partition("What is counted")[2][:900]
    assert alice.post(f"/models/{model.public_id}/things/", {"things": ["3"]}).status_code == 302
    model.refresh_from_db()
    assert [row["things"] for row in model.classes] == [False, True]
    network = photos.network(model.key)
    assert [row["things"] for row in measuring.classes_of(network)] == [False, True]
    alice.post(f"/models/{model.public_id}/things/", {})
    assert [row["things"] for row in measuring.classes_of(network)] == [False, False]
    assert charlie.post(f"/models/{model.public_id}/things/", {"things": ["3"]}).status_code == 404


def test_the_api_takes_ids_and_names_what_there_is(alice, charlie):
    model = make(alice.visitor, active=True)
    model.classes = [{"id": 0, "name": "background", "color": "#000000"}, {"id": 3, "name": "cell", "color": "#ff0000"}]
    model.save()
    answer = alice.post(f"/api/models/{model.public_id}/things", {"things": "3"})
    assert [row["things"] for row in answer.json()["classes"]] == [False, True]
    refused = alice.post(f"/api/models/{model.public_id}/things", {"things": "7"})
    assert refused.status_code == 422 and "things: The model has no class 7. It has 0, 3." in str(refused.json())
    assert charlie.post(f"/api/models/{model.public_id}/things", {"things": "3"}).status_code == 404


def test_training_masks_say_what_looks_like_objects():
    ground = np.zeros((64, 64), np.uint8)
    ground[:, :40], ground[5:9, 50:54] = 1, 2
    names = ("background", "field", "stone", "tree", "road")
    classes = [ClassInfo(k, name, "#00ff00", False if name == "road" else None) for k, name in enumerate(names)]
    found = with_things(classes, [ground, ground], [{"id": 3, "name": "tree", "things": True}])
    assert [one.things for one in found] == [None, False, True, True, False]


def test_the_class_table_says_what_is_counted_before_a_training(alice):
    alice.post("/finetune/", pairs("one", "two"))
    page = alice.get("/finetune/").content.decode()
    assert 'name="things-1"' in page and "Automatic" in page
    page = alice.post("/finetune/classes/", {"name-1": "disc", "things-1": "false"}, headers=HTMX).content.decode()
    assert '<option value="false" selected>' in page
    alice.post("/finetune/train/", {"effort": "quick"})
    (run,) = TrainingRun.objects.all()
    assert [row.get("things") for row in run.classes] == [None, False]


def test_a_finished_training_says_what_it_counts(alice):
    model = make(alice.visitor, active=True)
    model.classes = [{"id": 0, "name": "floor", "color": "#000000"}, {"id": 1, "name": "disc", "things": True}]
    model.save()
    trained(model)
    page = alice.get("/finetune/").content.decode().partition("Objects counted:")[2].partition("</p>")[0]
    assert "disc" in page and "floor" not in page and f"/models/{model.public_id}/#counted" in page


def test_the_command_says_what_is_counted(tmp_path):
    for folder, content in (("images", photo(96)), ("masks", shapes([0, 1, 2]))):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "one.png").write_bytes(saved(content).getvalue())
    _, classes, *_ = read_folders(tmp_path / "images", tmp_path / "masks", things=(2,))
    assert [one.things for one in classes] == [False, False, True]
    with pytest.raises(InvalidFile, match="no class 9"):
        read_folders(tmp_path / "images", tmp_path / "masks", things=(9,))
