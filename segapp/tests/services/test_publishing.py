"""A model's file and its row when the database is lost at the worst moment."""

import pytest
from django.db import OperationalError, connection

from registry.models import UserModel
from segapp.models import State, TrainingRun
from segapp.pipeline.training.finetune import Cancelled
from segapp.services import runs
from segapp.tests.planting import plant

ALICE = "a" * 32
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def own_media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path


def files(folder) -> list[str]:
    return sorted(path.name for path in (folder / "models").glob("user_*.pth"))


def lose_connection(monkeypatch, committed: bool) -> None:
    """The next COMMIT reaches the database or not, and its answer is lost."""
    usual = connection.commit

    def commit():
        monkeypatch.undo()
        if committed:
            usual()
        else:
            connection.rollback()
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(connection, "commit", commit)


@pytest.mark.fault(53)
@pytest.mark.parametrize("committed", [True, False])
def test_a_connection_lost_during_commit_never_costs_the_file(monkeypatch, tmp_path, committed):
    run = TrainingRun.objects.create(visitor=ALICE, state=State.RUNNING, lease="token")
    lose_connection(monkeypatch, committed)
    with pytest.raises(OperationalError):
        plant(ALICE, "Leaves", 1, run=run)
    run.refresh_from_db()
    if committed:
        model = UserModel.objects.get(visitor=ALICE)
        assert model.active and model.path.is_file() and run.state == State.DONE
    else:
        assert not UserModel.objects.exists() and run.state == State.RUNNING, "its lease runs out and it is tried again"
        assert len(files(tmp_path)) == 1, "an orphan, which cleanup collects"


@pytest.mark.fault(40)
def test_a_training_cancelled_after_its_last_step_publishes_nothing(tmp_path):
    old = plant(ALICE, "Old", 1)
    run = TrainingRun.objects.create(visitor=ALICE, state=State.RUNNING, lease="token")
    runs.stop(run, keep=False)
    with pytest.raises(Cancelled):
        plant(ALICE, "New", 2, run=run)
    assert list(UserModel.objects.filter(active=True)) == [old] and UserModel.objects.count() == 1
    assert files(tmp_path) == [old.path.name]
