"""Many images from the command line: folders and zips in, a zip and a table out. No queue, no rows."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registry.files import write_atomically
from registry.runtime import LoadedNetwork
from segapp.imaging import InvalidFile, archive
from segapp.imaging.formats import IMAGE_SUFFIXES, is_archive, is_image, is_video
from segapp.imaging.image_input import ImageInput
from segapp.pipeline.video.process import segment_file
from segapp.services import tables, zips
from segapp.services.naming import result_stems
from segapp.worker.local import refuse_collisions, segment_image
from segapp.worker.local_objects import ObjectSink

LIMITS = archive.Limits(files=100_000, bytes=100 * 10**9, listed=10**8)  # the caller's own disk; bombs stay outside


@dataclass
class Done:
    """What was made: `results` as the command prints them, `left_out` (file, message)."""

    results: list[dict[str, Any]] = field(default_factory=list)
    areas: list[tables.Areas] = field(default_factory=list)
    overlays: list[tuple[str, Path]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def gathered(named: Iterable[Path], scratch: Path) -> list[Path]:
    """The files that were named, the images of a folder and what lies below it, and those of a zip.

    Raises FileNotFoundError, InvalidFile for a zip that is not to be trusted, and ValueError when there is no image.
    """
    files: list[Path] = []
    for path in named:
        if path.is_dir():
            files += _below(path)
        elif not path.is_file():
            raise FileNotFoundError(f"There is no file {path}. Nothing was segmented.")
        elif is_archive(path):
            files += _below(_unpacked(path, scratch / f"{len(files)}"))
        else:
            files.append(path)
    if not files:
        raise ValueError(
            f"There is no image in it. Name a folder or zip that holds {', '.join(sorted(IMAGE_SUFFIXES))}."
        )
    return files


def segment(
    network: LoadedNetwork,
    files: list[Path],
    out: Path,
    overlays: Path | None,
    go_on: bool,
    log: Callable[[str], None],
    choice: ImageInput | None = None,
    objects: ObjectSink | None = None,
) -> Done:
    """Segment each file into `out`. `go_on`: an image that is refused is left out, else it ends everything. `objects`
    gets every image's mask.

    Raises InvalidFile, and ValueError when nothing is left.
    """
    done, stems = Done(), _stems(files, go_on)
    refuse_collisions(files, out, stems)
    for file, stem in zip(files, stems, strict=True):
        if is_video(file):
            done.results.append(segment_file(network, file, out))
            continue
        try:
            found = segment_image(network, file, out, stem, overlays, choice, log, objects)
        except InvalidFile as refused:
            if not go_on:
                raise
            done.left_out.append((str(file), refused.message))
            continue
        finally:
            log(f"{len(done.results) + len(done.left_out) + 1} of {len(files)}: {file.name}")
        done.results.append(found)
        mask = f"masks/{stem}{Path(found['mask']).suffix}"
        done.areas.append(tables.Areas(str(file), mask, found["classes"], network.key, network.sha256))
        if overlays is not None and (overlays / f"{stem}.jpg").exists():
            done.overlays.append((f"overlays/{stem}.jpg", overlays / f"{stem}.jpg"))
    if not done.results:
        raise ValueError(" ".join(f"{file}: {message}" for file, message in done.left_out))
    return done


def _stems(files: list[Path], numbered: bool) -> list[str]:
    """The files' own stems, as they are; only where two are equal, and came from folders, do they get numbers."""
    own = [file.stem for file in files]
    return result_stems(file.name for file in files) if numbered and len(set(own)) < len(own) else own


def write_table(path: Path, done: Done) -> None:
    table = tables.class_areas(done.areas).encode()
    write_atomically(path, lambda out: out.write(table))


def write_zip(path: Path, done: Done) -> None:
    """The same zip as a batch of the server gives."""
    write_atomically(path, lambda out: out.writelines(zips.stream(_members(done))))


def _members(done: Done) -> Iterator[zips.Member]:
    yield "classes.csv", tables.class_areas(done.areas).encode()
    if done.left_out:
        yield "left_out.csv", tables.left_out(done.left_out).encode()
    for area, result in zip(done.areas, done.results, strict=True):
        yield area.mask, Path(result["mask"])
    yield from done.overlays


def _below(folder: Path) -> list[Path]:
    """All images of a folder, hidden ones not, in the order of their paths."""
    found = (path for path in folder.rglob("*") if is_image(path) and path.is_file())
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def _unpacked(path: Path, folder: Path) -> Path:
    with path.open("rb") as file, archive.opened(file, path.name, LIMITS) as opened:
        for info in opened.infolist():
            if archive.is_hidden(info) or not is_image(archive.path_of(info)):
                continue
            target = folder / archive.path_of(info)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as out:
                out.writelines(archive.pieces(opened, info, LIMITS.bytes, path.name))
    return folder
