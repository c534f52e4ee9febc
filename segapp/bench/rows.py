"""Rows of a long bench in a file, so that it goes on where it was ended."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Rows:
    """Rows of finished draws in a file of JSON lines. Those of another base, recipe or number of test images, by
    `stamp`, are left alone. Rows of the recipes in `stamps` go by the stamp there: what they depend on is not the same.
    Without a path nothing is kept."""

    def __init__(self, path: Path | None, stamp: str, stamps: Mapping[str, str] | None = None) -> None:
        self._path, self._stamp, self._stamps = path, stamp, stamps or {}

    def read(self) -> list[dict[str, Any]]:
        if self._path is None or not self._path.exists():
            return []
        lines = [json.loads(line) for line in self._path.read_text().splitlines()]
        return [line["row"] for line in lines if line["stamp"] == self._stamp_of(line["row"])]

    def add(self, row: dict[str, Any]) -> None:
        if self._path is not None:
            with open(self._path, "a") as file:
                file.write(json.dumps({"stamp": self._stamp_of(row), "row": row}) + "\n")

    def _stamp_of(self, row: dict[str, Any]) -> str:
        return self._stamps.get(row.get("recipe", ""), self._stamp)
