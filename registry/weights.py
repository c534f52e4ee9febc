"""Where an encoder's weights come from: a local file, the hub, an installed package.

Weights that cannot be had are never replaced by random numbers: the caller gets
an error that says what to do.
"""

import hashlib
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.utils import logging as hub_logging
from safetensors.torch import load_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from registry import vision_shim  # noqa: F401  isort: skip  (before smp)
import segmentation_models_pytorch as smp

from registry.bases import CATALOGUE, HUB_FILE, Base, hub_file, local_weights, weights_source
from registry.network import Uninitialised

hub_logging.set_verbosity_error()  # a line for each retry; what it ends with is in the error here
MAX_REASON = 120  # characters of what the hub's client says; the next step follows and must not be cut off


class WeightsUnavailable(Exception):
    """An encoder's weights are neither in the folder nor on the hub nor in a package."""


def load_encoder(encoder: str, folder: Path, allow_hub: bool = True) -> tuple[nn.Module, str]:
    """The encoder with its trained weights, in eval mode, and where they came from.

    Looks for <encoder>.pth or .safetensors in `folder`, then asks smp for the hub's
    (a download; what was downloaded before is read without asking), then an installed package. Raises
    WeightsUnavailable with a next step.
    """
    base = _entry(encoder)
    path = local_weights(encoder, folder)
    if path is not None:
        return _from_tensors(encoder, _read(path), path.name), "local file"
    downloaded = hub_file(*base.hub) if base.hub is not None else None
    if downloaded is not None:
        return _from_tensors(encoder, _read(downloaded), f"the hub's {downloaded.name}"), "hub"
    reason = "it is not allowed here" if not allow_hub else "it has no weights for it"
    if base.hub is not None and allow_hub:
        try:
            module = smp.encoders.get_encoder(encoder, weights="imagenet")
        except Exception as error:  # the hub's client raises many kinds
            reason = _first_line(error)
        else:
            return module.eval(), "hub"
    if base.package is not None:
        tensors = _from_package(base.package)
        if tensors is not None:
            source = "package " + base.package.replace("_", "-")
            return _from_tensors(encoder, tensors, source), source
    raise _unavailable(encoder, folder, reason)


def download(encoder: str, folder: Path, report: Callable[[float], object] = lambda _: None) -> None:
    """Fetch an encoder's weights from the hub where nothing at hand has them.

    `report` gets the share of the file that is here, 0 to 1. Raises WeightsUnavailable with a next step.
    """
    base = _entry(encoder)
    if base.hub is None or weights_source(base, folder) is not None:
        return

    class Reported(tqdm):
        """The client's progress bar, which it counts up as bytes come in; draws nothing."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.size, self.here = kwargs.get("total") or 0, kwargs.get("initial") or 0
            kwargs.pop("name", None)
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> None:
            self.here += n or 0
            if self.size:
                report(min(1.0, self.here / self.size))

    repository, revision = base.hub
    try:
        hf_hub_download(repository, HUB_FILE, revision=revision, tqdm_class=Reported)
    except Exception as error:  # the hub's client raises many kinds
        raise _unavailable(encoder, folder, _first_line(error)) from error


def digest(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, shapes and values of an encoder's state dict, as 64 hex digits."""
    sha = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        if tensor.dtype == torch.int64:
            continue  # batch counters: not used for inference
        sha.update(f"{name} {tuple(tensor.shape)}".encode())
        sha.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return sha.hexdigest()


def _unavailable(encoder: str, folder: Path, reason: str) -> WeightsUnavailable:
    return WeightsUnavailable(
        f"There are no weights for the encoder {encoder}: no {encoder}.pth or "
        f"{encoder}.safetensors in {folder}, and the Hugging Face hub could not help "
        f"({reason}). Put the weights file into that folder, or try again with the hub "
        "in reach."
    )


def _first_line(error: Exception) -> str:
    line = f"{type(error).__name__}: {error}".splitlines()[0]
    return line if len(line) <= MAX_REASON else line[: MAX_REASON - 2].rstrip() + " …"


def _entry(encoder: str) -> Base:
    for base in CATALOGUE.values():
        if base.encoder == encoder:
            return base
    known = ", ".join(base.encoder for base in CATALOGUE.values())
    raise WeightsUnavailable(f"The encoder {encoder} is not in the catalogue. Known encoders: {known}.")


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsUnavailable(
            f"The weights file {path.name} cannot be read ({type(error).__name__}). "
            "Download it again: it must be a state dict of the encoder."
        ) from error


def _from_package(package: str) -> Mapping[str, Tensor] | None:
    """The state dict that an installed package carries; None when it is not installed."""
    try:
        module = importlib.import_module(package)
    except ImportError:
        return None
    folder = Path(str(module.__file__)).parent / "models"
    return _read(next(folder.glob("*.pth")))


def _from_tensors(encoder: str, tensors: Mapping[str, Tensor], source: str) -> nn.Module:
    """An encoder filled with `tensors`, by name, or by order where shapes agree one by one."""
    with Uninitialised():
        module = smp.encoders.get_encoder(encoder, weights=None)
    wanted = module.state_dict()
    named = {key.removeprefix("encoder."): value for key, value in tensors.items()}
    if not set(wanted) <= set(named):
        named = _by_order(wanted, tensors, encoder, source)
    for key, value in wanted.items():
        if named[key].shape != value.shape:
            raise WeightsUnavailable(
                f"The weights in {source} are not those of {encoder}: {key} has shape "
                f"{tuple(named[key].shape)} instead of {tuple(value.shape)}."
            )
    nn.Module.load_state_dict(module, {key: named[key] for key in wanted})
    _assert_loaded(module, named)
    return module.eval()


def _by_order(
    wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor], encoder: str, source: str
) -> dict[str, Tensor]:
    """Match tensors under other names: same order, same shapes, then a head that is not needed."""
    values = list(tensors.values())
    shapes_agree = len(values) >= len(wanted) and all(
        have.shape == want.shape for have, want in zip(values, wanted.values(), strict=False)
    )
    if not shapes_agree:
        missing = next(key for key in wanted if key not in tensors)
        raise WeightsUnavailable(f"The weights in {source} are not those of {encoder}: {missing} is missing.")
    return dict(zip(wanted, values, strict=False))


def _assert_loaded(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Hold every value to what was read, so that a silent mismatch cannot pass."""
    for key, value in module.state_dict().items():
        if not torch.equal(value, tensors[key].to(value.dtype)):
            raise WeightsUnavailable(f"The encoder's tensor {key} was not loaded as read.")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise WeightsUnavailable(f"The encoder's tensor {key} holds NaN or infinity.")
