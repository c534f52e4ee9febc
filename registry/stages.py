"""Where an encoder can be cut in two: all up to its stride-16 features, and the deepest stage behind them.

Knows encoders by what they say of themselves, not by their names: smp's own list their stages, timm's say which of
their blocks gives which feature.
"""

from collections.abc import Iterable
from typing import Any, cast

from torch import Tensor, nn


def deepest_stage(encoder: nn.Module) -> dict[str, nn.Module]:
    """The modules, by their names in the encoder, that make its stride-32 features of its stride-16 ones, in the order
    in which they run. Empty for an encoder that does not say."""
    try:
        modules = list(cast(Any, encoder).get_stages()[32])
    except (AttributeError, KeyError, NotImplementedError):
        modules = _timm_blocks(getattr(encoder, "model", None))
    names = {id(module): name for name, module in encoder.named_modules()}
    return {names[id(module)]: module for module in modules}


def run_stage(modules: Iterable[nn.Module], features: Tensor) -> Tensor:
    """Stride-32 features N,C,h,w of stride-16 ones."""
    for module in modules:
        features = module(features)
    return features


def is_deep(name: str, stage: Iterable[str]) -> bool:
    """Whether a tensor of a network, by its state-dict name, belongs to the modules `stage` of its encoder."""
    return any(name.startswith(f"encoder.{module}.") for module in stage)


def _timm_blocks(model: Any) -> list[nn.Module]:
    """The blocks of a timm network of the EfficientNet kind behind its last but one feature."""
    blocks = getattr(model, "blocks", None)
    info = getattr(model, "feature_info", None)
    if not isinstance(blocks, nn.Sequential) or info is None:
        return []
    *_, last, deepest = info.get_dicts()
    if (last["reduction"], deepest["reduction"]) != (16, 32):
        return []
    kind, _, number = last["module"].partition(".")
    return list(blocks)[int(number) + 1 :] if kind == "blocks" else []
