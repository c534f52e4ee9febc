"""A folder whose images are segmented as they arrive, for machines that only write files. No queue, no web.

Each file's results are made aside, moved into place one by one, and then written down in the journal: a process that
is killed at any point leaves whole files only, and the next one goes on with what is not written down.
"""

import contextlib
import errno
import logging
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import close_old_connections, connection

from registry.files import disk_is_full, write_atomically
from registry.models import UserModel
from registry.runtime import LoadedNetwork
from segapp.imaging import InvalidFile
from segapp.imaging.formats import is_video
from segapp.imaging.image_input import ImageInput
from segapp.imaging.object_options import ObjectOptions
from segapp.measurement.objects import TooManyObjects
from segapp.pipeline.video.demux import InvalidVideo
from segapp.pipeline.video.process import segment_file
from segapp.services import tables
from segapp.worker.arrivals import Arrival, Arrivals, Identity, identity_of
from segapp.worker.local import named_network, segment_image
from segapp.worker.local_objects import ObjectSink
from segapp.worker.watch_journal import BEGUN, DONE, FAILED, LEFT, Journal, printable

logger = logging.getLogger(__name__)

OWN = ".watch"  # in the folder of results: the journal, and what is being made
MAX_ATTEMPTS = 5  # of one file; one that the process dies of so often is put aside
FULL_SECONDS = 30.0  # between two tries while the disk is full
ADVICE = "Put a corrected file into the watched folder; it is taken like a new one."
DIED = f"The program ended {MAX_ATTEMPTS} times while it worked on this file. Save it smaller, or as a PNG."
UNKNOWN = "This file could not be segmented; the log says why. Save it smaller, or as a PNG."


class Ended(BaseException):
    """Asked to end. No `Exception`, so that nothing swallows it."""


@dataclass(frozen=True)
class Order:
    """What is to be done with each file.

    model: an id or a base's key, "" for the active model of `visitor`. objects: None leaves objects out. move: finished
    files go to `done/` among the results.
    """

    model: str
    visitor: str
    objects: ObjectOptions | None
    image_input: ImageInput
    move: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of one file; `result` as the journal has it, or `problem` with what to do."""

    file: str
    result: dict[str, Any] | None = None
    problem: str = ""


class Watch:
    """Writes into `out`: masks/, objects/ and polygons/ with a file for each image, videos/, classes.csv, failed/."""

    def __init__(self, folder: Path, out: Path, order: Order, seconds: float) -> None:
        if not folder.is_dir():
            raise NotADirectoryError(f"{folder} is not a folder. Name the folder that files arrive in.")
        if out.resolve() == folder.resolve():
            raise ValueError("Results would arrive in the watched folder. Name another folder for them.")
        self.out, self.order = out, order
        self.journal = Journal(out / OWN)
        self.staging = out / OWN / "staging"
        self.arrivals = Arrivals(folder, (out,), seconds)
        self._clear_staging()
        self._clear_drafts()
        self._write_classes()

    def check(self) -> None:
        """Raises ValueError, ModelNotFound, BaseMissing, ModelFileMissing or ModelFileDamaged when nothing answers."""
        with self._network():
            pass

    def turn(self, told: Callable[[Outcome], None]) -> int:
        """Work on everything that has arrived; how many files that were. Raises what `check` raises, and OSError."""
        arrived = self.arrivals.settled(self._is_new)
        for arrival in arrived:
            outcome = self._handled(arrival)
            if outcome is not None:
                told(outcome)
        return len(arrived)

    def forever(self, told: Callable[[Outcome], None], say: Callable[[str], None], pause: float) -> None:
        """Until the process is asked to end. A full disk is waited for."""
        while True:
            try:
                self.turn(told)
            except OSError as error:
                if not disk_is_full(error):
                    raise
                say(f"The disk of {self.out} is full. Free some space; it goes on by itself.")
                time.sleep(FULL_SECONDS)
            time.sleep(pause)

    def once(self, told: Callable[[Outcome], None], pause: float) -> None:
        """Everything that is there; what is still being written when the rest is done is left for the next time."""
        until = None
        while True:
            if self.turn(told):
                until = None
            if not self.arrivals.unsettled:
                return
            until = until or time.monotonic() + 2 * self.arrivals.seconds + pause
            if time.monotonic() > until:
                return
            time.sleep(pause)

    def _is_new(self, name: str, identity: Identity) -> bool:
        if self.journal.is_new(name, identity):
            return True
        if self.order.move and self.journal.is_done(name, identity):  # ended before it could be moved
            self._move(self.arrivals.folder / name, _free(self.out / "done" / name))
        return False

    # --- one file -----------------------------------------------------------------------------------------

    def _handled(self, arrival: Arrival) -> Outcome | None:
        """None when the file changed or vanished meanwhile: it arrives again."""
        if self.journal.attempts(arrival) >= MAX_ATTEMPTS:
            return self._put_aside(arrival, DIED)
        self.journal.write(BEGUN, arrival)
        with contextlib.ExitStack() as stack:
            try:
                self._clear_staging()
                network = stack.enter_context(self._network())
                result = self._made(network, arrival)
            except _Unusable as unusable:
                problem, result = str(unusable), None
            except BaseException:  # the model, the disk, or asked to end: not the file's fault
                self.journal.write(LEFT, arrival)
                raise
        if identity_of(arrival.path) != arrival.identity:  # written to, or taken away, while it was read
            self.journal.write(LEFT, arrival)
            return None
        if result is None:
            return self._put_aside(arrival, problem)
        self._publish()
        again = self.journal.is_done(arrival.name)
        self.journal.write(DONE, arrival, **result)
        self._add_classes(arrival.name, result, again)
        if self.order.move:
            self._move(arrival.path, _free(self.out / "done" / arrival.name))
        return Outcome(printable(arrival.name), result)

    @contextlib.contextmanager
    def _network(self) -> Any:
        if not connection.in_atomic_block:
            close_old_connections()  # hours may have passed since the last file
        model, visitor = self.order.model, self.order.visitor
        if model and visitor and not _owns(visitor, model):
            raise ValueError(f"There is no model {model} of the visitor {visitor}. Name one of theirs.")
        with named_network(model, visitor or "local") as network:
            yield network

    def _made(self, network: LoadedNetwork, arrival: Arrival) -> dict[str, Any]:
        """All results of a file in the staging folder, laid out as they are to be.

        Raises _Unusable for what is the file's fault, and OSError for what is the disk's.
        """
        stem = self.journal.stem(arrival.name)
        try:
            make = self._video if is_video(arrival.name) else self._image
            found = make(network, arrival, stem)
        except InvalidFile as refused:
            raise _Unusable(refused.message) from refused
        except (InvalidVideo, TooManyObjects) as refused:
            raise _Unusable(str(refused)) from refused
        except OSError as error:
            if disk_is_full(error) or _is_below(error.filename, self.out):
                raise
            if isinstance(error, PermissionError):
                raise _Unusable("This file may not be read. Give this user the right to read it.") from error
            logger.exception("%s failed", arrival.path)
            raise _Unusable(UNKNOWN) from error
        except Exception as error:
            logger.exception("%s failed", arrival.path)
            raise _Unusable(UNKNOWN) from error
        kept = ("model_key", "classes", "objects", "inference_ms", "notes")
        mask = Path(found["mask"]).relative_to(self.staging.resolve()).as_posix()
        return {"mask": mask, **{key: found[key] for key in kept if key in found}, "sha256": network.sha256}

    def _image(self, network: LoadedNetwork, arrival: Arrival, stem: str) -> dict[str, Any]:
        folder, name = self.staging / "masks" / Path(stem).parent, Path(stem).name
        folder.mkdir(parents=True)
        sink = None
        if self.order.objects is not None:
            table = self.staging / "objects" / f"{stem}.csv"
            sink = ObjectSink(self.order.objects, table, self.staging / "polygons" / Path(stem).parent)
        found = segment_image(network, arrival.path, folder, name, choice=self.order.image_input, objects=sink)
        if sink is not None and sink.done:
            sink.finish()
        return found

    def _video(self, network: LoadedNetwork, arrival: Arrival, stem: str) -> dict[str, Any]:
        folder = self.staging / "videos" / Path(stem).parent
        folder.mkdir(parents=True)
        found = segment_file(network, arrival.path, folder)
        for path in list(folder.iterdir()):
            path.replace(folder / f"{Path(stem).name}{path.name.removeprefix(arrival.path.stem)}")
        mask = Path(found["mask"])
        return {**found, "mask": mask.with_name(f"{Path(stem).name}{mask.name.removeprefix(arrival.path.stem)}")}

    def _publish(self) -> None:
        """The results in their places, the mask last, so that who waits for it finds the others beside it."""
        made = [path for path in self.staging.rglob("*") if path.is_file()]
        for path in sorted(made, key=lambda path: path.relative_to(self.staging).parts[0] == "masks"):
            target = self.out / path.relative_to(self.staging)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
            sync(target.parent)

    def _put_aside(self, arrival: Arrival, problem: str) -> Outcome:
        """The file to failed/, with a text beside it; where it cannot be moved, it stays and is not tried again."""
        target = _free(self.out / "failed" / arrival.name)
        name = printable(arrival.name)
        text = f"{name} could not be segmented.\n\n{problem}\n\n{ADVICE}\n"
        note = target.with_name(f"{target.name}.txt")
        write_atomically(note, lambda out: out.write(text.encode()))
        try:
            self._move(arrival.path, target)
        except OSError as error:
            why = f"It could not be moved here ({error.strerror}) and is left where it was.\n"
            write_atomically(note, lambda out: out.write((text + "\n" + why).encode()))
            self.journal.write(FAILED, arrival, problem=problem, stays=True)
        else:
            self.journal.write(FAILED, arrival, problem=problem)
        return Outcome(name, problem=problem)

    def _move(self, source: Path, target: Path) -> None:
        """Also to another file system: whole under its new name before the old one goes."""
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.replace(source, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with open(source, "rb") as file:
                write_atomically(target, lambda out: shutil.copyfileobj(file, out, 1 << 20))
            source.unlink()
        sync(target.parent)

    def _clear_staging(self) -> None:
        shutil.rmtree(self.staging, ignore_errors=True)
        self.staging.mkdir(parents=True)

    def _clear_drafts(self) -> None:
        """What a killed process had begun to write outside the staging folder."""
        for folder in (self.out / "failed", self.out / "done"):
            for path in folder.rglob(".*.tmp"):
                path.unlink(missing_ok=True)
        for path in self.out.glob(".*.tmp"):
            path.unlink(missing_ok=True)

    # --- the table of all images --------------------------------------------------------------------------

    def _write_classes(self) -> None:
        """classes.csv rewritten from the journal: what a killed process had not come to is in it, and nothing twice."""
        latest = {line["file"]: line for line in self.journal.lines() if line["step"] == DONE}
        if latest:
            text = tables.class_areas(_areas(name, line) for name, line in latest.items())
            write_atomically(self.out / "classes.csv", lambda out: out.write(text.encode()))

    def _add_classes(self, name: str, result: dict[str, Any], again: bool) -> None:
        path = self.out / "classes.csv"
        if again or not path.exists():
            self._write_classes()
            return
        rows = tables.class_areas([_areas(name, result)])
        with open(path, "ab") as file:
            file.write(rows.partition("\n")[2].encode())


class _Unusable(Exception):
    """The file's own fault: what is wrong with it, and what to do."""


def _areas(name: str, line: dict[str, Any]) -> tables.Areas:
    return tables.Areas(printable(name), line["mask"], line["classes"], line["model_key"], line["sha256"])


def _is_below(name: Any, folder: Path) -> bool:
    return name is not None and Path(os.fsdecode(name)).resolve().is_relative_to(folder.resolve())


def _owns(visitor: str, model: str) -> bool:
    found = UserModel.objects.filter(public_id=model.removeprefix("user_"), trashed_at=None)
    return not found.exists() or found.filter(visitor=visitor).exists()


def _free(target: Path) -> Path:
    """The path, or one with a number where another file has it."""
    if not target.exists():
        return target
    numbered = (target.with_name(f"{target.stem}_{number}{target.suffix}") for number in range(2, 100_000))
    return next(path for path in numbered if not path.exists())


def sync(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
