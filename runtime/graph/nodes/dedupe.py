"""A dedupe drops rows that are duplicates of earlier ones."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import ClassVar

from headrace.actors.actor import Actor
from headrace.actors.dedupe import Dedupe, DedupeTerms

from ...calls.answers import check_answers_at_once
from ...errors import ConfigError
from ...quantities import REMEMBERED, option
from ...rows.expressions import Expression
from .node import FileKeys, Key, Moves, NodePlan, Picture, Shape, State, Wiring
from .types import check_expression


class DedupePlan(NodePlan, frozen=True):
    """A node that drops each row whose key one of the last `within` rows has had."""

    key: Key
    within: int
    kind: ClassVar[str] = "dedupe"

    @classmethod
    def in_files(cls) -> FileKeys | None:
        return FileKeys(("within",), "key", expression=True)

    @staticmethod
    def of(name: str, key: Key, within: object) -> DedupePlan:
        """What a user said, checked. Raises `ConfigError`."""
        if not callable(key):
            raise ConfigError(f"dedupe: key=: {type(key).__name__} is not callable; give a function of a row, or text")
        check_answers_at_once("dedupe", "key=", key)
        return DedupePlan(name, key, option("dedupe", "within", within, REMEMBERED))

    def check_ports(self, ports: Collection[str]) -> None:
        self.check_no_branches(ports)

    def shape_after(self, shape: Shape, port: str) -> Shape:
        return shape

    @property
    def moves(self) -> Moves:
        return "stage"

    @property
    def in_order(self) -> bool:
        return True

    def check_takes(self, came: object) -> None:
        if isinstance(self.key, Expression):
            check_expression(self.name, self.key, came)

    def gives(self, came: object, port: str) -> object:
        return came

    @property
    def label(self) -> str:
        return f"{self.called('dedupe')} (within {self.within:,} rows)"

    @property
    def picture(self) -> Picture:
        return Picture(("[/", "\\]"), "invtrapezium")

    def said(self) -> dict[str, object]:
        return {"within": self.within}

    def functions(self) -> Mapping[str, Callable[..., object] | None]:
        return {"key": self.key}

    @property
    def state(self) -> State:
        return "noted"

    @property
    def never_waits(self) -> bool:
        return False

    def terms(self, wiring: Wiring) -> DedupeTerms:
        """What its actor must know."""
        return DedupeTerms(self.name, wiring.apart(self.key) or self.key, self.within)

    def actor(self, wiring: Wiring) -> Actor:
        name, past = self.name, wiring.past
        ended = {seq: answer.ended for seq, answer in past.answers.get(name, {}).items() if answer.ended is not None}
        notes = past.noted.get(name)
        return Dedupe(self.terms(wiring), wiring.outputs(name), wiring.conductor, wiring.journal, notes, ended)
