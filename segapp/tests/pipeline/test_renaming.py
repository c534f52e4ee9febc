"""Strokes on a subject that the base knows: its own answers in the visitor's classes."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from segapp.bench.scribbles import scribbled
from segapp.pipeline.constants import IGNORE
from segapp.pipeline.training.features import encode, prepare
from segapp.pipeline.training.init import fit_head
from segapp.pipeline.training.knowledge import KNOWN
from segapp.pipeline.training.renaming import (
    Answer,
    answer_of,
    fit_renamed_head,
    knowledge_by_strokes,
    renamed,
    renaming_of,
)
from segapp.tests.pipeline.conftest import disc

BASE_CLASSES = 5
SHARES = torch.tensor([0.7, 0.3])


def scene(seed: int, share: float = 0.3, noise: float = 0.0, said: tuple[int, int] = (3, 1)) -> Answer:
    """The visitor's class 1 covers `share`, strokes are on a tenth of either class, and the base says `said` of them;
    of a share `noise` of class 0 it says the other."""
    rng = np.random.default_rng(seed)
    truth = rng.random((80, 120)) < share
    channels = np.where(truth, said[1], np.where(rng.random(truth.shape) < noise, said[1], said[0]))
    probabilities = F.one_hot(torch.from_numpy(channels), BASE_CLASSES).permute(2, 0, 1).float()
    painted = rng.random(truth.shape) < np.where(truth, 0.02 / share, 0.02)
    return Answer(probabilities, torch.from_numpy(np.where(painted, truth, IGNORE).astype(np.int64)))


def test_what_the_base_calls_otherwise_is_found():
    renaming = renaming_of([scene(seed) for seed in range(3)], SHARES)
    assert renamed(renaming, torch.eye(BASE_CLASSES)[:, [3, 1]]).tolist() == [0, 1]


def test_a_class_without_strokes_is_never_said():
    renaming = renaming_of([scene(seed) for seed in range(3)], torch.tensor([0.4, 0.3, 0.3]))
    assert float(renaming[2].abs().sum()) == 0.0


def test_of_classes_of_which_the_base_says_the_same_the_more_common_is_meant():
    answers = [scene(seed, said=(3, 3)) for seed in range(3)]
    for shares, meant in (([0.7, 0.3], 0), ([0.3, 0.7], 1)):
        assert renamed(renaming_of(answers, torch.tensor(shares)), torch.eye(BASE_CLASSES)[:, [3]]).tolist() == [meant]


def test_a_base_that_tells_the_classes_apart_knows_the_subject():
    assert knowledge_by_strokes([scene(seed) for seed in range(3)], SHARES) == 1.0
    assert knowledge_by_strokes([scene(0)], SHARES) == 1.0
    assert knowledge_by_strokes([scene(seed, noise=0.2) for seed in range(8)], SHARES) > KNOWN


def test_a_base_that_says_one_thing_of_everything_does_not():
    assert knowledge_by_strokes([scene(seed, said=(3, 3)) for seed in range(3)], SHARES) == pytest.approx(0.0)


def test_what_holds_for_one_image_only_is_no_knowledge():
    assert knowledge_by_strokes([scene(0), scene(1, said=(1, 3))], SHARES) < 0.0


def test_without_strokes_of_two_classes_nothing_is_known():
    one = scene(0)
    unpainted = Answer(one.probabilities, torch.full_like(one.target, IGNORE))
    assert knowledge_by_strokes([unpainted], SHARES) == 0.0
    background = Answer(one.probabilities, torch.where(one.target == 1, IGNORE, one.target))
    assert knowledge_by_strokes([background, background], SHARES) == 0.0


def test_a_base_that_finds_a_rare_object_too_often_does_not_know_it_though_its_strokes_say_so():
    # Of the background, which covers 98 %, the base takes almost a third for the object.
    answers = [scene(seed, share=0.02, noise=0.3) for seed in range(3)]
    assert knowledge_by_strokes(answers, torch.tensor([0.98, 0.02])) < KNOWN


def test_a_head_fitted_to_renamed_answers_finds_what_a_base_finds_and_never_says_an_absent_class(base):
    """The base's head is fitted to whole discs first, so that it knows them."""
    examples = [disc(k, 96) for k in range(4)]
    whole = [encode(base, prepare(e.image, (e.mask == 3).astype(np.uint8), 96)) for e in examples]
    weight, bias = fit_head(base.module.decoder, whole, 2, seed=0)
    module = copy.deepcopy(base.module)
    module.segmentation_head[0].weight.copy_(weight[:, :, None, None])
    module.segmentation_head[0].bias.copy_(bias)
    knowing = replace(base, module=module)
    masks = scribbled([(e.mask == 3).astype(np.uint8) for e in examples], [0, 1], 4, seed=0)
    swapped = [np.where(mask == IGNORE, mask, 1 - mask) for mask in masks]
    views = [encode(knowing, prepare(e.image, mask, 96)) for e, mask in zip(examples, swapped, strict=True)]
    assert knowledge_by_strokes([answer_of(knowing.module, view) for view in views], SHARES) > KNOWN

    weight, bias = fit_renamed_head(knowing.module, views, torch.tensor([0.8, 0.2, 0.0]), seed=0)
    again = fit_renamed_head(knowing.module, views, torch.tensor([0.8, 0.2, 0.0]), seed=0)
    assert torch.equal(weight, again[0]) and torch.equal(bias, again[1])
    right = total = 0
    for view, truth in zip(views, whole, strict=True):
        found = F.conv2d(base.module.decoder(list(view.features)), weight[:, :, None, None], bias)[0].argmax(dim=0)
        right, total = right + int((found == 1 - truth.target).sum()), total + found.numel()
        assert not (found == 2).any()
    assert right / total > 0.9
