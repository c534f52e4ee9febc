"""Makes `import torchvision` work where its compiled operators do not load.

With torch's CPU build the binary part of torchvision may be missing, and the
import then stops at two operators whose schemas are not defined. Nothing here
calls them; defining the schemas is enough. Import this module before smp or
timm.

It also imports all three without torch's compiler, which is large and which
they only want for functions that nothing here calls, and lets torch's optimisers
do without it.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch

_SCHEMAS = {
    "torchvision::nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "torchvision::qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Stand in for torch._dynamo, unless it has been imported already: half of the time that the imports take."""
    if "torch._dynamo" in sys.modules:
        yield
        return
    compiler, utils = ModuleType("torch._dynamo"), ModuleType("torch._dynamo.utils")
    compiler.disable = lambda fn=None, *_, **__: fn or (lambda own: own)  # type: ignore[attr-defined]
    utils.is_compile_supported = lambda device_type: False  # type: ignore[attr-defined]
    sys.modules |= {compiler.__name__: compiler, utils.__name__: utils}
    try:
        yield
    finally:
        del sys.modules[compiler.__name__], sys.modules[utils.__name__]


def ensure_torchvision() -> bool:
    """Import torchvision, repairing it when needed; returns True when it was repaired."""
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    else:
        return False
    for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
        del sys.modules[name]  # half-imported modules would be taken as whole ones
    for name, schema in _SCHEMAS.items():
        torch.library.define(name, schema)
    import torchvision  # noqa: F401

    return True


def _use_an_optimizer() -> None:
    """torch's optimisers look the compiler up when one is first made and cleared, and keep what they found."""
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))]).zero_grad()


with _without_compiler():
    MENDED = ensure_torchvision()
    _use_an_optimizer()
    import segmentation_models_pytorch  # noqa: F401
    import timm  # noqa: F401
