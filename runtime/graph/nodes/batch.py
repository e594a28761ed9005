"""A batch gathers rows into lists."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar

import msgspec

from headrace.actors.actor import Actor
from headrace.actors.batch import Batch, BatchTerms

from ...calls.answers import check_answers_at_once
from ...errors import ConfigError
from ...quantities import BYTES, ROWS, SECONDS, optional
from ...rows.expressions import Expression
from .node import FileKeys, Key, Moves, NodePlan, Picture, Shape, State, Wiring
from .types import Batched, check_expression


class BatchPlan(NodePlan, frozen=True):
    """A node that gathers rows into lists."""

    count: int | None
    bytes_max: int | None
    within: float | None
    key: Key | None
    size: Callable[[object], int] | None
    kind: ClassVar[str] = "batch"

    @classmethod
    def in_files(cls) -> FileKeys | None:
        return FileKeys(("count", "within", "max_bytes"), "key", needed=False, expression=True)

    @staticmethod
    def of(name: str, count: Any, within: Any, max_bytes: Any, key: Key | None, size: Any) -> BatchPlan:
        """What a user said, checked. Raises `ConfigError`."""
        count = optional("batch", "count", count, ROWS)
        within = optional("batch", "within", within, SECONDS)
        max_bytes = optional("batch", "max_bytes", max_bytes, BYTES)
        if size is not None and max_bytes is None:
            raise ConfigError("batch: size= is for max_bytes=, which is missing")
        measure = size or (json_size if max_bytes is not None else None)
        check_answers_at_once("batch", "key=", key)
        check_answers_at_once("batch", "size=", measure)
        return BatchPlan(name, count, max_bytes, within, key, measure)

    def check_ports(self, ports: Collection[str]) -> None:
        self.check_no_branches(ports)

    def shape_after(self, shape: Shape, port: str) -> Shape:
        return (*shape, f"batch {self.name}")

    @property
    def moves(self) -> Moves:
        return "batch"

    @property
    def in_order(self) -> bool:
        return False

    @property
    def holds(self) -> bool:
        return True

    @property
    def window_rows(self) -> int:
        return 2 * (self.count or 0)

    def check_window(self, window: int | None) -> None:
        count = self.count or 0
        if window is not None and count > window:
            raise ConfigError(f"{self.name!r} gathers {count} rows, and window={window} lets in fewer")

    def check_takes(self, came: object) -> None:
        if isinstance(self.key, Expression):
            check_expression(self.name, self.key, came)

    def gives(self, came: object, port: str) -> object:
        return Batched(came)

    @property
    def label(self) -> str:
        parts = [f"{self.count} rows"] if self.count is not None else []
        parts += [f"{self.bytes_max} bytes"] if self.bytes_max is not None else []
        parts += [f"within {self.within:g} s"] if self.within is not None else []
        parts += ["by key"] if self.key is not None else []
        return f"{self.called('batch')} ({', '.join(parts)})"

    @property
    def picture(self) -> Picture:
        return Picture(("[[", "]]"), "box3d")

    def said(self) -> dict[str, object]:
        return {"count": self.count, "bytes": self.bytes_max}

    def functions(self) -> Mapping[str, Callable[..., object] | None]:
        return {"key": self.key, "size": self.size}

    @property
    def state(self) -> State:
        # Which rows made a batch, it tells the journal by `Formed`.
        return "none"

    @property
    def never_waits(self) -> bool:
        return self.key is None and self.size is None

    def actor(self, wiring: Wiring) -> Actor:
        name, key, size = self.name, wiring.apart(self.key), wiring.apart(self.size)
        terms = BatchTerms(name, self.count, self.bytes_max, self.within, key, size)
        known = wiring.past.batches.get(name, ())
        return Batch(terms, wiring.outputs(name), wiring.conductor, wiring.inputs(name), wiring.journal, known)


def json_size(row: Any) -> int:
    """Bytes of a row, as JSON; of bytes and text, as they are."""
    if isinstance(row, bytes):
        return len(row)
    return len(row.encode()) if isinstance(row, str) else len(msgspec.json.encode(row, enc_hook=str))
