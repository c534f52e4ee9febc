from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from segapp.management.output import ProjectCommand
from segapp.services import backup


class Command(ProjectCommand):
    help = "Write database, media and signing key to one file; the service may be running."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="tar file to write; keep it as safe as the signing key it holds")
        parser.add_argument("--json", action="store_true", help="print what it holds as JSON")

    def handle(self, *, file: Path, json: bool, **_: Any) -> None:
        held = backup.backup(file, self.log)
        if json:
            self.print_json({"file": str(file.resolve()), **held})
        else:
            self.stdout.write(f"{file}: {held['bytes'] / 10**6:.1f} MB")
