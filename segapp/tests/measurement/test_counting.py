"""What a new model says of its counts: only where objects were numbered, and by the splitting that counts better."""

from dataclasses import replace

import numpy as np
import pytest

from segapp.pipeline.training.finetune import Example, Trained
from segapp.pipeline.training.interior import target_of
from segapp.tests.measurement.drawing import disc
from segapp.worker.counting import counted

SIDE = 128


def squares() -> Example:
    """Six squares in touching pairs: their shape does not say where one ends."""
    numbers = np.zeros((SIDE, SIDE), np.int32)
    for row in range(3):
        for column in range(2):
            numbers[8 + 40 * row : 40 + 40 * row, 16 + 32 * column : 48 + 32 * column] = 1 + 2 * row + column
    return Example("squares", np.zeros((SIDE, SIDE, 3), np.uint8), (numbers > 0).astype(np.uint8) * 3, numbers)


def discs() -> Example:
    """Two discs that touch: their shape says it all."""
    one, two = np.zeros((SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE), np.uint8)
    disc(one, 40, 64, 20)
    disc(two, 79, 64, 20)
    numbers = np.where(one, 1, np.where(two, 2, 0)).astype(np.int32)
    return Example("discs", np.zeros((SIDE, SIDE, 3), np.uint8), (numbers > 0).astype(np.uint8) * 3, numbers)


@pytest.fixture
def trained(trained) -> Trained:
    """A model with a head for learnt splitting; its class predictions are set by each test."""
    spec = replace(trained.spec, interior={"layout": 1, "channels": 1, "hidden": 1})
    return replace(
        trained, spec=spec, tensors={**trained.tensors, "interior.mean": trained.tensors[next(iter(trained.tensors))]}
    )


def held_out(trained: Trained, example: Example, interior: np.ndarray) -> Trained:
    coarse = (interior[::2, ::2] * 255).astype(np.uint8)
    return replace(trained, held_out=[(0, example.mask, None)], interiors={0: coarse})


def test_counts_are_scored_on_what_was_held_out_and_said_in_words(trained):
    example = squares()
    found = counted(held_out(trained, example, target_of(example.instances)), [example])
    figures = found.metrics["objects"]
    assert figures["split"] == "learnt" and figures["ap50"] == 1.0 and figures["count_error"] == 0.0
    assert figures["ap50_other"] < 0.5 and (figures["images"], figures["objects"]) == (1, 6)
    assert "off by 0 % on the held-out image" in found.metrics["sentence"]
    assert found.metrics["sentence"].startswith(trained.metrics["sentence"])
    assert found.spec.interior is not None and "interior.mean" in found.tensors


def test_learnt_splitting_that_counts_worse_is_dropped(trained):
    example = discs()
    found = counted(held_out(trained, example, np.full((SIDE, SIDE), 0.5)), [example])
    assert found.metrics["objects"]["split"] == "classical" and found.metrics["objects"]["ap50"] == 1.0
    assert found.spec.interior is None and not any(name.startswith("interior.") for name in found.tensors)
    assert "by their shape" in found.metrics["sentence"]


def test_what_is_to_be_ignored_is_neither_missed_nor_extra(trained):
    example = squares()
    mask = example.mask.copy()
    mask[:44] = 255
    ignored = replace(example, mask=mask)
    given = replace(held_out(trained, example, target_of(example.instances)), held_out=[(0, example.mask, None)])
    figures = counted(given, [ignored]).metrics["objects"]
    assert figures["objects"] == 4 and figures["count_error"] == 0.0


def test_without_numbers_nothing_is_claimed(trained):
    example = replace(squares(), instances=None)
    given = replace(held_out(trained, example, np.zeros((SIDE, SIDE))), interiors={})
    found = counted(given, [example])
    assert found is given and "objects" not in found.metrics and "ounts were" not in found.metrics["sentence"]
