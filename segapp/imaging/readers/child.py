"""The confined process that reads one untrusted file: `python -m segapp.imaging.readers.child ORDER < FILE`.

It limits itself before it opens the file. To stdout goes one line of JSON, then the array's bytes.
"""

import json
import sys

import numpy as np

from segapp.confine import ResourceLimits, confine
from segapp.imaging.readers import read


def main() -> None:
    order = json.loads(sys.argv[1])
    # What may still be loaded after the limits is loaded before them: codecs come when they are first asked for.
    import imagecodecs  # noqa: F401

    confine(ResourceLimits(**order["limits"]))
    with open(0, "rb", closefd=False) as file:
        header, values = read.answer(order, file)
    out = sys.stdout.buffer
    out.write(json.dumps(header).encode() + b"\n")
    if values is not None:
        out.write(np.ascontiguousarray(values).data.cast("B"))
    out.flush()


if __name__ == "__main__":
    main()
