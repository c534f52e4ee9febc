"""Probing a file for the first time in a child process with limited resources.

A demuxer is a large parser, and the file is not trusted: whatever it does to the process that reads its index ends
that process only, within limits of memory, processor time and wall clock: it may read this file, where the kernel has
Landlock no other one, and write nothing. What passes here is decoded in others (confined_frames.py,
confined_sound.py). Knows nothing of networks, masks or rows.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from segapp.confine import ResourceLimits, confine, environment, forbid_paths
from segapp.pipeline.video.demux import InvalidVideo, Limits, import_all_parts
from segapp.pipeline.video.probe import Source, probe
from segapp.supervisor import die_with_parent

COMMAND = [sys.executable, "-m", "segapp.pipeline.video.sandbox"]
ROOT = Path(__file__).resolve().parents[3]
TOO_MUCH = (
    "This video could not be looked into: it is damaged, or needs more memory or time than it may have. "
    "Convert it to H.264 in MP4 and upload it again."
)


def examine(path: Path, limits: Limits, resources: ResourceLimits | None = None) -> Source:
    """`probe` in a limited process; raises InvalidVideo, also when that process dies or is ended."""
    resources = resources or ResourceLimits()
    order = json.dumps(
        {"path": str(path), "limits": asdict(limits), "resources": asdict(resources), "parent": os.getpid()}
    )
    try:
        done = subprocess.run(
            COMMAND,
            input=order,
            cwd=ROOT,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=resources.clock,
            check=False,
        )
        answer = json.loads(done.stdout) if done.returncode == 0 else {}
    except (subprocess.TimeoutExpired, ValueError) as error:
        raise InvalidVideo(TOO_MUCH) from error
    if "refused" in answer:
        raise InvalidVideo(answer["refused"])
    if "source" not in answer:
        raise InvalidVideo(TOO_MUCH)
    return Source.from_dict(answer["source"])


def main() -> None:
    """Read an order from stdin, write the answer to stdout: `{"source": …}` or `{"refused": message}`."""
    order = json.loads(sys.stdin.read())
    die_with_parent(order["parent"])
    import_all_parts()
    path = Path(order["path"])
    if path.is_file():
        forbid_paths(path)
    confine(ResourceLimits(**order["resources"]))
    answer: dict[str, Any]
    try:
        answer = {"source": probe(path, Limits(**order["limits"])).to_dict()}
    except InvalidVideo as error:
        answer = {"refused": str(error)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
