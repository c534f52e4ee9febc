"""Figures as people read them, and curves as the points of an SVG line."""

from typing import Any

from django import template

register = template.Library()


@register.filter
def duration(seconds: float | None) -> str:
    """12 -> "12 s", 95 -> "1 min 35 s", 4000 -> "1 h 7 min"; "" when not known."""
    if seconds is None:
        return ""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, rest = divmod(whole // 60, 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"


@register.filter
def share(percent: float | None) -> str:
    """A share of the pixels, in percent: small ones are not rounded to nothing."""
    if percent is None:
        return ""
    if 0 < percent < 0.1:
        return "< 0.1 %"
    return f"{percent:.1f} %"


@register.filter
def whole_percent(fraction: float | None) -> str:
    return f"{round(100 * min(1.0, max(0.0, fraction or 0.0)))} %"


@register.filter
def milliseconds(value: float | None) -> str:
    """740 -> "0.74 s"; below 100 ms as they are."""
    if value is None:
        return ""
    return f"{value:.0f} ms" if value < 100 else f"{value / 1000:.2f} s"


@register.filter
def last_of(values: list[Any]) -> Any:
    """The newest entry; of pairs (fraction, value) the value. None while there is none."""
    if not values:
        return None
    newest = values[-1]
    return newest[1] if isinstance(newest, (list, tuple)) else newest


@register.filter
def largest(classes: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """The classes that cover most of an image; those that are not on it never."""
    found = sorted((one for one in classes if one["pixels"]), key=lambda one: -int(one["pixels"]))
    return found[:count]


@register.simple_tag
def curve(values: list[Any], until: float = 1.0, top: float | None = None) -> str:
    """`points` of an SVG polyline in a 100 x 100 box that grows from the left up to `until` (a fraction).

    `values` are numbers at even distances or pairs (fraction, value); `top` is the value at the upper edge.
    """
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in _points(values, until, top))


@register.simple_tag
def dots(values: list[Any], until: float = 1.0, top: float | None = None) -> str:
    """The same as the `d` of a path that shows each value as a dot: few scores make no line."""
    return "".join(f"M{x:.2f} {y:.2f}h0" for x, y in _points(values, until, top))


def _points(values: list[Any], until: float, top: float | None) -> list[tuple[float, float]]:
    if not values:
        return []
    if isinstance(values[0], (list, tuple)):
        pairs = [(float(x), float(y)) for x, y in values]
    else:
        step = until / max(1, len(values) - 1)
        pairs = [(number * step, float(value)) for number, value in enumerate(values)]
    highest = top or max(y for _, y in pairs) or 1.0
    return [(100 * min(1.0, x), 100 - 100 * min(1.0, max(0.0, y / highest))) for x, y in pairs]
