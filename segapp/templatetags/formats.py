"""The table of file kinds for templates: `accept=` of file inputs, lists in sentences, limits."""

from django import template

from segapp.imaging import formats

register = template.Library()
KINDS = {
    "masks": (*formats.MASK_KINDS, *formats.ANNOTATION_KINDS),
    "images": formats.IMAGE_KINDS,
    "videos": formats.VIDEO_KINDS,
    "archives": formats.ARCHIVE_KINDS,
}


@register.simple_tag
def accept(*groups: str) -> str:
    """{% accept "images" "archives" %} -> the value of a file input's `accept`."""
    return formats.accept(*(KINDS[group] for group in groups))


@register.simple_tag
def kinds(group: str) -> str:
    """{% kinds "images" %} -> "PNG, JPEG or WebP"."""
    return formats.listed(KINDS[group])


@register.simple_tag
def limit(name: str) -> int:
    """{% limit "megapixels" %} -> 50."""
    limits = {
        "megapixels": formats.MAX_PIXELS // 10**6,
        "pairs": formats.MAX_PAIRS,
        "images_at_once": formats.MAX_IMAGES_AT_ONCE,
        "classes": formats.MAX_CLASSES,
    }
    return limits[name]
