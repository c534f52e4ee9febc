"""manage.py segment: masks of images, folders, zips and videos."""

import tempfile
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from segapp.imaging import InvalidFile, image_input
from segapp.imaging.formats import is_video
from segapp.management.output import ProjectCommand, add_image_input


class Command(ProjectCommand):
    help = (
        "Writes <stem>.png index masks at each image's own size; for videos <stem>_overlay.mp4, <stem>_mask.mp4 "
        "and <stem>.csv with the shares of every frame."
    )
    expected: tuple[type[Exception], ...] = (OSError, ValueError, InvalidFile)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "files",
            nargs="+",
            type=Path,
            metavar="FILE",
            help="images, folders or zips of images, videos",
        )
        parser.add_argument(
            "--model", default="", help="a model's id or a base's key (default: the active model, else the base)"
        )
        parser.add_argument("--out", type=Path, default=Path("masks"), metavar="DIR", help="default: %(default)s")
        parser.add_argument("--zip", type=Path, metavar="OUT.zip", help="also one zip: masks, overlays, class areas")
        parser.add_argument("--csv", type=Path, metavar="OUT.csv", help="also a table of class areas, for each image")
        add_image_input(parser, "the model's own")
        parser.add_argument("--json", action="store_true", help="print one JSON list on stdout, nothing else there")

    def handle(self, **options: Any) -> None:
        choice = image_input.parse(options["channels"], options["page"])
        from registry.files import ModelFileDamaged, ModelFileMissing
        from registry.runtime import BaseMissing
        from segapp.pipeline.video.demux import InvalidVideo
        from segapp.worker import local, local_batch

        self.expected = (*self.expected, BaseMissing, ModelFileMissing, ModelFileDamaged, InvalidVideo)
        with tempfile.TemporaryDirectory() as scratch:
            files = local_batch.gathered(options["files"], Path(scratch, "unpacked"))
            together = bool(options["zip"] or options["csv"])
            if together and any(is_video(file) for file in files):
                raise ValueError("--zip and --csv are for images. Leave the videos out, or segment them by themselves.")
            options["out"].mkdir(parents=True, exist_ok=True)
            overlays = Path(scratch, "overlays") if options["zip"] else None
            go_on = together or files != options["files"]
            with local.named_network(options["model"]) as network:
                done = local_batch.segment(network, files, options["out"], overlays, go_on, self.tell_progress, choice)
            self.tell_progress("")
            for note in dict.fromkeys(note for result in done.results for note in result.get("notes", ())):
                self.tell(note)
            for file, message in done.left_out:
                self.tell(f"{file}: {message}")
            if options["csv"]:
                local_batch.write_table(options["csv"], done)
            if options["zip"]:
                local_batch.write_zip(options["zip"], done)
        if options["json"]:
            self.print_json(done.results)
            return
        for result in done.results:
            largest = sorted(result["classes"], key=lambda found: -found["percent"])[:4]
            words = ", ".join(f"{found['name']} {found['percent']:.1f} %" for found in largest)
            self.stdout.write(f"{result['mask']}: {words}")
