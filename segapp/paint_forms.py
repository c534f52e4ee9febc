"""What the paint page sends: one save, with the classes as JSON."""

import json
from typing import Any

from django import forms

from segapp.forms import COLOR, BaseForm
from segapp.imaging.formats import MAX_CLASSES, UNPAINTED
from segapp.services.painting import Save

MAX_NAME_LENGTH = 60
MAX_CLICKS = 60  # for one region
MAX_SIDE = 1e6  # pixels; NaN and infinity are refused with what is beyond


class PaintForm(BaseForm):
    """One save of one page."""

    mask = forms.FileField(required=False)
    base = forms.IntegerField(min_value=0)
    editor = forms.RegexField(r"^[0-9a-f]{8,32}$")
    sequence = forms.IntegerField(min_value=1, max_value=2**31 - 1)
    unpainted = forms.IntegerField(min_value=0, max_value=UNPAINTED)
    nothing_there = forms.BooleanField(required=False)
    classes = forms.CharField(max_length=30_000)

    def clean_classes(self) -> list[dict[str, Any]]:
        return _classes(self.cleaned_data["classes"])

    def clean(self) -> dict[str, Any]:
        sent = super().clean() or self.cleaned_data
        ids = {row["id"] for row in sent.get("classes", [])}
        if ids and sent.get("unpainted", UNPAINTED) not in ids | {UNPAINTED}:
            raise forms.ValidationError("Unpainted pixels cannot be of a class that is not there. Choose another one.")
        return sent

    def save_of(self) -> Save:
        """The valid form as the service takes it."""
        sent = dict(self.cleaned_data)
        file = sent.pop("mask")
        return Save(mask=file.file if file else None, **sent)


class AcceptForm(BaseForm):
    """All of the answer is right."""

    mask = forms.FileField(required=False)
    base = forms.IntegerField(min_value=0)
    editor = forms.RegexField(r"^[0-9a-f]{8,32}$")
    sequence = forms.IntegerField(min_value=1, max_value=2**31 - 1)


class LiveForm(BaseForm):
    """A request for a live answer: the strokes so far, or those that were saved."""

    mask = forms.FileField(required=False)
    editor = forms.RegexField(r"^[0-9a-f]{8,32}$")
    sequence = forms.IntegerField(min_value=1, max_value=2**31 - 1)
    classes = forms.CharField(max_length=30_000, required=False)

    def clean_classes(self) -> list[dict[str, Any]]:
        sent = self.cleaned_data["classes"]
        return _classes(sent) if sent else []


class RegionForm(BaseForm):
    """Clicks for a region; none at all to have the image prepared."""

    editor = forms.RegexField(r"^[0-9a-f]{8,32}$")
    sequence = forms.IntegerField(min_value=1, max_value=2**31 - 1)
    clicks = forms.CharField(max_length=5000, required=False)

    def clean_clicks(self) -> list[tuple[float, float, int]]:
        try:
            sent = json.loads(self.cleaned_data["clicks"] or "[]")
            found = [(float(x), float(y), int(bool(inside))) for x, y, inside in sent]
        except (ValueError, TypeError, RecursionError, OverflowError):
            raise forms.ValidationError("The clicks could not be read. Reload the page.") from None
        if len(found) > MAX_CLICKS:
            raise forms.ValidationError(
                f"A region takes at most {MAX_CLICKS} clicks. Paint this one, then begin another."
            )
        if not all(0 <= x < MAX_SIDE and 0 <= y < MAX_SIDE for x, y, _ in found):
            raise forms.ValidationError("A click is outside the image. Click on the image.")
        return found


def _classes(sent: str) -> list[dict[str, Any]]:
    try:
        found = [_class(row) for row in json.loads(sent)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        raise forms.ValidationError("The list of classes could not be read. Reload the page.") from None
    ids = [row["id"] for row in found]
    if len(ids) != len(set(ids)):
        raise forms.ValidationError("Two classes have the same number. Reload the page.")
    if not 0 < len(ids) <= MAX_CLASSES:
        raise forms.ValidationError(f"There are {len(ids)} classes. Use 1 to {MAX_CLASSES}.")
    return found


def _class(row: dict[str, Any]) -> dict[str, Any]:
    number, color = row["id"], str(row["color"]).lower()
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < UNPAINTED:
        raise ValueError(f"{number} is not a class number")
    if not COLOR.fullmatch(color):
        raise ValueError(f"{color} is not a colour")
    letters = "".join(letter for letter in str(row["name"]) if letter.isprintable())
    return {"id": number, "name": letters.strip()[:MAX_NAME_LENGTH] or f"class {number}", "color": color}
