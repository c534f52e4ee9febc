"""Training on folders in the calling process, for the command line: the worker's verbs without queue or rows.

Imports no more than training needs: the command's start is as quick as its imports.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from registry import services as registry
from registry.models import UserModel
from registry.network import ClassInfo
from segapp.imaging import InvalidFile, bundle, class_mapping
from segapp.imaging.bundle import Member, is_annotation
from segapp.imaging.class_mapping import Choices, ClassMapping
from segapp.imaging.formats import is_archive, is_image, is_mask
from segapp.imaging.image_input import ImageInput, of_set
from segapp.imaging.values import Mask
from segapp.models import Effort
from segapp.pipeline.training.finetune import Example, Progress, finetune
from segapp.pipeline.training.loop import Settings
from segapp.services import training_files
from segapp.services.errors import InvalidUpload
from segapp.worker import counting, images, networks
from segapp.worker.publishing import publish
from segapp.worker.training_examples import numbers_of_things, resized_numbers, shrink, with_things

UNWATCHED = Settings(evaluation_interval=math.inf)  # the log shows no held-out score, and no image, on the way


def train_folders(
    image_folder: Path,
    mask_folder: Path,
    *,
    effort: str = Effort.QUICK,
    base_key: str = "auto",
    name: str = "",
    seed: int = 0,
    steps: int | None = None,
    visitor: str = "local",
    objects: bool | None = None,
    swap: bool = False,
    things: tuple[int, ...] | None = None,
    image_input: ImageInput | None = None,
    log: Callable[[str], None] = lambda text: None,
    note: Callable[[str], None] = lambda text: None,
) -> UserModel:
    """Train on two folders, paired by names, and publish the model as `visitor`'s active one.

    `objects`, `swap`: as for class_mapping.Choices. `things`: the ids of the classes whose objects are counted; None
    leaves it to the masks. `image_input`: the page and channels to use. `note` gets what was decided about the files,
    before training.

    Raises InvalidUpload or InvalidFile for files that do not fit, BaseMissing, TrainingFailed and OSError.
    """
    choices = Choices(objects, swap)
    examples, classes, notes, learnt_from = read_folders(image_folder, mask_folder, choices, image_input, things)
    for line in notes:
        note(line)
    runtime = networks.runtime()
    ready = runtime.base(base_key)

    def watch(progress: Progress) -> bool:
        loss = "" if progress.loss is None else f", loss {progress.loss:.3f}"
        log(f"{progress.fraction:4.0%}, {progress.eta_seconds:.0f} s left{loss}")
        return True

    with runtime.use_base(ready) as base:
        trained = finetune(
            base, examples, classes, effort=effort, seed=seed, steps=steps, watch=watch, settings=UNWATCHED
        )
    log("")
    trained = counting.counted(trained, examples)
    trained = replace(trained, spec=replace(trained.spec, image_input=learnt_from.to_dict()))
    return publish(
        visitor,
        trained,
        name=name or registry.default_name(visitor),
        base=ready,
        image_count=len(examples),
        preview=images.before_after(trained, examples),
        images=[example.image for example in examples],
    )


def read_folders(
    image_folder: Path,
    mask_folder: Path,
    choices: Choices | None = None,
    image_input: ImageInput | None = None,
    things: tuple[int, ...] | None = None,
) -> tuple[list[Example], list[ClassInfo], list[str], ImageInput]:
    """Images and masks of two folders as arrays, the classes by the contract's rules, what was decided, and the page
    and channels that were used."""
    choices = choices or Choices()
    sent = training_files.gather(
        _files(image_folder), _files(mask_folder), objects=choices.objects, image_input=image_input
    )
    if not sent.groups:
        raise InvalidUpload("No images with masks were found. Name a folder of images and a folder of their masks.")
    read, problems, notes, layouts = [], [], list(sent.notes), []
    for group in sent.groups:
        try:
            pair = training_files.read_group(group, sent.rules)
        except InvalidFile as refused:
            problems.append(refused.entry)
            continue
        notes += pair.notes
        layouts.append(pair.layout)
        image, codes = shrink(np.asarray(pair.image), pair.mask.codes)
        read.append((group.stem, image, Mask(codes, pair.mask.summary, resized_numbers(pair.mask.instances, codes))))
    if problems:
        raise InvalidUpload(problems)
    stems, summaries = [stem for stem, _, _ in read], [mask.summary for _, _, mask in read]
    mapping = class_mapping.read_summaries(summaries, stems, choices=choices)
    if things is not None:
        mapping = _counting(mapping, things)
    class_mapping.hold_trainable(mapping)
    examples = [_example(stem, image, mask, mapping) for stem, image, mask in read]
    stated = [ClassInfo.from_dict(found) for found in mapping.trained]
    classes = with_things(stated, (example.mask for example in examples))
    all_notes = list(dict.fromkeys([*notes, *mapping.notes]))
    return examples, classes, all_notes, of_set(image_input or ImageInput(), layouts)


def _counting(mapping: ClassMapping, things: tuple[int, ...]) -> ClassMapping:
    """The mapping with the objects of these classes counted, and of the others only the area. Raises InvalidFile."""
    rows = {row["id"]: {"id": row["id"], "things": False} for row in mapping.classes if not row["ignore"]}
    rows |= {number: {"id": number, "things": True} for number in things}  # a class that is not there is refused
    return class_mapping.edit(mapping, rows.values())


def _example(stem: str, image: np.ndarray, mask: Mask, mapping: ClassMapping) -> Example:
    ids = class_mapping.apply(mask, mapping)
    return Example(stem, image, ids, numbers_of_things(class_mapping.object_numbers(mask, mapping), ids, mapping))


def _files(folder: Path) -> list[Member]:
    """What a folder holds, or one file: a zip, or annotations for all images."""
    if folder.is_file() and (is_archive(folder) or is_annotation(folder)):
        return [Member(folder.name, folder, "", folder.stat().st_size)]
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder. Name the folder that holds the files.")
    taken = (is_mask, is_image, is_annotation, is_archive)
    return [file for file in bundle.read_folder(folder) if any(says(file.name) for says in taken)]
