"""Everything of mine: what it is, and that nothing is left of it."""

from contextlib import nullcontext

import pytest

from registry.models import UserModel
from registry.tests.test_services import make
from segapp.models import Analysis, ApiKey, Example, Export, ModelShare, TrainingRun, TransferCode, VideoJob
from segapp.services import api_keys, mydata, restore, sharing, storage, transfer
from segapp.tests.views.rows import analyzed, trained
from segapp.worker import inference, networks, training, video
from segapp.worker.publishing import LeaseLost

ALICE, CHARLIE, PHONE = "a" * 32, "c" * 32, "b" * 32
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


def file_in(row, name: str, size: int) -> None:
    row.folder.mkdir(parents=True, exist_ok=True)
    (row.folder / name).write_bytes(b"x" * size)


def fill(visitor: str) -> UserModel:
    """One of every kind."""
    model = make(visitor, active=True)
    model.preview_path.write_bytes(b"preview")
    make(visitor, trashed_at="2020-01-01T00:00Z")
    sharing.create(model)
    transfer.make(visitor)
    api_keys.make(visitor, "robot")
    analyzed(visitor)
    trained(model)
    example = Example.objects.create(visitor=visitor, stem="one", width=1, height=1, mask_kind="index", size_bytes=100)
    file_in(example, "image.png", 100)
    file_in(VideoJob.objects.create(visitor=visitor, title="ride.mp4"), "original.mp4", 1000)
    file_in(Export.objects.create(visitor=visitor, model=model, format="onnx"), "model.onnx", 10_000)
    return model


def files(folder) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_every_kind_of_row_that_has_a_visitor_is_known():
    wanted = {UserModel, Example, TrainingRun, Analysis, VideoJob, Export, TransferCode, ApiKey}
    assert wanted <= set(restore.kinds())


def test_the_list_hides_nothing():
    fill(ALICE)
    found = {holding.label: (holding.count, holding.bytes) for holding in mydata.holdings(ALICE)}
    assert found[mydata.LABELS[UserModel]] == (2, 14)
    assert found[mydata.LABELS[Example]] == (1, 100)
    assert found[mydata.LABELS[VideoJob]] == (1, 1000)
    assert found[mydata.LABELS[Export]] == (1, 10_000)
    assert found["Share links"] == (1, None) and found[mydata.LABELS[TransferCode]] == (1, None)
    assert found["API keys"] == (1, None)
    assert len(found) == 9 and mydata.holdings(CHARLIE) == []
    storage.reconcile()
    assert storage.in_use(ALICE) >= sum(size or 0 for _, size in found.values()) > 14 + 100 + 1000 + 10_000


def test_deleting_everything_leaves_nothing_of_the_visitor_and_all_of_others(own_media):
    fill(CHARLIE)
    kept = files(own_media)
    fill(ALICE)
    make(PHONE)
    restore.join(PHONE, ALICE)
    mydata.erase(ALICE)
    assert mydata.holdings(ALICE) == mydata.holdings(PHONE) == []
    assert files(own_media) == kept
    assert len(mydata.holdings(CHARLIE)) == 9 and ModelShare.objects.count() == 1
    assert restore.restore("d" * 32, restore.token(PHONE))[0] == PHONE, "an alias that led to the erased is gone, too"


def test_work_in_progress_of_the_erased_leaves_no_image_behind(monkeypatch, own_media):
    def overtaken(row, *_):
        """The visitor deletes everything while this row is worked on; then the worker writes once more."""
        mydata.erase(ALICE)
        file_in(row, "preview.webp", 9)
        raise LeaseLost

    monkeypatch.setattr(training, "_train", overtaken)
    training.run(TrainingRun.objects.create(visitor=ALICE).pk)
    assert files(own_media) == []
    monkeypatch.setattr(video, "_segment", overtaken)
    video.run(VideoJob.objects.create(visitor=ALICE, title="ride.mp4").pk)
    assert files(own_media) == []
    monkeypatch.setattr(inference, "_answer", overtaken)
    monkeypatch.setattr(networks, "pinned", lambda work: nullcontext())
    inference.run(analyzed(ALICE, state="queued").pk)
    assert files(own_media) == [] and mydata.holdings(ALICE) == []
