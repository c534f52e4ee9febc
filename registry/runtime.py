"""A resolved model becomes a network ready to run.

Only workers and commands import this: it brings torch. Every process has one
Runtime; its networks share their base's encoder wherever it did not change.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from registry import bases, checkpoint, files, weights
from registry.bases import ReadyBase
from registry.cache import Loaded, NetworkCache
from registry.decoding import logits_from
from registry.folding import FoldedShallow, folded_shallow
from registry.network import Network, Spec, assign_tensors, build, own_bytes, shell, tensor_names
from registry.stages import deepest_stage, is_deep, run_stage

MODULE_BYTES = 3500  # that one nn.Module takes besides its tensors, as measured; small networks are a fifth structure


class BaseMissing(Exception):
    """The base model that is wanted, or that a model was trained on, is not at hand."""


@dataclass(frozen=True)
class ModelRef:
    """A model as its row names it: "user_<id>" or a base's key, its file, its base."""

    key: str
    path: Path
    sha256: str
    base_key: str
    base_sha256: str


@dataclass
class LoadedNetwork:
    """A network in eval mode on its device, channels last, and what it is.

    encoder_key is equal for networks whose encoders hold the same tensors, so that
    the features of an image can be used for all of them; shallow_key for those whose
    encoders do so up to stride 16, the deepest stage aside. shallow is a quicker form of
    the encoder up to there, which networks of its key may use.
    """

    key: str
    sha256: str
    base_key: str
    spec: Spec
    module: Network
    device: torch.device
    base_sha256: str = ""
    encoder_key: str = field(default="")
    shallow_key: str = field(default="")
    shallow: FoldedShallow | None = None

    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The encoder's features of normalised images N,3,H,W, of stride 4, 8, 16 and 32, without gradients."""
        with torch.no_grad():
            if not self._quick:
                return list(self.module.encoder(images)[-4:])
            found = self.shallow_features(images)
            return [*found, run_stage(deepest_stage(self.module.encoder).values(), found[-1])]

    def shallow_features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The same of stride 4, 8 and 16 only."""
        with torch.no_grad():
            if self.shallow is not None and self._quick:
                return self.shallow(images)
            return list(self.module.encoder(images)[-4:-1])

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Logits N,K,H,W of normalised images N,3,H,W, without gradients: what the module itself gives."""
        with torch.no_grad():
            if self._quick:
                return logits_from(self.module, self.features(images), images)[0]
            found: torch.Tensor = self.module(images)
            return found

    @property
    def _quick(self) -> bool:
        return self.shallow is not None and self.shallow.key == self.shallow_key


class Runtime:
    """Networks of one process: loaded once, shared, bounded by `cache_bytes`."""

    def __init__(
        self,
        media: Path,
        weights: Path,
        device: str = "auto",
        cache_bytes: int | None = None,
        allow_hub: bool = False,
    ) -> None:
        self.media = media
        self.weights = weights
        self.device = pick_device(device)
        self._allow_hub = allow_hub
        self._cache = NetworkCache(default_cache_bytes() if cache_bytes is None else cache_bytes)

    @property
    def device_name(self) -> str:
        """ "CPU" or "CUDA", as pages show it."""
        return self.device.type.upper()

    def base(self, key: str = "auto") -> ReadyBase:
        """The base to use; raises BaseMissing when it is not ready."""
        try:
            ready = bases.choose(key, self.media, self.weights)
        except KeyError as error:
            raise BaseMissing(str(error.args[0])) from None
        if ready is None:
            wanted = "No base model" if key == "auto" else f"The base model {key}"
            raise BaseMissing(
                f"{wanted} is ready: its built file or its encoder's weights are missing. "
                f"Run manage.py build_base {'KEY' if key == 'auto' else key}."
            )
        return ready

    @contextmanager
    def use(self, ref: ModelRef) -> Iterator[LoadedNetwork]:
        """The network of a model, held while the block runs.

        The file is held to its sha256 each time, cached or not. Raises
        ModelFileMissing, ModelFileDamaged or BaseMissing.
        """
        files.verify(ref.path, ref.sha256)
        if ref.key in bases.CATALOGUE:
            with self.use_base(self._version(ref.key, ref.sha256)) as network:
                yield network
            return
        ready = self._version(ref.base_key, ref.base_sha256)
        with self._cache.use((ref.key, ref.sha256), lambda: self._load(ref, ready)) as network:
            yield network

    @contextmanager
    def use_base(self, ready: ReadyBase) -> Iterator[LoadedNetwork]:
        """The network of a base, held while the block runs; raises BaseMissing."""
        try:
            files.verify(ready.path, ready.sha256)
        except (files.ModelFileMissing, files.ModelFileDamaged) as error:
            raise BaseMissing(str(error)) from error
        with self._cache.use(_base_key(ready), lambda: self._load_base(ready)) as network:
            yield network

    def stats(self) -> dict[str, Any]:
        """Figures of the cache, for health and metrics."""
        return dict(self._cache.stats())

    def _version(self, key: str, sha256: str) -> ReadyBase:
        ready = bases.find_version(key, sha256, self.media, self.weights)
        if ready is None:
            raise BaseMissing(
                f"The base model {key} in the version this model was trained on "
                f"({sha256[:12]}) is not at hand. Restore "
                f"media/bases/{bases.version_name(key, sha256)}, or train the model again."
            )
        return ready

    def _load_base(self, ready: ReadyBase) -> Loaded:
        try:
            saved = checkpoint.load(ready.path, ready.sha256)
            encoder, _ = weights.load_encoder(saved.spec.encoder, self.weights, self._allow_hub)
        except (
            files.ModelFileMissing,
            files.ModelFileDamaged,
            weights.WeightsUnavailable,
        ) as error:
            raise BaseMissing(str(error)) from error
        wanted = saved.extra.get("encoder_digest")
        if wanted is not None and weights.digest(encoder.state_dict()) != wanted:
            raise BaseMissing(
                f"The encoder weights at hand are not those that {ready.path.name} was built "
                f"on. Put the right {saved.spec.encoder} file into the weights folder, or run "
                f"manage.py build_base {ready.key} again."
            )
        encoder.to(self.device, memory_format=torch.channels_last).requires_grad_(False)  # type: ignore[call-overload]
        module = build(saved.spec, encoder)
        assign_tensors(module, {name: placed(tensor, self.device) for name, tensor in saved.tensors.items()})
        network = LoadedNetwork(
            key=ready.key,
            sha256=ready.sha256,
            base_key=ready.key,
            spec=saved.spec,
            module=module,
            device=self.device,
            base_sha256=ready.sha256,
            encoder_key=ready.sha256,
            shallow_key=ready.sha256,
            shallow=folded_shallow(encoder, ready.sha256),
        )
        folded = 0 if network.shallow is None else network.shallow.bytes
        return Loaded(network, own_bytes(module.state_dict().values()) + folded)

    def _load(self, ref: ModelRef, ready: ReadyBase) -> Loaded:
        """A custom network around its base's tensors; holds the base until it is evicted."""
        saved = checkpoint.load(ref.path, ref.sha256)
        files.verify(ready.path, ready.sha256)
        entry = self._cache.acquire(_base_key(ready), lambda: self._load_base(ready))
        try:
            assert entry.loaded is not None
            base: LoadedNetwork = entry.loaded.value
            tensors = {name: placed(tensor, self.device) for name, tensor in saved.tensors.items()}
            module = with_base(base, saved.spec, tensors)
            changed, shallow = changed_part(base, saved.tensors)
            network = LoadedNetwork(
                key=ref.key,
                sha256=ref.sha256,
                base_key=ref.base_key,
                spec=saved.spec,
                module=module,
                device=self.device,
                base_sha256=ref.base_sha256,
                encoder_key=ref.sha256 if changed else base.encoder_key,
                shallow_key=ref.sha256 if shallow else base.shallow_key,
                shallow=None if shallow else base.shallow,
            )
        except BaseException:
            self._cache.release(entry)
            raise
        parts = [part for name, part in module.named_children() if changed or name != "encoder"]
        size = own_bytes(saved.tensors.values()) + MODULE_BYTES * sum(len(list(part.modules())) for part in parts)
        return Loaded(network, size, close=lambda: self._cache.release(entry))


def changed_part(base: LoadedNetwork, names: Iterable[str]) -> tuple[bool, bool]:
    """Whether a model's own tensors, by name, change the base's encoder, and whether so before its deepest stage."""
    encoder = [name for name in names if name.startswith("encoder.")]
    stage = list(deepest_stage(base.module.encoder)) if encoder else []
    return bool(encoder), any(not is_deep(name, stage) for name in encoder)


def with_base(base: LoadedNetwork, spec: Spec, tensors: dict[str, torch.Tensor]) -> Network:
    """The network of `spec` from the base's encoder and the tensors that differ from it."""
    encoder = base.module.encoder
    if any(name.startswith("encoder.") for name in tensors):
        encoder = shell(encoder)
    module = build(spec, encoder, like=base.module if spec.decoder == base.spec.decoder else None)
    beside = [name for name in ("detail", "interior") if name in module._modules]
    for name in beside:
        module.get_submodule(name).to(base.device)
    assign_tensors(module, tensors)
    for part in ("decoder", "segmentation_head", *beside):
        left = next((name for name in tensor_names(getattr(module, part), part) if name not in tensors), None)
        if left is not None:
            raise files.ModelFileDamaged(f"The model file lacks the tensor {left}. Use another version of the model.")
    return module


def placed(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor on `device`, with its channels last where it is a convolution's weight."""
    if tensor.dim() == 4:
        return tensor.to(device, memory_format=torch.channels_last)
    return tensor.to(device)


def pick_device(wanted: str) -> torch.device:
    """The device to run on; "auto" takes a GPU where torch sees one."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(wanted)


def default_cache_bytes() -> int:
    """An eighth of the machine's memory, between 256 MB and 4 GB."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(256 << 20, min(4 << 30, total // 8))


def _base_key(ready: ReadyBase) -> tuple[str, str]:
    return (ready.key, ready.sha256)
