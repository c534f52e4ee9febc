"""Which classes of a version are counted: said by the training masks, changed by the owner."""

import numpy as np

from registry.network import ClassInfo
from registry.tests.test_services import make
from segapp.tests.measurement import photos
from segapp.worker import measuring


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
    found = measuring.with_things(classes, [ground, ground], [{"id": 3, "name": "tree", "things": True}])
    assert [one.things for one in found] == [None, False, True, True, False]
