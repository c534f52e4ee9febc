"""What the masks of a run mean: one rule over the whole set, written down so that it can be shown and changed.

The rule is the contract's ("Class ids"). It works on summaries, so fifty large masks cost no memory.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from segapp.imaging import cautions, denoise, instances, numbering, painted, palette
from segapp.imaging.decode import MaskSource
from segapp.imaging.formats import MAX_CLASSES
from segapp.imaging.invalid_file import InvalidFile
from segapp.imaging.numbering import IGNORE
from segapp.imaging.values import TRANSPARENT, Mask, Summary

MAX_NAME_LENGTH = 60
OBJECTS = "objects"  # the source of the class that numbered objects become


@dataclass(frozen=True)
class Choices:
    """What the visitor says about all masks. objects: their values number objects (True), are classes (False), or are
    what the rule says (None). swap: of two classes, background and foreground change places."""

    objects: bool | None = None
    swap: bool = False


@dataclass(frozen=True)
class ClassMapping:
    """How mask values become class ids.

    classes: rows {id, name, color, ignore, things (its objects are counted), source, share (percent of all known
    pixels), images (how many hold it)}; the ignored ones are rows too, so that a visitor can take them back in. ids:
    value -> id, IGNORE for none; unpainted pixels are always IGNORE and have no row. rules say what was
    decided, warnings what may go wrong; both are plain sentences. hints: for each mask in order what is odd about it in
    a few words, "" for nothing. snapped: blur was taken out of some mask.
    objects: the masks number objects, which are one class. asks: what the visitor should decide: "objects" (numbered
    objects or classes), "swap" (the foreground may be the background).
    """

    kind: str
    ids: dict[int, int]
    snapped: bool
    classes: list[dict[str, Any]]
    warnings: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    objects: bool = False
    asks: list[str] = field(default_factory=list)

    @property
    def trained(self) -> list[dict[str, Any]]:
        """The classes that a training learns, as {id, name, color}; "things" where the masks or the visitor say it."""
        kept = [row for row in self.classes if not row["ignore"]]
        return [
            {
                **{key: row[key] for key in ("id", "name", "color")},
                **({"things": row["things"]} if row.get("things") or row.get("things_stated") else {}),
            }
            for row in kept
        ]

    @property
    def notes(self) -> list[str]:
        """What was decided and what looks odd, as sentences."""
        return [*self.rules, *self.warnings]

    @property
    def mostly_ignored(self) -> list[dict[str, Any]]:
        """Rows that the rule ignores though they fill most of the pixels: likely a class, so the visitor is asked."""
        return [row for row in self.classes if cautions.is_mostly_ignored(row)]

    def to_dict(self) -> dict[str, Any]:
        kept = ("kind", "snapped", "classes", "warnings", "rules", "hints", "objects", "asks")
        plain = {key: getattr(self, key) for key in kept}
        return {**plain, "ids": [[value, number] for value, number in self.ids.items()]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "ClassMapping":
        plain = {key: data[key] for key in ("kind", "snapped", "classes", "warnings", "rules")}
        ids = {int(value): int(number) for value, number in data["ids"]}
        hints, asks = list(data.get("hints", [])), list(data.get("asks", []))
        return cls(ids=ids, hints=hints, asks=asks, objects=data.get("objects", False), **plain)


def read_summaries(
    summaries: Sequence[Summary],
    names: Sequence[str] | None = None,
    edits: dict[str, dict[str, Any]] | None = None,
    known: Sequence[dict[str, Any]] = (),
    choices: Choices | None = None,
) -> ClassMapping:
    """The mapping of a set of masks from their summaries; `names` are the files', for messages.

    `edits`: as for `edit_by_source`, and what is warned about follows them.

    `known`: the classes of painted masks, {id, name, color} and the uploaded value they came from as `source`, if any.
    Painted masks say their classes themselves; the contract's rule is for the uploaded ones.
    """
    if not summaries:
        raise InvalidFile("masks", "There are none.", "Add at least one image with its mask.")
    choices = choices or Choices()
    names = list(names or [f"mask {k + 1}" for k in range(len(summaries))])
    uploaded = [k for k, summary in enumerate(summaries) if not painted.is_painted(summary)]
    own, own_names = [summaries[k] for k in uploaded], [names[k] for k in uploaded]
    objects = bool(own) and (_are_objects(own) if choices.objects is None else choices.objects)
    alike, counts_as, ids, rules = _read_uploaded(own, own_names, known, objects)
    if choices.swap and set(ids.values()) == {0, 1}:
        ids = {value: 1 - number for value, number in ids.items()}
        rules.append("Background and foreground are swapped, as you chose.")
    partial = [painted.UNKNOWN in summary.keys for summary in summaries]
    if len(uploaded) < len(summaries):
        rules.append(_how_painted(len(summaries) - len(uploaded)))
    if any(partial):
        rules.append(_how_unknown(summaries))
    keys = {key for summary in summaries if painted.is_painted(summary) for key in summary.keys}
    drawn = sorted(keys - {painted.UNKNOWN})
    ids |= {key: key - painted.PAINTED for key in drawn}
    numbering.hold_to_limit(ids, summaries, names)
    sources = {number: value for value, number in reversed(ids.items())}
    ids = {value: ids[meant] for value, meant in counts_as.items()} | {key: ids[key] for key in drawn}
    whole = list(summaries)
    for k, same in zip(uploaded, alike, strict=True):
        whole[k] = same
    held = _held(whole, ids)
    kind = alike[0].kind if alike else painted.KIND
    rows = _rows(whole, ids, sources, held, kind, known)
    if objects:
        _name_objects(rows, ids[_first_object(own, ids)], known)
    rules += cautions.transparency(rows) + cautions.softness(alike)
    mapping = ClassMapping(kind, ids, any(summary.soft for summary in alike), rows, rules=rules, objects=objects)
    if edits:
        mapping = edit_by_source(mapping, edits)
        ids = dict(mapping.ids)
        held = _held(whole, ids)
    warnings = cautions.of_set(mapping.classes, held, names, partial) + cautions.of_classes(mapping.classes, len(whole))
    warnings += cautions.of_files(own, own_names) + cautions.of_ignored(mapping.classes)
    asks: list[str] = []
    if not objects and instances.look_like_objects([_objects_of(summary) for summary in own]):
        asks.append("objects")
        warnings.append(cautions.ONE_AREA_EACH)
    if not choices.swap and not objects and cautions.is_inverted(alike, mapping.ids):
        asks.append("swap")
        warnings.append(cautions.INVERTED)
    for original, same in zip(own, alike, strict=True):  # masks keep the values they came with
        ids |= {key: ids[other] for key, other in zip(original.keys, same.keys, strict=True) if original is not same}
    hints = cautions.of_each(mapping.classes, held, partial)
    ids |= {painted.UNKNOWN: IGNORE} if any(partial) else {}
    return replace(mapping, ids=ids, warnings=warnings, hints=hints, asks=asks)


def _held(summaries: Sequence[Summary], ids: dict[int, int]) -> list[set[int]]:
    """The class ids in each mask."""
    return [{ids[key] for key in summary.keys if key != painted.UNKNOWN} for summary in summaries]


Uploaded = tuple[list[Summary], dict[int, int], dict[int, int], list[str]]


def _read_uploaded(
    own: Sequence[Summary], names: Sequence[str], known: Sequence[dict[str, Any]], objects: bool
) -> Uploaded:
    """Uploaded masks: all of one kind, value -> value it counts as, that -> id, the rules that were applied."""
    if not own:
        return [], {}, {}, []
    if objects:
        return _as_objects(own, known)
    _refuse_uncoded(own, names)
    return _numbered(own, names, known)


def hold_trainable(mapping: ClassMapping) -> None:
    """Raises InvalidFile for masks whose only class would cover every pixel that counts: nothing can be learnt."""
    kept = [row for row in mapping.classes if not row["ignore"] and row["share"] > 0]
    if len(kept) >= 2:
        return
    only = f"only “{kept[0]['name']}”" if kept else "nothing"
    advice = "Add masks that mark something on a background of its own value."
    if painted.UNKNOWN in mapping.ids:
        advice = "Paint strokes of a second class; what is not painted stays unknown."
    elif ignored := [row for row in mapping.classes if row["ignore"]]:
        advice = f"{ignored[0]['source']} is ignored in them: take it in as a class, or fill the background."
    raise InvalidFile("masks", f"All masks hold {only}, so there is nothing to tell apart.", advice)


def _objects_of(summary: Summary) -> instances.Objects | None:
    return instances.Objects(**summary.objects) if summary.objects else None


def _are_objects(own: Sequence[Summary]) -> bool:
    colours = None
    if all(summary.kind == "colour" for summary in own):
        colours = [frozenset(summary.keys) - {summary.objects["background"]} for summary in own if summary.objects]
    return instances.are_objects([_objects_of(summary) for summary in own], colours)


def _as_objects(own: Sequence[Summary], known: Sequence[dict[str, Any]]) -> Uploaded:
    """As `_numbered`, for masks whose values number objects: all of them are one class."""
    keys = sorted({key for summary in own for key in summary.keys})
    found = [_objects_of(summary) for summary in own]
    background = _background(own)
    voids = [one.void for one, summary in zip(found, own, strict=True) if one and IGNORE in summary.keys]
    void = bool(voids) and all(voids)
    ids = {key: IGNORE if key == IGNORE and void else int(key not in (background, TRANSPARENT)) for key in keys}
    if known:
        labels = {0: _source(background, own[0].kind), 1: OBJECTS}
        own_ids = painted.anchored({0: 0, 1: 1}, labels, False, known)
        ids = {key: own_ids.get(number, number) for key, number in ids.items()}
    count = sum(one.count for one in found if one)
    rule = f"The masks number objects: {count} object{'s' if count != 1 else ''} in {len(own)} image"
    rule += f"{'s are' if len(own) != 1 else ' are'} one class, and are kept apart for counting."
    return list(own), {key: key for key in keys}, ids, [rule]


def _background(own: Sequence[Summary]) -> int:
    """The value between the objects of a set: 0 or transparent where it occurs, else the commonest."""
    totals: dict[int, int] = {}
    for summary in own:
        for key, count in zip(summary.keys, summary.counts, strict=True):
            totals[key] = totals.get(key, 0) + count
    return next((usual for usual in (0, TRANSPARENT) if usual in totals), max(totals, key=lambda key: totals[key]))


def _first_object(own: Sequence[Summary], ids: dict[int, int]) -> int:
    """A value that stands for objects; the background where there are none."""
    background = _background(own)
    keys = sorted({key for summary in own for key in summary.keys})
    return next((key for key in keys if ids[key] not in (ids[background], IGNORE)), background)


def _name_objects(rows: list[dict[str, Any]], number: int, known: Sequence[dict[str, Any]]) -> None:
    """Give the one class of numbered objects its name, colour and source."""
    chosen = {row["id"]: row for row in known}.get(number, {})
    for row in rows:
        if row["id"] == number and number:
            color = chosen.get("color") or palette.color(1)
            row |= {"source": OBJECTS, "things": True, "name": chosen.get("name") or "object", "color": color}


def _refuse_uncoded(own: Sequence[Summary], names: Sequence[str]) -> None:
    """Masks of so many objects that their values were not kept apart are no classes. Raises InvalidFile."""
    for summary, name in zip(own, names, strict=True):
        count = summary.objects["count"] if summary.objects else 0
        if count > numbering.MAX_CLASSES:
            problem = f"It holds {count + 1} different values, and at most {numbering.MAX_CLASSES} can be classes."
            raise InvalidFile(name, problem, "If they number objects, take the masks as objects of one class.")


def _numbered(summaries: Sequence[Summary], names: Sequence[str], known: Sequence[dict[str, Any]]) -> Uploaded:
    """Uploaded masks by the contract's rule: all of one kind, value -> value it counts as, that -> id, the rules."""
    alike = numbering.of_one_kind(summaries, names)
    kind = alike[0].kind
    if kind == "index" and all(summary.fixed for summary in summaries) and not known:
        keys = sorted({key for summary in alike for key in summary.keys})
        rule = "The classes are those of the annotation files."
        return alike, {key: key for key in keys}, {key: key for key in keys}, [rule]
    counts_as = numbering.joined(alike)
    values = sorted(set(counts_as.values()))
    opaque = [value for value in values if value != TRANSPARENT]
    if TRANSPARENT in values and len(opaque) == 1 and not known:
        rule = "There is one value beside transparent: transparent is the background."
        return alike, counts_as, {TRANSPARENT: 0, opaque[0]: 1}, [rule]
    ids, rules = numbering.ids_of_colours(values) if kind == "colour" else numbering.ids_of_numbers(values)
    if TRANSPARENT in counts_as:
        ids[TRANSPARENT] = IGNORE
    if known:
        ids = painted.anchored(ids, {value: _source(value, kind) for value in ids}, kind == "index", known)
    return alike, counts_as, ids, rules


def _how_painted(count: int) -> str:
    return (
        f"{count} mask{'s were' if count > 1 else ' was'} painted here: the classes are those you chose while painting."
    )


def _how_unknown(summaries: Sequence[Summary]) -> str:
    counts = [dict(zip(summary.keys, summary.counts, strict=True)).get(painted.UNKNOWN, 0) for summary in summaries]
    some = [(count, summary.pixels) for count, summary in zip(counts, summaries, strict=True) if count]
    share = 100 * sum(count for count, _ in some) / sum(pixels for _, pixels in some)
    masks = "1 mask is" if len(some) == 1 else f"{len(some)} masks are"
    return f"{masks} painted in part: the unpainted pixels ({share:.0f} %) are unknown, and training leaves them out."


def apply(source: MaskSource | Mask, mapping: ClassMapping) -> np.ndarray:
    """uint8 (H, W) of class ids; IGNORE where a pixel is to be ignored or its value is not in the mapping."""
    mask = source if isinstance(source, Mask) else denoise.read(source, "mask")
    ignored = {row["id"] for row in mapping.classes if row["ignore"]}
    table = np.full(256, IGNORE, dtype=np.uint8)
    for code, key in enumerate(mask.summary.keys):
        number = mapping.ids.get(key, IGNORE)
        table[code] = IGNORE if number in ignored else number
    return table[mask.codes]


def object_numbers(mask: Mask, mapping: ClassMapping) -> np.ndarray | None:
    """uint16 (H, W): numbers of a mask's objects from 1, 0 for none; None where they are not numbered.

    Of masks that only number objects each value is one. A mask among others that only happens to look as if it did has
    no numbers.
    """
    if not mapping.objects and not mask.summary.things:
        return None
    if mask.instances is not None:
        return mask.instances
    if not mapping.objects:
        return None
    ids = apply(mask, mapping)
    return np.where((ids > 0) & (ids != IGNORE), mask.codes.astype(np.uint16) + 1, 0).astype(np.uint16)


def edit(mapping: ClassMapping, edits: Iterable[dict[str, Any]]) -> ClassMapping:
    """The mapping with names, colours and "ignore" as the visitor wants them; a row is named by its id.

    What the rule ignores (id 255) becomes a class of its own when its row is no longer ignored. Raises InvalidFile
    for an id that is no class, for what is no colour, and when nothing would be left to learn.
    """
    rows = [dict(row) for row in mapping.classes]
    by_id = {row["id"]: row for row in rows}
    ids = dict(mapping.ids)
    for change in edits:
        number = change.get("id")
        row = by_id.get(number) if isinstance(number, int) else None
        if row is None:
            there = ", ".join(str(known) for known in sorted(by_id))
            raise InvalidFile("classes", f"There is no class {number} in these masks.", f"There are: {there}.")
        row["name"] = _clean_name(change.get("name")) or row["name"]
        row["color"] = _color(change.get("color") or row["color"])
        row["ignore"] = bool(change.get("ignore", row["ignore"]))
        if change.get("things") is not None:
            row["things"], row["things_stated"] = bool(change["things"]), True
        if row["id"] == IGNORE and not row["ignore"]:
            row["id"] = _next_free(ids)
            row["name"] = row["name"] if row["name"] != "ignore" else f"class {row['id']}"
            ids = {value: row["id"] if known == IGNORE else known for value, known in ids.items()}
    if all(row["ignore"] for row in rows):
        raise InvalidFile("classes", "Every class is ignored.", "Keep at least one to learn.")
    if sum(not row["ignore"] for row in rows) > MAX_CLASSES:
        raise InvalidFile("classes", f"These are more than {MAX_CLASSES} classes.", "Ignore one of them.")
    return replace(mapping, classes=rows, ids=ids)


def edit_by_source(mapping: ClassMapping, edits: dict[str, dict[str, Any]]) -> ClassMapping:
    """As `edit`, with each row named by the mask value it stands for; what is no longer in the masks is passed over."""
    found = [{**edits[row["source"]], "id": row["id"]} for row in mapping.classes if row["source"] in edits]
    return edit(mapping, found)


def extended(earlier: ClassMapping, added: ClassMapping, pixels: tuple[int, int], masks: int) -> ClassMapping:
    """The mapping of an earlier set of masks together with painted ones that were added to it.

    Ids stay what they were; added classes come behind, and names and colours are the added ones' where both have them.
    `pixels`: how many the masks of each set hold; `masks`: how many there are together.
    """
    rows = {row["id"]: dict(row) for row in earlier.classes}
    everything = max(1, sum(pixels))
    for row in rows.values():
        row["share"] = row["share"] * pixels[0] / everything
    for new in added.classes:
        row = rows.setdefault(new["id"], {**new, "share": 0.0, "images": 0})
        row["share"] += new["share"] * pixels[1] / everything
        row["images"] += new["images"]
        if new["id"] != IGNORE:
            row["name"], row["color"] = new["name"], new["color"]
    classes = [{**rows[number], "share": round(rows[number]["share"], 4)} for number in sorted(rows)]
    rules = list(dict.fromkeys([*earlier.rules, *added.rules]))
    warnings = cautions.of_classes(classes, masks)
    return replace(earlier, ids={**added.ids, **earlier.ids}, classes=classes, rules=rules, warnings=warnings)


def _rows(
    summaries: Sequence[Summary],
    ids: dict[int, int],
    sources: dict[int, int],
    held: list[set[int]],
    kind: str,
    known: Sequence[dict[str, Any]],
) -> list[dict[str, Any]]:
    pixels = dict.fromkeys(sources, 0)
    own: dict[int, str] = {}
    file_names: dict[int, str] = {}
    things = {ids[key] for summary in summaries for key in summary.things if key in ids} - {0, IGNORE}
    for summary in summaries:
        for key, count in zip(summary.keys, summary.counts, strict=True):
            if key != painted.UNKNOWN:
                pixels[ids[key]] += count
        for key, color in summary.palette.items():
            own.setdefault(ids[key], color)
        for key, name in summary.names.items():
            if key in ids and ids[key] != IGNORE:
                file_names.setdefault(ids[key], _clean_name(name))
    everything = max(1, sum(pixels.values()))
    numbers = sorted(number for number in sources if number != IGNORE)
    named = _names(kind, numbers, sources) | {number: name for number, name in file_names.items() if name}
    chosen = {row["id"]: row for row in known}
    fixed_by_file = any(summary.fixed for summary in summaries)
    distinct = len(set(own.values())) == len(own) > (0 if fixed_by_file else 1)
    rows = []
    for place, number in enumerate(sorted(sources)):
        value = sources[number]
        color = own.get(number, "") if distinct else ""
        if kind == "colour" and 0 < value < painted.PAINTED:
            color = f"#{value:06x}"
        color = color if color and color != "#000000" else palette.color(place if number else 0)
        rows.append(
            {
                "id": number,
                "name": chosen.get(number, {}).get("name") or named.get(number, "ignore"),
                "color": chosen.get(number, {}).get("color") or color,
                "ignore": number == IGNORE,
                "things": number in things,
                "source": _source(value, kind),
                "share": round(100 * pixels[number] / everything, 4),
                "images": sum(number in here for here in held),
            }
        )
    return rows


def _names(kind: str, numbers: list[int], sources: dict[int, int]) -> dict[int, str]:
    """Until the visitor names them: background and object where there are two, else class 3 and so on."""
    plain = numbers == [0, 1] and 0 in sources.values()  # also when they changed places
    if len(numbers) == 2 and numbers[0] == 0 and (sources[0] in (0, TRANSPARENT) or plain):
        return {0: "background", numbers[1]: "object"}
    named = {number: f"class {number}" for number in numbers}
    if kind == "colour" and sources.get(0) == 0:
        named[0] = "background"
    return named


def _source(value: int, kind: str) -> str:
    if value == TRANSPARENT:
        return "transparent"
    if value >= painted.PAINTED:
        return f"painted {value - painted.PAINTED}"
    return f"#{value:06x}" if kind == "colour" else str(value)


def _next_free(ids: dict[int, int]) -> int:
    number = max((known for known in ids.values() if known != IGNORE), default=-1) + 1
    if number >= IGNORE:
        raise InvalidFile("classes", "There is no class number left for it.", "Number the classes from 0 to 63.")
    return number


def _clean_name(name: Any) -> str:
    letters = "".join(letter for letter in str(name or "") if letter.isprintable())
    return letters.strip()[:MAX_NAME_LENGTH]


def _color(color: Any) -> str:
    color = str(color).lower()
    if len(color) != 7 or color[0] != "#" or set(color[1:]) - set("0123456789abcdef"):
        raise InvalidFile("classes", f"{color[:20]} is not a colour.", "Write it like #4ade80.")
    return color
