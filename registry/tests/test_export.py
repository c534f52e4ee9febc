"""Exported models need nothing of this project."""

import copy
import dataclasses
import json

import onnxruntime
import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from registry import export as module
from registry.export import ExportFailed, export
from registry.network import Network, build, enlarge_as_smp
from registry.runtime import Runtime
from registry.tests.conftest import write_small_base


@pytest.fixture
def net(media, weights):
    write_small_base("efficientnet_lite0", media, weights)
    runtime = Runtime(media, weights, "cpu", 1 << 30)
    with runtime.use_base(runtime.base("efficientnet_lite0")) as loaded:
        yield loaded


def as_smp(network: Network, image: torch.Tensor) -> torch.Tensor:
    """What a network gives when its logits are enlarged as plain smp.FPN does it."""
    with torch.inference_mode():
        found: torch.Tensor = enlarge_as_smp(copy.deepcopy(network))(image)
    return found


def test_pth_and_safetensors_load_into_plain_smp_with_strict_keys(net, tmp_path):
    image = torch.rand(1, 3, 64, 96)
    wanted = as_smp(net.module, image)
    for name, read in (("pth", lambda p: torch.load(p, weights_only=True)), ("safetensors", load_file)):
        report = export(net, name, tmp_path / f"model.{name}")
        plain = smp.FPN(**report["fpn"]).eval()
        plain.load_state_dict(read(tmp_path / f"model.{name}"), strict=True)
        with torch.inference_mode():
            assert torch.allclose(plain(image), wanted, atol=1e-3)
        assert report["bytes"] > 1_000_000
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert json.loads(file.metadata()["segapp"])["classes"][1]["name"] == "b"


def test_files_enlarge_as_plain_smp_and_one_line_gives_the_services_logits(net, tmp_path):
    net.module.segmentation_head[0].weight.mul_(20)
    image = torch.linspace(-2, 2, 96).expand(1, 3, 64, 96)
    report = export(net, "pth", tmp_path / "model.pth")
    plain = smp.FPN(**report["fpn"]).eval()
    plain.load_state_dict(torch.load(tmp_path / "model.pth", weights_only=True), strict=True)
    with torch.inference_mode():
        wanted = net.module(image)
        assert float((plain(image) - wanted).abs().max()) > 0.02
        plain.segmentation_head[1].align_corners = False
        assert torch.allclose(plain(image), wanted, atol=1e-3)


def test_onnx_gives_the_same_logits_at_other_sizes_too(net, tmp_path):
    report = export(net, "onnx", tmp_path / "model.onnx")
    assert report["largest_difference"] <= 1e-3
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    image = torch.rand(2, 3, 96, 128)
    (found,) = session.run(None, {"image": image.numpy()})
    assert abs(found - as_smp(net.module, image).numpy()).max() < 1e-3
    assert [p.name for p in tmp_path.glob("*.onnx")] == ["model.onnx"]


@pytest.fixture
def detailed(net):
    """The same network with a detail branch whose answers are not zero."""
    spec = dataclasses.replace(net.spec, detail={"filters": 1, "hidden": 8, "gain": 0.031})
    whole = build(spec, net.module.encoder)
    whole.decoder, whole.segmentation_head = net.module.decoder, net.module.segmentation_head
    return dataclasses.replace(net, spec=spec, module=whole)


def test_a_state_dict_leaves_the_detail_branch_out_and_says_what_that_costs(detailed, net, tmp_path):
    image = torch.rand(1, 3, 64, 96)
    report = export(detailed, "pth", tmp_path / "plain.pth")
    plain = smp.FPN(**report["fpn"]).eval()
    plain.load_state_dict(torch.load(tmp_path / "plain.pth", weights_only=True), strict=True)
    with torch.inference_mode():
        assert torch.allclose(plain(image), as_smp(net.module, image), atol=1e-3)
        assert not torch.allclose(plain(image), as_smp(detailed.module, image), atol=1e-3)
    assert "0.031" in report["note"] and "ONNX" in report["note"]
    assert export(net, "pth", tmp_path / "plain.pth")["note"] == ""


def test_a_state_dict_can_keep_the_detail_branch(detailed, tmp_path):
    image = torch.rand(1, 3, 64, 96)
    export(detailed, "safetensors", tmp_path / "both.safetensors", with_detail=True)
    whole = build(detailed.spec).eval()
    whole.load_state_dict(load_file(tmp_path / "both.safetensors"), strict=True)
    with torch.inference_mode():
        assert torch.allclose(whole(image), detailed.module(image), atol=1e-3)


@pytest.mark.slow
def test_onnx_holds_the_detail_branch(detailed, tmp_path):
    report = export(detailed, "onnx", tmp_path / "model.onnx")
    assert report["largest_difference"] <= 1e-3
    image = torch.rand(1, 3, 96, 160)
    (found,) = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(None, {"image": image.numpy()})
    assert abs(found - as_smp(detailed.module, image).numpy()).max() < 1e-3


@pytest.mark.parametrize("format", ["pth", "safetensors", pytest.param("onnx", marks=pytest.mark.slow)])
@pytest.mark.parametrize("branch", [False, True])
def test_every_format_leaves_the_interior_head_out_and_says_so(net, detailed, tmp_path, format, branch):
    given = detailed if branch else net
    spec = dataclasses.replace(given.spec, interior={"layout": 1, "channels": 56, "hidden": 8})
    whole = build(spec, net.module.encoder)
    whole.decoder, whole.segmentation_head = net.module.decoder, net.module.segmentation_head
    if branch:
        whole.detail = given.module.detail
    path = tmp_path / f"model.{format}"
    report = export(dataclasses.replace(given, spec=spec, module=whole), format, path, with_detail=True)
    assert "touching objects" in report["note"] and ("detail branch" in report["note"]) == branch
    if format == "onnx":
        image = torch.rand(1, 3, 64, 64)
        (found,) = onnxruntime.InferenceSession(path).run(None, {"image": image.numpy()})
        assert abs(found - as_smp(given.module, image).numpy()).max() < 1e-3
        return
    tensors = torch.load(path, weights_only=True) if format == "pth" else load_file(path)
    assert set(tensors) == set(given.module.state_dict())


@pytest.mark.slow
def test_a_wrong_graph_is_not_kept(net, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TOLERANCE", -1.0)
    with pytest.raises(ExportFailed, match="differ"):
        export(net, "onnx", tmp_path / "model.onnx")
    assert list(tmp_path.glob("*.onnx")) == []


def test_an_unknown_format_is_named(net, tmp_path):
    with pytest.raises(ValueError, match="safetensors"):
        export(net, "zip", tmp_path / "model.zip")
