"""The same client for asyncio: `async with AsyncSegapp(url, key=…) as segapp: …`."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import AsyncIterator, Sequence
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


class AsyncSegapp:
    """`Segapp` for asyncio: the same methods and parameters, to be awaited.

    `on_progress` may be a coroutine function. Use a client in one event loop only.
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
        self._http = httpx.AsyncClient(**self._address.options(timeout, verify))

    async def __aenter__(self) -> AsyncSegapp:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    # --- images, batches, videos --------------------------------------------------------------------------

    async def segment(
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
        options: dict[str, Any] = {"model": model, "share": share, "channels": channels, "page": page}
        if objects:
            options |= {"scale": scale, "things": things, "split": split}
            options |= {"min_area": min_area, "edges": edges, "holes": holes}
        return await self._run(calls.segment(image, self._patience, on_progress, timeout, objects, **options))

    async def batch(
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
    ) -> AsyncBatch:
        options: dict[str, Any] = {"model": model, "channels": channels, "page": page}
        if objects:
            options |= {"objects": True, "scale": scale, "things": things, "split": split}
            options |= {"min_area": min_area, "edges": edges, "holes": holes}
        found = await self._run(calls.batch(files, self._patience, on_progress, timeout, **options))
        return AsyncBatch(**BatchInfo.values(found), raw=found, client=self)

    async def video(
        self,
        file: str | os.PathLike[str],
        *,
        model: str | None = None,
        rate: str | int | None = None,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
    ) -> AsyncVideo:
        options = {"model": model, "rate": rate}
        found = await self._run(calls.video(file, self._patience, on_progress, timeout, **options))
        return AsyncVideo(**VideoInfo.values(found), raw=found, client=self)

    # --- training -----------------------------------------------------------------------------------------

    async def finetune(
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
    ) -> AsyncModel:
        run = await self.start_finetune(
            images,
            masks,
            name=name,
            effort=effort,
            classes=classes,
            objects=objects,
            channels=channels,
            page=page,
        )
        return await run.wait(on_progress=on_progress, timeout=timeout)

    async def start_finetune(
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
    ) -> AsyncRun:
        """As `finetune`, without waiting."""
        options = {"name": name, "effort": effort, "objects": objects, "channels": channels, "page": page}
        found = await self._run(calls.start_finetune(images, masks, self._patience, classes, **options))
        return AsyncRun(**RunInfo.values(found), client=self)

    # --- models -------------------------------------------------------------------------------------------

    async def models(self) -> list[AsyncModel]:
        rows = (await self._run(calls.got("/api/models", self._patience)))["models"]
        return [AsyncModel(**ModelInfo.values(row), raw=row, client=self) for row in rows]

    async def model(self, model_id: str) -> AsyncModel:
        row = await self._run(calls.model(model_id, self._patience))
        return AsyncModel(**ModelInfo.values(row), raw=row, client=self)

    async def activate(self, model: str | ModelInfo) -> AsyncModel:
        await self._run(calls.posted(calls.address("models", _id(model), "activate"), self._patience))
        return await self.model(_id(model))

    async def rename(self, model: str | ModelInfo, name: str) -> AsyncModel:
        row = await self._run(calls.posted(calls.address("models", _id(model), "rename"), self._patience, name=name))
        return AsyncModel(**ModelInfo.values(row), raw=row, client=self)

    async def delete(self, model: str | ModelInfo) -> None:
        await self._run(calls.deleted(calls.address("models", _id(model)), self._patience))

    async def reset(self) -> str:
        return str((await self._run(calls.posted("/api/reset-to-base-model", self._patience)))["active_model"])

    async def export(
        self,
        model: str | ModelInfo,
        path: str | os.PathLike[str],
        format: str = "safetensors",
        *,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
    ) -> Path:
        flow = calls.export(_id(model), format, Path(path), self._patience, on_progress, timeout)
        return await self._run(flow)

    # --- keys, health, files ------------------------------------------------------------------------------

    async def keys(self) -> list[ApiKey]:
        return [ApiKey.of(row) for row in (await self._run(calls.got("/api/keys", self._patience)))["keys"]]

    async def make_key(self, name: str, *, scope: str = "all", days: int | None = None) -> ApiKey:
        data = calls.fields({"name": name, "scope": scope, "days": days})
        return ApiKey.of(await self._run(calls.posted("/api/keys", self._patience, **data)))

    async def revoke_key(self, key_id: str) -> None:
        await self._run(calls.deleted(calls.address("keys", key_id), self._patience))

    async def health(self) -> dict[str, Any]:
        return await self._run(calls.got("/api/health", self._patience))

    async def fetch(self, url: str) -> bytes:
        return await self._run(calls.fetched(url, self._patience))

    async def download(self, url: str, path: str | os.PathLike[str]) -> Path:
        return await self._run(calls.downloaded(url, Path(path), self._patience))

    # --- carrying flows out -------------------------------------------------------------------------------

    async def _run(self, flow: Flow[T]) -> T:
        try:
            step = next(flow)
            while True:
                try:
                    answer = await self._take(step)
                except Exception as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as end:
            found: T = end.value
            return found

    async def _take(self, step: Step) -> Answer:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return Answer()
        if isinstance(step, Tell):
            said = step.on_progress(step.progress)
            if inspect.isawaitable(said):
                await said
            return Answer()
        return await self._send(step)

    async def _send(self, call: Call) -> Answer:
        url = self._address.of(call.path)
        with named_errors(self._address.origin), arguments(call) as form:
            if call.into is None:
                response = await self._http.request(call.method, url, **form)
                return Answer(response.status_code, response.headers, response.content)
            async with self._http.stream(call.method, url, **form) as response:
                if response.status_code >= 300:
                    return Answer(response.status_code, response.headers, await response.aread())
                with written(call.into) as out:
                    async for piece in response.aiter_bytes():
                        out.write(piece)
                return Answer(response.status_code, response.headers)


@dataclass(frozen=True)
class AsyncRun(RunInfo):
    """A training under way."""

    client: AsyncSegapp = field(repr=False, compare=False)

    async def status(self) -> Progress:
        return Progress.of(await self.client._run(calls.got(self.status_url, self.client._patience)))

    async def wait(self, *, on_progress: OnProgress | None = None, timeout: float | None = None) -> AsyncModel:
        """The model, when it is done. Raises JobFailed, JobCancelled and TimedOut."""
        row = await self.client._run(calls.trained(self.status_url, self.client._patience, on_progress, timeout))
        return AsyncModel(**ModelInfo.values(row), raw=row, client=self.client)

    async def stop(self, *, keep: bool) -> Progress:
        """End it: keep the best so far as the model, or discard it."""
        data = calls.fields({"keep": keep})
        return Progress.of(
            await self.client._run(calls.posted(f"{self.status_url}/stop", self.client._patience, **data))
        )


@dataclass(frozen=True)
class AsyncModel(ModelInfo):
    """One of the visitor's models, whether it is the active one or not."""

    client: AsyncSegapp = field(repr=False, compare=False)

    async def segment(self, image: Source, **options: Any) -> Segmentation:
        """As `AsyncSegapp.segment`, by this model."""
        return await self.client.segment(image, model=self.id, **options)

    async def batch(self, files: Sources, **options: Any) -> AsyncBatch:
        """As `AsyncSegapp.batch`, by this model."""
        return await self.client.batch(files, model=self.id, **options)

    async def video(self, file: str | os.PathLike[str], **options: Any) -> AsyncVideo:
        """As `AsyncSegapp.video`, by this model."""
        return await self.client.video(file, model=self.id, **options)

    async def activate(self) -> AsyncModel:
        return await self.client.activate(self)

    async def rename(self, name: str) -> AsyncModel:
        return await self.client.rename(self, name)

    async def delete(self) -> None:
        await self.client.delete(self)

    async def export(self, path: str | os.PathLike[str], format: str = "safetensors", **options: Any) -> Path:
        """As `AsyncSegapp.export`."""
        return await self.client.export(self, path, format, **options)


@dataclass(frozen=True)
class AsyncBatch(BatchInfo):
    client: AsyncSegapp = field(repr=False, compare=False)

    async def masks(self) -> AsyncIterator[tuple[str, Mask]]:
        """(file name, class ids) of each image that has a result, fetched one by one."""
        for file in self.files:
            if file.ok:
                yield file.name, read_mask(await self.client.fetch(file.mask_url))

    async def objects(self) -> Objects:
        """One row for each object of all images; empty where they were not measured."""
        table = await self.client.fetch(self.objects_url) if self.objects_url else b""
        return Objects.read(table.decode("utf-8"))

    async def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write the masks as <stem>.png into a folder; their paths."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        done = [file for file in self.files if file.ok]
        return [await self.client.download(file.mask_url, target / f"{Path(file.stem).name}.png") for file in done]


@dataclass(frozen=True)
class AsyncVideo(VideoInfo):
    client: AsyncSegapp = field(repr=False, compare=False)

    async def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write overlay.mp4, mask.mp4 and frames.csv into a folder; their paths."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        return [await self.client.download(url, target / name) for name, url in self.urls.items() if url]


def _id(model: str | ModelInfo) -> str:
    return model.id if isinstance(model, ModelInfo) else model
