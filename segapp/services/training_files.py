"""Files of one post or of two folders: unpacked, told apart, paired, and what is known of the whole set.

The pages, the API and the command take their files through here, so the same files give the same result. It stores
nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from segapp.imaging import InvalidFile, annotations, bundle, decode, denoise, pairs
from segapp.imaging.annotations import Drawing
from segapp.imaging.annotations.imagej import is_roi_zip
from segapp.imaging.bundle import Contents, opened
from segapp.imaging.formats import IMAGE_KINDS, IMAGE_LISTS, MASK_KINDS, PASSED_OVER, is_archive, suffix
from segapp.imaging.image_input import ImageInput
from segapp.imaging.pairs import MaskFile, Pair, Rules
from segapp.services import mask_layers
from segapp.services.errors import InvalidUpload
from segapp.services.pairing import UPLOAD_PREFIX, Group, arrange, fold, is_drawing, several, shown, stem_of


@dataclass(frozen=True)
class TrainingFiles:
    """groups: an image with its masks each. rules: what holds for all of them. notes: what was decided, in words."""

    groups: list[Group]
    rules: Rules
    notes: list[str] = field(default_factory=list)


def gather(
    images: Iterable[Any],
    masks: Iterable[Any],
    archives: Iterable[Any] = (),
    *,
    objects: bool | None = None,
    image_input: ImageInput | None = None,
    known: dict[str, int] | None = None,
    joined: Sequence[denoise.Survey] = (),
) -> TrainingFiles:
    """Pair the files and look at the set. A file has a `name`, maybe a `folder`, and is a path or a binary `file`.

    `objects`: the masks' values number objects, do not, or may (None). `image_input`: the page and channels to use.
    `known`: class ids by name that the set they
    join has already; `joined`: what that set's masks hold. Raises InvalidUpload with all that is wrong with each file.
    """
    contents, problems = _unpacked(list(images), list(masks), list(archives))
    every = annotations.read((file, opened(file).read()) for file in contents.annotations)
    problems += [refused.entry for refused in every.problems]
    drawings, guessed = _found_again(every.drawings, contents)
    found = arrange(contents.images, [*contents.masks, *drawings])
    problems = [*found.problems, *problems]
    if problems:
        remarks = [{"file": "", "message": note} for note in every.notes]
        raise InvalidUpload([*_with_kinds(problems, contents), *remarks])
    groups, layers = mask_layers.sorted_out([_one_source(group) for group in found.groups])
    labels = annotations.numbered(every.labels, known or {})
    exact = denoise.is_exact([*_surveys(groups), *joined])
    colors = {label.name: label.color for label in every.labels if label.color}
    rules = Rules(
        exact,
        objects,
        labels,
        colors,
        every.colors,
        every.values,
        (image_input or ImageInput()).over(every.image_input),
    )
    notes = [*found.notes, *layers, *several(groups), *guessed, *contents.notes, *every.notes]
    if every.labels and any(is_drawing(mask) for group in groups for mask in group.masks):
        names = list(dict.fromkeys(label.name for label in every.labels if labels.get(label.name)))
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        notes.append(f"Classes from the annotation files, in their order: {', '.join(names[:8])}{more}.")
    return TrainingFiles(groups, rules, notes)


def read_group(group: Group, rules: Rules) -> Pair:
    """The image with its masks, decoded. Raises InvalidFile."""
    image = opened(group.image)
    masks, numbering = [_mask_file(file) for file in group.masks], [_mask_file(file) for file in group.objects]
    return pairs.read_all(image, shown(group.image.name), masks, numbering, rules)


def _mask_file(file: Any) -> MaskFile:
    if is_drawing(file):
        return MaskFile(file.name, drawing=file)
    return MaskFile(shown(file.name), opened(file))


def _unpacked(images: list[Any], masks: list[Any], archives: list[Any]) -> tuple[Contents, list[dict[str, str]]]:
    """All files by what they are, zips opened; and what is wrong with the zips."""
    contents = Contents()
    problems: list[dict[str, str]] = []
    zips: list[tuple[Any, str]] = [(file, "") for file in archives]
    for files, kind in ((images, "image"), (masks, "mask")):
        for file in files:
            if str(file.name).lower() in PASSED_OVER | IMAGE_LISTS:
                continue
            if is_archive(file.name):
                zips.append((file, kind))
            elif bundle.is_annotation(file.name):
                contents.annotations.append(_member(file))
            else:
                (contents.images if kind == "image" else contents.masks).append(file)
    for file, kind in zips:
        try:
            if is_roi_zip(opened(file)):
                contents.annotations.append(_member(file))
                continue
            only = kind or ("mask" if contents.images else "")
            inner = bundle.read_zip(opened(file), shown(file.name), only)
        except InvalidFile as refused:
            problems.append(refused.entry)
            continue
        contents.images += inner.images
        contents.masks += inner.masks
        contents.annotations += inner.annotations
        contents.notes += inner.notes
    return contents, problems


def _member(file: Any) -> bundle.Member:
    return bundle.Member(shown(file.name), file, str(getattr(file, "folder", "")))


def _one_source(group: Group) -> Group:
    """A mask file says more than outlines do: where an image has both, the file is taken."""
    files = [mask for mask in group.masks if not is_drawing(mask)]
    if not files:
        return group
    return group if len(files) == len(group.masks) else Group(group.stem, group.image, files, group.objects)


def _found_again(drawings: Sequence[Drawing], contents: Contents) -> tuple[list[Drawing], list[str]]:
    """Drawings by the names of the images that were sent, where files name them by another one; and what was guessed.

    A file of one image may be named like it though it says another name, as labelme's are when an image was renamed.
    """
    stems = {fold(stem_of(file.name)) for file in contents.images}
    found, notes = [], []
    for drawing in drawings:
        own = stem_of(drawing.name)
        others = [UPLOAD_PREFIX.sub("", own), *([] if drawing.many else [stem_of(drawing.origin)])]
        name = own if fold(own) in stems else next((other for other in others if fold(other) in stems), "")
        if not name and len(drawings) == len(contents.images) == 1 and not contents.masks and _is_nameless(drawing):
            name, image = stem_of(contents.images[0].name), shown(contents.images[0].name)
            notes.append(f"{shown(drawing.origin)} names no image: it is taken for the only one, {image}.")
        found.append(replace(drawing, name=name) if name and name != own else drawing)
    return found, notes


def _is_nameless(drawing: Drawing) -> bool:
    """Whether the file is of a kind that cannot say which image it is about."""
    return suffix(drawing.origin) in (".roi", ".zip", ".geojson")


def _surveys(groups: Sequence[Group]) -> list[denoise.Survey | None]:
    found = []
    for file in (mask for group in groups for mask in group.masks if not is_drawing(mask)):
        try:
            found.append(denoise.survey(decode.mask(opened(file), shown(file.name))))
        except InvalidFile:
            continue  # refused with all else when it is read
    return found


def _with_kinds(problems: list[dict[str, str]], contents: Contents) -> list[dict[str, str]]:
    """The problems with names, and with each file's kind too: all that is wrong with it in one entry."""
    whole = {problem["file"]: dict(problem) for problem in reversed(problems)}
    whole = {problem["file"]: whole[problem["file"]] for problem in problems}
    kinds = [(file, IMAGE_KINDS) for file in contents.images] + [(file, MASK_KINDS) for file in contents.masks]
    for file, accepted in kinds:
        name = shown(file.name)
        try:
            decode.glance(opened(file), name, accepted)
        except InvalidFile as refused:
            own = refused.entry
            if name in whole:
                whole[name]["message"] += f" {own['message']}"
            else:
                whole[name] = own
    return list(whole.values())
