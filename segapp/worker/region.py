"""A region from clicks on an image that is being painted, on the features that live answers keep."""

import base64
import io
import time
from contextlib import ExitStack
from functools import partial
from typing import Any

from PIL import Image

from segapp.imaging.tiling import fitted
from segapp.models import Painting
from segapp.pipeline.inference import region
from segapp.services import example_files
from segapp.services.live_exchange import LiveRequest
from segapp.worker import networks
from segapp.worker.live import SHOWN_SIDE, answered, network_of


def run(pk: int) -> None:
    """Answer the newest clicks on a painting; nothing is there when an earlier message has brought them already."""
    answered(pk, "region", _found, "The region could not be found. Nothing was painted; click again.")


def _found(pk: int, asked: LiveRequest) -> dict[str, Any]:
    began = time.perf_counter()
    example = Painting.objects.select_related("example").get(pk=pk).example
    with ExitStack() as stack:
        net, _ = network_of(asked.model, stack)
        read = partial(example_files.image_of, example)
        graph = region.kept_graph(networks.live_cache(), net, example.public_id, read)
    clicks = region.clicked(
        graph, [(x / example.width, y / example.height, bool(inside)) for x, y, inside in asked.clicks]
    )
    if not clicks.inside:
        return {"state": "ready"}
    height, width = fitted(example.height, example.width, min(SHOWN_SIDE, max(example.height, example.width)))
    mask = region.region_mask(graph, region.walked(graph, clicks), (height, width))
    out = io.BytesIO()
    Image.fromarray(mask * 255).save(out, "PNG", compress_level=1)
    return {
        "state": "answered",
        "width": width,
        "height": height,
        "mask": base64.b64encode(out.getvalue()).decode(),
        "percent": round(100 * float(mask.mean()), 2),
        "timings": {"total": round((time.perf_counter() - began) * 1000, 1)},
    }
