"""What the values of a set's masks mean, also when several sets say different things.

A set labels some pixels ("this is a person") and excludes some classes at others
("this is no person, and may be anything else"). Both become codes: code k < K is
class k; the codes above stand for the sets of classes a pixel may still be; 255 is
ignore. Knows nothing of torch.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from registry.bases import PACKAGED
from registry.network import ClassInfo
from segapp.pipeline.constants import IGNORE

EVERYDAY = PACKAGED / "everyday.json"
PALETTE = (
    "#8a8f98", "#e5484d", "#3b6fe0", "#4fa35b", "#f5a524", "#8b5cf6",
    "#1fb6c9", "#e0b8d8", "#c08a5a", "#8ec5ff", "#d6409f", "#7ce2b3",
)  # fmt: skip


@dataclass(frozen=True)
class LabelSet:
    """A folder of pairs and what its mask values mean.

    table maps a mask value (0 to 255) to a code; train and test are the stems.
    """

    folder: Path
    table: np.ndarray  # uint8, 256
    train: tuple[str, ...]
    test: tuple[str, ...]
    share: float
    licence: str

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name


@dataclass(frozen=True)
class Labels:
    """Classes over all sets, and which classes each code allows (codes x K, bool)."""

    classes: tuple[ClassInfo, ...]
    allowed: np.ndarray
    sets: tuple[LabelSet, ...]


def find_sets(folders: Sequence[Path]) -> list[Path]:
    """The folders with images/ and masks/ among the given ones and their children.

    Children count only when they hold a classes.json or are known by name, so that
    a folder of many sets can be named as a whole. Raises ValueError when there are none.
    """
    known = json.loads(EVERYDAY.read_text(encoding="utf-8"))["sets"]
    found: list[Path] = []
    for folder in folders:
        if _is_set(folder):
            found.append(folder)
            continue
        children = sorted(folder.iterdir()) if folder.is_dir() else []
        found += [
            child
            for child in children
            if _is_set(child) and (child.name in known or (child / "classes.json").is_file())
        ]
    if not found:
        names = ", ".join(str(folder) for folder in folders)
        raise ValueError(f"No folder with images/ and masks/ was found in: {names}.")
    return found


def read_labels(folders: Sequence[Path], stems: set[str] | None = None) -> Labels:
    """Labels of several sets together; classes are joined by name.

    The rules of a set come from its classes.json, from the packaged everyday.json
    when it is known there by name, or from its masks' values. `stems`, as stem or
    set/stem, names the pairs to train on; all others are held out.
    """
    everyday = json.loads(EVERYDAY.read_text(encoding="utf-8"))
    rules = [_rules(folder, everyday["sets"]) for folder in folders]
    names = _class_names(rules, everyday["classes"])
    colors = {c["name"]: c["color"] for c in everyday["classes"]}
    classes = tuple(
        ClassInfo(id=i, name=name, color=colors.get(name, PALETTE[i % len(PALETTE)])) for i, name in enumerate(names)
    )
    rows = [np.eye(len(names), dtype=bool)[i] for i in range(len(names))]
    sets = []
    for folder, rule in zip(folders, rules, strict=True):
        table = np.full(256, IGNORE, dtype=np.uint8)
        for value, name in rule.get("is", {}).items():
            table[int(value)] = names.index(name)
        for value, excluded in rule.get("not", {}).items():
            row = np.array([name not in excluded for name in names])
            table[int(value)] = _code(rows, row)
        train, test = _split(folder, rule, stems)
        sets.append(
            LabelSet(
                folder=folder,
                table=table,
                train=train,
                test=test,
                share=float(rule.get("share", 1.0)),
                licence=str(rule.get("licence", "not stated")),
            )
        )
    return Labels(classes=classes, allowed=np.stack(rows), sets=tuple(sets))


def stems_of(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Image and mask by stem, in sorted order, for the stems that have both."""
    masks = {path.stem: path for path in (folder / "masks").iterdir() if path.is_file()}
    images = {path.stem: path for path in (folder / "images").iterdir() if path.is_file()}
    return {stem: (images[stem], masks[stem]) for stem in sorted(images) if stem in masks}


def _is_set(folder: Path) -> bool:
    return (folder / "images").is_dir() and (folder / "masks").is_dir()


def _rules(folder: Path, known: Mapping[str, Any]) -> dict[str, Any]:
    own = folder / "classes.json"
    if own.is_file():
        return dict(json.loads(own.read_text(encoding="utf-8")))
    if folder.name in known:
        return dict(known[folder.name])
    return {"is": {str(v): _plain_name(v) for v in _values(folder)}}


def _plain_name(value: int) -> str:
    return "background" if value == 0 else f"class {value}"


def _values(folder: Path) -> list[int]:
    """Values that occur in a set's masks, 255 left out."""
    seen = np.zeros(256, dtype=bool)
    for _, mask in stems_of(folder).values():
        with Image.open(mask) as image:
            seen[np.unique(np.asarray(image, dtype=np.uint8))] = True
    return [int(v) for v in np.flatnonzero(seen) if v != IGNORE]


def _class_names(rules: Sequence[Mapping[str, Any]], order: Sequence[Any]) -> list[str]:
    """All class names: the everyday ones in their order, then others as they come."""
    used: list[str] = []
    for rule in rules:
        for name in rule.get("is", {}).values():
            if name not in used:
                used.append(name)
    first = [c["name"] for c in order if c["name"] in used]
    return first + [name for name in used if name not in first]


def _code(rows: list[np.ndarray], row: np.ndarray) -> int:
    for code, known in enumerate(rows):
        if np.array_equal(known, row):
            return code
    rows.append(row)
    return len(rows) - 1


def _split(folder: Path, rule: Mapping[str, Any], stems: set[str] | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    pairs = stems_of(folder)
    if stems is not None:
        train = [s for s in pairs if s in stems or f"{folder.name}/{s}" in stems]
        return tuple(train), tuple(s for s in pairs if s not in set(train))
    train = [s for s in pairs if _belongs(s, rule.get("train", {"not_tenth": True}))]
    test = [s for s in pairs if _belongs(s, rule.get("test", {"tenth": True}))]
    return tuple(train), tuple(s for s in test if s not in set(train))


def _belongs(stem: str, rule: Mapping[str, Any]) -> bool:
    """Whether a pair is in a split: by prefix, or by a hash of its stem."""
    if "prefix" in rule:
        return stem.startswith(rule["prefix"])
    number = int(hashlib.sha256(stem.encode()).hexdigest(), 16)
    if "half" in rule:
        return number % 2 == (0 if rule["half"] == "even" else 1)
    return (number % 10 == 0) == ("tenth" in rule)
