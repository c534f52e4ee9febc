"""Which reader reads what."""

from typing import IO

from segapp.imaging.image_input import ImageInput
from segapp.imaging.invalid_file import InvalidFile
from segapp.imaging.readers.picked import Picked


def read(reader: str, what: str, file: IO[bytes], name: str, choice: ImageInput, most: int) -> Picked:
    """`reader`: tiff, heif or deep_png; `what`: image, mask or original (readers/original.py).

    Raises InvalidFile, TooLarge, and what the libraries raise.
    """
    if what == "original":
        from segapp.imaging.readers import original

        return original.encoded(reader, file, name, most)
    if reader == "tiff":
        from segapp.imaging.readers import tiff

        return tiff.mask(file, name, most) if what == "mask" else tiff.image(file, name, choice, most)
    if what == "mask":
        raise InvalidFile(name, "This kind of file cannot hold a mask exactly.", "Save the mask as a PNG.")
    if reader == "heif":
        from segapp.imaging.readers import heif

        return heif.image(file, name, choice, most)
    from segapp.imaging.readers import deep_png

    return deep_png.image(file, name, choice, most)
