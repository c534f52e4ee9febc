"""`python -m segapp.tests.video.transcode SOURCE TARGET CODEC`: encode a video again, in a process of its own.

For encoders that change how the process that runs them is scheduled (see segapp/tests/scheduling.py).
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import av

from segapp.home import PROJECT


def in_child(source: Path, target: Path, codec: str) -> Path:
    """Encode `source` as `codec` into `target` in a child process; returns `target`."""
    command = [sys.executable, "-m", "segapp.tests.video.transcode", str(source), str(target), codec]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, timeout=120)
    return target


def transcode(source: Path, target: Path, codec: str) -> None:
    with av.open(str(source)) as container, av.open(str(target), "w") as out:
        image = container.streams.video[0]
        stream: Any = out.add_stream(codec, rate=image.average_rate)
        stream.width, stream.height, stream.pix_fmt = image.width, image.height, "yuv420p"
        for frame in container.decode(image):
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


if __name__ == "__main__":
    transcode(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
