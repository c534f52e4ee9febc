"""Convolutions with the normalisation behind them folded in, for encoders of timm's EfficientNet kind.

Normalisation whose statistics are fixed is a factor and a shift for each channel, so the convolution before it can make
them along: a pass over the features less, forward and backward. What is stored, exported and hashed stays as it is:
folded modules are made beside the network, of the same parameters.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from registry import vision_shim  # noqa: F401  isort: skip  (before timm)
from timm.layers import Conv2dSame, pad_same
from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual
from timm.models.efficientnet import EfficientNetFeatures

from registry.network import own_bytes, shell
from registry.stages import deepest_stage

# Kinds of modules whose convolutions are each followed by their own normalisation, and by nothing else.
PAIRS: dict[type[nn.Module], tuple[tuple[str, str], ...]] = {
    InvertedResidual: (("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")),
    DepthwiseSeparableConv: (("conv_dw", "bn1"), ("conv_pw", "bn2")),
    EfficientNetFeatures: (("conv_stem", "bn1"),),
}


class Folded(nn.Module):
    """A convolution, its normalisation in eval mode and the activation after that, for learning: folded at every pass,
    so that gradients reach the parameters of both.

    They are held in a tuple, so they are no submodules: this stands beside them.
    """

    def __init__(self, conv: nn.Conv2d, norm: Any) -> None:
        super().__init__()
        self._parts = (conv, norm)
        self._spread = torch.rsqrt(norm.running_var + norm.eps)
        self.act = norm.act

    def forward(self, x: Tensor) -> Tensor:
        conv, norm = self._parts
        weight, bias = _merged(conv, norm, self._spread)
        return convolved(padded(x, conv), weight, bias, conv, self.act)


class Fixed(nn.Module):
    """The same for passes without gradients: folded once."""

    def __init__(self, conv: nn.Conv2d, norm: Any) -> None:
        super().__init__()
        with torch.no_grad():
            weight, bias = _merged(conv, norm, torch.rsqrt(norm.running_var + norm.eps))
        weight = weight.contiguous(memory_format=torch.channels_last)
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)
        self.register_buffer("wider", _with_padding(weight, conv), persistent=False)
        self._conv = (conv,)
        self.act = norm.act
        # oneDNN clips while it writes, which saves another pass.
        on_cpu = weight.device.type == "cpu" and torch.backends.mkldnn.is_available()
        self.clips = on_cpu and type(self.act) is nn.ReLU6

    def forward(self, x: Tensor) -> Tensor:
        (conv,) = self._conv
        weight: Any = self._buffers["weight"]  # quicker than by attribute
        bias = self._buffers["bias"]
        wider = self._buffers["wider"]
        if wider is not None and x.shape[2] % 2 == x.shape[3] % 2 == 0:
            weight, padding = wider, tuple(side // 2 for side in conv.kernel_size)
        else:
            x, padding = padded(x, conv), padding_of(conv)
        if self.clips:
            clipped: Tensor = torch.ops.mkldnn._convolution_pointwise(
                *(x, weight, bias, padding, conv.stride, conv.dilation, conv.groups, "hardtanh", [0.0, 6.0], "")
            )
            return clipped
        found: Tensor = self.act(F.conv2d(x, weight, bias, conv.stride, padding, conv.dilation, conv.groups))
        return found


def _with_padding(weight: Tensor, conv: nn.Conv2d) -> Tensor | None:
    """The filters of a depthwise convolution of stride 2 with a row and a column of zeros before the others, or None.

    Of an image whose sides are even Conv2dSame pads one place more behind than before. With these filters, padding of
    k // 2 on all sides gives the same answers, and the image need not be copied into a larger one.
    """
    odd = all(side % 2 for side in conv.kernel_size)
    if not (isinstance(conv, Conv2dSame) and conv.stride == (2, 2) and conv.dilation == (1, 1) and odd):
        return None
    if weight.shape[1] > 1 or conv.groups == 1:  # there the larger filters cost more than the copy
        return None
    return F.pad(weight, (1, 0, 1, 0)).contiguous(memory_format=torch.channels_last)


def folded_stage(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """What runs as these modules do, with gradients for their parameters; their normalisation must be in eval mode.

    What cannot be folded is the module itself.
    """
    return [_folded(module, Folded) for module in modules]


class FoldedShallow(nn.Module):
    """From images N,3,H,W to features of stride 4, 8 and 16, without gradients, for networks of one shallow_key."""

    def __init__(self, model: nn.Module, key: str) -> None:
        super().__init__()
        self.model = model
        self.key = key
        self.bytes = own_bytes(b for part in model.modules() if isinstance(part, Fixed) for b in part.buffers())

    def forward(self, images: Tensor) -> list[Tensor]:
        found: list[Tensor] = self.model(images)[-3:]
        return found


def folded_shallow(encoder: nn.Module, key: str) -> FoldedShallow | None:
    """The part of the encoder before its deepest stage, its weights as they are now; None for an encoder that cannot be
    folded or cut in two."""
    model: Any = getattr(encoder, "model", None)
    stage = deepest_stage(encoder)
    if not isinstance(model, EfficientNetFeatures) or model.feature_hooks is not None or not stage or model.training:
        return None
    deep = {id(module) for module in stage.values()}
    part: Any = shell(model)
    part.blocks = nn.Sequential(*(block for block in model.blocks if id(block) not in deep))
    return FoldedShallow(_folded(part, Fixed), key)


def padded(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """The input with the padding that depends on its size."""
    if isinstance(conv, Conv2dSame):
        found: Tensor = pad_same(x, list(conv.kernel_size), list(conv.stride), list(conv.dilation))
        return found
    return x


def padding_of(conv: nn.Conv2d) -> Any:
    """What the convolution itself pads."""
    return (0, 0) if isinstance(conv, Conv2dSame) else conv.padding


def _folded(module: nn.Module, kind: type[Folded] | type[Fixed]) -> nn.Module:
    """A copy of a tree of modules around the same tensors, its pairs folded; the tree itself where it has none."""
    if not any(type(part) in PAIRS for part in module.modules()):
        return module
    copied = shell(module)
    _fold_inside(copied, kind)
    return copied


def _fold_inside(module: nn.Module, kind: type[Folded] | type[Fixed]) -> None:
    for first, second in PAIRS.get(type(module), ()):
        conv: Any = module._modules[first]
        norm: Any = module._modules[second]
        if _fits(conv, norm):
            module._modules[first], module._modules[second] = kind(conv, norm), nn.Identity()
    for part in module._modules.values():
        if part is not None:
            _fold_inside(part, kind)


def _fits(conv: Any, norm: Any) -> bool:
    """Whether these are a plain convolution and a normalisation with fixed statistics, an activation behind it."""
    fixed = isinstance(norm, nn.BatchNorm2d) and not norm.training and norm.affine and norm.track_running_stats
    plain = isinstance(conv, nn.Conv2d) and conv.bias is None and conv.padding_mode == "zeros"
    return fixed and plain and hasattr(norm, "act") and isinstance(getattr(norm, "drop", None), nn.Identity)


def _merged(conv: nn.Conv2d, norm: Any, spread: Tensor) -> tuple[Tensor, Tensor]:
    scale = norm.weight * spread
    return conv.weight * scale[:, None, None, None], torch.addcmul(norm.bias, norm.running_mean, scale, value=-1)


def convolved(x: Tensor, weight: Tensor, bias: Tensor, conv: nn.Conv2d, act: nn.Module) -> Tensor:
    """The convolution of an input that is `padded` already, and the activation of what it gives."""
    found: Tensor
    if x.device.type == "cpu":
        if conv.kernel_size == (1, 1) and conv.stride == (1, 1) and conv.groups == 1:
            places = x.permute(0, 2, 3, 1)
            # Activated before it is seen as N,C,H,W: in place on a view, autograd would copy it.
            found = act(torch.addmm(bias, places.flatten(0, 2), weight.flatten(1).t()))
            return found.view(*places.shape[:3], -1).permute(0, 3, 1, 2)
        if weight.shape[1] == 1 and conv.groups == x.shape[1] and conv.dilation == (1, 1) and max(conv.kernel_size) > 3:
            found = act(Depthwise.apply(x, weight, bias, conv.stride, padding_of(conv)))
            return found
    found = act(F.conv2d(x, weight, bias, conv.stride, padding_of(conv), conv.dilation, conv.groups))
    return found


class Depthwise(torch.autograd.Function):
    """A depthwise convolution whose weight's gradient is put together from blocks of 3x3: for larger kernels oneDNN
    takes twenty times as long as for those."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: Any, padding: Any) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, bias, stride, padding, 1, x.shape[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        before = None
        if ctx.needs_input_grad[0]:
            before = _backward(grad, x, weight, ctx.stride, ctx.padding, (True, False, False))[0]
        return before, _weight_grad(grad, x, weight, ctx.stride, ctx.padding), grad.sum((0, 2, 3)), None, None


def _weight_grad(grad: Tensor, x: Tensor, weight: Tensor, stride: Any, padding: Any) -> Tensor:
    tall, wide = (-(-side // 3) * 3 for side in weight.shape[-2:])  # whole blocks
    rows, columns = ((n - 1) * step for n, step in zip(grad.shape[-2:], stride, strict=True))
    top, left = padding
    x = F.pad(x, (left, columns + wide - x.shape[3] - left, top, rows + tall - x.shape[2] - top))
    block = weight[:, :, :3, :3]
    found = weight.new_empty(*weight.shape[:2], tall, wide)
    for i in range(0, tall, 3):
        for j in range(0, wide, 3):
            seen = x[:, :, i : i + rows + 3, j : j + columns + 3]
            found[:, :, i : i + 3, j : j + 3] = _backward(grad, seen, block, stride, (0, 0), (False, True, False))[1]
    return found[:, :, : weight.shape[2], : weight.shape[3]]


def _backward(grad: Tensor, x: Tensor, weight: Tensor, stride: Any, padding: Any, mask: tuple[bool, ...]) -> Any:
    return torch.ops.aten.convolution_backward(
        grad, x, weight, None, stride, padding, (1, 1), False, (0, 0), x.shape[1], mask
    )
