"""manage.py export_model: a checkpoint that needs nothing of this project."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from registry import services
from registry.bases import CATALOGUE
from registry.models import UserModel


class Command(BaseCommand):
    help = "Writes a model as a plain smp.FPN checkpoint, as safetensors or as ONNX."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("model", metavar="ID", help="a model's id, or a base's key")
        parser.add_argument("--format", choices=["pth", "onnx", "safetensors"], default="pth")
        parser.add_argument(
            "--with-detail", action="store_true",
            help="keep a model's detail branch in a state dict, which plain smp.FPN then does not take",
        )  # fmt: skip
        parser.add_argument("--out", type=Path, required=True, metavar="FILE")

    def handle(self, *, model: str, format: str, out: Path, with_detail: bool, **options: Any) -> None:
        from registry.export import ExportFailed, export  # here: they bring torch
        from registry.files import ModelFileDamaged, ModelFileMissing
        from registry.runtime import BaseMissing, ModelRef, Runtime

        runtime = Runtime(settings.MEDIA_ROOT, settings.SEGAPP_WEIGHTS, "cpu")
        row = UserModel.objects.filter(public_id=model.removeprefix("user_"), trashed_at=None).first()
        if row is None and model not in CATALOGUE:
            raise CommandError(f"There is no model {model}. Name a model's id or one of: {', '.join(CATALOGUE)}.")
        try:
            if row is not None:
                services.ensure_local(row)
                reference = ModelRef(row.key, row.path, row.sha256, row.base_key, row.base_sha256)
                with runtime.use(reference) as network:
                    report = export(network, format, out, with_detail)
            else:
                with runtime.use_base(runtime.base(model)) as network:
                    report = export(network, format, out, with_detail)
        except (BaseMissing, ModelFileMissing, ModelFileDamaged, ExportFailed, OSError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{out.resolve()} is written ({out.stat().st_size / 1e6:.1f} MB).")
        if report["note"]:
            self.stdout.write(report["note"])
