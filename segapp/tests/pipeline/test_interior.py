"""The head that tells touching objects apart: what it learns, what it leaves alone, what it gives at prediction."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from registry.interior import interior_features
from registry.network import has_interior
from segapp.measurement.objects import Settings, find
from segapp.pipeline.inference.forward import normalised
from segapp.pipeline.inference.predict import predict
from segapp.pipeline.training import interior, interior_stage
from segapp.pipeline.training.features import Prepared
from segapp.pipeline.training.finetune import Example, finetune
from segapp.pipeline.training.interior import Data, numbers_like, target_of, train_interior
from segapp.tests.pipeline.conftest import CLASSES, loaded


def cells(seed: int, side: int = 192) -> tuple[np.ndarray, np.ndarray]:
    """Bright squares in pairs that touch along a darker line: an image and its object numbers."""
    rng = np.random.default_rng(seed)
    image, numbers = rng.normal(60, 5, (side, side)), np.zeros((side, side), np.int32)
    for top in range(16, side - 47, 64):
        for left in range(8, side - 71, 88):
            top_, left_ = top + int(rng.integers(-8, 8)), left + int(rng.integers(-6, 6))
            for across in (0, 32):
                numbers[top_ : top_ + 32, left_ + across : left_ + across + 32] = numbers.max() + 1
            image[top_ : top_ + 32, left_ : left_ + 64] += 110
            image[top_ : top_ + 32, left_ + 29 : left_ + 35] -= 60
    return np.repeat(image.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2), numbers


def data(*seeds: int) -> Data:
    drawn = [cells(seed) for seed in seeds]
    prepared = [Prepared(image, (numbers > 0).astype(np.uint8)) for image, numbers in drawn]
    return Data(prepared, [numbers for _, numbers in drawn], range(len(drawn)))


def seen_by(base, head, image: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        features = base.module.encoder(normalised(image, base))
        found = head(interior_features(base.module.decoder(features[-4:]), features))
    return F.interpolate(found, scale_factor=4, mode="bilinear")[0, 0].numpy()


def test_the_target_is_one_in_the_middle_of_each_object_whatever_its_size():
    numbers = np.zeros((40, 60), np.int32)
    numbers[4:15, 4:15], numbers[4:35, 15:46] = 1, 7
    found = target_of(numbers)
    assert found[9, 9] == found[19, 30] == 1.0
    assert not found[numbers == 0].any() and found[9, 14] < 0.2 and found[19, 15] < 0.1
    assert found[9, 14] == found[4, 9], "a border to another object is a border"


def test_touching_objects_are_learnt_to_be_apart(base):
    head = train_interior(base, data(0, 1), seed=0)
    image, numbers = cells(9)
    mask = (numbers > 0).astype(np.uint8)
    assert find(mask, Settings((1,))).count == numbers.max() / 2
    assert find(mask, Settings((1,), split=0.65), seen_by(base, head, image)).count == numbers.max()


def test_the_same_seed_gives_the_same_head_and_nothing_else_changes(base, monkeypatch):
    monkeypatch.setattr(interior, "VIEWS", 2)
    before = {name: tensor.clone() for name, tensor in base.module.state_dict().items()}
    torch.manual_seed(3)
    state = torch.get_rng_state()
    one, again, other = (train_interior(base, data(0), seed, steps=5) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.module.state_dict().items())
    pairs = zip(one.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(one.layers[0].weight, other.layers[0].weight)


def test_without_numbers_there_is_no_head(base):
    given = data(0)
    assert train_interior(base, replace(given, instances=[None]), seed=0) is None
    assert numbers_like(given.prepared[0], None) is None
    assert numbers_like(given.prepared[0], np.zeros((9, 9), np.uint16)) is None


def test_memory_bounds_the_views(base, monkeypatch):
    monkeypatch.setattr(interior, "MAX_BYTES", 1)
    assert train_interior(base, data(0, 1), seed=0, steps=2) is not None


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    drawn = [cells(seed, 128) for seed in range(4)]
    found = [Example(f"c{k}", image, np.where(n > 0, 3, 0).astype(np.uint8), n) for k, (image, n) in enumerate(drawn)]
    return [*found[:3], replace(found[3], instances=None)]


@pytest.fixture(scope="module")
def short():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interior_stage, "STEPS", 40)
        patch.setattr(interior_stage, "FOLD_STEPS", 20)
        yield


@pytest.fixture(scope="module")
def counting(base, examples, short):
    torch.set_num_threads(1)
    return finetune(base, examples, CLASSES, steps=12)


@pytest.mark.slow
def test_a_training_with_numbers_has_the_very_classes_of_one_without(base, examples, counting):
    plain = finetune(base, [replace(example, instances=None) for example in examples], CLASSES, steps=12)
    assert plain.spec.interior is None and counting.spec.interior is not None
    own = {name: tensor for name, tensor in counting.tensors.items() if not name.startswith("interior.")}
    assert set(own) == set(plain.tensors) and len(own) < len(counting.tensors)
    assert all(torch.equal(tensor, plain.tensors[name]) for name, tensor in own.items())
    assert plain.metrics == counting.metrics and not plain.interiors


@pytest.mark.slow
def test_what_is_held_out_has_a_map_by_a_head_that_did_not_see_it(examples, counting):
    assert {index for index, _, _ in counting.held_out} == {0, 1, 2, 3}
    assert set(counting.interiors) == {0, 1, 2, 3}, "a head is there for an image without numbers, too"
    assert all(coarse.dtype == np.uint8 and coarse.ndim == 2 for coarse in counting.interiors.values())


@pytest.mark.slow
def test_a_single_image_has_a_map_of_either_half(base, examples, short):
    trained = finetune(base, examples[:1], CLASSES, steps=6)
    assert trained.spec.interior is not None and set(trained.interiors) == {0}


@pytest.mark.parametrize("side", [40, 128, 700])
def test_the_map_comes_only_when_asked_for_and_the_mask_is_the_same(base, counting, side):
    net = loaded(base, replace(counting, spec=replace(counting.spec, example_side=128)))
    image = cells(5, 700)[0][:side, : side - 7]
    without, with_it = predict(net, image), predict(net, image, interior=True)
    assert without.interior is None and without.coarse_interior is None
    assert np.array_equal(without.ids, with_it.ids)
    assert np.array_equal(without.coarse_confidence, with_it.coarse_confidence)
    assert with_it.coarse_interior.shape == with_it.coarse_confidence.shape
    found = with_it.interior
    assert found.shape == image.shape[:2] and found.dtype == np.float32 and 0 <= found.min() <= found.max() <= 1


def test_a_model_without_the_head_has_no_map(base, trained):
    net = loaded(base, trained)
    assert not has_interior(net.module)
    assert predict(net, cells(5, 64)[0], interior=True).interior is None
