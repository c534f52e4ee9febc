"""Half precision on disk: where it changes nothing that matters, and nowhere else."""

import dataclasses

import torch

from registry import checkpoint
from segapp.pipeline.inference.predict import logits_of
from segapp.pipeline.training.half_precision import MAX_LOGIT_ERROR, MIN_AGREEMENT, to_half_precision
from segapp.tests.pipeline.conftest import disc, loaded


def louder(trained, factor):
    """The same model with its logits times `factor`."""
    tensors = {name: t * factor if name.startswith("segmentation_head") else t for name, t in trained.tensors.items()}
    return dataclasses.replace(trained, tensors=tensors)


def test_a_trained_model_goes_into_a_smaller_file_and_predicts_the_same(base, trained, tmp_path):
    trained = louder(trained, 0.1)
    own = loaded(base, trained)
    smaller = to_half_precision(base, own, trained.tensors, [disc(0).image, disc(1).image])
    assert checkpoint.precision(smaller) == "float16"
    full, _ = checkpoint.save(tmp_path / "full.pth", own.spec, trained.tensors, "")
    half, size = checkpoint.save(tmp_path / "half.pth", own.spec, smaller, "")
    assert size < 0.8 * (tmp_path / "full.pth").stat().st_size
    assert checkpoint.load(tmp_path / "full.pth", full).precision == "float32"
    read = checkpoint.load(tmp_path / "half.pth", half)
    assert read.precision == "float16" and all(t.dtype != torch.float16 for t in read.tensors.values())
    trained_half = dataclasses.replace(trained, tensors=read.tensors)
    for number in (0, 1, 7):
        one, two = logits_of(own, disc(number).image), logits_of(loaded(base, trained_half), disc(number).image)
        assert (one - two).abs().max() <= 2 * MAX_LOGIT_ERROR
        assert (one.argmax(0) == two.argmax(0)).float().mean() >= MIN_AGREEMENT


def test_what_half_precision_would_change_stays_as_it_is(base, trained):
    between = {name: t * 1.0003 if t.dim() == 4 else t for name, t in trained.tensors.items()}  # what halves can hold
    loud = louder(dataclasses.replace(trained, tensors=between), 300)
    smaller = to_half_precision(base, loaded(base, loud), loud.tensors, [disc(0).image])
    assert smaller is loud.tensors and checkpoint.precision(smaller) == "float32"


def test_without_an_image_to_look_at_nothing_is_converted(base, trained):
    assert to_half_precision(base, loaded(base, trained), trained.tensors, []) is trained.tensors
