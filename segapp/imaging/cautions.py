"""What a visitor should know before training on a set of masks: plain sentences, none of them a refusal."""

from collections.abc import Sequence
from typing import Any

from segapp.imaging.values import Summary

FEW = 0.1  # percent of the pixels under which a class is warned about
SOFT = 0.5  # percent of moved pixels from which a caution is shown
MOST = 50  # percent of the pixels that are rarely meant to be ignored, or to mark
NAMED = 3  # file names given before "and 4 more"

INVERTED = "Class 1 fills most of every image. If black marks the objects, swap background and foreground (swap=true)."
ONE_AREA_EACH = (
    "Every value is one connected area. If the values number objects of one kind and are no classes, take them as "
    "objects (objects=true)."
)

Rows = Sequence[dict[str, Any]]


def of_classes(rows: Rows, masks: int) -> list[str]:
    """About single classes: seen once only, or hardly ever."""
    found = []
    for row in rows:
        if row["ignore"]:
            continue
        if row["images"] == 1 and masks > 1:
            found.append(f"“{row['name']}” is in one image only. With a second one its score can be trusted.")
        if 0 < row["share"] < FEW:
            share = f"{row['share']:.2g}"
            found.append(f"“{row['name']}” fills {share} % of the pixels only. Add images that show more of it.")
    return found


def of_set(
    rows: Rows, held: Sequence[set[int]], names: Sequence[str], partial: Sequence[bool] | None = None
) -> list[str]:
    """About the set: nothing to tell apart, masks without foreground. `held`: the class ids in each mask.

    `partial`: which masks are painted in part; what they do not hold may still be on their images.
    """
    partial = partial or [False] * len(held)
    kept = [row for row in rows if not row["ignore"]]
    if len(kept) == 1:
        only = kept[0]
        if any(partial):
            return [f"Only “{only['name']}” is painted, so there is nothing to tell apart. Paint a second class too."]
        rest = " The other pixels are ignored; fill the background with a value of its own." if len(rows) > 1 else ""
        words = (
            f"All masks hold only “{only['name']}” ({only['share']:.0f} % of the pixels), so there is nothing to tell"
        )
        return [f"{words} apart.{rest or ' Add masks that mark something.'}"]
    ids = {row["id"] for row in kept}
    mark = "Fine when there is nothing to mark; else draw its mask again."
    whole = [(name, here) for name, here, part in zip(names, held, partial, strict=True) if not part]
    empty = [name for name, here in whole if 0 in ids and here & ids <= {0}]
    blank = [name for name, here in zip(names, held, strict=True) if not here & ids]
    found = []
    if empty:
        background = next(row["name"] for row in kept if row["id"] == 0)
        found.append(f"{_listed(empty)}: the mask is {background} only (100 %). {mark}")
    if blank:
        words = "the whole mask is ignored, so it is not used in training. Remove it or change what is ignored."
        found.append(f"{_listed(blank)}: {words}")
    return found


def of_each(rows: Rows, held: Sequence[set[int]], partial: Sequence[bool] | None = None) -> list[str]:
    """For each mask what is odd about it, in a few words to stand on its image; "" for nothing. `partial`: as above."""
    partial = partial or [False] * len(held)
    kept = {row["id"]: row["name"] for row in rows if not row["ignore"]}
    found = []
    for here, part in zip(held, partial, strict=True):
        ids = here & kept.keys()
        alone = [kept[k] for k in sorted(ids) if len(held) > 1 and sum(k in other for other in held) == 1]
        if not ids:
            found.append("Wholly ignored")
        elif 0 in kept and ids == {0} and len(kept) > 1 and not part:
            found.append(f"{kept[0].capitalize()} only")
        elif alone:
            more = f" and {len(alone) - 1} more" if len(alone) > 1 else ""
            found.append(f"The only one with “{alone[0]}”{more}")
        else:
            found.append("")
    return found


def of_files(summaries: Sequence[Summary], names: Sequence[str]) -> list[str]:
    """About how the masks were saved: palettes that disagree, {0, 255} among {0, 1}."""
    found = []
    seen: dict[int, tuple[str, str]] = {}
    for summary, name in zip(summaries, names, strict=True):
        for key, color in summary.palette.items():
            first, other = seen.setdefault(key, (color, name))
            if first != color:
                found.append(
                    f"Index {key} is {first} in {other} and {color} in {name}. Masks with palettes are read by index: "
                    "if the colours are what you mean, save them as RGB."
                )
                break
        if found:
            break
    full = [name for summary, name in zip(summaries, names, strict=True) if set(summary.keys) == {0, 255}]
    small = any(summary.kind == "index" and 1 in summary.keys for summary in summaries)
    if full and small:
        found.append(f"{_listed(full)}: only 0 and 255 occur, while other masks use 1. Here 255 is read as “ignore”.")
    return found


def softness(summaries: Sequence[Summary]) -> list[str]:
    """The rule that was applied to blurred masks, in words; none when there was no blur."""
    soft = [summary for summary in summaries if summary.soft]
    if not soft:
        return []
    share = 100 * sum(summary.moved for summary in soft) / max(1, sum(summary.pixels for summary in soft))
    much = f" ({share:.1f} % of the pixels)" if share >= SOFT else ""
    masks = "masks have" if len(soft) > 1 else "mask has"
    return [f"{len(soft)} {masks} soft or compressed edges: each such pixel{much} goes to the nearest class beside it."]


def transparency(rows: Rows) -> list[str]:
    if any(row["source"] == "transparent" and row["ignore"] for row in rows):
        return [
            "Transparent pixels are read as “ignore”: training leaves them out. Change this below if they are a class."
        ]
    return []


def is_mostly_ignored(row: dict[str, Any]) -> bool:
    """Whether the rule, not the visitor, leaves this row out though it fills most of the pixels."""
    return bool(row["ignore"]) and row["source"] in ("255", "transparent") and row["share"] > MOST


def of_ignored(rows: Rows) -> list[str]:
    found = []
    for row in rows:
        if is_mostly_ignored(row):
            what = "Transparent pixels are" if row["source"] == "transparent" else "255 is"
            found.append(
                f"{what} ignored, and that is {row['share']:.0f} % of all pixels: is it the background? Then take it "
                f'in as a class (id {row["id"]}, "ignore": false).'
            )
    return found


def is_inverted(summaries: Sequence[Summary], ids: dict[int, int]) -> bool:
    """Whether masks of background and one class have that class on most of every image."""
    if not summaries or {ids[key] for summary in summaries for key in summary.keys} != {0, 1}:
        return False
    marked = [sum(n for key, n in zip(s.keys, s.counts, strict=True) if ids[key] == 1) / s.pixels for s in summaries]
    return min(marked) > MOST / 100


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
