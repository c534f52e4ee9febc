"""The one table of file kinds, names, limits and colours that the server, the commands and the pages agree on.

Plain data: it opens no file. `for_page` gives it to the pages as JSON; templates take `accept=` and the lists in
sentences from it (templatetags/formats.py). To add a format, add a `Kind` here and a reader for it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any


@dataclass(frozen=True)
class Kind:
    """A kind of file: its name for people, its suffixes (lower case, with the dot) and its MIME types.

    `pillow` is Pillow's name of the format, "" where a confined reader (readers/) is needed instead.
    """

    name: str
    suffixes: tuple[str, ...]
    mime_types: tuple[str, ...]
    pillow: str = ""


IMAGE_KINDS = (
    Kind("PNG", (".png",), ("image/png",), "PNG"),
    Kind("JPEG", (".jpg", ".jpeg"), ("image/jpeg",), "JPEG"),
    Kind("WebP", (".webp",), ("image/webp",), "WEBP"),
    Kind("TIFF", (".tif", ".tiff", ".btf", ".tf8"), ("image/tiff",)),
    Kind("HEIC", (".heic", ".heif", ".hif"), ("image/heic", "image/heif")),
    Kind("AVIF", (".avif",), ("image/avif",), "AVIF"),
    Kind("GIF", (".gif",), ("image/gif",), "GIF"),
    Kind("BMP", (".bmp",), ("image/bmp", "image/x-ms-bmp"), "BMP"),
)
MASK_KINDS = IMAGE_KINDS
VIDEO_KINDS = (
    Kind("MP4", (".mp4", ".m4v"), ("video/mp4",)),
    Kind("MOV", (".mov",), ("video/quicktime",)),
    Kind("WebM", (".webm",), ("video/webm",)),
    Kind("MKV", (".mkv",), ("video/x-matroska",)),
    Kind("AVI", (".avi",), ("video/x-msvideo",)),
)
ARCHIVE_KINDS = (Kind("zip", (".zip",), ("application/zip",)),)
# Files that say where objects are on images; segapp/imaging/annotations/ has a reader for each.
ANNOTATION_KINDS = (
    Kind("JSON", (".json",), ("application/json",)),
    Kind("GeoJSON", (".geojson",), ("application/geo+json",)),
    Kind("XML", (".xml",), ("text/xml", "application/xml")),
    Kind("YOLO text", (".txt",), ("text/plain",)),
    Kind("YAML", (".yaml", ".yml"), ("application/yaml",)),
    Kind("ImageJ ROI", (".roi",), ("application/octet-stream",)),
)


def _suffixes(kinds: Iterable[Kind]) -> frozenset[str]:
    return frozenset(suffix for kind in kinds for suffix in kind.suffixes)


IMAGE_SUFFIXES = _suffixes(IMAGE_KINDS)
MASK_SUFFIXES = _suffixes(MASK_KINDS)
VIDEO_SUFFIXES = _suffixes(VIDEO_KINDS)
ARCHIVE_SUFFIXES = _suffixes(ARCHIVE_KINDS)
ANNOTATION_SUFFIXES = _suffixes(ANNOTATION_KINDS)
MASK_PILLOW_FORMATS = tuple(kind.pillow for kind in MASK_KINDS if kind.pillow)
PILLOW_FORMATS = tuple(kind.pillow for kind in IMAGE_KINDS if kind.pillow)

# First bytes 8 to 12 of still images that share the `ftyp` box with videos.
STILL_IMAGE_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"mif1", b"msf1")

# --- names that tell a mask from an image -----------------------------------------------------------------
# Words that stand before or behind what an image and its mask have in common, in lower case.
IMAGE_WORDS = frozenset(
    ["image", "images", "img", "im", "input", "photo", "rgb", "raw", "orig", "original", "leftimg", "bit", "sat"]
)
MASK_WORDS = frozenset(
    [
        *("mask", "masks", "label", "labels", "labelids", "lbl", "annotation", "annotations", "anno", "annot", "ann"),
        *("segmentation", "segmentations", "seg", "segm", "gt", "ground", "truth", "groundtruth", "gtfine", "target"),
        *("manual", "expert", "cp", "lesion", "instance", "instances", "instanceids", "objects", "cells", "nuclei"),
        *("color", "colour", "binary", "labeltrainids", "st", "nd", "ho"),
    ]
)
NAME_WORDS = IMAGE_WORDS | MASK_WORDS
# Where each image has several kinds of masks: those that number objects, and those that repeat the classes.
OBJECT_WORDS = frozenset(["instance", "instances", "instanceids", "instancetrainids", "inst", "objectids"])
SHOWN_WORDS = frozenset(
    [
        *("color", "colour", "colors", "colours", "colored", "coloured", "colormask", "colorized", "rgb"),
        *("vis", "viz", "visualization", "overlay", "overlays", "preview", "blend", "trainids", "labeltrainids"),
    ]
)
MASK_ENDINGS = (
    *("_mask", "-mask", ".mask", "_masks", "_cp_masks", "_label", "-label", "_labels", "_labelids", "_lbl"),
    *("_annotation", "-annotation", "_annotations", "_anno", "_segmentation", "-segmentation", "_seg", "-seg"),
    *("_gt", "-gt", "_groundtruth", "_manual1", "_expert1", "_instances"),
)
MASK_FOLDERS = frozenset(
    [
        *("mask", "masks", "label", "labels", "annotation", "annotations", "gt", "groundtruth", "ground_truth"),
        *("segmentation", "segmentations", "segmentationclass", "labelids", "manual", "1st_manual", "masks_png"),
        *("segmentationobject", "instances", "instance_masks"),
        *("seg", "segs", "semantic", "ann", "anns", "anno", "annot", "annots", "lbl", "lbls", "target", "targets"),
        *("truth", "groundtruths", "gts"),
    ]
)
# Masks in these number objects.
OBJECT_FOLDERS = frozenset(["segmentationobject", "instances", "instance_masks"])
IMAGE_FOLDERS = frozenset(
    ["image", "images", "img", "imgs", "photo", "photos", "picture", "pictures", "jpegimages", "leftimg8bit"]
)
_WORDS = re.compile(r"[^_\-. ]+")
_HUMPS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")  # imagesTr, CameraSeg, SegmentationClassPNG
# What systems and tools leave beside images; neither image nor mask, and no failure.
PASSED_OVER = frozenset(
    [
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        ".ds_store",
        "icon\r",
        "license.txt",
        "license",
        "readme.txt",
        "readme.md",
    ]
)

# Beside YOLO labels: the classes' names, a line each; and lists of images, which say nothing of what is on them.
CLASS_LISTS = frozenset(["classes.txt", "obj.names", "_classes.txt"])
IMAGE_LISTS = frozenset(["train.txt", "val.txt", "valid.txt", "test.txt", "trainval.txt", "default.txt"])

# --- limits; those that an operator may raise are in the settings ------------------------------------------
MAX_PIXELS = 50_000_000  # of one image
MAX_WINDOWED_PIXELS = 2_000_000_000  # where the file can be read in windows
MAX_MEASURED_PIXELS = 100_000_000  # on which objects are counted
MAX_CLASSES = 64
MAX_PAIRS = 50  # of one training
MAX_IMAGES_AT_ONCE = 20  # in one Analyze post
MAX_POST_FILES = 100
MAX_POST_BYTES = 200 * 10**6
MAX_ZIP_FILES = 10_000
UNPAINTED = 255  # the value of pixels in a painted mask that have no class yet

# --- class colours ----------------------------------------------------------------------------------------
# A quiet grey for class 0, as backgrounds are; then eight that most colour-blind people can tell apart.
FIRST_COLORS = (
    "#4b5563",
    "#e69f00",
    "#56b4e9",
    "#009e73",
    "#f0e442",
    "#0072b2",
    "#d55e00",
    "#cc79a7",
    "#8b5cf6",
)


def suffix(name: Any) -> str:
    """The suffix of a file's name in lower case, with its dot; "" where it has none."""
    return PurePath(str(name)).suffix.lower()


def kind_of_folder(part: str) -> str:
    """ "image" or "mask" by what a folder's name, or a word in it, says of what lies there; "" for nothing."""
    name = part.lower()
    humps = _HUMPS.sub(" ", part).lower()
    for names in (frozenset([name]), frozenset(_WORDS.findall(name)), frozenset(_WORDS.findall(humps))):
        if names & MASK_FOLDERS:
            return "mask"
        if names & IMAGE_FOLDERS:
            return "image"
    return ""


def without_kind(part: str) -> str:
    """What else a folder's name says: "train" of "train_masks"."""
    name = part.lower()
    telling = MASK_FOLDERS | IMAGE_FOLDERS
    return "" if name in telling else "_".join(word for word in _WORDS.findall(name) if word not in telling)


def is_image(name: Any) -> bool:
    """Whether the name says image. The content decides later."""
    return suffix(name) in IMAGE_SUFFIXES


def is_mask(name: Any) -> bool:
    """Whether the name says that it may be a mask. The content decides later."""
    return suffix(name) in MASK_SUFFIXES


def is_video(name: Any) -> bool:
    """Whether the name says video. The content decides later."""
    return suffix(name) in VIDEO_SUFFIXES


def is_archive(name: Any) -> bool:
    """Whether the name says archive. The content decides later."""
    return suffix(name) in ARCHIVE_SUFFIXES


def is_annotation(name: Any) -> bool:
    """Whether the name says that the file holds annotations. The content decides later."""
    return suffix(name) in ANNOTATION_SUFFIXES


def listed(kinds: Iterable[Kind], last: str = "or") -> str:
    """The kinds' names as a sentence has them: "PNG, JPEG or WebP"."""
    names = [kind.name for kind in kinds]
    return f"{', '.join(names[:-1])} {last} {names[-1]}" if len(names) > 1 else "".join(names)


def accept(*groups: Iterable[Kind]) -> str:
    """The value of an input's `accept`: MIME types, then suffixes, for systems know only one of the two of some."""
    kinds = [kind for group in groups for kind in group]
    types = dict.fromkeys(mime for kind in kinds for mime in kind.mime_types)
    endings = dict.fromkeys(suffix for kind in kinds for suffix in kind.suffixes)
    return ",".join([*types, *endings])
