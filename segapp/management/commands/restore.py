from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from segapp.management.commands.serve import only_one_per_home
from segapp.management.output import ProjectCommand
from segapp.services import backup


class Command(ProjectCommand):
    help = "Put a backup into an empty home and database."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="tar file that `backup` wrote")
        parser.add_argument("--json", action="store_true", help="print what it held as JSON")

    def handle(self, *, file: Path, json: bool, **_: Any) -> None:
        with only_one_per_home():
            held = backup.restore(file, self.log)
        if json:
            self.print_json(held)
        else:
            self.stdout.write(f"Restored {held['rows']} rows and {held['files']} files from {file}.")
