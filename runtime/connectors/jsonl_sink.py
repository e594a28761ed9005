"""Rows into a file of JSON Lines."""

from __future__ import annotations

from typing import Any

import msgspec

from ..errors import BadInput, ConfigError, UnwritableRows
from .file_identity import StrPath
from .file_sink import FileSink
from .json_values import encode_lines
from .part_file import IfExists


class JsonlSink(FileSink):
    """One JSON value a line; see `json_values` for what can be written, and how."""

    kind = "JSON Lines"

    def __init__(self, path: StrPath, *, if_exists: IfExists | None = None) -> None:
        super().__init__(path, if_exists)

    def _check_head(self, head: str, *, whole: bool) -> None:
        line, ended, _ = head.lstrip().partition("\n")
        if not line or not (ended or whole):
            return
        try:
            msgspec.json.decode(line.encode("utf-8", "replace"))
        except msgspec.DecodeError:
            raise ConfigError("the first line of what is there is no JSON: name another file, or replace it") from None

    def write(self, items: list[Any]) -> None:
        data, faults = encode_lines(items)
        self._write(data)
        if faults:
            raise UnwritableRows({i: BadInput(f"{self.name}: {fault}") for i, fault in faults.items()})
