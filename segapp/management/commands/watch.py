"""manage.py watch: segments what arrives in a folder."""

import signal
from argparse import ArgumentParser, BooleanOptionalAction
from pathlib import Path
from typing import Any

from segapp.imaging import InvalidFile, image_input
from segapp.management.object_options import add_object_options, object_options
from segapp.management.output import ProjectCommand, add_image_input


class Command(ProjectCommand):
    requires_system_checks = ()  # those of the web pages, whose modules would be imported for them
    help = (
        "Segments images and videos as they arrive in IN_DIR: masks, tables of objects, polygons and classes.csv in "
        "OUT_DIR. What cannot be used goes to OUT_DIR/failed with a text that says why. Goes on where it was after a "
        "restart; Ctrl-C or SIGTERM ends it."
    )
    expected: tuple[type[Exception], ...] = (OSError, ValueError, InvalidFile)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path, metavar="IN_DIR", help="where files arrive; subfolders too")
        parser.add_argument("out", type=Path, metavar="OUT_DIR", help="where results go")
        parser.add_argument(
            "--model", default="", help="a model's id or a base's key (default: the active model, else the base)"
        )
        parser.add_argument("--visitor", default="", metavar="ID", help="whose model (default: those made by command)")
        parser.add_argument(
            "--stable",
            type=float,
            default=5.0,
            metavar="SECONDS",
            help="a file is taken when it has not changed for so long (default: %(default)g)",
        )
        parser.add_argument("--once", action="store_true", help="end when all that is there is done, for cron")
        parser.add_argument("--move-done", action="store_true", help="move finished files to OUT_DIR/done")
        parser.add_argument(
            "--objects", action=BooleanOptionalAction, default=True, help="tables and polygons of single objects"
        )
        add_object_options(parser)
        add_image_input(parser, "the model's own")
        parser.add_argument("--json", action="store_true", help="print one JSON object for each file on stdout")

    def handle(self, **options: Any) -> None:
        if options["stable"] < 0:
            raise ValueError(f"--stable {options['stable']:g}: name a number of seconds from 0.")
        choice = image_input.parse(options["channels"], options["page"])
        measured = object_options(options) if options["objects"] else None
        from registry.files import ModelFileDamaged, ModelFileMissing
        from registry.runtime import BaseMissing
        from segapp.worker.watch import Ended, Order, Outcome, Watch
        from segapp.worker.watch_journal import WatchedAlready

        self.expected = (*self.expected, BaseMissing, ModelFileMissing, ModelFileDamaged, WatchedAlready)

        def end(*_: object) -> None:
            raise Ended

        def told(outcome: Outcome) -> None:
            if options["json"]:
                self.print_json({"file": outcome.file, "problem": outcome.problem or None, **(outcome.result or {})})
            elif outcome.result is None:
                self.log(f"{outcome.file}: {outcome.problem}")
            else:
                self.stdout.write(f"{outcome.file}: {_summary(outcome.result)}")
            self.stdout.flush()

        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        order = Order(options["model"], options["visitor"], measured, choice, options["move_done"])
        pause = min(1.0, max(0.2, options["stable"] / 5))
        try:
            watch = Watch(options["folder"], options["out"], order, options["stable"])
            watch.check()
            if options["once"]:
                watch.once(told, pause)
            else:
                self.log(f"Watching {options['folder']}; results go to {options['out']}.")
                watch.forever(told, self.log, pause)
        except Ended:
            self.log("Ended; what is not done yet is done next time.")


def _summary(result: dict[str, Any]) -> str:
    present = [found for found in result["classes"] if found["percent"] > 0]
    largest = sorted(present, key=lambda found: -found["percent"])[:4]
    words = ", ".join(f"{found['name']} {found['percent']:.1f} %" for found in largest)
    names = {str(found["id"]): found["name"] for found in result["classes"]}
    counts = ", ".join(f"{count} × {names[k]}" for k, count in result.get("objects", {}).items())
    return f"{words}; {counts}" if counts else words
