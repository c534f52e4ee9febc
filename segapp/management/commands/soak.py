"""manage.py soak: visitors and faults at once; exit status 1 when anything was lost."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from segapp.bench import soak
from segapp.bench.group import ServerFailed
from segapp.management.output import ProjectCommand


class Command(ProjectCommand):
    help = "Runs visitors and faults against a server of its own for a while, and counts what was lost."
    expected: tuple[type[Exception], ...] = (OSError, ValueError, ServerFailed)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--minutes", type=float, default=2.0, metavar="N", help="default: %(default)s")
        parser.add_argument(
            "--calm", type=float, default=0.0, metavar="N", help="minutes without faults before: memory of all parts"
        )
        parser.add_argument("--visitors", type=int, default=4, metavar="N", help="at once (default: %(default)s)")
        parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: %(default)s")
        parser.add_argument("--database", default="", metavar="URL", help="an empty database (default: SQLite)")
        parser.add_argument("--redis", default="", metavar="URL", help="an empty Redis (default: the embedded one)")
        parser.add_argument("--json", action="store_true", help="print one JSON object on stdout, nothing else there")

    def handle(self, **options: Any) -> None:
        result = soak.run(
            options["minutes"],
            options["visitors"],
            options["seed"],
            options["database"],
            options["redis"],
            self.log,
            options["calm"],
        )
        if options["json"]:
            self.print_json(result)
        else:
            self.stdout.write(soak.table(result))
        if result["lost"]:
            raise CommandError("Something was lost; the lines above name it.")
