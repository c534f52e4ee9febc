"""What a person sends, made into what services take. All coercion lives here; messages name the next step."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile

from segapp.imaging import formats, image_input, object_options, pixel_size
from segapp.imaging.bundle import Member
from segapp.imaging.object_options import ObjectOptions
from segapp.models import Effort, Event, Scope
from segapp.services import videos
from segapp.services.api_keys import MAX_DAYS
from segapp.services.errors import InvalidForm
from segapp.services.hook_addresses import MAX_LENGTH as MAX_URL

IMAGES, VIDEOS = formats.listed(formats.IMAGE_KINDS), formats.listed(formats.VIDEO_KINDS)
TIFF_SUFFIXES = next(kind.suffixes for kind in formats.IMAGE_KINDS if kind.name == "TIFF")
COLOR = re.compile(r"#[0-9a-f]{6}")


class BaseForm(forms.Form):
    """A form whose errors are sentences to show."""

    def messages(self) -> list[str]:
        return [str(text) for texts in self.errors.values() for text in texts]

    def checked(self) -> dict[str, Any]:
        """The cleaned values. Raises InvalidForm."""
        if not self.is_valid():
            raise InvalidForm(self.messages())
        return self.cleaned_data


class ManyFilesInput(forms.ClearableFileInput):
    allow_multiple_selected = True


class ManyFilesField(forms.FileField):
    """Several files under one name, in the order they were sent; an empty list when none was chosen."""

    widget = ManyFilesInput

    def clean(self, data: Any, initial: Any = None) -> list[UploadedFile]:
        files = data if isinstance(data, (list, tuple)) else [data]
        return [file for file in files if file]


class ImageInputForm(forms.Form):
    """Which channels and which page of a file make the image, as people write them: "3,2,1" or "2", a number or max."""

    channels = forms.CharField(
        max_length=60,
        required=False,
        strip=True,
        help_text="Which channels make the image: `3,2,1` or `2`; absent: the model's own, else the first three",
    )
    page = forms.CharField(
        max_length=20,
        required=False,
        strip=True,
        help_text="Which page of a stack: a number from 1, `max` or `mean`; absent: the model's own, else the first",
    )

    def clean(self) -> dict[str, Any]:
        """`image_input` instead of the two."""
        sent = super().clean() or self.cleaned_data
        try:
            sent["image_input"] = image_input.parse(sent.pop("channels", ""), sent.pop("page", ""))
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None
        return sent


class ObjectOptionsForm(forms.Form):
    """How objects are to be counted and measured; `options` is what became of it."""

    things = forms.CharField(
        required=False, max_length=400, help_text="Ids of the classes to count: `1,2` or `none`; absent: the model's"
    )
    scale = forms.CharField(
        required=False, max_length=40, help_text="Length of a pixel: `0.65um`, `0.1mm`; absent: what the file says"
    )
    split = forms.CharField(
        required=False,
        max_length=40,
        help_text="How touching ones come apart: `auto`, `none`, or a strength from 0 to 1; absent: auto",
    )
    min_area = forms.CharField(required=False, max_length=40, help_text="Pixels; smaller ones are left out. Absent: 0")
    edges = forms.CharField(
        required=False, max_length=40, help_text="Those that the edge cuts: `keep` or `drop`; absent: keep"
    )
    holes = forms.CharField(required=False, max_length=40, help_text="`keep` or `fill`; absent: keep")
    simplify = forms.CharField(
        required=False, max_length=40, help_text="Pixels by which outlines may be simplified, 0 to 50; absent: 0"
    )
    measure = forms.CharField(
        required=False, max_length=40, help_text="Also `solidity`, `skeleton`, or both with a comma between them"
    )

    READERS: ClassVar[dict[str, Callable[[str], Any]]] = {
        "things": object_options.parse_things,
        "scale": pixel_size.typed,
        "split": object_options.parse_split,
        "min_area": object_options.parse_min_area,
        "edges": object_options.parse_edges,
        "holes": object_options.parse_holes,
        "simplify": object_options.parse_simplify,
        "measure": object_options.parse_more,
    }

    def clean(self) -> dict[str, Any]:
        sent = super().clean() or self.cleaned_data
        values = {}
        for name, read in self.READERS.items():
            if text := sent.pop(name, ""):
                try:
                    values["more" if name == "measure" else name] = read(text)
                except ValueError as error:
                    self.add_error(name, str(error))
        sent["options"] = ObjectOptions(**values)
        return sent


class ObjectsPageForm(ObjectOptionsForm, BaseForm):
    """As Analyze sends it: a box for each class, and a person's corrections."""

    edits = forms.CharField(required=False, max_length=100_000)

    def __init__(self, data: Any) -> None:
        sent = {name: data[name] for name in data}
        if "things_shown" in data:
            sent["things"] = ",".join(data.getlist("things")) or object_options.NONE
        super().__init__(sent)

    def clean_edits(self) -> tuple[object_options.Edit, ...]:
        try:
            return object_options.edits_of(json.loads(self.cleaned_data["edits"] or "[]"))
        except (ValueError, RecursionError) as error:
            raise forms.ValidationError(str(error)) from None

    def clean(self) -> dict[str, Any]:
        sent = super().clean()
        sent["options"] = replace(sent["options"], edits=sent.pop("edits", ()))
        return sent


class ObjectsForm(ObjectOptionsForm):
    """`objects` becomes how they are to be counted and measured, None where they are not wanted."""

    objects = forms.ChoiceField(
        required=False,
        choices=[("true", "true"), ("false", "false")],
        error_messages={"invalid_choice": "Send true or false."},
        help_text="Whether to count and measure objects; absent: false",
    )

    def clean(self) -> dict[str, Any]:
        sent = super().clean()
        sent["objects"] = sent.pop("options") if sent.get("objects") == "true" else None
        sent.pop("options", None)
        return sent


def check_image_limits(files: list[UploadedFile]) -> None:
    """As `check_limits`; a TIFF may be as large as SEGAPP_IMAGE_MB says."""
    large = [file for file in files if formats.suffix(file.name) in TIFF_SUFFIXES]
    check_limits([file for file in files if file not in large])
    if sum(file.size or 0 for file in large) > settings.IMAGE_LIMIT_BYTES:
        raise forms.ValidationError(
            f"TIFF files may have {settings.IMAGE_LIMIT_BYTES // 10**6} MB together. Send them one by one."
        )


class ReadAgainForm(ImageInputForm, BaseForm):
    """Another page or other channels for images that are uploaded already."""


class UploadForm(ImageInputForm, BaseForm):
    """Images, masks and zips for a training. What is in them is the intake's business."""

    images = ManyFilesField(required=False)
    masks = ManyFilesField(required=False)
    archives = ManyFilesField(required=False)
    paths = forms.CharField(required=False)

    def clean(self) -> dict[str, Any]:
        sent = super().clean() or self.cleaned_data
        files = [*sent.get("images", []), *sent.get("masks", []), *sent.get("archives", [])]
        if not files:
            raise forms.ValidationError("No files were chosen. Choose images and their masks, or one zip with both.")
        check_limits(files)
        paths = folders(sent.get("paths", ""))
        for name in ("images", "masks"):
            sent[name] = with_folders(sent.get(name, []), paths.get(name, []))
        return sent


def folders(text: str) -> dict[str, list[str]]:
    """Which folder each file of a field came from, as the page sends it: {"images": ["set/images/a.png", …], …}."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: [str(path) for path in paths] for name, paths in found.items() if isinstance(paths, list)}


def with_folders(files: list[Any], paths: list[str]) -> list[Any]:
    """The files with the folders they came from; as they are when the paths do not belong to them."""
    if len(paths) != len(files):
        return files
    found = []
    for file, path in zip(files, paths, strict=True):
        folder, _, name = path[:1000].replace("\\", "/").strip("/").rpartition("/")
        same = folder and name == file.name
        found.append(Member(file.name, file, folder, file.size) if same else file)
    return found


def check_limits(files: list[UploadedFile]) -> None:
    """The limits of one post, as the page states them beforehand."""
    most, megabytes = settings.UPLOAD_LIMIT_FILES, settings.UPLOAD_LIMIT_BYTES // 10**6
    if len(files) > most:
        raise forms.ValidationError(f"{len(files)} files are too many at once. Send at most {most}, then the rest.")
    if sum(file.size or 0 for file in files) > settings.UPLOAD_LIMIT_BYTES:
        raise forms.ValidationError(f"These files are over {megabytes} MB together. Send them in smaller parts.")


THINGS = [("true", "true"), ("false", "false")]  # a class's objects are counted, or only its area; "" leaves it open


class ClassesForm(BaseForm):
    """The class table: a name, a colour, an ignore box and what to count for each class that was found."""

    def __init__(self, data: Any, classes: list[dict[str, Any]]) -> None:
        super().__init__(data)
        self.ids = [found["id"] for found in classes]
        for number in self.ids:
            self.fields[f"name-{number}"] = forms.CharField(max_length=60, required=False, strip=True)
            self.fields[f"color-{number}"] = forms.CharField(max_length=7, required=False)
            self.fields[f"ignore-{number}"] = forms.BooleanField(required=False)
            self.fields[f"things-{number}"] = forms.ChoiceField(choices=THINGS, required=False)

    def edits(self) -> list[dict[str, Any]]:
        """[{id, name?, color?, ignore, things?}] for the classes of the post; what is not valid stays as it was."""
        self.is_valid()
        edits = []
        for number in self.ids:
            if f"name-{number}" not in self.data:
                continue
            edit: dict[str, Any] = {"id": number, "ignore": bool(self.cleaned_data.get(f"ignore-{number}"))}
            if things := self.cleaned_data.get(f"things-{number}"):
                edit["things"] = things == "true"
            if name := self.cleaned_data.get(f"name-{number}"):
                edit["name"] = name
            if COLOR.fullmatch(color := str(self.cleaned_data.get(f"color-{number}", "")).lower()):
                edit["color"] = color
            edits.append(edit)
        return edits


class ReadingForm(BaseForm):
    """How all masks are to be read; `take`: the mask value whose pixels are no longer ignored."""

    objects = forms.ChoiceField(choices=[(value, value) for value in ("true", "false", "auto")], required=False)
    swap = forms.ChoiceField(choices=[(value, value) for value in ("true", "false")], required=False)
    take = forms.ChoiceField(choices=[(value, value) for value in ("255", "transparent")], required=False)


class TrainForm(BaseForm):
    name = forms.CharField(max_length=80, required=False, strip=True)
    effort = forms.ChoiceField(choices=Effort.choices, required=False)

    def clean_effort(self) -> str:
        return self.cleaned_data["effort"] or Effort.QUICK


class AnalyzeForm(ImageInputForm, BaseForm):
    file = ManyFilesField(required=False)

    def clean_file(self) -> list[UploadedFile]:
        files: list[UploadedFile] = self.cleaned_data["file"]
        if not files:
            raise forms.ValidationError(f"No image was chosen. Choose a {IMAGES} file.")
        if len(files) > formats.MAX_IMAGES_AT_ONCE:
            raise forms.ValidationError(
                f"{len(files)} images are too many at once. Send at most {formats.MAX_IMAGES_AT_ONCE}."
            )
        check_image_limits(files)
        return files


class BatchForm(ObjectsForm, ImageInputForm, BaseForm):
    """Many images, or one zip of them, which may also lie among the files."""

    archive = ManyFilesField(required=False, help_text="One zip of images, instead of `files`")

    def __init__(self, *sent: Any) -> None:
        super().__init__(*sent)
        # As a class attribute it would hide the form's own `files`.
        self.fields["files"] = ManyFilesField(required=False, help_text="Images, repeated")

    def clean(self) -> dict[str, Any]:
        sent = super().clean() or self.cleaned_data
        files, archives = sent.get("files", []), list(sent.get("archive", []))
        archives += [file for file in files if formats.is_archive(file.name)]
        images = [file for file in files if file not in archives]
        if not images and not archives:
            raise forms.ValidationError(f"No images were chosen. Choose {IMAGES} files, or a zip of them.")
        if len(archives) > 1 or (archives and images):
            raise forms.ValidationError("Send either images or one zip at a time; the rest can follow as a batch.")
        if len(images) > settings.BATCH_LIMIT_FILES:
            most = settings.BATCH_LIMIT_FILES
            raise forms.ValidationError(f"{len(images)} images are too many at once. Send at most {most}.")
        archive = archives[0] if archives else None
        known = {key: sent.get(key) for key in ("image_input", "objects")}
        return {"files": images, "archive": archive, **known}


class StopForm(BaseForm):
    keep = forms.TypedChoiceField(
        choices=[("true", "true"), ("false", "false")],
        coerce=lambda value: value == "true",
        required=True,
        help_text="true: keep the best so far; false: discard everything",
    )


class RenameForm(BaseForm):
    name = forms.CharField(
        max_length=80,
        strip=True,
        error_messages={
            "required": "A name is needed. Type one of up to 80 letters.",
            "max_length": "That name is too long. Type one of up to 80 letters.",
        },
    )


class SetForm(BaseForm):
    """The name of a training set; empty for one that is made up."""

    name = forms.CharField(max_length=80, required=False, strip=True)


class VideoForm(ObjectsForm, BaseForm):
    """A video and how many of its frames to predict. What is in it is the service's and the worker's business."""

    file = forms.FileField(
        allow_empty_file=True,
        error_messages={"required": f"No video was chosen. Choose an {VIDEOS} file."},
        help_text=f"The video: {VIDEOS}",
    )
    rate = forms.ChoiceField(
        choices=[(rate, rate) for rate in videos.RATES],
        required=False,
        error_messages={"invalid_choice": f"There is no such rate. Send one of: {', '.join(videos.RATES)}."},
        help_text="Frames a second to predict; those between are filled in. Absent: auto",
    )

    def clean_rate(self) -> str:
        return self.cleaned_data["rate"] or videos.AUTO


class ShareForm(BaseForm):
    label = forms.CharField(
        max_length=60,
        strip=True,
        required=False,
        error_messages={"max_length": "That note is too long. Use up to 60 letters."},
    )


class CodeForm(BaseForm):
    """A code for another device, as people type it. Whether it is one, the service says."""

    code = forms.CharField(
        max_length=60,
        strip=True,
        error_messages={
            "required": "No code was entered. Type the twelve letters and digits that the other device shows.",
            "max_length": "That is too long for a code. It has twelve letters and digits.",
        },
    )


class CompareForm(BaseForm):
    """Two models and an image: a new one, the sample, or one that was analyzed before.

    `left` and `right` are ids of versions, or "base". `source` is the id of a result, or "sample" or "upload".
    """

    left = forms.CharField(max_length=40, required=False)
    right = forms.CharField(max_length=40, required=False)
    source = forms.CharField(max_length=40, required=False)
    file = forms.FileField(
        required=False, allow_empty_file=True, error_messages={"invalid": "That is not a file. Choose an image."}
    )

    def clean(self) -> dict[str, Any]:
        sent = super().clean() or self.cleaned_data
        if not sent.get("left") or not sent.get("right"):
            raise forms.ValidationError("Choose two models to compare.")
        if sent["left"] == sent["right"]:
            raise forms.ValidationError("That is the same model twice. Choose another one on one of the sides.")
        if sent.get("source", "") in ("", "upload"):
            if not sent.get("file"):
                raise forms.ValidationError("No image was chosen. Choose a file, or one of your last results.")
            check_limits([sent["file"]])
            sent["source"] = "upload"
        return sent


class ThingsForm(BaseForm):
    """The classes of a model whose objects are counted, by their ids."""

    things = forms.CharField(max_length=400, help_text="Class ids with commas between them, or `none`")

    def __init__(self, data: Any, classes: list[dict[str, Any]]) -> None:
        super().__init__(data)
        self.ids = [int(row["id"]) for row in classes]

    def clean_things(self) -> tuple[int, ...]:
        try:
            found = object_options.parse_things(self.cleaned_data["things"])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None
        if found is None:
            raise forms.ValidationError("Send class ids with commas between them, such as 1,2, or none.")
        unknown = [number for number in found if number not in self.ids]
        if unknown:
            there = ", ".join(map(str, self.ids))
            raise forms.ValidationError(f"The model has no class {unknown[0]}. It has {there}.")
        return found


class KeyForm(BaseForm):
    name = forms.CharField(
        max_length=60,
        strip=True,
        error_messages={"required": "A key needs a name, so that you know it again."},
        help_text="To know it again",
    )
    scope = forms.ChoiceField(choices=Scope.choices, required=False, help_text="What it may do; absent: all")
    days = forms.IntegerField(
        min_value=1, max_value=MAX_DAYS, required=False, help_text="How long it is valid; absent: without limit"
    )

    def clean_scope(self) -> str:
        return self.cleaned_data["scope"] or Scope.ALL


class HookForm(BaseForm):
    """An address to be notified, and of which events; of all where none is named."""

    url = forms.CharField(
        max_length=MAX_URL,
        strip=True,
        error_messages={
            "required": "A webhook needs an address, like https://lab.example.org/segapp.",
            "max_length": f"The address is longer than {MAX_URL} characters. Use a shorter one.",
        },
        help_text="What is notified: an http or https address",
    )
    events = forms.MultipleChoiceField(
        choices=Event.choices,
        required=False,
        error_messages={"invalid_choice": f"There is no such event. Choose among: {', '.join(Event.values)}."},
        help_text="Which ends it is notified of, repeated; absent: all",
    )
