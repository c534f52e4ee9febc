"""Building bases: label rules, partial sets, files that come back as they were."""

import json

import numpy as np
import pytest
from PIL import Image

from registry import bases
from registry.runtime import Runtime
from segapp.pipeline.base import distillation, train
from segapp.pipeline.base.datasets import find_sets, read_labels
from segapp.pipeline.base.train import distil_base, train_base
from segapp.pipeline.inference.predict import predict
from segapp.tests.pipeline.conftest import disc

KEY = "efficientnet_lite0"


@pytest.fixture
def two_sets(tmp_path):
    """Discs against background, and images that only say where no disc is."""
    for name, rules in {
        "discs": {"is": {"0": "ground", "3": "disc", "7": "moon"}},
        "clean": {"not": {"0": ["disc"]}},
    }.items():
        for kind in ("images", "masks"):
            (tmp_path / name / kind).mkdir(parents=True)
        (tmp_path / name / "classes.json").write_text(json.dumps(rules))
        for number in range(3):
            example = disc(number)
            mask = example.mask if name == "discs" else np.zeros_like(example.mask)
            Image.fromarray(example.image).save(tmp_path / name / "images" / f"{number}.png")
            Image.fromarray(mask).save(tmp_path / name / "masks" / f"{number}.png")
    return tmp_path


def test_sets_are_joined_by_class_name_and_partial_ones_exclude(two_sets):
    labels = read_labels(find_sets([two_sets]), {"discs/0", "clean/0"})
    clean, discs = sorted(labels.sets, key=lambda s: s.name)
    names = [c.name for c in labels.classes]
    assert names == ["ground", "disc", "moon"]
    code = clean.table[0]
    assert code >= len(names)
    assert labels.allowed[code].tolist() == [True, False, True]
    assert discs.table[3] == 1 and discs.table[9] == 255
    assert discs.train == ("0",) and discs.test == ("1", "2")


def test_no_set_is_an_error_that_names_the_folder(tmp_path):
    with pytest.raises(ValueError, match="images/ and masks/"):
        find_sets([tmp_path])


def test_everyday_rules_split_as_the_pools_do(tmp_path):
    rules = json.loads((bases.PACKAGED / "everyday.json").read_text())
    assert rules["sets"]["camvid"]["train"] == {"prefix": "train_"}
    assert rules["sets"]["human"]["train"] == {"half": "even"}


def test_a_trained_base_is_ready_and_answers(two_sets, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "CROP", 64)
    monkeypatch.setattr(train, "BATCH", 2)
    heard = []
    card = train_base(
        KEY, [two_sets], out=tmp_path / "bases", weights=tmp_path, steps=2,
        stems={"discs/0", "discs/1", "clean/0"}, report=heard.append,
    )  # fmt: skip
    assert card["recipe"]["steps"] == 2
    assert set(card["metrics"]["discs"]["iou"]) == {"ground", "disc"}
    ready = bases.find(KEY, tmp_path, tmp_path)
    assert ready is not None and ready.path.parent == tmp_path / "bases"
    runtime = Runtime(tmp_path, tmp_path, "cpu", 1 << 28)
    with runtime.use_base(ready) as net:
        assert predict(net, disc(5).image).ids.shape == (64, 64)
    assert ready.path.stat().st_size < 12_000_000


def test_a_large_encoder_learns_only_its_decoder(two_sets, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "MIN_LARGE", 1)
    monkeypatch.setattr(distillation, "BATCH", 2)
    card = train_base(KEY, [two_sets / "discs"], out=tmp_path / "bases", weights=tmp_path,
                      steps=2, device="cpu")  # fmt: skip
    assert card["recipe"]["encoder"] == "frozen"
    assert card["bytes"] < 2_000_000


def test_distilling_needs_no_masks(base, two_sets, tmp_path, monkeypatch):
    monkeypatch.setattr(distillation, "BATCH", 2)
    card = distil_base(KEY, base, [two_sets / "discs" / "images"], out=tmp_path / "bases",
                       weights=tmp_path, steps=2, device="cpu")  # fmt: skip
    assert [c["name"] for c in card["classes"]] == ["nothing", "Disc"]
    assert card["recipe"]["teacher"] == base.key
    with pytest.raises(ValueError, match="No image"):
        distil_base(KEY, base, [tmp_path / "bases"], out=tmp_path, weights=tmp_path, steps=1)
