"""Trainings that cannot give a model say so, and those that lack memory try with less."""

import numpy as np
import pytest
import torch

from segapp.pipeline.training import job, loop
from segapp.pipeline.training.finetune import Example, TrainingFailed, finetune
from segapp.tests.pipeline.conftest import CLASSES, FakeClock, disc

pytestmark = pytest.mark.usefixtures("short_detail")


def test_only_ignore_is_refused(base):
    blank = Example("x", disc(0).image, np.full((64, 64), 255, np.uint8))
    with pytest.raises(TrainingFailed, match="ignore"):
        finetune(base, [blank], CLASSES, steps=2)


@pytest.mark.fault(46)
def test_nan_aborts(base, discs, monkeypatch):
    monkeypatch.setattr(loop, "cross_entropy_dice", lambda logits, *_: logits.sum() * float("nan"))
    with pytest.raises(TrainingFailed, match="diverged"):
        finetune(base, discs, CLASSES, steps=4)


def test_a_loss_that_stays_worse_than_guessing_aborts(base, discs, monkeypatch):
    heard = []
    monkeypatch.setattr(loop, "cross_entropy_dice", lambda logits, *_: logits.sum() * 0.0 + 10.0 ** len(heard))
    with pytest.raises(TrainingFailed, match="beyond that of guessing"):
        finetune(base, discs, CLASSES, steps=40, watch=lambda p: heard.append(p) is None, clock=FakeClock(1.0))


def test_a_fold_that_diverges_is_judged_by_its_start_and_the_model_is_kept(base, discs, monkeypatch):
    train = job.train_decoder

    def spoil_folds(trainee, features, members, *rest):
        for step in train(trainee, features, members, *rest):
            yield step
            if len(members) < len(discs):
                for parameter in trainee.ema.decoder.parameters():
                    parameter.data.fill_(float("nan"))
                raise TrainingFailed("Training diverged")

    monkeypatch.setattr(job, "train_decoder", spoil_folds)
    result = finetune(base, discs, CLASSES, steps=6)
    assert result.steps == 6 and 0 < result.metrics["miou"] <= 1
    assert all(torch.isfinite(tensor).all() for tensor in result.tensors.values())


def test_one_bad_batch_is_no_divergence():
    guard = loop.LossGuard(2)
    for value in (0.5, 0.4, 9.0, 0.4, 0.5):
        assert guard.check(torch.tensor(value)) == pytest.approx(value)


@pytest.mark.fault(46)
def test_weights_that_are_no_numbers_are_not_published(base, discs, monkeypatch):
    interpolate = loop.Trainee.interpolate_weights

    def spoil(trainee, share):
        interpolate(trainee, share)
        trainee.ema.segmentation_head[0].bias.data[0] = float("nan")

    monkeypatch.setattr(loop.Trainee, "interpolate_weights", spoil)
    with pytest.raises(TrainingFailed, match="diverged"):
        finetune(base, discs, CLASSES, steps=4)


def test_less_memory_means_smaller_crops_and_smaller_images(base, discs, monkeypatch):
    small = loop.Settings().smaller()
    assert (small.batch, small.side, small.smaller().side) == (2, 512, 256)
    monkeypatch.setattr(job, "choose_input_size", lambda masks, size: 128)
    result = finetune(base, discs, CLASSES, steps=2, settings=loop.Settings(side=64))
    assert result.spec.input_size == 64


@pytest.mark.fault(46)
def test_out_of_memory_retries_smaller_then_says_so(base, discs, monkeypatch):
    sizes = []

    def full(logits, target, *_):
        sizes.append(len(logits))
        if len(logits) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return logits.sum() * 0.0 + 1.0

    monkeypatch.setattr(loop, "cross_entropy_dice", full)
    assert finetune(base, discs, CLASSES, steps=2).recipe["batch"] == 2
    assert sizes[0] == 4 and sizes[-1] == 2

    def always(*_):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(loop, "cross_entropy_dice", always)
    with pytest.raises(TrainingFailed, match="memory"):
        finetune(base, discs, CLASSES, steps=2)
