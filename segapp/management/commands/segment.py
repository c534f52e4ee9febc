"""manage.py segment: masks of images, folders, zips and videos."""

import tempfile
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from segapp.imaging import InvalidFile, image_input, object_formats
from segapp.imaging.formats import is_video
from segapp.imaging.object_formats import KEYS
from segapp.importing import without_collection
from segapp.management.object_options import add_object_options, object_options
from segapp.management.output import ProjectCommand, add_image_input, share_the_cores

FOR_IMAGES = "--zip, --csv, --objects, --geojson and --export"


class Command(ProjectCommand):
    requires_system_checks = ()  # those of the web pages, whose modules would be imported for them
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
        parser.add_argument("--objects", type=Path, metavar="FILE", help="a table of all objects: .csv or .xlsx")
        parser.add_argument("--geojson", type=Path, metavar="DIR", help="the objects' polygons, a file for each image")
        parser.add_argument("--export", type=Path, metavar="DIR", help="the objects in the formats of --formats")
        parser.add_argument(
            "--formats", default="coco", metavar="A,B", help=f"any of {', '.join(KEYS)} (default: %(default)s)"
        )
        add_object_options(parser)
        add_image_input(parser, "the model's own")
        parser.add_argument("--json", action="store_true", help="print one JSON list on stdout, nothing else there")

    def handle(self, **options: Any) -> None:
        share_the_cores()
        choice = image_input.parse(options["channels"], options["page"])
        wanted, formats = object_options(options), object_formats.parse(options["formats"])
        with without_collection():  # here: they bring torch, and --help should not wait for it
            from registry.files import ModelFileDamaged, ModelFileMissing
            from registry.runtime import BaseMissing
            from segapp.measurement.objects import TooManyObjects
            from segapp.pipeline.video.demux import InvalidVideo
            from segapp.worker import local, local_batch
            from segapp.worker.local_objects import ObjectSink

        self.expected = (*self.expected, BaseMissing, ModelFileMissing, ModelFileDamaged, InvalidVideo, TooManyObjects)
        with tempfile.TemporaryDirectory() as scratch:
            files = local_batch.gathered(options["files"], Path(scratch, "unpacked"))
            places = (options["objects"], options["geojson"], options["export"])
            sink = ObjectSink(wanted, *places, formats=formats) if any(places) else None
            together = bool(options["zip"] or options["csv"] or sink)
            if together and any(is_video(file) for file in files):
                raise ValueError(f"{FOR_IMAGES} are for images. Leave the videos out, or segment them by themselves.")
            options["out"].mkdir(parents=True, exist_ok=True)
            overlays = Path(scratch, "overlays") if options["zip"] else None
            go_on = together or files != options["files"]
            with local.named_network(options["model"]) as network:
                done = local_batch.segment(
                    network, files, options["out"], overlays, go_on, self.log_progress, choice, sink
                )
            self.log_progress("")
            if sink:
                sink.finish()
                if sink.note:
                    self.log(sink.note)
            for note in dict.fromkeys(note for result in done.results for note in result.get("notes", ())):
                self.log(note)
            for file, message in done.left_out:
                self.log(f"{file}: {message}")
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
            self.stdout.write(f"{result['mask']}: {words}{_counts(result)}")


def _counts(result: dict[str, Any]) -> str:
    """How many objects each class has, as the line of an image ends."""
    names = {str(found["id"]): found["name"] for found in result["classes"]}
    counts = ", ".join(f"{count} × {names[k]}" for k, count in result.get("objects", {}).items())
    return f"; {counts}" if counts else ""
