"""Borders that follow the edges of the image."""

import dataclasses

import numpy as np
import pytest
import torch

from registry.network import Spec
from segapp.pipeline.inference import forward as passes
from segapp.pipeline.inference import guided as guided_module
from segapp.pipeline.inference import predict as module
from segapp.pipeline.inference.guided import LEAST, RADIUS, guided, guided_strips
from segapp.pipeline.inference.predict import predict
from segapp.pipeline.inference.windows import follow_edges, predict_windows
from segapp.pipeline.training import validation
from segapp.pipeline.training.finetune import finetune
from segapp.tests.pipeline.conftest import CLASSES, disc, loaded


def halves(shape: tuple[int, int], border: int) -> np.ndarray:
    """A grey image whose part from column `border` on is brighter."""
    image = np.full((*shape, 3), 90, np.uint8)
    image[:, border:] = 160
    return image


def logits_with_border(shape: tuple[int, int], border: float, classes: int = 2) -> torch.Tensor:
    """The last class wins right of `border`, the first left of it, less surely the nearer a pixel is."""
    distance = torch.arange(shape[1]).float() + 0.5 - border
    logits = torch.zeros(classes, *shape)
    logits[-1] = (distance / 3).clamp(-4, 4)
    logits[1:-1] = -9.0
    return logits


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("border", [59, 68])
def test_a_border_moves_to_an_edge_that_is_near(border, classes):
    shape, edge = (96, 128), 64
    before = logits_with_border(shape, border, classes)
    found = guided(before, halves(shape, edge), RADIUS).argmax(0).numpy()
    wrong = [
        (ids != np.where(np.arange(128) >= edge, classes - 1, 0)).mean() for ids in (before.argmax(0).numpy(), found)
    ]
    assert wrong[1] < 0.3 * wrong[0]


def test_a_border_stays_where_the_image_has_no_edge():
    shape = (96, 128)
    for border in (40, 59):
        before = logits_with_border(shape, border)
        after = guided(before, np.full((*shape, 3), 120, np.uint8), RADIUS)
        assert (before.argmax(0) != after.argmax(0)).float().mean() < 0.01
    far = logits_with_border(shape, 20)
    assert (far.argmax(0) != guided(far, halves(shape, 100), RADIUS).argmax(0)).float().mean() < 0.01


@pytest.mark.parametrize("shape", [(1, 1), (1, 70), (37, 51), (200, 3)])
@pytest.mark.parametrize("classes", [2, 5])
def test_every_size_gives_logits_of_that_size(shape, classes):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(classes, *shape, generator=generator) * 4
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    found = guided(logits, image, RADIUS)
    assert found.shape == logits.shape and bool(torch.isfinite(found).all())
    assert float(found.min()) >= np.log(LEAST) - 1e-4


def test_a_class_that_is_likely_nowhere_changes_nothing():
    shape = (64, 64)
    two = logits_with_border(shape, 30)
    five = torch.cat([two, torch.full((3, *shape), -12.0)])
    image = halves(shape, 32)
    both, alone = guided(five, image, RADIUS), guided(two, image, RADIUS)
    assert torch.equal(both.argmax(0), alone.argmax(0))
    assert torch.allclose(both[:2], alone, atol=1e-2)


def test_maps_of_any_width_get_the_same_means(monkeypatch):
    logits = torch.randn(3, 90, 130, generator=torch.Generator().manual_seed(0))
    image = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    narrow = guided(logits, image, RADIUS)
    monkeypatch.setattr(guided_module, "WIDE", 20)
    assert torch.allclose(guided(logits, image, RADIUS), narrow, atol=1e-3)


def test_an_image_of_one_class_stays_one():
    sure = torch.stack([torch.full((64, 64), 9.0), torch.zeros(64, 64)])
    for logits, winner in ((sure, 0), (sure.flip(0), 1)):
        assert bool((guided(logits, halves((64, 64), 32), RADIUS).argmax(0) == winner).all())


def test_a_model_that_asks_for_it_is_guided_by_the_image_it_sees(base, trained):
    plain = loaded(base, dataclasses.replace(trained, spec=dataclasses.replace(trained.spec, guided=0)))
    net = dataclasses.replace(plain, spec=dataclasses.replace(plain.spec, guided=RADIUS))
    assert Spec.from_dict(net.spec.to_dict()) == net.spec
    image = disc(7).image
    expected = guided(passes.run(plain, image), image, RADIUS)
    assert not torch.equal(expected.argmax(0), passes.run(plain, image).argmax(0))
    assert np.array_equal(predict(net, image).ids == 3, expected.argmax(0).numpy() == 1)
    assert not np.array_equal(predict(net, image).ids, predict(plain, image).ids)


def test_a_large_image_read_in_parts_is_guided_too(base, trained, tmp_path):
    plain = loaded(base, trained)
    plain = dataclasses.replace(plain, spec=dataclasses.replace(plain.spec, guided=0))
    net = dataclasses.replace(plain, spec=dataclasses.replace(plain.spec, guided=RADIUS))
    image = np.concatenate([np.concatenate([disc(4 * row + i).image for i in range(4)], axis=1) for row in range(3)])

    def read(top: int, left: int, height: int, width: int) -> np.ndarray:
        return image[top : top + height, left : left + width]

    size = image.shape[0], image.shape[1]
    seen, drawn = (predict_windows(each, read, size, tmp_path, lambda _: None).ids for each in (net, plain))
    assert 0 < (seen != drawn).mean() < 0.2


def test_the_map_of_touching_objects_stays_as_it_is(base, trained):
    net = loaded(base, trained)
    net = dataclasses.replace(net, spec=dataclasses.replace(net.spec, guided=RADIUS))
    image = disc(7).image
    seen, inner = passes.run(net, image), torch.rand(1, *image.shape[:2])
    found = follow_edges(net, image, torch.cat([seen, inner]))
    assert torch.equal(found[2:], inner)
    assert torch.equal(found[:2], guided(seen, image, RADIUS))


@pytest.mark.parametrize("rows", [(200,), (90, 110), (50, 7, 60, 83), tuple([8] * 25)])
def test_strips_are_guided_as_the_whole_image_is(rows):
    generator = torch.Generator().manual_seed(0)
    image = np.random.default_rng(0).integers(0, 256, (200, 70, 3), dtype=np.uint8)
    logits = torch.randn(4, 200, 70, generator=generator)
    tops = np.cumsum([0, *rows[:-1]]).tolist()
    pieces = [(top, logits[:, top : top + count]) for top, count in zip(tops, rows, strict=True)]
    found = list(guided_strips(iter(pieces), image, 3, RADIUS))
    assert [top for top, *_ in found] == np.cumsum([0, *(strip.shape[1] for _, strip, _ in found[:-1])]).tolist()
    assert torch.equal(torch.cat([strip for _, strip, _ in found], dim=1), logits)
    together = torch.cat([part for *_, part in found], dim=1)
    assert torch.allclose(together, guided(logits[:3], image, RADIUS), atol=1e-3)
    assert (together.argmax(0) == guided(logits[:3], image, RADIUS).argmax(0)).float().mean() > 0.9999


def test_without_a_radius_strips_stay_as_they_are():
    logits = torch.randn(4, 20, 30)
    pieces = [(0, logits[:, :8]), (8, logits[:, 8:])]
    found = list(guided_strips(pieces, np.zeros((20, 30, 3), np.uint8), 3, 0))
    assert [top for top, *_ in found] == [0, 8]
    assert all(torch.equal(part, strip[:3]) for _, strip, part in found)


def test_confidence_stays_the_networks_own(base, trained, monkeypatch):
    """Whether an image is seen whole or in tiles is decided by it, which was measured without guidance."""
    net = loaded(base, trained)
    plain, guided_net = (
        dataclasses.replace(net, spec=dataclasses.replace(net.spec, guided=radius)) for radius in (0, RADIUS)
    )
    monkeypatch.setattr(module, "PASS", 64)
    image = np.concatenate([disc(7).image, disc(8).image])
    one, other = predict(plain, image), predict(guided_net, image)
    assert np.array_equal(one.coarse_confidence, other.coarse_confidence)
    assert not np.array_equal(one.ids, other.ids)


@pytest.mark.parametrize("gains", [False, True])
def test_held_out_images_decide_and_the_result_says_so(base, discs, monkeypatch, gains):
    """Answers that are right once they are guided, or stay as they are."""

    def answer(logits, image, radius):
        heard.append(radius)
        if not gains:
            return logits
        example = next(one for one in discs if np.array_equal(one.image, image))
        return torch.stack([torch.from_numpy(example.mask != 3), torch.from_numpy(example.mask == 3)]).float()

    heard: list[int] = []
    monkeypatch.setattr(validation, "guided", answer)
    result = finetune(base, discs[:2], CLASSES, steps=3)
    assert set(heard) == {RADIUS}
    assert result.spec.guided == result.recipe["guided"] == (RADIUS if gains else 0)
    assert (result.recipe["guided_gain"] > 0.02) == gains
    assert (result.metrics["miou"] > 0.99) == gains, "folds are scored with it"
    said = [one for one in result.metrics["choices"] if "edges" in one]
    assert len(said) == 1 and f"{result.recipe['guided_gain']:+.2f} mean IoU" in said[0]
    assert ("stay" in said[0]) != gains


def test_a_fold_is_scored_with_what_suits_the_other(base, discs, monkeypatch):
    right, wrong = np.diag([10, 10]), np.array([[5, 5], [5, 5]])
    tables = [(wrong, right), (right, wrong)]
    monkeypatch.setattr(validation, "_tables", lambda job, training, changed: tables[training.fold.held_out[0] % 2])
    heard = {}
    predict_held_out = validation.predict_held_out

    def note(job, training, index, radius):
        heard[index] = radius
        predict_held_out(job, training, index, radius)

    monkeypatch.setattr(validation, "predict_held_out", note)
    finetune(base, discs[:2], CLASSES, steps=3)
    assert heard == {0: 0, 1: RADIUS}


def test_strokes_do_not_say_where_objects_end_so_nothing_is_tried(base, discs):
    strokes = []
    for example in discs[:2]:
        mask = np.full_like(example.mask, 255)
        mask[::9, ::7] = example.mask[::9, ::7]
        strokes.append(dataclasses.replace(example, mask=mask))
    result = finetune(base, strokes, CLASSES, steps=3)
    assert result.recipe["strokes"] and result.spec.guided == 0 and result.recipe["guided_gain"] is None
    assert not any("edges" in said for said in result.metrics["choices"])


def test_where_images_are_enlarged_for_a_thin_class_it_is_not_tried(base, discs):
    thin = []
    for example in discs[:2]:
        mask = np.zeros_like(example.mask)
        mask[:, 30:32] = 3
        thin.append(dataclasses.replace(example, mask=mask))
    result = finetune(base, thin, CLASSES, steps=3)
    assert result.spec.input_size > base.spec.input_size
    assert result.spec.guided == 0 and result.recipe["guided_gain"] is None
