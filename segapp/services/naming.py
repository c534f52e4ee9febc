"""Names of result files: safe on every system, and all different."""

from collections.abc import Iterable

from segapp.services.pairing import fold, stem_of

FORBIDDEN = str.maketrans(dict.fromkeys('<>:"/\\|?*', "_"))
MAX_STEM_BYTES = 180  # bytes; a numbering and an ending still fit into the 255 that file systems take
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{k}" for port in ("com", "lpt") for k in range(1, 10))}


def result_stems(names: Iterable[str]) -> list[str]:
    """A stem for each file name, in order: its own where no earlier file has it, else with a number behind it.

    Names count as equal when only letter case or Unicode form differ, because some file systems do not tell it apart.
    """
    wanted = [_plain(name) for name in names]
    taken, stems = {fold(stem) for stem in wanted}, []
    seen: set[str] = set()
    for stem in wanted:
        key, number = fold(stem), 2
        if key in seen:
            while fold(f"{stem}_{number}") in taken:
                number += 1
            stem = f"{stem}_{number}"
            key = fold(stem)
        seen.add(key)
        taken.add(key)
        stems.append(stem)
    return stems


def _plain(name: str) -> str:
    stem = stem_of(name).translate(FORBIDDEN).encode()[:MAX_STEM_BYTES].decode(errors="ignore").strip(" .")
    return f"_{stem}" if fold(stem) in RESERVED else stem or "image"
