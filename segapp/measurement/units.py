"""From pixels to lengths and areas. The unit of a table's columns is one for the whole table."""

from dataclasses import dataclass

from segapp.imaging.pixel_size import MICROMETRES, PixelSize


@dataclass(frozen=True)
class Unit:
    """length, area: what one pixel is in the unit; name: as it ends a column's name (um gives area_um2)."""

    name: str
    length: float
    area: float


def unit_of(size: PixelSize | None, name: str = "") -> Unit | None:
    """The unit of a pixel size, or `name` instead of its own. Lengths take the side of a square of the same area."""
    if size is None:
        return None
    name = name or size.unit
    factor = MICROMETRES[name]
    return Unit(name, size.side / factor, size.x * size.y / factor**2)
