"""What programs may send: multipart forms."""

import json
from typing import Any

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS

from segapp import forms as forms_of_pages
from segapp.models import Effort


class ApiForm(forms_of_pages.BaseForm):
    """A form whose errors name the field."""

    def messages(self) -> list[str]:
        found = {field: " ".join(map(str, errors)) for field, errors in self.errors.items()}
        return [text if field == NON_FIELD_ERRORS else f"{field}: {text}" for field, text in found.items()]


class ManyFiles(forms.FileField):
    """Any number of files under one name, as a list; one that is empty is refused later, by name."""

    class Widget(forms.ClearableFileInput):
        allow_multiple_selected = True

    widget = Widget

    def clean(self, data: Any, initial: Any = None) -> list[Any]:
        files = data if isinstance(data, list | tuple) else [data] if data else []
        return [super(ManyFiles, self).clean(file, initial) for file in files] or super().clean(None, initial) or []


class FinetuneForm(forms_of_pages.ImageInputForm, ApiForm):
    images = ManyFiles(
        required=False,
        allow_empty_file=True,
        max_length=None,
        help_text="Images, repeated; 1 to 50 pairs, or zips of them. Paired with the masks by file name",
    )
    masks = ManyFiles(
        required=False,
        allow_empty_file=True,
        max_length=None,
        help_text="Masks, repeated; also annotation files (COCO, labelme, YOLO, CVAT, VOC, GeoJSON, ImageJ), or zips",
    )
    name = forms.CharField(required=False, max_length=80, help_text="Of the model; absent: Model 1, Model 2, …")
    effort = forms.ChoiceField(required=False, choices=Effort.choices, help_text="Absent: quick")
    classes = forms.CharField(
        required=False,
        help_text='JSON: `[{"id": 1, "name": "leaf", "color": "#2f7d4f", "ignore": false, "things": true}]`; '
        "what is left out stays as it was found. `things`: count its objects",
    )
    objects = forms.ChoiceField(
        required=False,
        choices=[("true", "true"), ("false", "false")],
        help_text="Whether the masks' values number objects of one class; absent: decided by the masks",
    )
    swap = forms.ChoiceField(
        required=False,
        choices=[("true", "true"), ("false", "false")],
        help_text="true: in masks of two values, the background is the other one",
    )
    paths = forms.CharField(
        required=False,
        help_text='JSON: `{"images": ["set/images/a.png"], "masks": […]}`, the folders that the files came from, in '
        "their order, to pair files of equal names",
    )

    def clean(self) -> dict[str, Any]:
        sent = super().clean() or self.cleaned_data
        paths = forms_of_pages.folders(sent.pop("paths", ""))
        for name in ("images", "masks"):
            sent[name] = forms_of_pages.with_folders(sent.get(name, []), paths.get(name, []))
        return sent

    def clean_objects(self) -> bool | None:
        return {"true": True, "false": False}.get(self.cleaned_data["objects"])

    def clean_swap(self) -> bool:
        return bool(self.cleaned_data["swap"] == "true")

    def clean_effort(self) -> str:
        return self.cleaned_data["effort"] or Effort.QUICK

    def clean_classes(self) -> list[dict[str, Any]]:
        """[{id, name?, color?, ignore?, things?}], as class_mapping.edit takes it."""
        if not self.cleaned_data["classes"]:
            return []
        try:
            edits = json.loads(self.cleaned_data["classes"])
        except (ValueError, RecursionError):
            raise forms.ValidationError('This is not JSON. Send a list like [{"id": 1, "name": "cat"}].') from None
        if not isinstance(edits, list) or not all(isinstance(edit, dict) and "id" in edit for edit in edits):
            raise forms.ValidationError('Send a list of objects with an id each, like [{"id": 1, "name": "cat"}].')
        return edits


class StopForm(ApiForm, forms_of_pages.StopForm):
    pass


class RestoreForm(ApiForm):
    user_id = forms.CharField(max_length=64, help_text="The model's id")
    token = forms.CharField(
        required=False, max_length=512, help_text="The `restore_token`, when the cookie is another visitor's or new"
    )


class NamedModelForm(forms.Form):
    """`model`: the id of one of the visitor's models, or the base's key, instead of the active one."""

    model = forms.CharField(
        required=False,
        max_length=64,
        strip=True,
        help_text="A model's id, or the base's key; absent: the active one",
    )


class BatchForm(NamedModelForm, ApiForm, forms_of_pages.BatchForm):
    def clean(self) -> dict[str, Any]:
        model = self.cleaned_data.get("model", "")
        return {**super().clean(), "model": model}


class VideoForm(NamedModelForm, ApiForm, forms_of_pages.VideoForm):
    pass


class SegmentForm(NamedModelForm, forms_of_pages.ObjectsForm, forms_of_pages.ImageInputForm, ApiForm):
    file = forms.FileField(allow_empty_file=True, help_text="Up to 50 megapixels; a tiled TIFF up to 2 gigapixels")
    share = forms.CharField(required=False, max_length=64, help_text="A share link's token, to use its model")

    def clean_file(self) -> Any:
        forms_of_pages.check_image_limits([self.cleaned_data["file"]])
        return self.cleaned_data["file"]


class ObjectOptionsForm(forms_of_pages.ObjectOptionsForm, ApiForm):
    pass


class RenameForm(ApiForm):
    name = forms.CharField(max_length=80, strip=True, help_text="The new name")


class ThingsForm(ApiForm, forms_of_pages.ThingsForm):
    def __init__(self, data: Any = None, files: Any = None, *, classes: Any = ()) -> None:
        super().__init__(data, classes)


class ShareForm(ApiForm):
    label = forms.CharField(max_length=60, strip=True, required=False, help_text="A note on who it is for")


class HookForm(ApiForm, forms_of_pages.HookForm):
    pass


class KeyForm(ApiForm, forms_of_pages.KeyForm):
    pass
