"""The admin's view of the models: inspect, verify, deactivate, delete."""

import base64

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.utils.html import format_html
from django.utils.safestring import SafeString

from registry import store
from registry.files import ModelFileDamaged, ModelFileMissing
from registry.models import FileState, UserModel
from registry.services import delete_with_file, ensure_local, mark_lost


@admin.register(UserModel)
class UserModelAdmin(admin.ModelAdmin):
    list_display = [
        "preview", "name", "key", "visitor", "active", "base_key", "class_names", "miou", "size", "file_state",
        "created", "last_used",
    ]  # fmt: skip
    list_display_links = ["name", "key"]
    list_filter = ["active", "file_state", "base_key", "created", ("trashed_at", admin.EmptyFieldListFilter)]
    search_fields = ["public_id", "visitor", "name", "sha256"]
    actions = ["verify_files", "deactivate", "delete_with_files"]
    list_select_related = ["parent"]
    fields = (
        "preview", "name", "key", "visitor", "active", "notice", "file_state", "sha256", "size", "base_key",
        "base_sha256", "class_names", "metrics", "recipe", "seconds", "image_count", "run_id", "parent", "created",
        "last_used", "trashed_at",
    )  # fmt: skip
    readonly_fields = tuple(field for field in fields if field != "name")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def get_actions(self, request: HttpRequest) -> dict:
        """Without Django's own deletion, which would leave the files behind."""
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}

    def delete_model(self, request: HttpRequest, obj: UserModel) -> None:
        delete_with_file(obj)

    @admin.display(description="before / after")
    def preview(self, model: UserModel) -> SafeString | str:
        if not store.fetch(model.preview_path).is_file():
            return "–"
        data = base64.b64encode(model.preview_path.read_bytes()).decode()
        return format_html('<img src="data:image/webp;base64,{}" alt="before and after" height="60">', data)

    @admin.display(description="classes")
    def class_names(self, model: UserModel) -> str:
        return ", ".join(found["name"] for found in model.classes)

    @admin.display(description="mIoU")
    def miou(self, model: UserModel) -> str:
        value = model.metrics.get("miou")
        return "–" if value is None else f"{value:.3f}"

    @admin.display(description="size", ordering="size_bytes")
    def size(self, model: UserModel) -> str:
        return filesizeformat(model.size_bytes)

    @admin.action(description="Verify files against their sha256")
    def verify_files(self, request: HttpRequest, models: QuerySet[UserModel]) -> None:
        wrong = 0
        for model in models:
            try:
                ensure_local(model)
            except (ModelFileMissing, ModelFileDamaged) as error:
                wrong += 1
                mark_lost(model, FileState.MISSING if isinstance(error, ModelFileMissing) else FileState.DAMAGED)
                self.message_user(request, str(error), messages.WARNING)
            else:
                UserModel.objects.filter(pk=model.pk).update(file_state=FileState.OK)
        self.message_user(request, f"{len(models) - wrong} of {len(models)} files are in order.")

    @admin.action(description="Deactivate (the base model answers instead)")
    def deactivate(self, request: HttpRequest, models: QuerySet[UserModel]) -> None:
        self.message_user(request, f"{models.filter(active=True).update(active=False)} models were deactivated.")

    @admin.action(description="Delete with file", permissions=["delete"])
    def delete_with_files(self, request: HttpRequest, models: QuerySet[UserModel]) -> None:
        for model in models:
            delete_with_file(model)
        self.message_user(request, "The models and their files were deleted.")
