"""An image and its masks, read together: upright, of one size, with the masks' main values only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import IO, Any

import numpy as np
from PIL import Image

from segapp.imaging import align, decode, denoise, instances
from segapp.imaging.annotations import Drawing, draw
from segapp.imaging.decode import MaskSource
from segapp.imaging.image_input import ImageInput, Layout
from segapp.imaging.instances import VOID
from segapp.imaging.invalid_file import InvalidFile
from segapp.imaging.pixel_size import GeoReference
from segapp.imaging.values import TRANSPARENT, Mask, Summary

PER_CLASS = 1000  # Cityscapes numbers the objects of class 26 from 26,000
SAME = 2.0  # grey levels that two saves of one image differ by on average


@dataclass(frozen=True)
class Pair:
    """image RGB and mask of the same size. `lossy`: the image came compressed with loss. notes: what was changed.
    layout: the pages and channels of the image's file. deep: it holds more than eight bits."""

    image: Image.Image
    mask: Mask
    lossy: bool
    notes: tuple[str, ...] = ()
    layout: Layout = field(default_factory=Layout)
    deep: bool = False


@dataclass(frozen=True)
class MaskFile:
    """A mask as it was sent: a file, or what an annotation file says of the image."""

    name: str
    file: IO[bytes] | None = None
    drawing: Drawing | None = None


@dataclass(frozen=True)
class Rules:
    """What is known of the whole set. exact: as `denoise.is_exact` says. objects: the masks' values number objects, do
    not, or may (None). labels: class ids by the annotation files' labels, colors: their colours. names: what
    labelmap.txt calls a colour. values: the rows of classes.json by mask value. image_input: which page and channels
    of the images are wanted."""

    exact: bool = False
    objects: bool | None = None
    labels: Mapping[str, int] = field(default_factory=dict)
    colors: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[int, dict[str, Any]] = field(default_factory=dict)
    image_input: ImageInput = field(default_factory=ImageInput)


def read(image_file: IO[bytes], image_name: str, mask: IO[bytes], mask_name: str, rules: Rules | None = None) -> Pair:
    """An image with one mask. Raises InvalidFile as `read_all` does."""
    return read_all(image_file, image_name, [MaskFile(mask_name, mask)], [], rules or Rules())


def read_all(
    image_file: IO[bytes],
    image_name: str,
    masks: Sequence[MaskFile],
    numbering: Sequence[MaskFile],
    rules: Rules,
) -> Pair:
    """An image with its masks, united; `numbering`: masks that number the objects of the others.

    Raises InvalidFile for a file that cannot be read, a mask of another size, and a mask that is a photo.
    """
    decoded = decode.read(image_file, image_name, rules.image_input)
    image, turn = decoded.image, decoded.turn
    notes = list(decoded.notes)
    found = []
    for mask in masks:
        if mask.drawing is not None:
            drawing = _on_pixels(mask.drawing, decoded.place, image_name)
            found.append(_drawn(drawing, image, image_name, turn, rules, notes))
            continue
        source = _source(mask, image, image_name, turn, notes)
        one = _mask(source, mask.name, rules.exact, False if numbering or len(masks) > 1 else rules.objects)
        if one.summary.soft and _is_the_image(source, image):
            raise InvalidFile(
                mask.name, f"This is the image {image_name} itself, not its mask.", "Choose its mask instead."
            )
        found.append(one)
    whole = _named(found[0] if len(found) == 1 else _united(found), rules)
    for mask in numbering:
        source = _source(mask, image, image_name, turn, notes)
        source, counted = _without_areas(source, whole)
        if (objects := instances.survey(source)) is not None:
            marked = [key for key in whole.summary.keys if key not in (0, TRANSPARENT, VOID)]
            things = whole.summary.things if whole.summary.fixed else counted or tuple(marked)
            summary = replace(whole.summary, things=things, objects=None)
            whole = Mask(whole.codes, summary, instances.numbers(source, objects))
    return Pair(image, whole, decode.is_lossy(image_file), tuple(notes), decoded.layout, decoded.deep)


def _without_areas(source: MaskSource, classes: Mask) -> tuple[MaskSource, tuple[int, ...]]:
    """Numbers as Cityscapes has them, 1000 times the class and more: those of areas, which are their class, are 0.

    And the classes that have objects; none where the numbers are not of this kind.
    """
    values = source.values
    if source.kind != "index" or values.max() < PER_CLASS:
        return source, ()
    objects = values >= PER_CLASS
    own = np.array(classes.summary.keys, dtype=np.int64)[classes.codes[objects]]
    if (own == values[objects] // PER_CLASS).mean() < 0.99:
        return source, ()
    return replace(source, values=np.where(objects, values, 0)), tuple(np.unique(own).tolist())


def _source(mask: MaskFile, image: Image.Image, image_name: str, turn: int, notes: list[str]) -> MaskSource:
    """The mask's own values, as large as the image. Raises InvalidFile."""
    assert mask.file is not None
    source = align.like(decode.mask(mask.file, mask.name), image, turn)
    sent = source.values.shape[1::-1]
    source = align.fitted(source, image.size)
    if source.values.shape[1::-1] != image.size:
        problem = (
            f"This mask is {sent[0]} × {sent[1]} pixels, its image {image_name} is {image.width} × {image.height}."
        )
        raise InvalidFile(mask.name, problem, "Save the mask at the image's size.")
    if sent != image.size:
        size = f"{sent[0]} × {sent[1]} pixels, its image {image.width} × {image.height}"
        notes.append(f"{mask.name} is {size}: it was fitted to the image.")
    return source


def _on_pixels(drawing: Drawing, place: GeoReference | None, image_name: str) -> Drawing:
    """The drawing with its points in pixels, where they are coordinates of a map. Raises InvalidFile.

    Only in the image's own system: others would need a library of projections.
    """
    annotated = drawing.annotated
    if not annotated.epsg:
        return drawing
    if place is None or place.epsg != annotated.epsg or place.a * place.e == place.b * place.d:
        own = f"is in EPSG:{place.epsg}" if place and place.epsg else "has no place on a map"
        problem = f"Its outlines are in map coordinates (EPSG:{annotated.epsg}), and {image_name} {own}."
        raise InvalidFile(drawing.origin, problem, "Export them in the image's own system, or in pixels.")
    inverse = np.linalg.inv(np.array([[place.a, place.b], [place.d, place.e]]))
    shapes = [
        replace(shape, rings=tuple((ring - (place.c, place.f)) @ inverse.T for ring in shape.rings))
        for shape in annotated.shapes
    ]
    return replace(drawing, annotated=replace(annotated, shapes=shapes, epsg=0))


def _drawn(drawing: Drawing, image: Image.Image, image_name: str, turn: int, rules: Rules, notes: list[str]) -> Mask:
    """The shapes of an annotation file as a mask. Raises InvalidFile."""
    annotated = drawing.annotated
    width, height = annotated.width or image.width, annotated.height or image.height
    if max(abs(width - image.width), abs(height - image.height)) <= align.ROUNDING:
        width, height = image.size
    elif turn == 1 or turn not in decode.SIDEWAYS or (height, width) != image.size:
        problem = f"It was drawn on {width} × {height} pixels, and {image_name} is {image.width} × {image.height}."
        raise InvalidFile(drawing.origin, problem, "Send the very images that were annotated.")
    drawn = draw(annotated, rules.labels, width, height, drawing.origin)
    ids = align.like(MaskSource("index", drawn.ids), image, turn if (width, height) != image.size else 1)
    objects = align.like(MaskSource("index", drawn.objects), image, turn if (width, height) != image.size else 1)
    if drawn.overlaps:
        notes.append(f"{image_name}: where objects overlap ({drawn.overlaps} pixels), the later one wins.")
    if drawn.empty:
        notes.append(f"{image_name}: {drawn.empty} shape{'s' if drawn.empty > 1 else ''} without a pixel in it.")
    keys = np.flatnonzero(np.bincount(ids.values.ravel(), minlength=256))
    counts = np.bincount(ids.values.ravel(), minlength=256)[keys]
    table = np.zeros(256, dtype=np.uint8)
    table[keys] = np.arange(len(keys))
    names = {number: label for label, number in rules.labels.items() if number in keys}
    summary = Summary(
        "index",
        tuple(keys.tolist()),
        tuple(counts.tolist()),
        palette={number: rules.colors[label] for number, label in names.items() if rules.colors.get(label)},
        names={0: "background", **names} if 0 in keys else names,
        things=tuple(number for number in names if number),
        fixed=True,
    )
    return Mask(table[ids.values], summary, objects.values)


def _united(masks: Sequence[Mask]) -> Mask:
    """Several masks of one image as one: what a later one marks lies above; each file is one object."""
    first = masks[0].summary
    values = np.array(first.keys, dtype=np.int64)[masks[0].codes]
    objects = np.zeros(values.shape, dtype=np.uint16)
    binary = all(len([key for key in mask.summary.keys if key not in (0, TRANSPARENT)]) <= 1 for mask in masks)
    marks = [key for mask in masks for key in mask.summary.keys if key not in (0, TRANSPARENT)]
    for number, mask in enumerate(masks, 1):
        own = np.array(mask.summary.keys, dtype=np.int64)[mask.codes]
        marked = (own != 0) & (own != TRANSPARENT)
        values[marked] = marks[0] if binary else own[marked]
        objects[marked] = number
    keys, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    if len(keys) > 256:
        raise InvalidFile("masks", f"Together they hold {len(keys)} values.", "Use at most 64 classes.")
    soft, moved = any(mask.summary.soft for mask in masks), sum(mask.summary.moved for mask in masks)
    summary = Summary(first.kind, tuple(keys.tolist()), tuple(counts.tolist()), soft, moved, first.palette)
    if not binary:
        return Mask(codes.reshape(values.shape).astype(np.uint8), summary)
    summary = replace(summary, things=tuple(marks[:1]))
    return Mask(codes.reshape(values.shape).astype(np.uint8), summary, objects)


def _named(mask: Mask, rules: Rules) -> Mask:
    """The mask with the names that a list of classes beside it gives its values or colours."""
    summary = mask.summary
    if summary.fixed:
        return mask
    if rules.values and summary.kind == "index" and set(summary.keys) <= {*rules.values, VOID}:
        rows = {key: rules.values[key] for key in summary.keys if key in rules.values and key != VOID}
        names = {key: row["name"] for key, row in rows.items() if row["name"]}
        colors = {key: row["color"] for key, row in rows.items() if row["color"]}
        things = tuple(key for key, row in rows.items() if row["things"])
        summary = replace(summary, names=names, palette=colors, things=things, fixed=True, objects=None)
    elif rules.names:
        look = {
            key: summary.palette.get(key, f"#{key:06x}" if summary.kind == "colour" else "") for key in summary.keys
        }
        summary = replace(summary, names={key: rules.names[c] for key, c in look.items() if c in rules.names})
    return Mask(mask.codes, summary, mask.instances)


def _mask(source: MaskSource, name: str, exact: bool, objects: bool | None) -> Mask:
    """The mask's values, with its object numbers where it may hold them."""
    found = instances.survey(source)
    if found is not None and objects is not False and (objects or instances.is_plausible(found)):
        return denoise.numbered(source, found)
    mask = denoise.read(source, name, exact)
    if found is None or mask.summary.soft:
        return mask
    return replace(mask, summary=replace(mask.summary, objects=found.to_dict()))


def _is_the_image(source: MaskSource, image: Image.Image) -> bool:
    """Whether the mask shows what the image shows: a microscope's bright spots on black pass for a soft mask."""
    if source.values.dtype != np.uint8 or source.palette is not None:
        return False
    grey = source.kind == "index"
    step = max(1, max(image.size) // 256)
    shown = np.asarray(image.convert("L") if grey else image)[::step, ::step].astype(np.int16)
    same = source.values[::step, ::step] if grey else source.values[::step, ::step, :3]
    return bool(np.abs(shown - same).mean() < SAME)
