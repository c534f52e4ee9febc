"""Strokes to a head and a head to an answer, on red discs; features kept and bounded."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from registry.cache import NetworkCache
from registry.decoding import logits_from
from registry.detail import filtered
from registry.network import ClassInfo
from registry.runtime import with_base
from segapp.bench.scribbles import scribbled
from segapp.pipeline.inference.forward import normalised
from segapp.pipeline.inference.live import (
    MAX_PER_CLASS,
    ImageFeatures,
    PaintedImage,
    fit,
    image_features,
    kept,
    live_logits,
    painted_places,
    sampled,
    samples_of,
    unlike,
)
from segapp.pipeline.inference.live_model import live_network
from segapp.pipeline.inference.upsample import decide
from segapp.tests.pipeline.conftest import disc

CLASSES = [ClassInfo(0, "background", "#000000"), ClassInfo(3, "disc", "#ff0000")]


@pytest.fixture(scope="module")
def net(base):
    """The tiny base, seeing images at a size that shows the discs' edges."""
    return replace(base, spec=replace(base.spec, input_size=256))


def answered(net, head, example):
    logits = live_logits(image_features(net, example.image), head)
    return decide(logits, *example.mask.shape, CLASSES)[0]


def test_a_few_strokes_on_one_image_answer_another(net):
    one, other = disc(0, 256), disc(1, 160)
    (strokes,) = scribbled([one.mask], [0, 3], 3, seed=0)
    head = fit([sampled(image_features(net, one.image), strokes)])
    assert head is not None and head.ids == (0, 3)
    for example in (one, other):
        found = answered(net, head, example) == 3
        truth = example.mask == 3
        assert (found & truth).sum() / (found | truth).sum() > 0.75


def test_strokes_of_one_class_are_not_enough(net):
    example = disc(0)
    strokes = np.where(example.mask == 3, 3, 255).astype(np.uint8)
    features = image_features(net, example.image)
    assert fit([sampled(features, strokes)]) is None
    assert fit([sampled(features, np.full_like(strokes, 255))]) is None
    assert fit([]) is None


def test_what_is_not_painted_teaches_nothing(net):
    """The same strokes in a corner: the rest of the image could be of any class."""
    example = disc(0)
    (strokes,) = scribbled([example.mask], [0, 3], 2, seed=1)
    changed = np.where(strokes == 255, np.uint8(255), strokes)
    features = image_features(net, example.image)
    one, two = sampled(features, strokes), sampled(features, changed)
    assert torch.equal(one.deep, two.deep) and len(one.ids) == int(one.counts[[0, 3]].sum())
    assert set(one.ids.tolist()) == {0, 3}


def test_a_start_leads_to_the_same_head(net):
    example = disc(2)
    three, ten = (scribbled([example.mask], [0, 3], n, seed=0)[0] for n in (3, 10))
    features = image_features(net, example.image)
    begun = fit([sampled(features, three)])
    cold, warm = fit([sampled(features, ten)]), fit([sampled(features, ten)], begun)
    a, b = live_logits(features, cold), live_logits(features, warm)
    assert (a.argmax(0) == b.argmax(0)).float().mean() > 0.999


@pytest.mark.parametrize("shape", [(64, 64), (32, 32), (640, 640), (63, 61)])
def test_labels_of_any_size_fall_on_the_grid(shape):
    labels = np.full(shape, 255, np.uint8)
    labels[0, 0], labels[-1, -1] = 3, 5
    places = painted_places(labels, (30, 31))
    assert places[0, 0] == 3 and places[-1, -1] == 5 and (places == 255).sum() == 30 * 31 - 2


def test_thin_lines_of_a_large_image_survive():
    labels = np.full((3000, 3000), 255, np.uint8)
    labels[1500:1503, 100:2900] = 1
    assert (painted_places(labels, (128, 128)) == 1).sum() >= 110


def test_a_whole_mask_counts_in_full_and_teaches_a_part(net):
    example = disc(0, 256)
    found = sampled(image_features(net, example.image), example.mask)
    assert len(found.ids) == 2 * MAX_PER_CLASS and int(found.counts.sum()) == 128 * 128
    again = sampled(image_features(net, example.image), example.mask)
    assert torch.equal(found.ids, again.ids) and torch.equal(found.detail, again.detail)


def test_features_and_samples_are_kept_within_the_limit(net):
    reads = []

    def image(number):
        reads.append(number)
        return disc(number).image

    size = image_features(net, disc(0).image).bytes
    cache = NetworkCache(3 * size)
    for number in (0, 1, 2, 2, 1):
        kept(cache, net, number, lambda number=number: image(number))
    assert reads == [0, 1, 2] and cache.stats()["bytes"] <= 3 * size
    (strokes,) = scribbled([disc(1).mask], [0, 3], 1, seed=0)
    painted = PaintedImage(1, lambda: image(1), strokes, ("strokes", 1))
    first = samples_of(cache, net, painted)
    assert samples_of(cache, net, painted) is first and reads == [0, 1, 2]
    for number in range(3, 9):
        kept(cache, net, number, lambda number=number: image(number))
    assert cache.stats()["bytes"] <= 3 * size and cache.stats()["evictions"] > 0


def test_a_head_as_a_network_gives_the_same_logits(net):
    example = disc(0, 256)
    (strokes,) = scribbled([example.mask], [0, 3], 5, seed=0)
    features = image_features(net, example.image)
    head = fit([sampled(features, strokes)])
    spec, tensors = live_network(net, head, CLASSES[::-1], 256)
    assert spec.classes == tuple(CLASSES) and spec.detail is not None
    module = with_base(net, spec, tensors).eval()
    images = normalised(example.image, net)
    with torch.no_grad():
        detail = module.detail.answers(filtered(images, module.detail.bank))
    mine = live_logits(replace(features, deep=torch.zeros_like(features.deep)), head) - head.bias[:, None, None]
    assert torch.allclose(detail[0], mine, atol=0.05)
    with torch.no_grad():
        whole = logits_from(module, net.module.encoder(images)[-4:], images)[0][0, :, ::2, ::2]
    assert (whole.argmax(0) == live_logits(features, head).argmax(0)).float().mean() > 0.97


def test_filter_features_count_nothing_on_an_image_that_is_nothing_like_the_painted_ones(net):
    example = disc(0, 256)
    (strokes,) = scribbled([example.mask], [0, 3], 5, seed=0)
    features = image_features(net, example.image)
    head = fit([sampled(features, strokes)])
    without = live_logits(features, replace(head, detail=torch.zeros_like(head.detail)))
    assert not torch.allclose(live_logits(features, head), without)
    strange = replace(features, mean=features.mean + 5 * features.std)
    assert torch.allclose(live_logits(strange, head), without)


def test_a_class_that_covers_more_than_its_strokes_is_answered_more_often(net):
    example = disc(0, 256)
    (strokes,) = scribbled([example.mask], [0, 3], 5, seed=0)
    found = sampled(image_features(net, example.image), strokes)
    background = int((example.mask == 0).sum())
    assert background > 2 * (example.mask == 3).sum() and found.any_deep.shape[0] == found.any_detail.shape[0] > 100
    head, few = (
        fit([found]),
        fit([replace(found, any_deep=found.deep[found.ids == 3], any_detail=found.detail[found.ids == 3])]),
    )
    assert head.bias[0] - head.bias[1] > few.bias[0] - few.bias[1]


def test_an_image_is_like_itself_and_unlike_one_of_other_features():
    def features(level: float) -> ImageFeatures:
        deep = torch.randn(1, 8, 16, 16, generator=torch.Generator().manual_seed(0)) + level
        return ImageFeatures(deep.half(), torch.zeros(1, 3, 32, 32).half(), (32, 32), torch.zeros(3), torch.ones(3))

    near, far = unlike(features(0), [features(0.2)]), unlike(features(0), [features(1.0)])
    assert unlike(features(0), [features(3.0), features(0)]) == 0, "the nearest counts"
    assert 0 < near < far < 1 and unlike(features(0), []) == 1
