"""Colours for classes: far apart, told apart by most colour-blind eyes in the first eight, calm over photos."""

import colorsys

from segapp.imaging.formats import FIRST_COLORS

GOLDEN = 0.618033988749895  # steps around the colour wheel that never come close to an earlier one


def color(k: int) -> str:
    """The colour of the k-th class, k from 0; class 0 is a quiet grey, as backgrounds are."""
    if k < len(FIRST_COLORS):
        return FIRST_COLORS[max(k, 0)]
    red, green, blue = colorsys.hsv_to_rgb((k * GOLDEN) % 1.0, 0.55 + 0.3 * (k % 2), 0.95 - 0.15 * (k % 3))
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def rgb(color: str) -> tuple[int, int, int]:
    """ "#rrggbb" as three numbers from 0 to 255."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
