"""Training and segmenting in the calling process, for the command line: the workers' verbs without queue or rows."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings

from registry.bases import CATALOGUE
from registry.files import write_atomically
from registry.models import UserModel
from registry.network import ClassInfo
from registry.runtime import LoadedNetwork
from segapp.imaging import InvalidFile, bundle, class_mapping, decode, render
from segapp.imaging.bundle import Member, is_annotation
from segapp.imaging.class_mapping import Choices, ClassMapping
from segapp.imaging.confined import NeedsWindows
from segapp.imaging.formats import is_archive, is_image, is_mask, is_video
from segapp.imaging.image_input import ImageInput, of_set
from segapp.imaging.values import Mask
from segapp.models import Effort
from segapp.pipeline.inference.predict import predict, shares
from segapp.pipeline.training.finetune import Example, Progress, finetune
from segapp.pipeline.video.process import ENDINGS
from segapp.services import runs, training_files
from segapp.services.errors import InvalidUpload
from segapp.worker import counting, images, measuring, networks, windows
from segapp.worker.local_objects import ObjectSink
from segapp.worker.publishing import publish
from segapp.worker.training import like, of_things, shrink


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
    for said in notes:
        note(said)
    runtime = networks.runtime()
    ready = runtime.base(base_key)

    def watch(progress: Progress) -> bool:
        loss = "" if progress.loss is None else f", loss {progress.loss:.3f}"
        log(f"{progress.fraction:4.0%}, {progress.eta_seconds:.0f} s left{loss}")
        return True

    with runtime.use_base(ready) as base:
        trained = finetune(base, examples, classes, effort=effort, seed=seed, steps=steps, watch=watch)
    log("")
    trained = counting.counted(trained, examples)
    trained = replace(trained, spec=replace(trained.spec, image_input=learnt_from.to_dict()))
    return publish(
        visitor,
        trained,
        name=name or runs.default_name(visitor),
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
        read.append((group.stem, image, Mask(codes, pair.mask.summary, like(pair.mask.instances, codes))))
    if problems:
        raise InvalidUpload(problems)
    stems, summaries = [stem for stem, _, _ in read], [mask.summary for _, _, mask in read]
    mapping = class_mapping.read_summaries(summaries, stems, choices=choices)
    if things is not None:
        mapping = _counting(mapping, things)
    class_mapping.hold_trainable(mapping)
    examples = [_example(stem, image, mask, mapping) for stem, image, mask in read]
    stated = [ClassInfo.from_dict(found) for found in mapping.trained]
    classes = measuring.with_things(stated, (example.mask for example in examples))
    said = list(dict.fromkeys([*notes, *mapping.notes]))
    return examples, classes, said, of_set(image_input or ImageInput(), layouts)


def _counting(mapping: ClassMapping, things: tuple[int, ...]) -> ClassMapping:
    """The mapping with the objects of these classes counted, and of the others only the area. Raises InvalidFile."""
    rows = {row["id"]: {"id": row["id"], "things": False} for row in mapping.classes if not row["ignore"]}
    rows |= {number: {"id": number, "things": True} for number in things}  # a class that is not there is refused
    return class_mapping.edit(mapping, rows.values())


def _example(stem: str, image: np.ndarray, mask: Mask, mapping: ClassMapping) -> Example:
    ids = class_mapping.apply(mask, mapping)
    return Example(stem, image, ids, of_things(class_mapping.object_numbers(mask, mapping), ids, mapping))


def _files(folder: Path) -> list[Member]:
    """What a folder holds, or one file: a zip, or annotations for all images."""
    if folder.is_file() and (is_archive(folder) or is_annotation(folder)):
        return [Member(folder.name, folder, "", folder.stat().st_size)]
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder. Name the folder that holds the files.")
    taken = (is_mask, is_image, is_annotation, is_archive)
    return [file for file in bundle.read_folder(folder) if any(says(file.name) for says in taken)]


@contextmanager
def named_network(key: str, visitor: str = "local") -> Iterator[LoadedNetwork]:
    """The network of a model id or a base's key; "" is the visitor's active one. Raises ValueError, BaseMissing."""
    runtime = networks.runtime()
    if not key:
        model = UserModel.objects.usable().filter(visitor=visitor, active=True).first()
    elif key in CATALOGUE or key == "auto":
        model = None
    else:
        model = UserModel.objects.filter(public_id=key.removeprefix("user_"), trashed_at=None).first()
        if model is None:
            raise ValueError(f"There is no model {key}. Name a model's id, or one of: auto, {', '.join(CATALOGUE)}.")
    if model is not None:
        with runtime.use(networks.reference(model)) as network:
            yield network
        return
    with runtime.use_base(runtime.base(key or settings.SEGAPP_BASE)) as network:
        yield network


def refuse_collisions(files: Sequence[Path], out: Path, stems: Sequence[str] = ()) -> None:
    """Raise ValueError when a result would overwrite another one, or one of the files themselves.

    `stems`: the results' in the files' order, where they are not the files' own.
    """
    made = {file.resolve(): "" for file in files}
    for file, stem in zip(files, stems or [file.stem for file in files], strict=True):
        for ending in ENDINGS.values() if is_video(file) else (".png",):
            target = (out / f"{stem}{ending}").resolve()
            if target in made:
                what = f"the result of {made[target]}" if made[target] else "a file that you named"
                raise ValueError(
                    f"{target.name}, a result of {file.name}, would overwrite {what}. "
                    "Choose another folder with --out, or rename one of them."
                )
            made[target] = file.name


def segment_image(
    network: LoadedNetwork,
    file: Path,
    out: Path,
    stem: str = "",
    overlays: Path | None = None,
    choice: ImageInput | None = None,
    log: Callable[[str], None] = lambda text: None,
    objects: ObjectSink | None = None,
) -> dict[str, Any]:
    """Write `<stem>.png`, the index mask at the image's own size, and say what is on it.

    `choice`: page and channels instead of the model's own. Where `overlays` is a folder, `<stem>.jpg` in it shows the
    mask over the image. `objects` measures them, and writes what was asked for.
    """
    wanted = (choice or ImageInput()).over(ImageInput.from_dict(network.spec.image_input))
    try:
        with open(file, "rb") as opened:
            decoded = decode.read_or_windows(opened, file.name, wanted)
    except NeedsWindows:
        return _segment_windows(network, file, out / f"{stem or file.stem}.tif", wanted, log)
    image = decoded.image
    found = predict(network, np.asarray(image), interior=objects is not None)
    stem = stem or file.stem
    classes = [{"id": c.id, "name": c.name, "color": c.color} for c in network.spec.classes]
    target = out / f"{stem}.png"
    png = render.palette_png(found.ids, classes)
    write_atomically(target, lambda opened: opened.write(png))
    if overlays is not None:
        images.draw_overlay(overlays / f"{stem}.jpg", image, found.ids, classes)
    return {
        "file": str(file.resolve()),
        "mask": str(target.resolve()),
        "model_key": network.key,
        "classes": shares(found.ids, network.spec.classes),
        "inference_ms": round(sum(found.timings.values()), 1),
        "notes": list(decoded.notes),
        **(objects.add(file, stem, decoded, found, network, wanted) if objects else {}),
    }


def _segment_windows(
    network: LoadedNetwork, file: Path, target: Path, choice: ImageInput, log: Callable[[str], None]
) -> dict[str, Any]:
    """The same of an image that is too large to read at once: the mask is a tiled TIFF."""
    began = time.perf_counter()
    found = windows.segment(network, file, file.name, target, choice, lambda share: log(f"{file.name}: {share:.0%}"))
    return {
        "file": str(file.resolve()),
        "mask": str(target.resolve()),
        "model_key": network.key,
        "classes": found.classes,
        "inference_ms": round((time.perf_counter() - began) * 1000, 1),
        "notes": list(found.notes),
    }
