"""A training worker's short training, from which the first estimate follows."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from segapp import heartbeat
from segapp.models import TrainingRun
from segapp.services import runs
from segapp.worker import pace

pytestmark = pytest.mark.django_db


@pytest.fixture
def trainings(monkeypatch):
    """Trainings that take no time and stop when their watcher says so."""
    heard = []

    def train(base, examples, classes, *, steps, watch):
        heard.append((len(examples), [found.id for found in classes], steps))
        return SimpleNamespace(recipe={"stopped": not watch(None)})

    @contextmanager
    def base(ready):
        yield SimpleNamespace(base_key=ready.key)

    monkeypatch.setattr(pace, "finetune", train)
    monkeypatch.setattr(pace.networks, "runtime", lambda: SimpleNamespace(use_base=base))
    monkeypatch.setattr(pace, "_measured", {})
    monkeypatch.setitem(heartbeat._described, "queues", "train,video")
    return heard


def test_a_training_worker_measures_once_where_nobody_has_trained(trainings, monkeypatch):
    pace.measure()
    assert [(images, steps) for images, _, steps in trainings] == [(pace.IMAGES, pace.STEPS)]
    assert len(trainings[0][1]) > 1, "a training needs two classes"
    assert pace.figures()[runs.SHORT_TRAINING]["base"] == "efficientnet_lite0"
    monkeypatch.setattr(runs, "usual_seconds", lambda effort, images: 20.0)
    pace.measure()
    assert len(trainings) == 1


def test_other_workers_do_not_and_it_can_be_switched_off(trainings, monkeypatch, settings):
    monkeypatch.setitem(heartbeat._described, "queues", "predict")
    pace.measure()
    monkeypatch.setitem(heartbeat._described, "queues", "train,video")
    settings.SEGAPP_PACE = False
    pace.measure()
    assert trainings == [] and pace.figures() == {}


def test_it_gives_way_to_a_training_that_waits(trainings):
    TrainingRun.objects.create(visitor="a" * 32)
    pace.measure()
    assert len(trainings) == 1 and pace.figures() == {}
