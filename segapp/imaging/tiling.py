"""How an image is cut up for the network, in numbers: at which size it is seen, in how many passes.

What a pass takes is known before any is run, so the web side counts what waits by it. Knows nothing of pixels.
"""

import math

PASS = 1024  # pixels a side that one pass takes at most
REACH = 2.0  # an image so many times as long as the examples may show more rather than the same more finely
FINEST = 16_384  # pixels a side that the network is made to see at most
MAX_SUMS = 160_000_000  # of a row of tiles, all classes together: 640 MB
OVERLAP = 0.25  # of a tile


def fitted(height: int, width: int, long_side: float) -> tuple[int, int]:
    """Height and width scaled so that the longer is `long_side`, both at least 1."""
    factor = long_side / max(height, width)
    return max(1, round(height * factor)), max(1, round(width * factor))


def finer(height: int, width: int, input_size: int, example_side: int, classes: int) -> tuple[int, int] | None:
    """The size at which an image has the examples' own scale; None where the whole view is all there is to try."""
    longest = max(height, width)
    if not example_side or longest < REACH * example_side:
        return None
    scale = min(input_size / example_side, FINEST / longest)
    tile = min(PASS, input_size)
    return fitted(height, width, longest * min(scale, MAX_SUMS / (classes * tile * width)))


def in_parts(height: int, width: int, input_size: int, example_side: int, classes: int) -> tuple[int, int]:
    """The size at which an image is seen that is read in parts."""
    known = input_size / example_side if example_side else 1.0
    longest, tile = max(height, width), min(PASS, input_size)
    return fitted(height, width, longest * min(1.0, known, FINEST / longest, MAX_SUMS / (classes * tile * width)))


def starts(length: int, tile: int) -> list[int]:
    """Where tiles begin along a side, so that they overlap and end with it."""
    if length <= tile:
        return [0]
    count = math.ceil((length - tile) / (tile * (1 - OVERLAP))) + 1
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def passes(height: int, width: int, input_size: int, example_side: int, classes: int, windows: bool = False) -> int:
    """Forward passes that an image takes. `windows`: it is read in parts."""
    tile = min(PASS, input_size)
    if windows:
        return _tiles(in_parts(height, width, input_size, example_side, classes), tile)
    found = _tiles(fitted(height, width, input_size), PASS)
    again = finer(height, width, input_size, example_side, classes)
    return found + (_tiles(again, tile) if again else 0)


def _tiles(size: tuple[int, int], tile: int) -> int:
    return len(starts(size[0], tile)) * len(starts(size[1], tile))
