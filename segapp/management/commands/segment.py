"""manage.py segment: index masks for pictures, and masked copies of videos."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from segapp.imaging import Refused
from segapp.management.output import ProjectCommand


class Command(ProjectCommand):
    help = (
        "Writes <stem>.png index masks at each picture's own size; for videos <stem>_overlay.mp4, <stem>_mask.mp4 "
        "and <stem>.csv with the shares of every frame."
    )
    expected: tuple[type[Exception], ...] = (OSError, ValueError, Refused)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
        parser.add_argument(
            "--model", default="", help="a model's id or a base's key (default: the active model, else the base)"
        )
        parser.add_argument("--out", type=Path, default=Path("masks"), metavar="DIR", help="default: %(default)s")
        parser.add_argument("--json", action="store_true", help="print one JSON list on stdout, nothing else there")

    def handle(self, **options: Any) -> None:
        from registry.files import ModelFileDamaged, ModelFileMissing
        from registry.runtime import BaseMissing
        from segapp.pipeline.clip import ClipRefused, segment_file
        from segapp.worker import local

        self.expected = (*self.expected, BaseMissing, ModelFileMissing, ModelFileDamaged, ClipRefused)
        for file in options["files"]:
            if not file.is_file():
                raise FileNotFoundError(f"There is no file {file}. Nothing was segmented.")
        local.refuse_collisions(options["files"], options["out"])
        options["out"].mkdir(parents=True, exist_ok=True)
        results = []
        with local.named_network(options["model"]) as network:
            for file in options["files"]:
                one = segment_file if file.suffix.lower() in local.VIDEOS else local.segment_picture
                results.append(one(network, file, options["out"]))
                self.tell_progress(f"{file.name} done")
        self.tell_progress("")
        if options["json"]:
            self.print_json(results)
            return
        for result in results:
            largest = sorted(result["classes"], key=lambda found: -found["percent"])[:4]
            words = ", ".join(f"{found['name']} {found['percent']:.1f} %" for found in largest)
            self.stdout.write(f"{result['mask']}: {words}")
