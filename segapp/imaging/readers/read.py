"""Which reader reads what, and what a confined process answers."""

from typing import IO, Any

import numpy as np

from segapp.imaging.image_input import ImageInput
from segapp.imaging.invalid_file import InvalidFile
from segapp.imaging.readers.picked import Picked, TooLarge


def read(reader: str, what: str, file: IO[bytes], name: str, choice: ImageInput, most: int) -> Picked:
    """`reader`: pillow, tiff, heif or deep_png; `what`: image, mask, original (readers/original.py) or values, which
    are the chosen page and channels as the file holds them.

    Raises InvalidFile, TooLarge, and what the libraries raise.
    """
    if reader == "pillow":
        from segapp.imaging.readers import pillow

        if what == "image":
            return pillow.image(file, name, choice)
        readers = {
            "mask": pillow.mask,
            "grey": pillow.grey,
            "bitmaps": pillow.packed_bitmaps,
            "original": pillow.original,
            "values": pillow.values,
        }
        return readers[what](file, name)
    if what == "original":
        from segapp.imaging.readers import original

        return original.encoded(reader, file, name, most)
    if reader == "tiff":
        from segapp.imaging.readers import tiff

        if what == "values":
            return tiff.values(file, name, choice, most)
        return tiff.mask(file, name, most) if what == "mask" else tiff.image(file, name, choice, most)
    if what == "mask":
        raise InvalidFile(name, "This kind of file cannot hold a mask exactly.", "Save the mask as a PNG.")
    if reader == "heif":
        from segapp.imaging.readers import heif

        return heif.image(file, name, choice, most)
    from segapp.imaging.readers import deep_png

    return (deep_png.values if what == "values" else deep_png.image)(file, name, choice, most)


def answer(order: dict[str, Any], file: IO[bytes]) -> tuple[dict[str, Any], Any]:
    """What to say of a file, as JSON has it, and its values: what `read` makes of the order, None where it cannot."""
    try:
        file.seek(0)
        choice = ImageInput.from_dict(order["choice"])
        found = read(order["reader"], order["what"], file, order["name"], choice, order["most"])
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
        "shape": values.shape if isinstance(values, np.ndarray) else (values.height, values.width, 3),
        "dtype": values.dtype.str if isinstance(values, np.ndarray) else "|u1",
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
        "as_stored": found.as_stored,
    }
    return header, values
