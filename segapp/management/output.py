"""How the project's commands speak: figures as JSON on stdout, errors as one line on stderr with status 1."""

import json
import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from segapp.imaging.memory import DecodersBusy
from segapp.parts import WAITING


def share_the_cores() -> None:
    """Let torch's threads sleep while they wait for each other, as the workers do. Call it before torch is imported."""
    for name, value in WAITING.items():
        os.environ.setdefault(name, value)


def add_image_input(parser: ArgumentParser, default: str) -> None:
    """Options that say which page and channels of a file make the image."""
    parser.add_argument(
        "--channels",
        default="",
        metavar="3,2,1",
        help=f"which are red, green and blue; one for grey (default: {default})",
    )
    parser.add_argument("--page", default="", help="of a stack: a number from 1, max or mean")


class ProjectCommand(BaseCommand):
    """Expected exceptions, listed in `expected`, become one clear line, as where no image can be decoded now;
    everything else is a bug and shows itself."""

    expected: tuple[type[Exception], ...] = (OSError, ValueError)

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except DecodersBusy as error:
            raise CommandError(str(error)) from error
        except self.expected as error:
            raise CommandError(str(error) or type(error).__name__) from error

    def print_json(self, value: Any) -> None:
        self.stdout.write(json.dumps(value, ensure_ascii=False))

    def log(self, text: str) -> None:
        """A line for people: on stderr, so that stdout stays what --json promises."""
        self.stderr.write(text, style_func=str)

    def log_progress(self, text: str) -> None:
        """A line that overwrites itself on a terminal, and is silent elsewhere."""
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K{text}")
            sys.stderr.flush()
