"""Exports from the asking to the file, with a network that really runs; and what cleanup makes of old ones."""

import json
from datetime import timedelta

import pytest
import torch
from django.utils import timezone
from safetensors import safe_open

from registry import services as registry
from registry.runtime import Runtime
from registry.tests.test_services import make
from segapp.models import Export, State
from segapp.services import cleanup, exports, transfer
from segapp.services.errors import NotFound
from segapp.tests.planting import CLASSES, plant
from segapp.views.exports import offers
from segapp.worker import exports as work
from segapp.worker import networks

ALICE = "a" * 32
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_media(settings, tmp_path, monkeypatch):
    settings.MEDIA_ROOT = tmp_path
    runtime = Runtime(tmp_path, settings.SEGAPP_WEIGHTS, "cpu", 1 << 30)
    monkeypatch.setattr(networks, "runtime", lambda: runtime)
    return tmp_path


def finished(model, format: str) -> Export:
    row = exports.request(model, format)
    work.run(row.pk)
    row.refresh_from_db()
    return row


def test_a_full_checkpoint_and_safetensors_hold_the_same_whole_network():
    model = plant(ALICE, "Discs", 1)
    full, safe = finished(model, "pth"), finished(model, "safetensors")
    assert (full.state, safe.state) == (State.DONE, State.DONE), full.message + safe.message
    assert full.path.name == f"{model.key}_full.pth" and full.size_bytes == full.path.stat().st_size
    tensors = torch.load(full.path, weights_only=True)
    assert any(name.startswith("encoder.") for name in tensors)
    with safe_open(safe.path, "pt") as file:
        about = json.loads(file.metadata()["segapp"])
        assert set(file.keys()) == set(tensors)
        assert torch.equal(file.get_tensor("segmentation_head.0.bias"), tensors["segmentation_head.0.bias"])
    assert [row["name"] for row in about["classes"]] == [name for name, _ in CLASSES]


def test_a_model_with_a_detail_branch_can_be_had_without_it_and_with_it():
    model = plant(ALICE, "Texture", 1, detailed=True)
    plain, whole = finished(model, "pth"), finished(model, "pth_detail")
    assert (plain.state, whole.state) == (State.DONE, State.DONE), plain.message + whole.message
    assert whole.path.name == f"{model.key}_full_detail.pth"
    extra = torch.load(whole.path, weights_only=True).keys() - torch.load(plain.path, weights_only=True).keys()
    assert extra and all(name.startswith("detail.") for name in extra)
    abouts = {offer.format: offer.about for offer in offers(model, {})}
    assert "0.031" in abouts["pth"] and "0.031" in abouts["safetensors"] and "detail.*" in abouts["pth_detail"]
    assert "0.031" in exports.card_text(model) and whole.path.name in exports.card_text(model)


def test_the_card_says_how_to_get_the_services_own_masks():
    model = plant(ALICE, "Discs", 1)
    assert "align_corners = False" in exports.card_text(model) and "mirror" not in exports.card_text(model)
    model.recipe = {**model.recipe, "mirrored": True}
    assert "its mirror image" in exports.card_text(model)
    assert "guided filter" not in exports.card_text(model)
    model.recipe = {**model.recipe, "guided": 16}
    assert "guided filter" in exports.card_text(model) and "16 pixels" in exports.card_text(model)


def test_a_model_without_a_detail_branch_is_not_offered_with_one():
    model = plant(ALICE, "Discs", 1)
    assert [offer.format for offer in offers(model, {})] == ["pth", "safetensors", "onnx"]
    assert "detail" not in exports.card_text(model)
    with pytest.raises(NotFound, match="no detail branch"):
        exports.exportable(ALICE, model.public_id, "pth_detail")


def test_a_doubled_message_finds_the_row_taken_and_asking_again_gives_what_is_there():
    model = plant(ALICE, "Discs", 1)
    row = finished(model, "safetensors")
    before = row.path.stat().st_mtime_ns
    work.run(row.pk)
    assert exports.request(model, "safetensors") == row and row.path.stat().st_mtime_ns == before


def test_a_lost_model_file_ends_the_export_in_words_and_it_can_be_asked_for_again():
    model = make(ALICE)
    row = exports.request(model, "onnx")
    model.path.unlink()
    work.run(row.pk)
    row.refresh_from_db()
    assert row.state == State.FAILED and "Choose another version" in row.message and not row.folder.exists()
    assert exports.request(model, "onnx").state == State.QUEUED


def test_an_export_whose_row_was_deleted_meanwhile_leaves_no_file(monkeypatch):
    row = exports.request(plant(ALICE, "Discs", 1), "safetensors")
    usual = work.export

    def overtaken(*arguments):
        report = usual(*arguments)
        Export.objects.all().delete()
        return report

    monkeypatch.setattr(work, "export", overtaken)
    work.run(row.pk)
    assert not row.folder.exists()


def test_a_file_that_is_gone_is_made_anew(own_media):
    model = make(ALICE)
    done = Export.objects.create(visitor=ALICE, model=model, format="pth", state=State.DONE)
    assert exports.current(model, "pth") is None
    assert exports.request(model, "pth") != done


def test_one_visitor_keeps_a_bounded_number_of_files():
    rows = []
    for number in range(exports.MAX_KEPT):
        row = Export.objects.create(
            visitor=ALICE, model=make(ALICE), format="pth", state=State.DONE,
            ended=timezone.now() - timedelta(minutes=60 - number),
        )  # fmt: skip
        row.folder.mkdir(parents=True)
        row.path.write_bytes(b"weights")
        rows.append(row)
    exports.request(make(ALICE), "pth")
    assert not Export.objects.filter(pk=rows[0].pk).exists() and not rows[0].folder.exists()
    assert Export.objects.filter(pk=rows[1].pk).exists()


def test_cleanup_removes_files_after_a_day_and_codes_that_nobody_sees():
    model = make(ALICE)
    long_ago = timezone.now() - timedelta(days=2)
    old = Export.objects.create(visitor=ALICE, model=model, format="pth", state=State.DONE, ended=long_ago)
    new = Export.objects.create(visitor=ALICE, model=model, format="onnx", state=State.DONE, ended=timezone.now())
    for row in (old, new):
        row.folder.mkdir(parents=True)
        row.path.write_bytes(b"weights")
    code, _ = transfer.make(ALICE)
    type(code).objects.update(expires=long_ago)
    transfer.make(ALICE)
    words = []
    for removal in cleanup.plan():
        words.append(removal.message)
        removal.act()
    assert [text.partition(":")[0] for text in words] == ["expired download", "expired code"]
    assert not old.folder.exists() and new.path.exists() and transfer.listed(ALICE).count() == 1


def test_a_model_that_guests_use_does_not_count_as_unused():
    used, unused = make(ALICE), make(ALICE)
    type(used).objects.update(created=timezone.now() - timedelta(days=40))
    used.shares.create(last_used=timezone.now())
    removed = [removal.message for removal in cleanup.plan(unused_for=30)]
    assert len(removed) == 1 and unused.file_name in removed[0]


def test_the_card_in_words_says_what_the_model_is_and_how_to_load_it():
    model = plant(ALICE, "Discs | <b>", 1)
    text = exports.card_text(model)
    assert text.startswith("# Discs | <b>\n") and model.sha256 in text and "smp.FPN" in text
    assert "| 1 | 1 | disc | `#e69f00` |" in text and "&quot;" not in text
    assert registry.current_base().name in text
