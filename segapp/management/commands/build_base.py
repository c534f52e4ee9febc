"""manage.py build_base: a base model from folders of pairs, or distilled from a ready base on images alone."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings

from registry.bases import CATALOGUE
from segapp.management.output import ProjectCommand


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

    def handle(self, **options: Any) -> None:
        from registry.runtime import BaseMissing
        from registry.weights import WeightsUnavailable
        from segapp.worker.bases import distil, train

        self.expected = (*self.expected, BaseMissing, WeightsUnavailable, ArithmeticError)
        out = options["out"] or settings.MEDIA_ROOT / "bases"
        limits = {name: options[name] for name in ("seconds", "steps", "seed")}
        if options["data"]:
            card = train(options["key"], options["data"], options["stems"], out, self._report, **limits)
        else:
            card = distil(options["key"], options["teacher"], options["images"], out, self._report, **limits)
        self.tell_progress("")
        if options["json"]:
            self.print_json(card)
            return
        self.stdout.write(f"{out / ('base_' + options['key'] + '.pth')} is ready.")
        for name, value in (card.get("metrics") or {}).items():
            self.stdout.write(f"  {name}: {value}")

    def _report(self, figures: dict[str, Any]) -> None:
        shown = {name: f"{value:.3g}" if isinstance(value, float) else value for name, value in figures.items()}
        self.tell_progress(", ".join(f"{name} {value}" for name, value in shown.items()))
