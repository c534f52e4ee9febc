"""Which reader reads what."""

from typing import IO

from segapp.imaging.image_input import ImageInput
from segapp.imaging.invalid_file import InvalidFile
from segapp.imaging.readers.picked import Picked


def read(reader: str, what: str, file: IO[bytes], name: str, choice: ImageInput, most: int) -> Picked:
    """`reader`: tiff, heif or deep_png; `what`: image, mask, original (readers/original.py) or values, which are the
    chosen page and channels as the file holds them.

    Raises InvalidFile, TooLarge, and what the libraries raise.
    """
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
