"""Rows of a long bench in a file, so that it goes on where it was ended."""

import json
from pathlib import Path
from typing import Any


class Rows:
    """Rows of finished draws in a file of JSON lines. Those of another base, recipe or number of test images, by
    `stamp`, are left alone. Without a path nothing is kept."""

    def __init__(self, path: Path | None, stamp: str) -> None:
        self._path, self._stamp = path, stamp

    def read(self) -> list[dict[str, Any]]:
        if self._path is None or not self._path.exists():
            return []
        lines = [json.loads(line) for line in self._path.read_text().splitlines()]
        return [line["row"] for line in lines if line["stamp"] == self._stamp]

    def add(self, row: dict[str, Any]) -> None:
        if self._path is not None:
            with open(self._path, "a") as file:
                file.write(json.dumps({"stamp": self._stamp, "row": row}) + "\n")
