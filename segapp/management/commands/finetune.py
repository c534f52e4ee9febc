"""manage.py finetune: train a model from two folders in this process, without broker or web."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings

from segapp.imaging import InvalidFile, forked, image_input
from segapp.imaging.object_options import parse_things
from segapp.importing import without_collection
from segapp.management.output import ProjectCommand, add_image_input, share_the_cores
from segapp.models import Effort
from segapp.services.errors import InvalidUpload


class Command(ProjectCommand):
    requires_system_checks = ()  # those of the web pages, whose modules would be imported for them
    help = "Trains a model from a folder of images and a folder of masks, and publishes it."
    expected: tuple[type[Exception], ...] = (OSError, ValueError, InvalidFile, InvalidUpload)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("images", type=Path, metavar="IMAGES_DIR")
        parser.add_argument("masks", type=Path, metavar="MASKS_DIR", help="masks with the same stems as the images")
        parser.add_argument("--effort", choices=Effort.values, default=Effort.QUICK)
        parser.add_argument(
            "--base", default=settings.SEGAPP_BASE, metavar="KEY", help="base model (default: %(default)s)"
        )
        parser.add_argument("--name", default="", help="how the model is called in lists")
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--steps", type=int, help="train exactly so many steps instead of a time budget")
        parser.add_argument("--visitor", default="local", help="whose model it becomes (default: %(default)s)")
        parser.add_argument("--objects", choices=["true", "false"], help="mask values number objects, or are classes")
        parser.add_argument("--swap", action="store_true", help="swap the background and the one class")
        parser.add_argument(
            "--things",
            default="",
            metavar="IDS",
            help="classes whose objects are counted, or none (default: automatic)",
        )
        add_image_input(parser, "the first page, the first three channels")
        parser.add_argument("--json", action="store_true", help="print one JSON object on stdout, nothing else there")

    def handle(self, **options: Any) -> None:
        share_the_cores()
        forked.start()  # beside the imports
        with without_collection():  # here: they bring torch, and --help should not wait for it
            from registry.runtime import BaseMissing
            from segapp.pipeline.training.finetune import TrainingFailed
            from segapp.worker.local_training import train_folders

        self.expected = (*self.expected, BaseMissing, TrainingFailed)
        notes: list[str] = []
        model = train_folders(
            options["images"],
            options["masks"],
            effort=options["effort"],
            base_key=options["base"],
            name=options["name"],
            seed=options["seed"],
            steps=options["steps"],
            visitor=options["visitor"],
            objects={"true": True, "false": False}.get(options["objects"]),
            swap=options["swap"],
            things=parse_things(options["things"]),
            image_input=image_input.parse(options["channels"], options["page"]),
            log=self.log_progress,
            note=notes.append,
        )
        for line in notes:
            self.stderr.write(line)
        if options["json"]:
            self.print_json(
                {
                    "user_id": model.public_id,
                    "file": str(model.path.resolve()),
                    "base": model.base_key,
                    "seconds": model.seconds,
                    "metrics": model.metrics,
                    "classes": model.classes,
                    "notes": notes,
                }
            )
            return
        self.stdout.write(f"{model.key}: trained in {model.seconds:.1f} s on {model.image_count} images.")
        self.stdout.write(str(model.metrics.get("sentence", "")))
        self.stdout.write(f"The file is {model.path}")
