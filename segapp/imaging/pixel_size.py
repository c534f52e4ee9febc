"""The size of a pixel: typed in, or from what a file says of itself. Pillow only, so both sides may use it.

Nothing is guessed: a file whose tags give no length (a screen's 72 dpi, degrees of a map) has no pixel size.
"""

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image

MICROMETRES = {"nm": 1e-3, "um": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6, "km": 1e9, "in": 25_400.0}
SPELLED = {"µm": "um", "μm": "um", "micron": "um", "microns": "um", "micrometer": "um", "inch": "in"}
SHOWN = {"um": "µm", "mm": "mm", "cm": "cm", "m": "m"}  # units of tables, as a person reads them
SMALLEST, LARGEST = 1e-4, 1e10  # micrometres a pixel may have: 0.1 nm to 10 km
SCREEN_DPI = (0.0, 1.0, 72.0, 96.0)  # what programs write that know nothing of the subject

X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, DESCRIPTION = 282, 283, 296, 270
GEO_PIXEL_SCALE, GEO_TIE_POINTS, GEO_TRANSFORM, GEO_KEYS = 33550, 33922, 34264, 34735
GEO_MODEL, GEO_GEOGRAPHIC, GEO_PROJECTED, GEO_LINEAR_UNIT = 1024, 2048, 3072, 3076
GEO_UNITS = {9001: 1e6, 9002: 304_800.0, 9003: 304_800.6096}  # metre, foot, US survey foot
RESOLUTION_UNITS = {2: 25_400.0, 3: 10_000.0}  # inch, centimetre

_TYPED = re.compile(r"\s*([0-9]*[.,]?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([^\s\d/]+)\s*(?:/\s*(?:px|pixel))?\s*")


@dataclass(frozen=True)
class PixelSize:
    """x, y: micrometres a pixel. unit: of lengths in tables, one of SHOWN. source: where it is from, in words."""

    x: float
    y: float
    unit: str
    source: str

    @property
    def side(self) -> float:
        """Micrometres: the side of a square pixel of the same area."""
        return (self.x * self.y) ** 0.5

    def describe(self) -> str:
        """As "0.65 µm per pixel, typed in"."""
        shown = f"{self.x / MICROMETRES[self.unit]:.4g}"
        if abs(self.x - self.y) > 1e-3 * self.x:
            shown += f" × {self.y / MICROMETRES[self.unit]:.4g}"
        return f"{shown} {SHOWN[self.unit]} per pixel, {self.source}"

    def to_dict(self) -> dict[str, Any]:
        return {"x_um": self.x, "y_um": self.y, "unit": self.unit, "source": self.source}

    def turned(self) -> "PixelSize":
        """Of an image that lay on its side."""
        return PixelSize(self.y, self.x, self.unit, self.source)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "PixelSize":
        return cls(float(data["x_um"]), float(data["y_um"]), str(data["unit"]), str(data["source"]))


@dataclass(frozen=True)
class GeoReference:
    """Map coordinates of pixel corners: x = a·column + b·row + c, y = d·column + e·row + f; epsg names their system."""

    a: float
    b: float
    c: float
    d: float
    e: float
    f: float
    epsg: int | None

    def to_dict(self) -> dict[str, Any]:
        return {"transform": [self.a, self.b, self.c, self.d, self.e, self.f], "epsg": self.epsg}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "GeoReference":
        a, b, c, d, e, f = (float(value) for value in data["transform"])
        return cls(a, b, c, d, e, f, data.get("epsg"))


def typed(text: str) -> PixelSize:
    """A length such as "0.65um", "0,1 mm" or "5 cm/px". Raises ValueError with what to type instead."""
    found = _TYPED.fullmatch(text)
    unit = _unit(found.group(2)) if found else ""
    if not found or unit not in MICROMETRES:
        raise ValueError(f"“{text}” is no length of a pixel. Give a number and a unit, such as 0.65um, 0.1mm or 5cm.")
    length = float(found.group(1).replace(",", ".")) * MICROMETRES[unit]
    return of_length(length, "typed in", {"nm": "um", "km": "m", "in": "mm"}.get(unit, unit))


def of_length(micrometres: float, source: str, unit: str = "") -> PixelSize:
    """A square pixel; without a unit tables take the one that suits its size. Raises ValueError for no real length."""
    if not SMALLEST <= micrometres <= LARGEST:
        raise ValueError("A pixel is between 0.1 nm and 10 km long. Check the number and its unit.")
    return PixelSize(micrometres, micrometres, unit or unit_for(micrometres), source)


def unit_for(micrometres: float) -> str:
    """The unit of lengths that suits pixels of this size."""
    if micrometres < 50:
        return "um"
    return "mm" if micrometres < 10_000 else "m"


def from_file(opened: Image.Image) -> PixelSize | None:
    """What the file says of its pixels: GeoTIFF, OME, ImageJ, then plain TIFF, PNG or JPEG resolution; else None."""
    tags = _tags(opened)
    return from_tags(tags) if tags else _first(lambda: _dots_per_inch(opened))


def from_tags(tags: dict[int, Any]) -> PixelSize | None:
    """What a TIFF's tags, numbers to values, say of its pixels."""
    text = str(tags.get(DESCRIPTION, ""))
    return _first(lambda: _geo_size(tags), lambda: _ome(text), lambda: _imagej(text, tags), lambda: _resolution(tags))


def _first(*readers: Callable[[], PixelSize | None]) -> PixelSize | None:
    for read in readers:
        try:
            size = read()
        except (ValueError, TypeError, ZeroDivisionError, IndexError, KeyError):  # a damaged tag says nothing
            continue
        if size is not None:
            return size
    return None


def geo_reference(opened: Image.Image) -> GeoReference | None:
    """The map coordinates of a GeoTIFF; None for other files."""
    return place_from_tags(_tags(opened))


def place_from_tags(tags: dict[int, Any]) -> GeoReference | None:
    """The map coordinates that a TIFF's tags give its pixels."""
    try:
        epsg = _geo_keys(tags).get(GEO_PROJECTED) or _geo_keys(tags).get(GEO_GEOGRAPHIC)
        if len(tags.get(GEO_TRANSFORM, ())) >= 8:
            m = [float(value) for value in tags[GEO_TRANSFORM]]
            return GeoReference(m[0], m[1], m[3], m[4], m[5], m[7], epsg)
        if len(tags.get(GEO_PIXEL_SCALE, ())) < 2 or len(tags.get(GEO_TIE_POINTS, ())) < 6:
            return None
        wide, tall = (float(value) for value in tags[GEO_PIXEL_SCALE][:2])
        column, row, _, x, y = (float(value) for value in tags[GEO_TIE_POINTS][:5])
    except (ValueError, TypeError, IndexError):
        return None
    return GeoReference(wide, 0.0, x - column * wide, 0.0, -tall, y + row * tall, epsg)


def _tags(opened: Image.Image) -> dict[int, Any]:
    found = getattr(opened, "tag_v2", None)
    return dict(found) if found else {}


def _unit(text: str) -> str:
    text = text.strip()
    if not text.isascii():
        with contextlib.suppress(UnicodeError):  # Pillow reads a TIFF's UTF-8 as Latin-1
            text = text.encode("latin-1").decode("utf-8")
    return SPELLED.get(text, SPELLED.get(text.lower(), text.lower()))


def _geo_keys(tags: dict[int, Any]) -> dict[int, int]:
    """Those keys of a GeoTIFF that hold a number themselves."""
    values = [int(value) for value in tags.get(GEO_KEYS, ())]
    entries = (values[place : place + 4] for place in range(4, len(values) - 3, 4))
    return {key: value for key, place, _, value in entries if place == 0}


def _geo_size(tags: dict[int, Any]) -> PixelSize | None:
    keys = _geo_keys(tags)
    if GEO_PIXEL_SCALE not in tags or keys.get(GEO_MODEL) != 1:  # degrees are no length
        return None
    factor = GEO_UNITS.get(keys.get(GEO_LINEAR_UNIT, 9001))
    if factor is None:
        return None
    wide, tall = (float(value) * factor for value in tags[GEO_PIXEL_SCALE][:2])
    return _checked(wide, tall, "from the file (GeoTIFF)")


def _ome(text: str) -> PixelSize | None:
    if "<OME" not in text[:2000] and "PhysicalSizeX" not in text:
        return None
    lengths = []
    for axis in "XY":
        found = re.search(rf'\bPhysicalSize{axis}="([^"]+)"', text)
        if not found:
            return None
        unit = re.search(rf'\bPhysicalSize{axis}Unit="([^"]+)"', text)
        lengths.append(float(found.group(1)) * MICROMETRES[_unit(unit.group(1)) if unit else "um"])
    return _checked(lengths[0], lengths[1], "from the file (OME)")


def _imagej(text: str, tags: dict[int, Any]) -> PixelSize | None:
    if not text.startswith("ImageJ="):
        return None
    found = re.search(r"^unit=(.+)$", text, re.MULTILINE)
    unit = _unit(found.group(1)) if found else ""
    if unit not in MICROMETRES:
        return None
    wide, tall = (MICROMETRES[unit] / float(tags[tag]) for tag in (X_RESOLUTION, Y_RESOLUTION))
    return _checked(wide, tall, "from the file (ImageJ)")


def _resolution(tags: dict[int, Any]) -> PixelSize | None:
    """A scanner's resolution."""
    unit = RESOLUTION_UNITS.get(int(tags.get(RESOLUTION_UNIT, 2)))
    return _dots(float(tags.get(X_RESOLUTION, 0)), float(tags.get(Y_RESOLUTION, 0)), unit)


def _dots_per_inch(opened: Image.Image) -> PixelSize | None:
    """The resolution of a PNG or JPEG; a camera's says nothing of what is on the image."""
    if opened.getexif().get(271) and opened.getexif().get_ifd(0x8769).get(33437):  # a maker and an f-number
        return None
    across, down = (float(value) for value in opened.info.get("dpi", (0, 0)))
    return _dots(across, down, 25_400.0)


def _dots(across: float, down: float, unit: float | None) -> PixelSize | None:
    """`unit`: micrometres in which there are so many pixels. A screen's resolution is none of the image's."""
    if unit is None or across <= 0 or down <= 0:
        return None
    dpi = across * 25_400.0 / unit
    if any(abs(dpi - usual) < 0.6 for usual in SCREEN_DPI):
        return None
    return _checked(unit / across, unit / down, "from the file (resolution)")


def _checked(wide: float, tall: float, source: str) -> PixelSize | None:
    if not (SMALLEST <= wide <= LARGEST and SMALLEST <= tall <= LARGEST):
        return None
    return PixelSize(wide, tall, unit_for((wide * tall) ** 0.5), source)
