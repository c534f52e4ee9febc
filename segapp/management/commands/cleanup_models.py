"""manage.py cleanup_models: remove what is no longer needed, and list it line by line."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings

from segapp.home import locked
from segapp.management.output import ProjectCommand
from segapp.services import cleanup


class Command(ProjectCommand):
    help = "Empties the trash, removes orphan files and expired uploads and results, and marks rows whose file is gone."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--older-than", type=int, metavar="DAYS", help="also models made so long ago and not active"
        )
        parser.add_argument(
            "--unused-for", type=int, metavar="DAYS", help="also models not used for so long and not active"
        )
        parser.add_argument("--dry-run", action="store_true", help="only say what would be done")

    def handle(self, **options: Any) -> None:
        count = 0
        with locked(settings.SEGAPP_HOME, "cleanup"):
            for removal in cleanup.plan(options["older_than"], options["unused_for"]):
                self.stdout.write(removal.message)
                count += 1
                if not options["dry_run"]:
                    removal.act()
        if not options["dry_run"]:
            cleanup.clear_sessions()
        verb = "would be done" if options["dry_run"] else "done"
        self.stdout.write(f"{count} things {verb}." if count else "Nothing to clean up.")
