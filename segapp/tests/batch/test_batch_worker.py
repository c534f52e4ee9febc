"""The worker's way with a batch: claim, progress, stop, hand back, resume, end."""

import errno
import io
import os

import numpy as np
import pytest
from PIL import Image

from registry.models import UserModel
from segapp import heartbeat
from segapp.imaging import decode
from segapp.models import Batch, ItemState, State, TrainingRun
from segapp.pipeline.inference import predict as engine
from segapp.services import batches
from segapp.tests.batch.sending import BROKEN, image, many, upload
from segapp.worker import batch as worker

pytestmark = pytest.mark.django_db


def fresh(batch: Batch) -> Batch:
    return Batch.objects.get(pk=batch.pk)


def before_each(monkeypatch, then):
    """Call `then(item)` before each image is predicted."""
    usual = worker._segment

    def look(batch, item, network):
        then(item)
        return usual(batch, item, network)

    monkeypatch.setattr(worker, "_segment", look)


def numbers(batch: Batch, state: ItemState = ItemState.DONE) -> list[int]:
    return list(batch.items.filter(state=state).values_list("number", flat=True))


def test_every_image_gets_mask_overlay_and_figures(net):
    batch = batches.submit("alice", [*many(2), upload("photo.jpg", image(2, 200, 100, "JPEG"))])
    worker.run(batch.pk)
    batch = fresh(batch)
    assert (batch.state, batch.progress, batch.done, batch.failed, batch.message) == (State.DONE, 1.0, 3, 0, "")
    assert (batch.model_key, batch.model_sha256, batch.model_name) == ("mit_b0", net.sha256, "MiT-B0")
    assert batch.pace > 0 and batch.eta_seconds == 0
    for item in batch.items.all():
        mask = Image.open(item.mask)
        assert (mask.mode, mask.size) == ("P", (item.width, item.height))
        assert Image.open(item.overlay).size == mask.size
        assert sum(found["pixels"] for found in item.classes) == mask.width * mask.height
        assert (item.model_key, item.model_sha256) == ("mit_b0", net.sha256)
        assert item.small.exists() and item.shown.exists()
    assert sum(found["percent"] for found in batch.classes) == pytest.approx(100, abs=0.1)
    assert not (batch.folder / "sources").exists()
    assert not heartbeat.holds(worker.LABEL, batch.pk)


def test_masks_are_those_of_the_same_image_alone(net):
    content = image(3, 150, 90, "JPEG")
    batch = batches.submit("alice", [upload("a.jpg", content)])
    worker.run(batch.pk)
    alone = engine.predict(net, np.asarray(decode.image(io.BytesIO(content), "a.jpg")))
    assert np.array_equal(decode.pixels(Image.open(batch.items.get().mask)), alone.ids)
    assert set(np.unique(alone.ids)) == {0, 3}


def test_what_only_decoding_shows_is_named_and_the_others_go_on(net):
    cut = image(1, 200, 200)[:-200]
    batch = batches.submit("alice", [upload("cut.png", cut), *many(2)])
    assert batch.failed == 0
    worker.run(batch.pk)
    batch = fresh(batch)
    assert (batch.state, batch.done, batch.failed) == (State.DONE, 2, 1)
    assert "cut off or damaged" in batch.items.get(name="cut.png").message
    assert "Export or download it again" in batch.items.get(name="cut.png").message


def test_a_batch_of_which_nothing_came_has_failed(net):
    batch = batches.submit("alice", [upload("cut.png", image(1, 200, 200)[:-200]), upload("b.png", BROKEN)])
    worker.run(batch.pk)
    batch = fresh(batch)
    assert (batch.state, batch.done, batch.failed, batch.message) == (State.FAILED, 0, 2, worker.NOTHING)
    assert not batch.has_results


def test_a_doubled_message_finds_the_row_taken(net):
    batch = batches.submit("alice", many(1))
    worker.run(batch.pk)
    worker.run(batch.pk)
    assert net.asked == [batch.pk]


def test_progress_and_an_estimate_are_written_after_each_image(net, monkeypatch):
    batch, seen = batches.submit("alice", many(4)), []
    before_each(monkeypatch, lambda item: seen.append((fresh(batch).progress, fresh(batch).eta_seconds)))
    worker.run(batch.pk)
    assert [progress for progress, _ in seen] == [0, 0.25, 0.5, 0.75]
    assert seen[0][1] is None and all(eta is not None for _, eta in seen[1:])


def test_stop_and_keep_while_an_image_is_being_done(net, monkeypatch):
    batch = batches.submit("alice", many(4))
    before_each(monkeypatch, lambda item: item.number == 3 and batches.stop(fresh(batch), keep=True))
    worker.run(batch.pk)
    batch = fresh(batch)
    assert (batch.state, batch.done, batch.waiting) == (State.DONE, 2, 2)
    assert numbers(batch) == [1, 2]
    files = sorted(path.name for path in batch.folder.rglob("*.png"))
    assert files == ["00001.png", "00002.png"], "the image that came too late leaves nothing"


def test_cancel_or_delete_while_an_image_is_being_done_leaves_nothing(net, monkeypatch, media):
    for end in (lambda row: batches.stop(row, keep=False), batches.delete):
        batch = batches.submit("alice", many(3))
        before_each(monkeypatch, lambda item, end=end: item.number == 2 and end(Batch.objects.get(pk=item.batch_id)))
        worker.run(batch.pk)
        monkeypatch.undo()
        assert not batch.folder.exists()


def test_a_training_waits_no_longer_than_one_image(net, dispatched, monkeypatch):
    batch = batches.submit("alice", many(4))
    dispatched.clear()

    def queue(item):
        if item.number == 2:
            TrainingRun.objects.create(visitor="bob", name="Bob's")

    before_each(monkeypatch, queue)
    worker.run(batch.pk)
    assert (fresh(batch).state, fresh(batch).attempts, dispatched) == (State.QUEUED, 0, [batch.pk])
    assert numbers(batch) == [1, 2]
    worker.run(batch.pk)  # the training still waits: one image is done all the same, so the batch never starves
    assert numbers(batch) == [1, 2, 3]
    TrainingRun.objects.all().delete()
    worker.run(batch.pk)
    assert fresh(batch).state == State.DONE


def test_a_worker_that_is_asked_to_end_hands_back_and_another_goes_on(net, dispatched, monkeypatch):
    batch, done = batches.submit("alice", many(4)), []
    dispatched.clear()

    def end(item):
        done.append(item.number)
        if done == [1, 2]:
            heartbeat.stopping.set()

    before_each(monkeypatch, end)
    try:
        worker.run(batch.pk)
    finally:
        heartbeat.stopping.clear()
    assert (fresh(batch).state, dispatched) == (State.QUEUED, [batch.pk])
    assert batch.items.get(number=2).attempts == 0, "no try is used up by being asked to end"
    worker.run(batch.pk)
    assert fresh(batch).state == State.DONE
    assert done == [1, 2, 2, 3, 4]


class Killed(BaseException):
    """What a test has instead of kill -9: nothing of the worker's own end runs after it."""


def killed_at(monkeypatch, number: int):
    def die(item):
        if item.number == number:
            raise Killed

    before_each(monkeypatch, die)


def take_over(batch: Batch) -> None:
    """What the reaper does with the row of a dead worker."""
    Batch.objects.filter(pk=batch.pk).update(state=State.QUEUED, lease="", lease_owner="")


def test_finished_images_are_not_done_again_and_the_deadly_one_comes_last(net, monkeypatch):
    batch, order = batches.submit("alice", many(4)), []
    with monkeypatch.context() as patch:
        killed_at(patch, 2)
        with pytest.raises(Killed):
            worker.run(batch.pk)
    assert numbers(batch) == [1]
    take_over(batch)
    before_each(monkeypatch, lambda item: order.append(item.number))
    worker.run(batch.pk)
    assert order == [3, 4, 2]
    assert (fresh(batch).state, fresh(batch).done) == (State.DONE, 4)


def test_an_image_that_kills_the_worker_twice_is_left_out_and_the_batch_still_ends(net, monkeypatch):
    batch = batches.submit("alice", many(2))
    killed_at(monkeypatch, 1)
    for _ in range(2):
        with pytest.raises(Killed):
            worker.run(batch.pk)
        assert fresh(batch).attempts == 1, "the batch itself may be taken over once more"
        take_over(batch)
    worker.run(batch.pk)
    batch = fresh(batch)
    assert (batch.state, batch.done, batch.failed) == (State.DONE, 1, 1)
    assert batch.items.get(number=1).message == worker.DIED


def test_one_failing_image_fails_alone(net, monkeypatch):
    def predict(network, image, progress=None, **more):
        if image.shape[1] == 70:
            raise RuntimeError("out of memory")
        return engine.predict(network, image, progress, **more)

    monkeypatch.setattr(worker, "predict", predict)
    batch = batches.submit("alice", [upload("big.png", image(0, 70)), *many(1)])
    worker.run(batch.pk)
    assert (fresh(batch).state, fresh(batch).done, fresh(batch).failed) == (State.DONE, 1, 1)
    assert batch.items.get(name="big.png").message == worker.FAILED


def test_a_full_disk_ends_the_batch_and_keeps_what_is_done(net, monkeypatch):
    usual, written = worker.write_atomically, []

    def write(path, fill):
        written.append(path)
        if len(written) > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return usual(path, fill)

    monkeypatch.setattr(worker, "write_atomically", write)
    batch = batches.submit("alice", many(3))
    worker.run(batch.pk)
    batch = fresh(batch)
    assert (batch.state, batch.done, batch.message) == (State.FAILED, 1, worker.DISK_FULL)
    assert batch.has_results and batch.classes
    assert not (batch.folder / "sources").exists()


def test_a_model_that_is_lost_is_named_and_the_base_answers(net):
    model = UserModel.objects.create(
        visitor="alice", name="Leaves", base_key="mit_b0", sha256="1" * 64, size_bytes=1, seconds=1, image_count=5
    )
    batch = batches.submit("alice", many(1))
    Batch.objects.filter(pk=batch.pk).update(model=model, model_key=model.key, model_name=model.name)
    worker.run(batch.pk)
    batch = fresh(batch)
    assert "“Leaves” could not be used any more, so MiT-B0 answered" in batch.message
    assert batch.items.get().model_key == "mit_b0"
