"""`bench serve` from outside, and its figures for people. Free of torch."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from segapp.bench.apart import alone


@dataclass(frozen=True)
class Options:
    """`models` are registered, an active one for each of `visitors`; requests rotate over `rotate` of those.

    `requests` is the number of requests in each phase, `rate` requests a second, 0 for what the machine can take;
    `plain` requests go the plain way, too.
    """

    visitors: int = 100
    models: int = 100
    rotate: int = 100
    requests: int = 200
    rate: float = 0.0
    base: str = "auto"

    plain: int = 24

    def check(self) -> None:
        """Raises ValueError with what to change."""
        if min(self.visitors, self.models, self.rotate, self.requests) < 1 or self.rate < 0:
            raise ValueError("Visitors, models, rotate and requests are numbers from 1 on, the rate is 0 or more.")
        most = min(self.visitors, self.models)
        if self.rotate > most:
            raise ValueError(
                f"Only {most} visitors have a model of their own, so requests cannot rotate over {self.rotate}. "
                "Raise --visitors and --models, or lower --rotate."
            )


def measure(options: Options, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Run the bench on an empty home; its progress goes to stderr. Raises ValueError and BenchFailed."""
    options.check()
    return alone("serve", asdict(options), environment)


def run(options: dict[str, Any], log: Callable[[str], None]) -> dict[str, Any]:
    """`measure` with the command's options. Raises ValueError when they do not fit, BenchFailed."""
    models = options["models"]
    chosen = Options(
        visitors=options["visitors"] or models,
        models=models,
        rotate=options["rotate"] or min(models, options["visitors"] or models),
        requests=options["requests"],
        rate=options["rate"],
        base=options["base"],
    )
    chosen.check()
    log("A server of its own is started on a temporary home; this takes some minutes.")
    return measure(chosen)


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    ratios, masks, cache = result["ratios"], result["masks"], result["cache"]["after"]
    rows = [
        f"{result['models']} models of {result['visitors']} visitors on {result['base']}, "
        f"{result['file_mb']} MB each, {result['rotate']} of them in turn",
        _row("one model", result["one"]),
        _row("all in turn", result["rotated"]),
        _row("  first time", result["rotated_first_time"]),
        _row(f"at {result['at_rate']['rate']:g}/s", result["at_rate"]),
        f"rotating costs {ratios['rotated_over_one']} x one model; the plain way {ratios['plain_rotated_over_one']} x",
        f"plain over ours: {ratios['plain_over_ours_rotated']} x the latency, {ratios['plain_over_ours_load']} x the "
        f"loading ({ratios['cold_load_ms']} ms), {ratios['plain_over_ours_file']} x the file, "
        f"{ratios['plain_over_ours_memory']} x the memory",
        f"masks: {masks['checked']} checked, {masks['wrong']} wrong, {masks['identical']} identical to the last pixel "
        f"(two models agree on at most {masks['agreement_between_models']})",
        "cache: "
        + ", ".join(f"{name} {cache.get(name, 0):g}" for name in ("hits", "misses", "loads", "evictions", "entries"))
        + f", {cache.get('bytes', 0) / 2**20:.1f} of {ratios['cache_limit_mb']} MB",
        f"memory of the predict worker grew by {ratios['memory_growth_mb']} MB: {ratios['growth_over_limit']} of the "
        "cache's limit",
    ]
    for when, parts in result["memory_mb"].items():
        rows.append(f"memory {when.replace('_', ' ')}: " + ", ".join(f"{part} {mb} MB" for part, mb in parts.items()))
    return "\n".join(rows)


def _row(name: str, found: dict[str, Any]) -> str:
    words = f"{name:<12} p50 {found['p50_ms']} ms, p95 {found['p95_ms']} ms, p99 {found['p99_ms']} ms"
    words += f"; {found['answered']} answered, {found['turned_away']} turned away, {found['errors']} errors"
    return words + (f", {found['per_second']} a second" if "per_second" in found else "")
