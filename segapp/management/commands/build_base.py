"""manage.py build_base: a base model from folders of pairs, or distilled from a ready base on images alone."""

import argparse
import json
import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings

from registry.bases import CATALOGUE
from segapp.management.output import ProjectCommand
from segapp.supervisor import die_with_parent

WORKER_NICE = 10  # on top of the worker's own


class Command(ProjectCommand):
    help = "Builds a base model into media/bases: trained on --data folders, or distilled from --teacher."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("key", choices=list(CATALOGUE), metavar="KEY", help=", ".join(CATALOGUE))
        parser.add_argument("--data", nargs="+", type=Path, metavar="DIR", help="folders with images/ and masks/")
        parser.add_argument("--stems", type=Path, metavar="FILE", help="train on these stems only, one a line")
        parser.add_argument(
            "--teacher", default="auto", metavar="KEY", help="ready base to learn from (default: the first other one)"
        )
        parser.add_argument(
            "--images", type=Path, metavar="DIR", help="images without masks (default: the sample images)"
        )
        parser.add_argument("--seconds", type=float, help="training time (default: the recipe's)")
        parser.add_argument("--steps", type=int, help="train exactly so many steps instead")
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--out", type=Path, metavar="DIR", help="default: media/bases")
        parser.add_argument("--json", action="store_true", help="print the model card as one JSON object on stdout")
        parser.add_argument("--weights-only", action="store_true", help="only fetch the encoder's weights from the hub")
        # For the workers: print how far it is as lines of JSON, at the lowest priority, and end with that process.
        parser.add_argument("--for-worker", type=int, metavar="PID", help=argparse.SUPPRESS)

    def handle(self, **options: Any) -> None:
        self.report = self._tell_report
        if options["for_worker"]:
            die_with_parent(options["for_worker"])
            os.nice(WORKER_NICE)
            self.report = self._print_report
        from registry.runtime import BaseMissing
        from registry.weights import WeightsUnavailable, download
        from segapp.worker.bases import distil, train

        self.expected = (*self.expected, BaseMissing, WeightsUnavailable, ArithmeticError)
        out = options["out"] or settings.MEDIA_ROOT / "bases"
        limits = {name: options[name] for name in ("seconds", "steps", "seed")}
        download(
            CATALOGUE[options["key"]].encoder,
            settings.SEGAPP_WEIGHTS,
            lambda fraction: self.report({"stage": "weights", "fraction": fraction}),
        )
        if options["weights_only"]:
            return
        if options["data"]:
            card = train(options["key"], options["data"], options["stems"], out, self.report, **limits)
        else:
            card = distil(options["key"], options["teacher"], options["images"], out, self.report, **limits)
        self.log_progress("")
        if options["json"]:
            self.print_json(card)
            return
        self.stdout.write(f"{out / ('base_' + options['key'] + '.pth')} is ready.")
        for name, value in (card.get("metrics") or {}).items():
            self.stdout.write(f"  {name}: {value}")

    def _tell_report(self, figures: dict[str, Any]) -> None:
        shown = {name: f"{value:.3g}" if isinstance(value, float) else value for name, value in figures.items()}
        self.log_progress(", ".join(f"{name} {value}" for name, value in shown.items()))

    def _print_report(self, figures: dict[str, Any]) -> None:
        print(json.dumps(figures), flush=True)
