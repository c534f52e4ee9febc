"""From a spec to a network: smp.FPN, with an encoder of its own or a shared one, and a detail branch and an interior
head where it has them.

Knows nothing of files; see checkpoint.py for those and weights.py for encoders.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from registry import vision_shim  # noqa: F401  isort: skip  (before smp)
import segmentation_models_pytorch as smp
from segmentation_models_pytorch.base import SegmentationHead
from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder

from registry.detail import detail_branch
from registry.interior import interior_head

# A segmentation network: smp.FPN, with .encoder, .decoder and .segmentation_head, .detail where it is a
# DetailedFPN, and .interior where its spec has one. smp's own class is not typed well enough to say so.
Network = Any

DEFAULT_DECODER: dict[str, Any] = {
    "decoder_pyramid_channels": 64,
    "decoder_segmentation_channels": 32,
    "decoder_merge_policy": "cat",
    "decoder_dropout": 0.1,
    "upsampling": 4,
}


@dataclass(frozen=True)
class ClassInfo:
    """A class: its id in masks (0 to 254), its name, its colour as "#rrggbb". things: whether its objects are counted,
    None where the training masks did not say."""

    id: int
    name: str
    color: str
    things: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """{id, name, color}, and `things` where it is known."""
        row: dict[str, Any] = {"id": self.id, "name": self.name, "color": self.color}
        return row if self.things is None else {**row, "things": self.things}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> "ClassInfo":
        things = row.get("things")
        return cls(int(row["id"]), str(row["name"]), str(row["color"]), None if things is None else bool(things))


@dataclass(frozen=True)
class Spec:
    """All that is needed to rebuild a network besides its tensors.

    decoder holds plain smp.FPN arguments. Channel k of the logits belongs to
    classes[k], whose id is what masks hold; ids may have gaps. input_size is the
    long side in pixels (a multiple of 32) at which the network runs. example_side is
    the usual long side in pixels of the images it learnt from, 0 when unknown.
    image_input says which page and channels of a file it learnt from, as
    imaging.image_input writes it; empty for plain images. detail
    holds the options of the detail branch (see detail.py), None without one;
    interior those of the head that tells touching objects apart (see interior.py). mirrored: images are also seen
    mirrored, and the mean of both answers counts. guided: to each side, the pixels of the network's
    input that the windows of the guided filter take, which moves borders to the image's edges; 0 without it.
    """

    base_key: str
    encoder: str
    decoder: dict[str, Any]
    input_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[ClassInfo, ...]
    example_side: int = 0
    image_input: dict[str, Any] = field(default_factory=dict)
    detail: dict[str, Any] | None = None
    interior: dict[str, Any] | None = None
    mirrored: bool = False
    guided: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The spec as plain lists, dicts, numbers and strings."""
        return {
            "base_key": self.base_key,
            "encoder": self.encoder,
            "decoder": dict(self.decoder),
            "input_size": self.input_size,
            "mean": list(self.mean),
            "std": list(self.std),
            "classes": [c.to_dict() for c in self.classes],
            "example_side": self.example_side,
            **({"image_input": dict(self.image_input)} if self.image_input else {}),
            **({} if self.detail is None else {"detail": dict(self.detail)}),
            **({} if self.interior is None else {"interior": dict(self.interior)}),
            **({"mirrored": True} if self.mirrored else {}),
            **({"guided": self.guided} if self.guided else {}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Spec":
        """The spec of what `to_dict` returned; raises KeyError or TypeError on anything else."""
        return cls(
            base_key=data["base_key"],
            encoder=data["encoder"],
            decoder=dict(data["decoder"]),
            input_size=int(data["input_size"]),
            mean=tuple(float(v) for v in data["mean"]),
            std=tuple(float(v) for v in data["std"]),
            classes=tuple(ClassInfo.from_dict(row) for row in data["classes"]),
            example_side=int(data.get("example_side", 0)),
            image_input=dict(data.get("image_input", {})),
            detail=dict(data["detail"]) if data.get("detail") else None,
            interior=dict(data["interior"]) if data.get("interior") else None,
            mirrored=bool(data.get("mirrored", False)),
            guided=int(data.get("guided", 0)),
        )

    def fpn_arguments(self) -> dict[str, Any]:
        """Arguments for plain smp.FPN, without weights of its own."""
        return {
            "encoder_name": self.encoder,
            "encoder_weights": None,
            "classes": len(self.classes),
            **self.decoder,
        }


class DetailedFPN(smp.FPN):
    """smp.FPN, and a detail branch that adds its logits to the FPN's."""

    def forward(self, x: Tensor) -> Tensor:
        plain: Tensor = super().forward(x)
        return plain + self.detail(x)


def has_interior(network: Network) -> bool:
    """Whether the network tells touching objects apart."""
    return "interior" in network._modules


def build(spec: Spec, encoder: Network | None = None, like: Network | None = None) -> Network:
    """The network of `spec`: a smp.FPN but for how its logits are enlarged, see `enlarge_around_middles`.

    Without an encoder: a whole one, freshly initialised. With one: an smp.FPN
    around that very encoder, in eval mode, whose decoder and head stand on the meta
    device and wait for `assign_tensors`; only what stands beside the FPN is initialised. `like` is a network of
    the same encoder and decoder options whose modules are copied instead, with its
    own tensors still in them.
    """
    kind = smp.FPN if spec.detail is None else DetailedFPN
    if encoder is None:
        network = kind(**spec.fpn_arguments())
        enlarge_around_middles(network)
        _add_options(network, spec)
        return network
    network = kind.__new__(kind)
    smp.base.SegmentationModel.__init__(network)
    _add_options(network, spec)
    if like is not None:
        network.decoder, network.segmentation_head = shell(like.decoder), shell(like.segmentation_head)
        last = network.segmentation_head[0]
        last.out_channels = len(spec.classes)
        with torch.device("meta"):
            last.weight = nn.Parameter(torch.empty(last.out_channels, *last.weight.shape[1:]), requires_grad=False)
            last.bias = nn.Parameter(torch.empty(last.out_channels), requires_grad=False)
        return _around(network, spec, encoder)
    options = spec.decoder
    with torch.device("meta"):
        network.decoder = FPNDecoder(
            encoder_channels=encoder.out_channels,
            encoder_depth=5,
            pyramid_channels=options.get("decoder_pyramid_channels", 256),
            segmentation_channels=options.get("decoder_segmentation_channels", 128),
            dropout=options.get("decoder_dropout", 0.2),
            merge_policy=options.get("decoder_merge_policy", "add"),
            interpolation_mode=options.get("decoder_interpolation", "nearest"),
        )
        network.segmentation_head = SegmentationHead(
            in_channels=network.decoder.out_channels,
            out_channels=len(spec.classes),
            kernel_size=1,
            upsampling=options.get("upsampling", 4),
        )
    enlarge_around_middles(network)
    # Before the encoder comes, which is left alone: it may be another network's, at work right now.
    network.eval().requires_grad_(False)
    return _around(network, spec, encoder)


def _add_options(network: Network, spec: Spec) -> None:
    """What stands beside the FPN, freshly initialised."""
    if spec.detail is not None:
        network.detail = detail_branch(spec.detail, len(spec.classes))
    if spec.interior is not None:
        network.interior = interior_head(spec.interior)


def enlarge_around_middles(network: Network) -> None:
    """Let the head's enlargement put each place of its logits in the middle of the pixels that it was learnt from.

    smp's own puts the outermost places on the image's corners, which moves what is near its edges by up to 1.5 pixels.
    """
    network.segmentation_head[1].align_corners = False


def enlarge_as_smp(network: Network) -> Network:
    """The network with plain smp.FPN's own enlargement, as files that need nothing of this project have it."""
    network.segmentation_head[1].align_corners = True
    return network


def _around(network: Network, spec: Spec, encoder: Network) -> Network:
    network.training = False
    network.encoder = encoder
    network.classification_head = None
    network.name = f"fpn-{spec.encoder}"
    return network


def assign_tensors(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put `tensors` (by state-dict name) in their places without copying them.

    Raises KeyError for a name the network does not have and ValueError for
    another shape.
    """
    parents: dict[str, nn.Module] = {}  # finding one takes longer than filling it
    for name, tensor in tensors.items():
        parent_name, _, leaf = name.rpartition(".")
        if parent_name not in parents:
            try:
                parents[parent_name] = network.get_submodule(parent_name)
            except AttributeError:
                raise KeyError(f"The network has no tensor {name!r}.") from None
        parent = parents[parent_name]
        place = parent._parameters if leaf in parent._parameters else parent._buffers
        current = place.get(leaf)
        if current is None:
            raise KeyError(f"The network has no tensor {name!r}.")
        if current.shape != tensor.shape:
            raise ValueError(
                f"The tensor {name!r} has shape {tuple(tensor.shape)}, the network wants {tuple(current.shape)}."
            )
        if leaf in parent._parameters:
            parent._parameters[leaf] = nn.Parameter(tensor, requires_grad=False)
        else:
            parent._buffers[leaf] = tensor


def shell(module: nn.Module) -> Network:
    """A copy of a decoder's, head's or encoder's modules around the very same tensors, for `assign_tensors`.

    Far faster than a deep copy, for modules that keep their parts in no other attribute.
    """
    copied = module.__class__.__new__(module.__class__)
    copied.__dict__.update(module.__dict__)
    for name in ("_parameters", "_buffers"):
        copied.__dict__[name] = dict(module.__dict__[name])
    copied.__dict__["_modules"] = {
        name: None if part is None else shell(part) for name, part in module._modules.items()
    }
    return copied


def tensor_names(module: nn.Module, prefix: str) -> Iterator[str]:
    """The names in a module's state dict, without making one."""
    for name, tensor in (*module._parameters.items(), *module._buffers.items()):
        if tensor is not None and name not in module._non_persistent_buffers_set:
            yield f"{prefix}.{name}"
    for name, part in module._modules.items():
        if part is not None:
            yield from tensor_names(part, f"{prefix}.{name}")


class Uninitialised(TorchFunctionMode):
    """Within it random initialisation is skipped in this thread, for a module that is filled right after.

    A large encoder is then built in a fraction of the time. (On the meta device a MiT cannot be built: its
    constructor reads values.)
    """

    # What initialisers draw with, and what they then do to it in place.
    SKIPPED = (
        *(nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_, Tensor.normal_, Tensor.uniform_),
        *(Tensor.erfinv_, Tensor.mul_, Tensor.add_, Tensor.clamp_),
    )

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in self.SKIPPED:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def own_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes that these tensors take in memory."""
    return sum(t.numel() * t.element_size() for t in tensors)
