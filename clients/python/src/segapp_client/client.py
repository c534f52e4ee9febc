"""The client: `with Segapp(url, key=…) as segapp: …`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

from segapp_client import _calls as calls
from segapp_client._flow import Answer, Call, Flow, OnProgress, Patience, Pause, Step, Tell
from segapp_client._http import Address, arguments, named_errors, written
from segapp_client._uploads import Source, Sources
from segapp_client.results import (
    ApiKey,
    BatchInfo,
    Mask,
    ModelInfo,
    Objects,
    Progress,
    RunInfo,
    Segmentation,
    VideoInfo,
    read_mask,
)

T = TypeVar("T")
IMAGE_SECONDS = 600.0


class Segapp:
    """A visitor's models on a Segapp server, by API key.

    `key`: from the Models page; without one the variable SEGAPP_KEY. `timeout`: seconds that one request may stand
    still. `retries` and `max_wait`: how often a request is sent again that the server asks to repeat (429, 503) or
    that did not reach it, and the longest wait in between; a longer Retry-After is raised as RateLimited or
    Unavailable. `verify`: as for httpx. A client may be used by several threads.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = 90.0,
        retries: int = 5,
        max_wait: float = 60.0,
        verify: Any = True,
    ) -> None:
        self._address = Address(url, key)
        self._patience = Patience(retries, max_wait)
        self._http = httpx.Client(**self._address.options(timeout, verify))

    def __enter__(self) -> Segapp:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    # --- images, batches, videos --------------------------------------------------------------------------

    def segment(
        self,
        image: Source,
        *,
        model: str | None = None,
        share: str | None = None,
        objects: bool = True,
        scale: str | None = None,
        things: str | Sequence[int] | None = None,
        split: str | float | None = None,
        min_area: int | None = None,
        edges: str | None = None,
        holes: str | None = None,
        channels: str | Sequence[int] | None = None,
        page: str | int | None = None,
        on_progress: OnProgress | None = None,
        timeout: float = IMAGE_SECONDS,
    ) -> Segmentation:
        """Segment one image: a path, an array, or a Pillow image.

        The active model answers, or `model` (an id), or the one behind the token `share`. `objects=False` leaves out
        measuring single objects; `scale` (like "0.65um"), `things` (ids of the classes to count), `split`, `min_area`,
        `edges` and `holes` go with it. Images over 50 megapixels take minutes: `on_progress` is called with how far
        they are, and `timeout` bounds the whole in seconds.
        """
        options: dict[str, Any] = {"model": model, "share": share, "channels": channels, "page": page}
        if objects:
            options |= {"scale": scale, "things": things, "split": split}
            options |= {"min_area": min_area, "edges": edges, "holes": holes}
        return self._run(calls.segment(image, self._patience, on_progress, timeout, objects, **options))

    def batch(
        self,
        files: Sources,
        *,
        model: str | None = None,
        objects: bool = False,
        scale: str | None = None,
        things: str | Sequence[int] | None = None,
        split: str | float | None = None,
        min_area: int | None = None,
        edges: str | None = None,
        holes: str | None = None,
        channels: str | Sequence[int] | None = None,
        page: str | int | None = None,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
    ) -> Batch:
        """Segment the images of a folder, of a zip, or of a list of paths and arrays, and wait for the end.

        An image that cannot be used does not stop the others: see `Batch.failed`. With `objects=True` single objects
        are measured, too; the options are those of `segment`.
        """
        options: dict[str, Any] = {"model": model, "channels": channels, "page": page}
        if objects:
            options |= {"objects": True, "scale": scale, "things": things, "split": split}
            options |= {"min_area": min_area, "edges": edges, "holes": holes}
        found = self._run(calls.batch(files, self._patience, on_progress, timeout, **options))
        return Batch(**BatchInfo.values(found), raw=found, client=self)

    def video(
        self,
        file: str | os.PathLike[str],
        *,
        model: str | None = None,
        rate: str | int | None = None,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
    ) -> Video:
        """Segment a video and wait for the end. `rate`: frames a second to predict, "auto" or "every"."""
        options = {"model": model, "rate": rate}
        found = self._run(calls.video(file, self._patience, on_progress, timeout, **options))
        return Video(**VideoInfo.values(found), raw=found, client=self)

    # --- training -----------------------------------------------------------------------------------------

    def finetune(
        self,
        images: Sources,
        masks: Sources,
        *,
        name: str | None = None,
        effort: str = "quick",
        classes: Sequence[dict[str, Any]] | None = None,
        objects: bool | None = None,
        channels: str | Sequence[int] | None = None,
        page: str | int | None = None,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
    ) -> Model:
        """Train a model on 1 to 50 images with masks and wait for it; it becomes the active model.

        Both are folders, or lists of paths, arrays or Pillow images. Files are paired by name; where arrays are among
        them, by their order. `effort` is "quick" or "thorough", `classes` are rows like {"id": 1, "name": "leaf"},
        `objects` says whether masks number single objects. After `timeout` seconds TimedOut is raised and the
        training goes on. Raises InvalidFile for files that do not fit, AlreadyTraining, and JobFailed.
        """
        run = self.start_finetune(
            images,
            masks,
            name=name,
            effort=effort,
            classes=classes,
            objects=objects,
            channels=channels,
            page=page,
        )
        return run.wait(on_progress=on_progress, timeout=timeout)

    def start_finetune(
        self,
        images: Sources,
        masks: Sources,
        *,
        name: str | None = None,
        effort: str = "quick",
        classes: Sequence[dict[str, Any]] | None = None,
        objects: bool | None = None,
        channels: str | Sequence[int] | None = None,
        page: str | int | None = None,
    ) -> Run:
        """As `finetune`, without waiting."""
        options = {"name": name, "effort": effort, "objects": objects, "channels": channels, "page": page}
        found = self._run(calls.start_finetune(images, masks, self._patience, classes, **options))
        return Run(**RunInfo.values(found), client=self)

    # --- models -------------------------------------------------------------------------------------------

    def models(self) -> list[Model]:
        """The visitor's models, newest first."""
        rows = self._run(calls.got("/api/models", self._patience))["models"]
        return [Model(**ModelInfo.values(row), raw=row, client=self) for row in rows]

    def model(self, model_id: str) -> Model:
        """One of them, by its id. Raises NotFound."""
        row = self._run(calls.model(model_id, self._patience))
        return Model(**ModelInfo.values(row), raw=row, client=self)

    def activate(self, model: str | ModelInfo) -> Model:
        """Make a model the one that answers; the model as it is then. Raises NotFound."""
        self._run(calls.posted(calls.address("models", _id(model), "activate"), self._patience))
        return self.model(_id(model))

    def rename(self, model: str | ModelInfo, name: str) -> Model:
        row = self._run(calls.posted(calls.address("models", _id(model), "rename"), self._patience, name=name))
        return Model(**ModelInfo.values(row), raw=row, client=self)

    def delete(self, model: str | ModelInfo) -> None:
        """Move a model to the trash, from where the Models page restores it for some days."""
        self._run(calls.deleted(calls.address("models", _id(model)), self._patience))

    def reset(self) -> str:
        """Back to the base model, whose key is returned; the visitor's models are kept."""
        return str(self._run(calls.posted("/api/reset-to-base-model", self._patience))["active_model"])

    def export(
        self,
        model: str | ModelInfo,
        path: str | os.PathLike[str],
        format: str = "safetensors",
        *,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
    ) -> Path:
        """Write a model as "pth", "safetensors" or "onnx" to `path`, a file or an existing folder; the file's path."""
        flow = calls.export(_id(model), format, Path(path), self._patience, on_progress, timeout)
        return self._run(flow)

    # --- keys, health, files ------------------------------------------------------------------------------

    def keys(self) -> list[ApiKey]:
        """The visitor's keys, without the keys themselves."""
        return [ApiKey.of(row) for row in self._run(calls.got("/api/keys", self._patience))["keys"]]

    def make_key(self, name: str, *, scope: str = "all", days: int | None = None) -> ApiKey:
        """A new key, whose `key` is shown this once. `scope`: "predict" or "all"."""
        data = calls.fields({"name": name, "scope": scope, "days": days})
        return ApiKey.of(self._run(calls.posted("/api/keys", self._patience, **data)))

    def revoke_key(self, key_id: str) -> None:
        self._run(calls.deleted(calls.address("keys", key_id), self._patience))

    def health(self) -> dict[str, Any]:
        """What runs on the server, and which model is active."""
        return self._run(calls.got("/api/health", self._patience))

    def fetch(self, url: str) -> bytes:
        """What lies at an address that a result names."""
        return self._run(calls.fetched(url, self._patience))

    def download(self, url: str, path: str | os.PathLike[str]) -> Path:
        """The same, into a file."""
        return self._run(calls.downloaded(url, Path(path), self._patience))

    # --- carrying flows out -------------------------------------------------------------------------------

    def _run(self, flow: Flow[T]) -> T:
        try:
            step = next(flow)
            while True:
                try:
                    answer = self._take(step)
                except Exception as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as end:
            found: T = end.value
            return found

    def _take(self, step: Step) -> Answer:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return Answer()
        if isinstance(step, Tell):
            step.on_progress(step.progress)
            return Answer()
        return self._send(step)

    def _send(self, call: Call) -> Answer:
        url = self._address.of(call.path)
        with named_errors(self._address.origin), arguments(call) as form:
            if call.into is None:
                response = self._http.request(call.method, url, **form)
                return Answer(response.status_code, response.headers, response.content)
            with self._http.stream(call.method, url, **form) as response:
                if response.status_code >= 300:
                    return Answer(response.status_code, response.headers, response.read())
                with written(call.into) as out:
                    for piece in response.iter_bytes():
                        out.write(piece)
                return Answer(response.status_code, response.headers)


@dataclass(frozen=True)
class Run(RunInfo):
    """A training under way."""

    client: Segapp = field(repr=False, compare=False)

    def status(self) -> Progress:
        return Progress.of(self.client._run(calls.got(self.status_url, self.client._patience)))

    def wait(self, *, on_progress: OnProgress | None = None, timeout: float | None = None) -> Model:
        """The model, when it is done. Raises JobFailed, JobCancelled and TimedOut."""
        row = self.client._run(calls.trained(self.status_url, self.client._patience, on_progress, timeout))
        return Model(**ModelInfo.values(row), raw=row, client=self.client)

    def stop(self, *, keep: bool) -> Progress:
        """End it: keep the best so far as the model, or discard it."""
        data = calls.fields({"keep": keep})
        return Progress.of(self.client._run(calls.posted(f"{self.status_url}/stop", self.client._patience, **data)))


@dataclass(frozen=True)
class Model(ModelInfo):
    """One of the visitor's models, whether it is the active one or not."""

    client: Segapp = field(repr=False, compare=False)

    def segment(self, image: Source, **options: Any) -> Segmentation:
        """As `Segapp.segment`, by this model."""
        return self.client.segment(image, model=self.id, **options)

    def batch(self, files: Sources, **options: Any) -> Batch:
        """As `Segapp.batch`, by this model."""
        return self.client.batch(files, model=self.id, **options)

    def video(self, file: str | os.PathLike[str], **options: Any) -> Video:
        """As `Segapp.video`, by this model."""
        return self.client.video(file, model=self.id, **options)

    def activate(self) -> Model:
        return self.client.activate(self)

    def rename(self, name: str) -> Model:
        return self.client.rename(self, name)

    def delete(self) -> None:
        self.client.delete(self)

    def export(self, path: str | os.PathLike[str], format: str = "safetensors", **options: Any) -> Path:
        """As `Segapp.export`."""
        return self.client.export(self, path, format, **options)


@dataclass(frozen=True)
class Batch(BatchInfo):
    client: Segapp = field(repr=False, compare=False)

    def masks(self) -> Iterator[tuple[str, Mask]]:
        """(file name, class ids) of each image that has a result, fetched one by one."""
        for file in self.files:
            if file.ok:
                yield file.name, read_mask(self.client.fetch(file.mask_url))

    def objects(self) -> Objects:
        """One row for each object of all images; empty where they were not measured."""
        table = self.client.fetch(self.objects_url) if self.objects_url else b""
        return Objects.read(table.decode("utf-8"))

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write the masks as <stem>.png into a folder; their paths."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        done = [file for file in self.files if file.ok]
        return [self.client.download(file.mask_url, target / f"{Path(file.stem).name}.png") for file in done]


@dataclass(frozen=True)
class Video(VideoInfo):
    client: Segapp = field(repr=False, compare=False)

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write overlay.mp4, mask.mp4 and frames.csv into a folder; their paths."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        return [self.client.download(url, target / name) for name, url in self.urls.items() if url]


def _id(model: str | ModelInfo) -> str:
    return model.id if isinstance(model, ModelInfo) else model
