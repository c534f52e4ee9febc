"""Options of commands that say how objects are counted and measured."""

from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from segapp.imaging import pixel_size
from segapp.imaging.object_options import (
    ObjectOptions,
    parse_edges,
    parse_holes,
    parse_min_area,
    parse_more,
    parse_simplify,
    parse_split,
    parse_things,
)


def add_object_options(parser: ArgumentParser) -> None:
    parser.add_argument("--scale", default="", help="length of a pixel, such as 0.65um (default: the file's)")
    parser.add_argument("--things", default="", help="ids of the classes to count (default: the model's)")
    parser.add_argument("--split", default="", help="auto (default), none, or a strength from 0 to 1")
    parser.add_argument("--min-area", default="", metavar="PIXELS", help="smaller objects are left out")
    parser.add_argument("--edges", default="", help="objects that the edge cuts: keep (default) or drop")
    parser.add_argument("--holes", default="", help="keep (default) or fill them")
    parser.add_argument("--simplify", default="", metavar="PIXELS", help="fewer points in outlines (default: 0)")
    parser.add_argument("--measure", default="", metavar="A,B", help="also solidity, skeleton, or both")


def object_options(options: dict[str, Any]) -> ObjectOptions:
    """How objects are to be measured. Raises ValueError that names the option."""
    readers: dict[str, Callable[[str], Any]] = {
        "things": parse_things,
        "split": parse_split,
        "min_area": parse_min_area,
        "edges": parse_edges,
        "holes": parse_holes,
        "scale": pixel_size.typed,
        "simplify": parse_simplify,
        "measure": parse_more,
    }
    values = {}
    for name, read in readers.items():
        if text := options[name]:
            try:
                values["more" if name == "measure" else name] = read(text)
            except ValueError as error:
                raise ValueError(f"--{name.replace('_', '-')}: {error}") from None
    return ObjectOptions(**values)
