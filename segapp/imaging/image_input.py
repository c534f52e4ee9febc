"""Which page and which channels of a file make the RGB image that a network sees.

A stack has pages, a microscope's or a satellite's image more channels than three. The choice is made before a
training, stored with the model, and applied to every later image.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from segapp.imaging.invalid_file import InvalidFile

MAX, MEAN = "max", "mean"
RANGE = "percentiles 0.1 to 99.9"  # how more than eight bits become eight; see display_range.py
MAX_NUMBER = 100_000
# How notes end that say what is used without a choice.
NO_PAGE, NO_CHANNELS, NONE = "as no page was chosen.", "as no channels were chosen.", "as none were chosen."


@dataclass(frozen=True)
class Layout:
    """What a file holds: pages (of a stack, a time series) and channels, transparency not counted."""

    pages: int = 1
    channels: int = 3

    @property
    def plain(self) -> bool:
        """Whether there is nothing to choose: one page, grey or three colours."""
        return self.pages == 1 and self.channels in (1, 3)

    def __str__(self) -> str:
        pages = f"{self.pages} pages of " if self.pages > 1 else ""
        return f"{pages}{self.channels} channel{'s' if self.channels != 1 else ''}"


@dataclass(frozen=True)
class ImageInput:
    """The choice: page is "" (nothing chosen), a number from 1, "max" or "mean"; channels number from 1: none (nothing
    chosen), one for grey, or three for red, green and blue. `made_for` is how many channels the images had that the
    choice was made for, 0 when any number will do."""

    page: str = ""
    channels: tuple[int, ...] = ()
    made_for: int = 0

    @property
    def empty(self) -> bool:
        return not self.page and not self.channels

    def to_dict(self) -> dict[str, Any]:
        """As model files and rows hold it; {} when nothing was chosen."""
        if self.empty:
            return {}
        return {"page": self.page, "channels": list(self.channels), "bands": self.made_for, "range": RANGE}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> "ImageInput":
        return cls(
            str(saved.get("page", "")), tuple(int(n) for n in saved.get("channels", ())), int(saved.get("bands", 0))
        )

    def over(self, other: "ImageInput") -> "ImageInput":
        """This choice, and where it leaves something open the other one."""
        if self.empty:
            return other
        channels = self.channels or other.channels
        made_for = 0 if self.channels else other.made_for
        return ImageInput(self.page or other.page, channels, made_for)

    def __str__(self) -> str:
        parts = [f"page {self.page}" if self.page.isdigit() else f"the {self.page} of all pages"] if self.page else []
        if self.channels:
            word = "channels" if len(self.channels) > 1 else "channel"
            parts.append(f"{word} {', '.join(map(str, self.channels))}")
        whole = " and ".join(parts) or "no choice"
        return f"{whole} of {self.made_for}" if self.made_for and self.channels else whole


def parse(channels: str = "", page: str = "") -> ImageInput:
    """A choice as people write it: channels "3,2,1" or "2", page a number from 1, "max" or "mean".

    Raises ValueError with a sentence for people.
    """
    page, channels = page.strip().lower(), channels.strip()
    if page and page not in (MAX, MEAN) and not (re.fullmatch(r"\d{1,6}", page) and 1 <= int(page) <= MAX_NUMBER):
        raise ValueError(f"There is no page “{page[:20]}”. Name a number from 1, max or mean.")
    if not channels:
        return ImageInput(str(int(page)) if page.isdigit() else page)
    if not re.fullmatch(r"\d{1,5}(\s*,\s*\d{1,5}){0,2}", channels):
        raise ValueError(
            f"“{channels[:40]}” names no channels. Name one number for grey, or three for red, green, blue: 3,2,1."
        )
    numbers = tuple(int(number) for number in channels.split(","))
    if len(numbers) == 2 or min(numbers) < 1:
        raise ValueError("Name one channel for grey, or three for red, green and blue. They are numbered from 1.")
    return ImageInput(str(int(page)) if page.isdigit() else page, numbers)


def resolve(choice: ImageInput, layout: Layout, name: str) -> tuple[str, tuple[int, ...], tuple[str, ...]]:
    """(page, channels, notes): the choice, completed by what is usual, for a file of this layout.

    Channels are one, two (red and green) or three. Raises InvalidFile, which names both, for a file that does not fit.
    """
    if choice.channels:
        unlike = choice.made_for and choice.made_for != layout.channels
        if unlike or max(choice.channels) > layout.channels:
            raise InvalidFile(
                name,
                f"It has {layout}, and what was chosen is {choice}.",
                "Send an image like those of the training, or name other channels.",
            )
    if choice.page.isdigit() and int(choice.page) > layout.pages:
        raise InvalidFile(
            name, f"It has {layout}, and what was chosen is {choice}.", "Name a page that it has, or max or mean."
        )
    notes = []
    page, channels = choice.page, choice.channels
    if not page:
        page = "1"
        if layout.pages > 1:
            notes.append(f"{name} has {layout.pages} pages: the first is used, {NO_PAGE}")
    if not channels:
        channels = tuple(range(1, min(3, layout.channels) + 1))
        if layout.channels == 2:
            notes.append(f"{name} has 2 channels: they are used as red and green, {NO_CHANNELS}")
        elif layout.channels > 3:
            notes.append(f"{name} has {layout.channels} channels: the first three are used, {NONE}")
    return page, channels, tuple(notes)


def is_without_choice(note: str) -> bool:
    """Whether a note says what is used because nothing was chosen."""
    return note.endswith((NO_PAGE, NO_CHANNELS, NONE))


def of_set(choice: ImageInput, layouts: Iterable[Layout]) -> ImageInput:
    """What a model that learns from images of these layouts stores: the choice made whole, nothing for plain ones."""
    found = list(layouts)
    if choice.empty and all(layout.plain for layout in found):
        return ImageInput()
    counts = {layout.channels for layout in found}
    same = counts.pop() if len(counts) == 1 else 0
    channels = choice.channels
    if not channels and same and same not in (1, 3):
        channels = tuple(range(1, min(3, same) + 1))
    page = choice.page or ("1" if any(layout.pages > 1 for layout in found) else "")
    return ImageInput(page, channels, same if channels else 0)
