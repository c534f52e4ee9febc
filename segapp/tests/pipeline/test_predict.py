"""Prediction: every size works, tiles agree with a single pass, shares add up."""

import dataclasses

import numpy as np
import pytest
import torch

from registry.network import ClassInfo
from registry.runtime import with_base
from registry.stages import deepest_stage
from segapp.imaging import tiling
from segapp.imaging.tiling import starts
from segapp.pipeline.inference import forward as passes
from segapp.pipeline.inference import predict as module
from segapp.pipeline.inference import tiles
from segapp.pipeline.inference.predict import logits_of, predict, shares
from segapp.pipeline.inference.tiles import fades, strips
from segapp.pipeline.training.input_size import MAX_EXAMPLE_SIDE, median_side
from segapp.tests.pipeline.conftest import disc, loaded

CLASSES = [ClassInfo(2, "a", "#000000"), ClassInfo(7, "b", "#ffffff")]


@pytest.mark.fault(6)
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


def test_a_mirrored_model_answers_an_image_and_its_mirror_image_alike(base, trained):
    net = loaded(base, trained)
    both = dataclasses.replace(net, spec=dataclasses.replace(net.spec, mirrored=True, guided=0))
    image = disc(7).image
    mirror = np.ascontiguousarray(image[:, ::-1])
    mean = (passes.run(net, image) + passes.run(net, mirror).flip(-1)) / 2
    assert torch.allclose(passes.run_both_ways(net, image), mean)
    assert not torch.allclose(passes.run(net, image), mean, atol=1e-3)
    seen, reflected = predict(both, image), predict(both, mirror)
    assert np.array_equal(seen.ids, reflected.ids[:, ::-1])
    assert np.array_equal(seen.ids == 3, mean.argmax(0).numpy() == 1)


def test_features_of_an_image_serve_all_models_of_one_encoder(base, trained, monkeypatch):
    decoder = {name: tensor for name, tensor in trained.tensors.items() if not name.startswith("encoder.")}
    learnt = loaded(base, dataclasses.replace(trained, tensors=decoder))
    one = dataclasses.replace(base, encoder_key="e")
    two, other = dataclasses.replace(learnt, encoder_key="e"), dataclasses.replace(learnt, encoder_key="f")
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


def test_a_model_with_a_deepest_stage_of_its_own_uses_the_others_shallow_features(base, trained):
    """The answer is that of the network alone, whichever model saw the image first."""
    stage = deepest_stage(base.module.encoder)
    tensors = dict(trained.tensors)
    for name, part in stage.items():
        for leaf, parameter in part.named_parameters():
            tensors[f"encoder.{name}.{leaf}"] = parameter * 1.2
    network = with_base(base, trained.spec, tensors)
    plain = dataclasses.replace(base, encoder_key="e", shallow_key="e")
    own = dataclasses.replace(base, spec=trained.spec, module=network, encoder_key="own", shallow_key="e")
    unseen = dataclasses.replace(own, encoder_key="", shallow_key="")
    image = disc(5).image
    passes.forget()
    calls = []
    hook = base.module.encoder.register_forward_hook(lambda *_: calls.append(1))  # its copies have it, too
    try:
        first = passes.run(plain, image)
        found, again = passes.run(own, image), passes.run(own, image)
        back = passes.run(plain, image)
        assert len(calls) == 1
        alone = passes.run(unseen, image)
        assert len(calls) == 2
    finally:
        hook.remove()
    assert torch.equal(found, alone) and torch.equal(found, again)
    assert torch.equal(first, back) and not torch.equal(first[:1], found[:1])


def test_features_in_memory_are_bounded_by_bytes(base, monkeypatch):
    net = dataclasses.replace(base, encoder_key="e")
    passes.forget()
    predict(net, disc(0).image)
    one = passes.kept_bytes()
    assert one > 0
    monkeypatch.setattr(passes, "KEPT_BYTES", 3 * one)
    for number in range(6):
        predict(net, disc(number).image)
    assert passes.kept_bytes() == 3 * one
    monkeypatch.setattr(passes, "KEPT_BYTES", one - 1)
    predict(net, disc(10).image)
    assert passes.kept_bytes() == 3 * one, "what is too large to keep pushes nothing out"


def test_features_have_no_more_room_than_networks_leave_them(base, monkeypatch):
    net = dataclasses.replace(base, encoder_key="e")
    monkeypatch.setattr(passes, "_allowed", passes.KEPT_BYTES)  # as it was, afterwards
    passes.forget()
    predict(net, disc(0).image)
    one = passes.kept_bytes()
    assert one > 0
    passes.keep_at_most(2 * one)
    for number in range(6):
        predict(net, disc(number).image)
    assert passes.kept_bytes() == 2 * one


def test_strips_are_what_the_tiles_blended_at_once_would_be(monkeypatch):
    image = np.random.default_rng(0).integers(0, 255, (230, 170, 3), dtype=np.uint8)

    def run(piece: np.ndarray) -> torch.Tensor:
        """Logits that depend on where in its tile a pixel lies, so that the blend shows."""
        plane = torch.from_numpy(piece[:, :, 0].astype(np.float32))
        return torch.stack([plane, plane * torch.arange(piece.shape[1])])

    total, weight = torch.zeros(2, 230, 170), torch.zeros(230, 170)
    for top in starts(230, 64):
        for left in starts(170, 64):
            fade = fades(64, 64)[:, None] * fades(64, 64)[None]
            total[:, top : top + 64, left : left + 64] += run(image[top : top + 64, left : left + 64]) * fade
            weight[top : top + 64, left : left + 64] += fade
    pieces = list(strips(run, image, 64, 2))
    assert [top for top, _ in pieces] == starts(230, 64)
    assert all(piece.shape[1] <= 64 for _, piece in pieces)
    monkeypatch.setattr(tiles, "STRIP_VALUES", 2 * 170 * 9)
    narrow = list(strips(run, image, 64, 2))
    assert max(piece.shape[1] for _, piece in narrow) == 9
    assert torch.equal(torch.cat([p for _, p in narrow], dim=1), torch.cat([p for _, p in pieces], dim=1))
    assert torch.allclose(torch.cat([piece for _, piece in pieces], dim=1), total / weight, rtol=1e-5)


def test_an_image_far_larger_than_the_examples_is_seen_at_their_scale_when_that_is_surer(base, trained):
    net = loaded(base, trained)
    assert net.spec.example_side == 64
    rows = [np.concatenate([disc(6 * r + c).image for c in range(6)], axis=1) for r in range(6)]
    truth = [np.concatenate([disc(6 * r + c).mask for c in range(6)], axis=1) for r in range(6)]
    image, mask = np.concatenate(rows), np.concatenate(truth)
    heard: list[float] = []
    seen = predict(net, image, heard.append)
    assert seen.tiled and heard == sorted(heard) and heard[-1] == 1.0 and len(heard) > 30
    unknown = dataclasses.replace(net, spec=dataclasses.replace(net.spec, example_side=0))
    whole = predict(unknown, image)
    assert not whole.tiled
    assert (seen.ids == mask).mean() > 0.85 > (whole.ids == mask).mean()


def test_the_same_image_more_finely_is_seen_as_a_whole(base, trained):
    net = loaded(base, trained)
    small = disc(3)
    image = np.kron(small.image, np.ones((6, 6, 1), np.uint8))
    seen = predict(net, image)
    assert not seen.tiled
    assert (seen.ids == np.kron(small.mask, np.ones((6, 6), np.uint8))).mean() > 0.9


def test_the_median_side_is_unknown_where_examples_were_shrunk():
    assert median_side([np.zeros((3, side), np.uint8) for side in (5, 900, 7)]) == 7
    assert median_side([np.zeros((MAX_EXAMPLE_SIDE, 1), np.uint8)]) == 0


@pytest.mark.parametrize(
    ("shape", "example_side"), [((64, 64), 0), ((300, 200), 64), ((129, 640), 32), ((640, 64), 64)]
)
def test_an_image_takes_the_passes_that_were_counted_for_it(base, shape, example_side, monkeypatch):
    net = dataclasses.replace(base, spec=dataclasses.replace(base.spec, example_side=example_side))
    image = np.random.default_rng(1).integers(0, 255, (*shape, 3), dtype=np.uint8)
    taken = []
    real = module.run
    monkeypatch.setattr(module, "run", lambda *args, **kwargs: taken.append(1) or real(*args, **kwargs))
    predict(net, image)
    counted = tiling.passes(*shape, net.spec.input_size, example_side, len(net.spec.classes))
    assert len(taken) == counted
