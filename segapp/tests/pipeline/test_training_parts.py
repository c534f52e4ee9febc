"""Sizes, crops, schedules and scores."""

import copy
import random

import numpy as np
import pytest
import torch

from registry.stages import deepest_stage
from segapp.pipeline.training.augment import recolor
from segapp.pipeline.training.cross_validation import Fold, folds, held_out_part, only_half
from segapp.pipeline.training.features import FeatureCache, crops, encode, features_for, prepare
from segapp.pipeline.training.finetune import FOLD_RATIO, NEW_FOLD_RATIO, default_seconds
from segapp.pipeline.training.init import fit_head
from segapp.pipeline.training.input_size import choose_input_size
from segapp.pipeline.training.loop import Settings, Trainee, train_decoder, with_own
from segapp.pipeline.training.metrics import channels, confusion, dices, ious
from segapp.pipeline.training.schedule import FollowerSchedule, Schedule
from segapp.tests.pipeline.conftest import FakeClock, disc


def test_thin_objects_get_a_larger_input():
    thin = np.zeros((480, 480), np.uint8)
    thin[200:203] = 1
    thick = np.zeros((480, 480), np.uint8)
    thick[100:300, 100:300] = 1
    assert choose_input_size([thick], 512) == 512
    assert choose_input_size([thin], 512) == 1024
    assert choose_input_size([np.zeros((9, 9), np.uint8)], 512) == 512


def test_crops_fit_their_targets_and_are_of_one_shape(base):
    examples = [disc(0, 64), disc(1, 96)]
    prepared = [prepare(e.image, (e.mask == 3).astype(np.uint8), 96) for e in examples]
    views = FeatureCache(base, prepared, seed=0)
    batch = crops([views.get(0, 0), views.get(1, 1)], 2, random.Random(0))
    assert batch.target.shape == (2, 16, 16)
    assert [f.shape[-1] for f in batch.features] == [16, 8, 4, 2]


def test_views_are_fixed_by_seed_and_number(base):
    prepared = [prepare(disc(0).image, np.zeros((64, 64), np.uint8), 64)]
    one, two = FeatureCache(base, prepared, seed=1), FeatureCache(base, prepared, seed=1)
    two.get(0, 3)  # another order of asking
    assert np.array_equal(one.get(0, 2).features[0], two.get(0, 2).features[0])


def test_views_of_an_adapted_encoder_end_at_stride_16_and_train_the_same(base):
    prepared = [prepare(e.image, (e.mask == 3).astype(np.uint8), 96) for e in (disc(0, 64), disc(1, 96))]
    losses = []
    for adapted in (False, True):
        views = FeatureCache(base, prepared, seed=0)
        views.adapted = adapted
        trainee = Trainee(copy.deepcopy(base.module), adapt=True)
        steps = train_decoder(
            trainee, views, [0, 1], Schedule(lambda: 0.0, steps=9), Settings(), torch.ones(2), 0,
            lambda loss, _: losses.append(loss),
        )  # fmt: skip
        assert len(list(steps)) == 9
        assert len(views.get(0, 0).features) == 4 and len(views.get(0, 1).features) == (3 if adapted else 4)
    assert len(losses) == 18 and losses[:9] == losses[9:]
    whole, ended = (encode(base, prepared[1], deepest=deepest) for deepest in (True, False))
    own = with_own(base.module, [f"encoder.{name}" for name in deepest_stage(base.module.encoder)])
    for wanted, found in zip(features_for(own, whole), features_for(own, ended), strict=True):
        assert torch.equal(wanted, found)


@pytest.mark.parametrize("total", [1, 2, 3, 7, 30, 100])
def test_a_schedule_takes_its_steps_and_ends_low(total):
    schedule = Schedule(lambda: 0.0, steps=total)
    rates = []
    while schedule.running:
        rates.append(schedule.lr_factor())
        schedule.step += 1
    assert len(rates) == total
    assert all(0 < rate <= 1 for rate in rates)


def test_a_timed_schedule_has_the_course_of_its_steps():
    timed = Schedule(FakeClock(0.01), seconds=3.0)
    rates = []
    while timed.running:
        rates.append(timed.lr_factor())
        timed.step += 1
    fixed = Schedule(lambda: 0.0, steps=len(rates))
    again = []
    while fixed.running:
        again.append(fixed.lr_factor())
        fixed.step += 1
    assert again == rates


def test_folds_hold_every_example_out_once_and_never_what_they_train_on():
    for count in (2, 3, 5, 9):
        parts = folds(count)
        assert sorted(i for f in parts for i in f.held_out) == list(range(count))
        assert all(not set(f.train) & set(f.held_out) for f in parts)


def test_halves_do_not_overlap():
    mask = np.ones((4, 7), np.uint8)
    prepared = prepare(np.zeros((4, 7, 3), np.uint8), mask, 7)
    for half in (0, 1):
        learnt = only_half(prepared, half).mask != 255
        judged = held_out_part(mask, Fold((0,), (0,), half)) != 255
        assert not (learnt & judged).any()
        assert (learnt | judged).all()


def test_scores_by_hand():
    truth = np.array([0, 0, 1, 1, 255], np.uint8)
    found = np.array([0, 1, 1, 1, 0], np.uint8)
    counts = confusion(truth, found, 3)
    assert ious(counts) == [0.5, pytest.approx(2 / 3), None]
    assert dices(counts) == [pytest.approx(2 / 3), 0.8, None]


def test_many_large_images_get_fewer_views(base):
    prepared = [prepare(disc(0).image, np.zeros((64, 64), np.uint8), 64)] * 4
    views = FeatureCache(base, prepared, seed=0)
    assert views.per_example == 8
    size = sum(f.numel() * f.element_size() for f in views.get(0, 0).features)
    assert FeatureCache(base, prepared, seed=0, max_bytes=4 * size * 3).per_example == 3
    assert FeatureCache(base, prepared, seed=0, max_bytes=0).per_example == 1


def test_the_first_head_tells_classes_apart_and_never_says_an_absent_one(base, discs):
    views = [encode(base, prepare(e.image, channels(e.mask, [0, 3, 9]), 64)) for e in discs]
    weight, bias = fit_head(base.module.decoder, views, 3, seed=0)
    again = fit_head(base.module.decoder, views, 3, seed=0)
    assert torch.equal(weight, again[0]) and torch.equal(bias, again[1])
    right = total = 0
    for view in views:
        features = base.module.decoder(list(view.features))[0].flatten(1).T
        found, truth = (features @ weight.T + bias).argmax(dim=1), view.target.flatten()
        right, total = right + int((found == truth).sum()), total + len(truth)
        assert not (found == 2).any()
    assert right / total > 0.8


def taken_beside(leader: Schedule, ratio: int) -> list[float]:
    """Learning rates of a training beside a leader that takes `ratio` steps for each of its own."""
    short, rates = FollowerSchedule(leader, ratio, 6), []
    while leader.running or short.running:
        while short.running and short.step * ratio <= leader.step:
            rates.append(short.lr_factor())
            short.step += 1
        if leader.running:
            leader.step += 1
        elif short.running:
            rates.append(short.lr_factor())
            short.step += 1
    return rates


@pytest.mark.parametrize("seconds", [1, 20, 47, 90, 110, 300])
@pytest.mark.parametrize("ratio", [FOLD_RATIO, *NEW_FOLD_RATIO.values()])
def test_the_steps_of_a_timed_run_tell_those_of_the_trainings_beside_it(seconds, ratio):
    timed = Schedule(FakeClock(0.2), seconds=seconds, totals=range(18, 301, 18))
    rates = taken_beside(timed, ratio)
    assert taken_beside(Schedule(FakeClock(0.2), steps=timed.total), ratio) == rates
    assert len(rates) == max(6, timed.step // ratio)


def test_more_images_get_proportionally_more_time(base):
    five, ten = (default_seconds("quick", n, base.module) for n in (5, 10))
    assert ten == 2 * five
    assert default_seconds("quick", 1, base.module) < five < 20


@pytest.mark.parametrize("strength", [0.6, 1.0])
def test_recolouring_is_what_its_formula_says_to_the_bit(strength):
    image = np.random.default_rng(0).integers(0, 256, (33, 47, 3), dtype=np.uint8)[:, ::-1]
    rng = random.Random(5)
    pixels = image.astype(np.float32)
    grey = pixels.mean(axis=2, keepdims=True)
    pixels = grey + (pixels - grey) * rng.uniform(1 - 0.4 * strength, 1 + 0.4 * strength)
    middle = float(grey.mean())
    pixels = middle + (pixels - middle) * rng.uniform(1 - 0.3 * strength, 1 + 0.3 * strength)
    pixels = pixels * np.array([rng.uniform(1 - 0.1 * strength, 1 + 0.1 * strength) for _ in range(3)], np.float32)
    pixels += rng.uniform(-30 * strength, 30 * strength)
    assert np.array_equal(recolor(image, random.Random(5), strength), pixels.clip(0, 255).astype(np.uint8))
