"""The bench's check of masks: it must see a foreign mask, else zero wrong ones would mean nothing."""

import pytest

from registry import checkpoint
from segapp.bench import masks, synthetic
from segapp.bench.client import Client
from segapp.bench.load import Sent, Visitor
from segapp.imaging import render
from segapp.tests.pipeline.conftest import disc


@pytest.fixture
def reference(base, monkeypatch):
    monkeypatch.setattr(synthetic, "image", lambda number: disc(number).image)
    return synthetic.Reference(base)


def answered(reference, asked: int, answers: int, image: int = 0) -> Sent:
    """What a server sends when `answers` answers a visitor of model `asked`."""
    colours = [{"id": c.id, "name": c.name, "color": c.color} for c in reference._base.spec.classes]
    png = render.palette_png(reference.mask(answers, synthetic.image(image)), colours)
    visitor = Visitor(Client("http://127.0.0.1:9"), asked, f"user_{asked}")
    return Sent(visitor, image, status=200, model_key=f"user_{asked}", mask=png)


def test_own_masks_pass_and_a_foreign_one_is_found(reference):
    sent = [answered(reference, number, number, number) for number in range(3)]
    found = masks.check(sent, reference)
    assert (found["checked"], found["wrong"], found["identical"]) == (3, 0, 3)
    assert found["agreement_between_models"] < masks.ALIKE
    found = masks.check([*sent, answered(reference, 1, 2)], reference)
    assert found["wrong"] == 1 and found["least_agreement"] < masks.ALIKE


def test_the_right_mask_under_a_wrong_name_is_wrong(reference):
    sent = answered(reference, 1, 1)
    sent.model_key = "user_2"
    assert masks.check([sent], reference)["wrong"] == 1


def test_no_mask_is_a_wrong_mask(reference):
    sent = answered(reference, 1, 1)
    sent.mask = b""
    assert masks.check([sent], reference)["wrong"] == 1


def test_a_number_means_the_same_model_each_time(base):
    first, again = synthetic.tensors(base, 4), synthetic.tensors(base, 4)
    assert all(first[name].equal(again[name]) for name in first)
    assert not all(tensor.equal(synthetic.tensors(base, 6)[name]) for name, tensor in first.items())
    assert [checkpoint.precision(synthetic.tensors(base, number)) for number in (4, 5)] == ["float32", "float16"]
    assert all(name.startswith(synthetic.DECODER) for name in first), "the encoder is the base's"
