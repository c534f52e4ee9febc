"""Makes `import torchvision` work where its compiled operators do not load.

With torch's CPU build the binary part of torchvision may be missing, and the
import then stops at two operators whose schemas nobody defined. Nothing here
calls them; defining the schemas is enough. Import this module before smp or
timm. It does nothing where torchvision imports as it should.
"""

import sys

import torch

_SCHEMAS = {
    "torchvision::nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "torchvision::qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def ensure_torchvision() -> bool:
    """Import torchvision, mending it when needed; returns True when it was mended."""
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


MENDED = ensure_torchvision()
