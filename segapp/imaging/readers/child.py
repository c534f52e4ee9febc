"""The confined process that reads one stranger's file: `python -m segapp.imaging.readers.child ORDER < FILE`.

It limits itself before it opens the file. To stdout goes one line of JSON, then the array's bytes.
"""

import json
import sys
from typing import Any

import numpy as np

from segapp.confine import ResourceLimits, confine


def main() -> None:
    order = json.loads(sys.argv[1])
    # What may still be loaded after the limits is loaded before them: codecs come when they are first asked for.
    import imagecodecs  # noqa: F401

    confine(ResourceLimits(**order["limits"]))
    header, body = _answer(order)
    out = sys.stdout.buffer
    out.write(json.dumps(header).encode() + b"\n")
    if body is not None:
        out.write(body)
    out.flush()


def _answer(order: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    from segapp.imaging.image_input import ImageInput
    from segapp.imaging.invalid_file import InvalidFile
    from segapp.imaging.readers import read
    from segapp.imaging.readers.picked import TooLarge

    try:
        with open(0, "rb", closefd=False) as file:
            file.seek(0)
            choice = ImageInput.from_dict(order["choice"])
            found = read.read(order["reader"], order["what"], file, order["name"], choice, order["most"])
    except InvalidFile as refused:
        return {"refused": [refused.problem, refused.advice]}, None
    except TooLarge as large:
        return {"large": [large.width, large.height, large.windows]}, None
    except MemoryError:
        return {"short": True}, None
    except Exception as error:
        return {"damaged": type(error).__name__}, None
    values = found.values
    header = {
        "shape": values.shape,
        "dtype": values.dtype.str,
        "turn": found.turn,
        "notes": found.notes,
        "deep": found.deep,
        "pages": found.layout.pages,
        "channels": found.layout.channels,
        "kind": found.kind,
        "lossy": found.lossy,
        "palette": found.palette,
        "geo": found.geo,
        "size": found.size,
    }
    return header, np.ascontiguousarray(values).data.cast("B")


if __name__ == "__main__":
    main()
