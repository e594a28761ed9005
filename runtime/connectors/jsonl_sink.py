"""Rows into a file of JSON Lines."""

from __future__ import annotations

from typing import Any

from ..errors import BadInput, UnwritableRows
from .file_identity import StrPath
from .file_sink import FileSink
from .json_values import encode_lines
from .part_file import IfExists


class JsonlSink(FileSink):
    """One JSON value a line; see `json_values` for what can be written, and how."""

    def __init__(self, path: StrPath, *, if_exists: IfExists | None = None) -> None:
        super().__init__(path, if_exists)

    def write(self, items: list[Any]) -> None:
        data, faults = encode_lines(items)
        self._write(data)
        if faults:
            raise UnwritableRows({i: BadInput(f"{self.name}: {fault}") for i, fault in faults.items()})
