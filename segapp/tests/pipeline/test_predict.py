"""Prediction: every size works, tiles agree with a single pass, shares add up."""

import dataclasses

import numpy as np
import pytest
import torch

from registry.network import ClassInfo
from segapp.pipeline import predict as module
from segapp.pipeline.predict import decide, logits_of, predict, shares
from segapp.tests.pipeline.conftest import disc, loaded

CLASSES = [ClassInfo(2, "a", "#000000"), ClassInfo(7, "b", "#ffffff")]


@pytest.mark.parametrize("shape", [(1, 1), (31, 400), (400, 31), (70, 50), (64, 64)])
def test_every_size_gives_a_mask_of_that_size(base, shape):
    image = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)
    seen = predict(base, image)
    assert seen.ids.shape == seen.confidence.shape == shape
    assert set(np.unique(seen.ids)) <= {0, 1}
    assert (seen.confidence > 0).all()


def test_tiles_agree_with_a_single_pass(base, trained, monkeypatch):
    net = loaded(base, trained)
    image = np.concatenate([np.concatenate([disc(i).image for i in range(r, r + 4)], axis=1)
                            for r in range(3)])  # fmt: skip
    single = logits_of(net, image)
    monkeypatch.setattr(module, "PASS", 160)
    heard: list[float] = []
    tiled = logits_of(net, image, heard.append)
    assert tiled.shape == single.shape == (2, 192, 256)
    assert (tiled.argmax(0) == single.argmax(0)).float().mean() > 0.93
    assert heard == sorted(heard) and len(heard) == 4


def test_bands_give_the_same_as_the_whole(monkeypatch):
    logits = torch.randn(2, 16, 24, generator=torch.Generator().manual_seed(0))
    whole = decide(logits, 61, 90, CLASSES)
    monkeypatch.setattr(module, "BAND_VALUES", 500)
    bands = decide(logits, 61, 90, CLASSES)
    assert np.array_equal(whole[0], bands[0])
    assert np.abs(whole[1].astype(int) - bands[1]).max() <= 1
    resized = torch.nn.functional.interpolate(logits[None], (61, 90), mode="bilinear")[0]
    assert (whole[0] == np.array([2, 7])[resized.argmax(0).numpy()]).mean() > 0.999


def test_ids_with_gaps_come_out(base):
    net = dataclasses.replace(base, spec=dataclasses.replace(base.spec, classes=tuple(CLASSES)))
    seen = predict(net, np.zeros((20, 20, 3), np.uint8))
    assert set(np.unique(seen.ids)) <= {2, 7}


def test_shares_add_up():
    ids = np.array([[2, 2, 7, 2]], dtype=np.uint8)
    assert [(s["id"], s["pixels"], s["percent"]) for s in shares(ids, CLASSES)] == [
        (2, 3, 75.0),
        (7, 1, 25.0),
    ]


def test_features_of_a_picture_serve_all_models_of_one_encoder(base, trained, monkeypatch):
    one = dataclasses.replace(base, encoder_key="e")
    two = dataclasses.replace(loaded(base, trained), encoder_key="e")
    other = dataclasses.replace(loaded(base, trained), encoder_key="f")
    image = disc(5).image
    calls = []
    encoder = base.module.encoder
    hook = encoder.register_forward_hook(lambda *_: calls.append(1))
    try:
        predict(one, image)
        shared = predict(two, image)
        assert len(calls) == 1
        alone = predict(other, image)
        assert len(calls) == 2
    finally:
        hook.remove()
    assert np.array_equal(shared.ids, alone.ids)
    for number in range(10):
        predict(one, disc(number).image)
    assert len(module._kept) <= module.KEPT
