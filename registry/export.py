"""A model as a file that needs nothing of this project."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from registry.files import digest, write_atomically
from registry.network import DetailedFPN, build, enlarge_as_smp
from registry.runtime import LoadedNetwork

FORMATS = ("pth", "safetensors", "onnx")
TOLERANCE = 1e-3  # largest difference between ONNX's logits and the network's
OPSET = 18


class ExportFailed(Exception):
    """The file written does not do what the network does; nothing was kept."""


def export(loaded: LoadedNetwork, format: str, out: Path, with_detail: bool = False) -> dict[str, Any]:
    """Write the whole network to `out`; returns what is in it and how to use it.

    "pth" and "safetensors" hold the state dict that plain smp.FPN(**fpn) takes with
    strict keys, "onnx" a graph from normalised images N,3,H,W (sides multiples of
    32) to logits N,K,H,W, those of plain smp.FPN: near an image's edges they are up to 1.5 pixels nearer to these than
    the service has them (network.enlarge_around_middles). ONNX holds a detail branch, too. A state dict leaves it out,
    and `note` in what is returned says what that costs; with `with_detail` it holds the
    tensors of registry.detail.DetailBranch as detail.*, which plain smp.FPN does not know.
    No format holds an interior head: masks do not depend on it, and `note` says that it was left out.
    Raises ExportFailed when the check of the file fails.
    """
    if format not in FORMATS:
        raise ValueError(f"There is no format {format!r}. Use one of: {', '.join(FORMATS)}.")
    detail = loaded.spec.detail is not None and (format == "onnx" or with_detail)
    if loaded.spec.interior is not None or (loaded.spec.detail is not None and not detail):
        loaded = _reduced(loaded, detail)
    report = _description(loaded, format)
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in loaded.module.state_dict().items()}
    if format == "pth":
        write_atomically(out, lambda file: torch.save(tensors, file))
        _check_tensors(loaded, torch.load(out, weights_only=True), out)
    elif format == "safetensors":
        temporary = out.with_name(f".{out.name}.tmp")
        try:
            save_file(tensors, temporary, metadata={"segapp": json.dumps(report)})
            content = temporary.read_bytes()
            write_atomically(out, lambda file: file.write(content))
        finally:
            temporary.unlink(missing_ok=True)
    else:
        report["largest_difference"] = _export_onnx(loaded, tensors, report, out)
    report["file"] = str(out.resolve())
    report["bytes"] = out.stat().st_size
    report["sha256"] = digest(out)
    return report


def _reduced(loaded: LoadedNetwork, detail: bool) -> LoadedNetwork:
    """The same network as a smp.FPN, with its branch where `detail` says so; what its spec says of both optional parts
    stays, for the description."""
    kept = loaded.spec.detail if detail else None
    fpn = build(replace(loaded.spec, detail=kept, interior=None), loaded.module.encoder)
    fpn.decoder, fpn.segmentation_head = loaded.module.decoder, loaded.module.segmentation_head
    if kept is not None:
        fpn.detail = loaded.module.detail
    return replace(loaded, module=fpn)


def _note(loaded: LoadedNetwork) -> str:
    """What a user of the file must know of what stands beside the FPN; empty where nothing does."""
    notes = [_of_detail(loaded)] if loaded.spec.detail is not None else []
    if loaded.spec.interior is not None:
        notes.append(
            "The head that tells touching objects apart is left out: masks are the same, and objects can be split by "
            "their shape, as measurement without it does."
        )
    return " ".join(notes)


def _of_detail(loaded: LoadedNetwork) -> str:
    options = loaded.spec.detail or {}
    if isinstance(loaded.module, DetailedFPN):
        return "The logits are those of the FPN plus those of the detail branch (detail.*)."
    gain = options.get("gain")
    cost = "" if gain is None else f" On held-out images the branch gained {gain:.3f} mean IoU."
    return (
        f"This file is the plain FPN without the model's detail branch, so masks differ from the service's.{cost} "
        "ONNX holds both, and so does manage.py export_model --with-detail."
    )


def _description(loaded: LoadedNetwork, format: str) -> dict[str, Any]:
    spec = loaded.spec
    return {
        "note": _note(loaded),
        "format": format,
        "model": loaded.key,
        "base": loaded.base_key,
        "fpn": spec.fpn_arguments(),
        "input_size": spec.input_size,
        "mean": list(spec.mean),
        "std": list(spec.std),
        "classes": spec.to_dict()["classes"],
    }


def _plain(loaded: LoadedNetwork, tensors: dict[str, Tensor]) -> nn.Module:
    """A network of its own, on the CPU, with strict keys; its logits are enlarged as plain smp.FPN does it."""
    detail = loaded.spec.detail if isinstance(loaded.module, DetailedFPN) else None
    network = enlarge_as_smp(build(replace(loaded.spec, detail=detail, interior=None)))
    network.load_state_dict(tensors, strict=True)
    return network.eval()


def _check_tensors(loaded: LoadedNetwork, tensors: dict[str, Tensor], out: Path) -> None:
    try:
        _plain(loaded, tensors)
    except RuntimeError as error:
        out.unlink()
        raise ExportFailed(f"The exported file does not load into smp.FPN: {error}") from error


def _export_onnx(loaded: LoadedNetwork, tensors: dict[str, Tensor], report: dict[str, Any], out: Path) -> float:
    """Write and check the graph; returns the largest difference of logits found."""
    network = _plain(loaded, tensors)
    temporary = out.with_name(f".{out.stem}.tmp.onnx")
    out.parent.mkdir(parents=True, exist_ok=True)
    side = min(loaded.spec.input_size, 256)
    example = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    try:
        torch.onnx.export(
            network,
            (example,),
            str(temporary),
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={
                "image": {0: "batch", 2: "height", 3: "width"},
                "logits": {0: "batch", 2: "height", 3: "width"},
            },
            opset_version=OPSET,
            dynamo=False,
        )
        model = onnx.load(temporary)
        onnx.checker.check_model(model)
        entry = model.metadata_props.add()
        entry.key, entry.value = "segapp", json.dumps(report)
        content = model.SerializeToString()
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        largest = max(
            _difference(network, session, example),
            _difference(network, session, example[:, :, : side // 2 // 32 * 32 or 32]),
        )
        if not largest <= TOLERANCE:
            raise ExportFailed(
                f"ONNX's logits differ from the network's by {largest:.2g}, more than "
                f"{TOLERANCE}. Export as safetensors instead."
            )
        write_atomically(out, lambda file: file.write(content))
    finally:
        temporary.unlink(missing_ok=True)
    return largest


def _difference(network: nn.Module, session: Any, example: Tensor) -> float:
    with torch.inference_mode():
        wanted = network(example).numpy()
    (found,) = session.run(None, {"image": example.numpy()})
    if found.shape != wanted.shape:
        return float("inf")
    return float(np.abs(found - wanted).max())
