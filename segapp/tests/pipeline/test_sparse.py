"""Trainings on strokes: what is not read from them as it is from whole masks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from registry.network import ClassInfo
from segapp.bench.scribbles import scribbled
from segapp.pipeline.constants import IGNORE
from segapp.pipeline.training import job as job_module
from segapp.pipeline.training.features import Prepared, encode
from segapp.pipeline.training.finetune import finetune
from segapp.pipeline.training.job import prepare_job
from segapp.pipeline.training.loop import Settings
from segapp.pipeline.training.renaming import fit_renamed_head
from segapp.pipeline.training.schedule import ProgressReporter
from segapp.pipeline.training.sparse import broadened, is_sparse, stroke_loss, stroke_weights
from segapp.tests.pipeline.conftest import disc

CLASSES = [ClassInfo(0, "background", "#000000"), ClassInfo(3, "disc", "#ff0000")]


def job_of(base, examples):
    return prepare_job(base, base, examples, CLASSES, "quick", 0, ProgressReporter(lambda _: True, 60.0), Settings())


def with_strokes(examples, count=5):
    masks = scribbled([e.mask for e in examples], [0, 3], count, seed=0)
    return [replace(e, mask=mask) for e, mask in zip(examples, masks, strict=True)]


def test_whole_masks_are_trained_on_as_ever(base):
    job = job_of(base, [disc(k, 96) for k in range(2)])
    assert job.shares is None and not job.settings.strokes


def test_strokes_do_not_decide_how_large_images_are_seen_and_class_shares_are_estimated(base):
    job = job_of(base, with_strokes([disc(k, 512) for k in range(2)]))
    assert job.settings.strokes and job.spec.input_size == base.spec.input_size
    painted = np.concatenate([p.mask[p.mask != IGNORE] for p in job.prepared])
    truth = np.mean([(disc(k, 512).mask == 0).mean() for k in range(2)])
    assert abs(float(job.shares[0]) - truth) < abs((painted == 0).mean() - truth)


def test_a_mask_with_holes_is_no_strokes():
    mask = np.zeros((40, 40), np.uint8)
    mask[:20] = IGNORE
    assert not is_sparse([mask]) and is_sparse([np.where(np.arange(40) < 2, mask, np.uint8(IGNORE))])


def test_a_line_thinner_than_the_grid_of_targets_is_learnt_from(base):
    mask = np.full((256, 256), IGNORE, np.uint8)
    mask[100] = 1
    small = np.full((64, 64), IGNORE, np.uint8)
    seen = encode(base, broadened(Prepared(np.zeros((64, 64, 3), np.uint8), small), mask))
    assert (seen.target[25 // 4] == 1).all() and (seen.target == 1).sum() == 16


def test_strokes_of_an_image_that_was_not_made_smaller_stay_as_thin_as_they_are():
    mask = np.full((64, 64), IGNORE, np.uint8)
    mask[30] = 1
    prepared = Prepared(np.zeros((128, 128, 3), np.uint8), mask.repeat(2, axis=0).repeat(2, axis=1))
    assert broadened(prepared, mask) is prepared


def test_strokes_count_as_the_classes_they_stand_for(base):
    mask = np.full((64, 64), IGNORE, np.uint8)
    mask[:4], mask[8:12] = 0, 1
    view = encode(base, Prepared(np.zeros((64, 64, 3), np.uint8), mask))
    rare = stroke_weights([view], torch.tensor([0.9, 0.1]))
    assert rare[0] / rare[1] == pytest.approx(3.0) and rare.mean() == pytest.approx(1.0)
    assert stroke_weights([view], torch.tensor([0.5, 0.5])).tolist() == pytest.approx([1.0, 1.0])


def test_the_loss_of_a_place_does_not_depend_on_what_else_was_painted():
    logits = torch.randn(1, 2, 4, 4)
    weights = torch.tensor([1.8, 0.2])
    second = torch.full((1, 4, 4), IGNORE)
    second[0, 0] = 1
    assert stroke_loss(logits, torch.full((1, 4, 4), IGNORE), weights) == 0
    plain = torch.nn.functional.cross_entropy(logits, second, ignore_index=IGNORE)
    assert stroke_loss(logits, second, weights) == pytest.approx(0.2 * float(plain))


def test_a_training_on_strokes_finds_the_discs(base):
    examples = [disc(k, 96) for k in range(4)]
    trained = finetune(base, with_strokes(examples), CLASSES, steps=18)
    assert trained.steps == 18 and trained.metrics["miou"] is not None


def test_where_the_base_knows_the_subject_the_head_is_fitted_to_its_answers_and_kept(base, monkeypatch):
    monkeypatch.setattr(job_module, "KNOWN", -9.0)
    examples = with_strokes([disc(k, 96) for k in range(4)])
    trained = finetune(base, examples, CLASSES, steps=18)
    job = job_of(base, examples)
    weight, bias = fit_renamed_head(base.module, [job.features.get(k, 0) for k in range(4)], job.shares, seed=0)
    assert torch.equal(trained.tensors["segmentation_head.0.weight"][:, :, 0, 0], weight)
    assert torch.equal(trained.tensors["segmentation_head.0.bias"], bias)
    assert trained.recipe["share"] == 0.0 and trained.recipe["strokes"]
