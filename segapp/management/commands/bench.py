"""manage.py bench: figures of this machine, each as a ratio against the plain way in the same run."""

from argparse import ArgumentParser
from importlib import import_module
from pathlib import Path
from typing import Any

from django.conf import settings

from segapp.imaging import InvalidFile
from segapp.management.output import ProjectCommand, share_the_cores

COUNTS = (1, 2, 5, 20, 50)
RECIPES = ("naive", "usual", "quick", "thorough")
# What can be measured, and the module that does it: run(options, log) -> what --json prints, and
# table(result) -> the lines for people. `options` are this command's; run raises ValueError or OSError when it cannot.
BENCHES = {
    "finetune": "segapp.bench.run_finetune",
    "live": "segapp.bench.run_live",
    "load": "segapp.bench.run_load",
    "segment": "segapp.bench.run_segment",
    "serve": "segapp.bench.run_serve",
    "video": "segapp.bench.run_video",
    "objects": "segapp.bench.run_objects",
    "decode": "segapp.bench.run_decode",
}


class Command(ProjectCommand):
    help = "Measures this machine: " + ", ".join(BENCHES) + ". Every figure comes with its ratio to the plain way."
    expected: tuple[type[Exception], ...] = (OSError, ValueError, InvalidFile)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("what", choices=list(BENCHES), metavar="WHAT", help=", ".join(BENCHES))
        parser.add_argument(
            "--sets", nargs="+", type=Path, default=[], metavar="DIR",
            help="what to measure on: folders with images/ and masks/ (objects: and instances/), or folders of such, "
            "of clips for video, of images for segment and load (default: drawn samples)",
        )  # fmt: skip
        parser.add_argument("--base", default=settings.SEGAPP_BASE, metavar="KEY", help="default: %(default)s")
        parser.add_argument("--json", action="store_true", help="print one JSON object on stdout, nothing else there")
        tuning = parser.add_argument_group("finetune, objects, live (finetune: --recipes)")
        tuning.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N", help="default: 0 1 2")
        tuning.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES), help="default: all four")
        tuning.add_argument(
            "--images", nargs="*", type=int, metavar="N",
            help="finetune: instead, quick trainings on so many images each (default: 1 2 5 20 50, as far as a set has "
            "them), and on 10 strokes a class on five",
        )  # fmt: skip
        tuning.add_argument(
            "--tests", type=int, default=30, metavar="N", help="images to score on (default: %(default)s)"
        )
        tuning.add_argument(
            "--rows", type=Path, metavar="FILE", help="keep finished draws in FILE, and do not repeat those in it"
        )
        load = parser.add_argument_group("serve (segment, decode: --requests; live: strokes of each of three visitors)")
        load.add_argument(
            "--visitors", type=int, default=0, metavar="N",
            help="default: as many as models; load: the most to try (default: 400)",
        )  # fmt: skip
        load.add_argument("--models", type=int, default=100, metavar="N", help="registered (default: %(default)s)")
        load.add_argument("--rotate", type=int, default=0, metavar="N", help="asked in turn (default: all)")
        load.add_argument("--requests", type=int, default=200, metavar="N", help="each phase (default: %(default)s)")
        load.add_argument("--rate", type=float, default=0.0, metavar="N", help="a second (default: what it can take)")
        held = parser.add_argument_group("load (with --visitors, --models)")
        held.add_argument("--seconds", type=float, default=40.0, metavar="N", help="each number (default: %(default)s)")
        held.add_argument("--minutes", type=float, default=15.0, metavar="N", help="at most (default: %(default)s)")
        held.add_argument(
            "--database", default="", metavar="URL", help="an empty PostgreSQL; with --redis, web, two predict and two "
            "train workers are process groups of their own",
        )  # fmt: skip
        held.add_argument("--redis", default="", metavar="URL", help="an empty Redis")
        held.add_argument("--training", action="store_true", help="each train worker trains meanwhile")

    def handle(self, *, what: str, **options: Any) -> None:
        share_the_cores()
        from registry.runtime import BaseMissing  # here: it brings torch, and --help should not wait for it
        from registry.weights import WeightsUnavailable
        from segapp.pipeline.training.loop import TrainingFailed

        self.expected = (*self.expected, BaseMissing, WeightsUnavailable, TrainingFailed)
        if options["images"] is not None:
            options["images"] = options["images"] or list(COUNTS)
        bench = import_module(BENCHES[what])
        result = bench.run(options, self.log)
        if options["json"]:
            self.print_json(result)
            return
        self.stdout.write(bench.table(result))
