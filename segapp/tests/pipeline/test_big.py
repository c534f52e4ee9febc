"""A photo of 24 megapixels in a process that may take 2 GB, as a whole and in tiles, with many classes."""

import json
import subprocess
import sys

import pytest

from segapp.home import PROJECT

WORK = """
import dataclasses, io, json, resource, sys
from pathlib import Path
import numpy as np, torch
from PIL import Image
from registry.memory import keep_freed
from registry.network import ClassInfo
from registry.runtime import Runtime, with_base
from segapp.imaging import decode, render
from segapp.pipeline.inference.predict import predict, shares

torch.set_num_threads(1)
keep_freed()  # as every worker
side, classes = int(sys.argv[1]), int(sys.argv[2])
runtime = Runtime(Path("no-media"), Path("no-weights"), "cpu", 1 << 30)
with runtime.use_base(runtime.base("efficientnet_lite0")) as base:
    spec = dataclasses.replace(
        base.spec, example_side=side, classes=tuple(ClassInfo(k, str(k), "#123456") for k in range(classes))
    )
    own = {n: t.clone() for n, t in base.module.state_dict().items() if not n.startswith("encoder.")}
    head = own["segmentation_head.0.weight"]
    random = torch.Generator().manual_seed(0)
    own["segmentation_head.0.weight"] = torch.randn(classes, *head.shape[1:], generator=random)
    own["segmentation_head.0.bias"] = torch.zeros(classes)
    net = dataclasses.replace(base, spec=spec, module=with_base(base, spec, own))
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).resize((6000, 4000), Image.Resampling.BICUBIC).save(out, "JPEG")
    resting = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    image = np.asarray(decode.image(out, "big.jpg"))
    heard = []
    found = predict(net, image, heard.append)
    png = render.palette_png(found.ids, [{"id": c.id, "color": c.color} for c in spec.classes])
    counted = sum(row["pixels"] for row in shares(found.ids, spec.classes))
print(json.dumps({"shape": found.ids.shape, "tiled": found.tiled, "heard": heard, "counted": counted, "png": len(png),
    "resting_mb": resting // 1024, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))
"""


def work(side: int, classes: int) -> dict:
    command = [sys.executable, "-c", WORK, str(side), str(classes)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("classes", [3, 64])
def test_24_megapixels_stay_under_2_gb_with_progress(classes):
    found = work(640, classes)  # examples of 640 pixels: seen as a whole, and in some hundred tiles
    assert found["shape"] == [4000, 6000] and found["counted"] == 24_000_000 and found["png"] > 10_000
    assert found["heard"] == sorted(found["heard"]) and found["heard"][-1] == 1.0 and len(found["heard"]) > 50
    assert found["peak_mb"] < 2000, found
    whole = work(0, classes)
    assert not whole["tiled"] and whole["peak_mb"] < 2000, whole
