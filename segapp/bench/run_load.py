"""`bench load` from outside, and its figures for people. Free of torch."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from segapp.bench.apart import alone
from segapp.bench.load_levels import ANALYZE, MAX_P95_MS, PAGE
from segapp.bench.run_segment import is_image

MOST = 400  # visitors; the web server takes 800 connections


@dataclass(frozen=True)
class Options:
    """At most `most` visitors at a time, every second one with one of `models` models of their own, for `seconds` each
    number and `minutes` altogether; photos from the files `images`, drawn ones without. `training`: each train worker
    trains meanwhile. `apart`: one web, two predict and two train workers as process groups of their own."""

    most: int = MOST
    models: int = 100
    seconds: float = 40.0
    minutes: float = 15.0
    images: tuple[str, ...] = ()
    training: bool = False
    apart: bool = False
    base: str = "auto"

    def check(self) -> None:
        """Raises ValueError with what to change."""
        if not 1 <= self.most <= MOST:
            raise ValueError(f"Visitors are a number from 1 to {MOST}.")
        if self.models < 0 or self.seconds <= 0 or self.minutes <= 0:
            raise ValueError("Models are a number from 0 on, seconds and minutes are more than 0.")


def run(options: dict[str, Any], log: Callable[[str], None]) -> dict[str, Any]:
    """A row for each number of visitors, and the largest that was held. Raises ValueError, and BenchFailed."""
    folders: list[Path] = options["sets"]
    files = sorted(path for folder in folders for path in folder.rglob("*") if is_image(path))
    if folders and not files:
        raise ValueError(f"There is no image in {', '.join(map(str, folders))}. Name a folder with images.")
    if bool(options["database"]) != bool(options["redis"]):
        raise ValueError("Name both, an empty database with --database and an empty Redis with --redis, or neither.")
    chosen = Options(
        most=options["visitors"] or MOST,
        models=options["models"],
        seconds=options["seconds"],
        minutes=options["minutes"],
        images=tuple(str(path.resolve()) for path in files),
        training=options["training"],
        apart=bool(options["database"]),
        base=options["base"],
    )
    chosen.check()
    log(f"A server of its own is started on a temporary home; this takes up to {chosen.minutes + 3:g} minutes.")
    variables = {"DATABASE_URL": options["database"], "REDIS_URL": options["redis"]} if chosen.apart else {}
    return alone("load", asdict(chosen), variables)


def table(result: dict[str, Any]) -> str:
    """A line a number of visitors, then the largest held."""
    ended = result["trainings_ended"]
    training = "" if ended is None else f", trainings all the time ({ended} ended)"
    lines = [
        f"{result['setup']} ({result['database']}), {result['base']}, {result['cores']} cores, "
        f"load {result['load_before']} before{training}; {result['minutes']} minutes",
        f"{'visitors':>8} {'requests/s':>10} {'page p50':>9} {'p95':>7} {'analyze p50':>12} {'p95':>7} {'refused':>8} "
        f"{'errors':>6}   cores of web, predict, train, this bench, others",
    ]
    for row in result["levels"]:
        page, analyze = ([_ms(row[f"{kind}_p{n}_ms"]) for n in (50, 95)] for kind in (PAGE, ANALYZE))
        cores = ", ".join(f"{row['cores'].get(part, 0):.2f}" for part in ("web", "predict", "train", "bench", "other"))
        lines.append(
            f"{row['visitors']:>8} {row['requests_per_second']:>10} {page[0]:>9} {page[1]:>7} {analyze[0]:>12} "
            f"{analyze[1]:>7} {row['refused']:>8} {row['errors']:>6}   {cores}{'' if row['held'] else '   not held'}"
        )
        lines += [f"{'':>8} {count} x {what}" for what, count in row.get("errors_by_kind", {}).items()]
    limits = f"p95 of a page at most {MAX_P95_MS[PAGE] / 1000:g} s, of Analyze {MAX_P95_MS[ANALYZE] / 1000:g} s"
    finished = "" if result["complete"] else "; the time was over before the next number"
    return "\n".join([*lines, f"held: {result['held']} visitors at a time ({limits}, nothing refused){finished}"])


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"
