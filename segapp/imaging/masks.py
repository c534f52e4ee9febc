"""What the masks of a run mean: one rule over the whole set, written down so that it can be shown and changed.

The rule is the contract's ("Class ids"). Works on summaries (see snapping), so fifty large masks cost no memory.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from segapp.imaging import palette
from segapp.imaging.decode import MaskSource
from segapp.imaging.refused import Refused
from segapp.imaging.snapping import MOST_CLASSES, TRANSPARENT, Summary, keys_of, main_values, nearest, summarise

IGNORE = 255
FEW = 0.1  # percent of the pixels under which a class is warned about


@dataclass(frozen=True)
class Reading:
    """How mask values become class ids.

    classes: rows {id, name, color, ignore, source, share (percent of all pixels), images (how many hold it)}; the
    ignored ones are rows too, so that a visitor can take them back in. ids: value -> id, IGNORE for none.
    snapped: whether pixels between the main values go to the nearest of them.
    """

    kind: str
    ids: dict[int, int]
    snapped: bool
    classes: list[dict[str, Any]]
    warnings: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)

    @property
    def trained(self) -> list[dict[str, Any]]:
        """The classes that a training learns, as {id, name, color}."""
        kept = [row for row in self.classes if not row["ignore"]]
        return [{key: row[key] for key in ("id", "name", "color")} for row in kept]

    def to_dict(self) -> dict[str, Any]:
        plain = {key: getattr(self, key) for key in ("kind", "snapped", "classes", "warnings", "rules")}
        return {**plain, "ids": [[value, number] for value, number in self.ids.items()]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Reading":
        return cls(**{**data, "ids": {int(value): int(number) for value, number in data["ids"]}})


def read(sources: Iterable[MaskSource]) -> Reading:
    """The reading of a set of masks. Raises Refused when it holds more than 64 classes: that is a photo."""
    return read_summaries([summarise(source) for source in sources])


def read_summaries(summaries: list[Summary], names: list[str] | None = None) -> Reading:
    """The same from summaries; `names` are the files', for messages."""
    kinds = {summary.kind for summary in summaries}
    kind = "colour" if "colour" in kinds else "index"
    if len(kinds) > 1:  # grey numbers among colour masks are read as the greys they look like
        summaries = [_as_colours(summary) for summary in summaries]
    mains = main_values(summaries)
    values = mains if mains is not None else sorted({v for s in summaries for v in s.counts if v != TRANSPARENT})
    _hold_to_limit(summaries, names or [], values)
    ids, rules = _colour_ids(values) if kind == "colour" else _index_ids(values)
    if mains is not None:
        rules.append("Soft edges were found: each pixel between two classes goes to the nearer one.")
    if any(TRANSPARENT in summary.counts for summary in summaries):
        rules.append("Transparent pixels are ignored.")
    binary = kind == "index" and (_is_binary(values) or values == [0, 1])
    rows = _rows(summaries, ids, kind, binary, mains is not None)
    return Reading(kind, ids, mains is not None, rows, _warnings(rows, summaries, ids, binary), rules)


def apply(source: MaskSource, reading: Reading) -> np.ndarray:
    """uint8 (H, W) of class ids; IGNORE where a pixel is to be ignored."""
    if reading.kind == "colour" and source.kind == "index":
        source = _grey(source)
    keys = keys_of(source)
    ignored = {row["id"] for row in reading.classes if row["ignore"]}
    ids = {value: IGNORE if number in ignored else number for value, number in reading.ids.items()}
    present = np.unique(keys)
    mains = np.array(sorted(ids), dtype=np.int64)
    meant = nearest(present, mains, reading.kind == "colour") if reading.snapped and len(mains) else present
    table = np.array([ids.get(int(value), IGNORE) for value in meant], dtype=np.uint8)
    return table[np.searchsorted(present, keys)]


def edit(reading: Reading, edits: list[dict[str, Any]]) -> Reading:
    """The reading with names, colours and "ignore" as the visitor wants them; a row is named by its id.

    The value 255, ignored by the rule, becomes a class of its own when its row (id 255) is no longer ignored. Raises
    Refused for an id that is no class, and when nothing would be left to learn.
    """
    rows = [dict(row) for row in reading.classes]
    by_id = {row["id"]: row for row in rows}
    ids = dict(reading.ids)
    for change in edits:
        row = by_id.get(change.get("id"))
        if row is None:
            raise Refused(
                "classes", f"There is no class {change.get('id')} in these masks.", f"There are: {sorted(by_id)}."
            )
        row["name"] = str(change.get("name") or row["name"])[:60]
        color = str(change.get("color") or row["color"]).lower()
        if len(color) != 7 or color[0] != "#" or set(color[1:]) - set("0123456789abcdef"):
            raise Refused("classes", f"{color} is no colour.", "Write it like #4ade80.")
        row["color"], row["ignore"] = color, bool(change.get("ignore", row["ignore"]))
        if row["id"] == IGNORE and not row["ignore"]:
            row["id"] = next(k for k in range(max((i for i in ids.values() if i < IGNORE), default=-1) + 1, 256))
            ids = {value: row["id"] if number == IGNORE else number for value, number in ids.items()}
    if all(row["ignore"] for row in rows):
        raise Refused("classes", "Every class is ignored.", "Keep at least one to learn.")
    return replace(reading, classes=rows, ids=ids)


def edit_by_source(reading: Reading, edits: dict[str, dict[str, Any]]) -> Reading:
    """As `edit`, with each row named by the mask value it stands for; what is no longer in the masks is passed over."""
    found = [{**edits[row["source"]], "id": row["id"]} for row in reading.classes if row["source"] in edits]
    return edit(reading, found)


def _is_binary(values: list[int]) -> bool:
    rest = [value for value in values if value]
    return len(rest) == 1 and rest[0] > 127


def _index_ids(values: list[int]) -> tuple[dict[int, int], list[str]]:
    if _is_binary(values):
        top = values[-1]
        return {0: 0, top: 1}, [f"Only 0 and {top} occur: 0 is the background, {top} is the one class."]
    ids = {value: value for value in values if value < IGNORE}
    rules = []
    if IGNORE in values:
        ids[IGNORE] = IGNORE
        rules.append("255 is read as “ignore”: those pixels teach nothing. Untick it below if it is a class.")
    number = max((value for value in ids if value < IGNORE), default=-1)
    for value in (value for value in values if value > IGNORE):
        number += 2 if number + 1 == IGNORE else 1
        ids[value] = number
    if any(value > IGNORE for value in values):
        rules.append("Values above 255 were numbered in order after the others.")
    return ids, rules


def _colour_ids(values: list[int]) -> tuple[dict[int, int], list[str]]:
    ordered = sorted(values)  # 0xrrggbb sorts as (r, g, b); black is 0 and comes first
    black = " Black is the background." if ordered and ordered[0] == 0 else ""
    return {value: k for k, value in enumerate(ordered)}, [f"Each colour is a class.{black} Give them names below."]


def _rows(
    summaries: list[Summary], ids: dict[int, int], kind: str, binary: bool, snapped: bool
) -> list[dict[str, Any]]:
    pixels: dict[int, int] = dict.fromkeys(ids.values(), 0)
    images: dict[int, int] = dict.fromkeys(ids.values(), 0)
    everything = max(1, sum(summary.pixels for summary in summaries))
    mains = np.array(sorted(ids), dtype=np.int64)
    for summary in summaries:
        keys = np.array([key for key in summary.counts if key != TRANSPARENT], dtype=np.int64)
        meant = nearest(keys, mains, kind == "colour") if snapped and len(keys) else keys
        here = set()
        for key, value in zip(keys.tolist(), meant.tolist(), strict=True):
            pixels[ids[value]] += summary.counts[key][0]
            here.add(ids[value])
        for number in here:
            images[number] += 1
    sources = {number: value for value, number in sorted(ids.items(), reverse=True)}
    rows = []
    for k, number in enumerate(sorted(pixels)):
        source = f"#{sources[number]:06x}" if kind == "colour" else str(sources[number])
        background = number == 0 and (binary or source == "#000000")
        rows.append(
            {
                "id": number,
                "name": "background" if background else "object" if binary else _name(number, source, kind),
                "color": source
                if kind == "colour" and not background
                else palette.color(number if number < 255 else k),
                "ignore": kind == "index" and number == IGNORE,
                "source": source,
                "share": round(100 * pixels[number] / everything, 3),
                "images": images[number],
            }
        )
    return rows


def _name(number: int, source: str, kind: str) -> str:
    if kind == "index" and number == IGNORE:
        return "ignore"
    return f"class {number}"


def _warnings(rows: list[dict[str, Any]], summaries: list[Summary], ids: dict[int, int], binary: bool) -> list[str]:
    found = []
    kept = [row for row in rows if not row["ignore"]]
    for row in kept:
        if row["images"] == 1 and len(summaries) > 1:
            found.append(f"“{row['name']}” is in one picture only. A second one lets it be tested fairly.")
        if 0 < row["share"] < FEW:
            found.append(
                f"“{row['name']}” fills {row['share']:.2f} % of the pixels. Add pictures that show more of it."
            )
    empty = sum(not any(ids.get(key, 0) not in (0, IGNORE) for key in summary.counts) for summary in summaries)
    if empty == len(summaries) or len(kept) == 1:
        found.append("All masks hold one class only, so there is nothing to tell apart. Add masks that mark something.")
    elif empty and 0 in ids.values():
        found.append(f"{empty} of {len(summaries)} masks hold background only. That is fine when nothing is there.")
    return found


def _hold_to_limit(summaries: list[Summary], names: list[str], values: list[int]) -> None:
    if len(values) <= MOST_CLASSES and all(summary.distinct <= len(summary.counts) for summary in summaries):
        return
    worst = max(range(len(summaries)), key=lambda k: summaries[k].distinct)
    name = names[worst] if names else "masks"
    problem = f"It holds {summaries[worst].distinct} different values: this looks like a photo, not a mask."
    raise Refused(name, problem, f"A mask has one value for each class, at most {MOST_CLASSES}.")


def _grey(source: MaskSource) -> MaskSource:
    grey = source.values.clip(0, 255).astype(np.uint8)
    return MaskSource("colour", np.stack([grey, grey, grey, np.full_like(grey, 255)], axis=2), source.lossy)


def _as_colours(summary: Summary) -> Summary:
    if summary.kind == "colour":
        return summary
    counts: dict[int, tuple[int, int, int]] = {}
    for key, (count, flat, between) in summary.counts.items():
        grey = min(key, 255) * 0x010101
        before = counts.get(grey, (0, 0, 0))
        counts[grey] = (before[0] + count, before[1] + flat, before[2] + between)
    return Summary("colour", summary.lossy, summary.pixels, summary.distinct, counts)
