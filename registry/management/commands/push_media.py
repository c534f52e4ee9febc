"""manage.py push_media: move an installation's media into the bucket that SEGAPP_MEDIA names. Safe to repeat."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from registry import store


class Command(BaseCommand):
    help = "Copies every file below media/ to the bucket that SEGAPP_MEDIA names, unless it is there already."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say what would be copied")

    def handle(self, *, dry_run: bool, **options: Any) -> None:
        if not store.is_shared():
            raise CommandError("Media is the local folder. Set SEGAPP_MEDIA to the bucket it is to be copied to.")
        copied = 0
        try:
            for path in sorted(Path(settings.MEDIA_ROOT).rglob("*")):
                if not path.is_file() or path.name.startswith(".") or store.is_stored(path):
                    continue
                self.stdout.write(path.relative_to(settings.MEDIA_ROOT).as_posix())
                copied += 1
                if not dry_run:
                    store.push(path)
        except (store.StoreUnreachable, OSError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{copied} files {'would be ' if dry_run else ''}copied.")
