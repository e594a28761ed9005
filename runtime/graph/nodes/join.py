"""A join brings together what the branches of a fork made of a row."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar, Literal

from headrace.actors.actor import Actor
from headrace.actors.join import Join
from headrace.actors.joins.terms import LATE, Require

from ...errors import ConfigError, GraphError
from ...quantities import PARTS, SECONDS, option, optional
from .node import FileKeys, Moves, NodePlan, Picture, Shape, State, Wiring


class JoinPlan(NodePlan, frozen=True):
    """Where the branches of `fork` meet again. `bare`: nobody merges, so the parts are the row."""

    fork: str
    require: Require
    within: float | None
    on_missing: Literal["quarantine", "drop", "fail"]
    bare: bool
    late: bool = False
    """Something stands where late parts go."""
    kind: ClassVar[str] = "join"

    @classmethod
    def in_files(cls) -> FileKeys | None:
        keys = ("fork", "require", "within", "on_missing", "late")
        return FileKeys(keys, "merge", needed=False, calls="inline")

    @staticmethod
    def of(name: str, fork: str, require: Any, within: Any, on_missing: Any, *, bare: bool, late: bool) -> JoinPlan:
        """What a user said, checked. Raises `ConfigError`."""
        within = optional("join", "within", within, SECONDS)
        if not (isinstance(require, str) and require in ("all", "any", "best")):
            require = option("join", "require", require, PARTS)
        if on_missing not in ("quarantine", "drop", "fail"):
            raise ConfigError(f"join: on_missing={on_missing!r}: 'quarantine', 'drop' or 'fail'")
        return JoinPlan(name, fork, require, within, on_missing, bare, late)

    def check_ports(self, ports: Collection[str]) -> None:
        name = self.name
        if "" not in ports:
            raise GraphError(name, f"{name!r} leads nowhere; let a sink stand after it")
        if self.late and LATE not in ports:
            raise GraphError(name, f"{name!r} has a way for late parts; let a sink stand after '{name}.{LATE}'")

    def shape_after(self, shape: Shape, port: str) -> Shape:
        return shape if port == LATE else shape[:-1]

    @property
    def moves(self) -> Moves:
        return "join"

    @property
    def in_order(self) -> bool:
        return False

    def check_takes(self, came: object) -> None:
        """It takes whatever comes; that its parts are of one fork is a matter of shape, which the graph looks at."""

    def gives(self, came: object, port: str) -> object:
        return came if port == LATE else None

    @property
    def label(self) -> str:
        within = f", within {self.within:g} s" if self.within is not None else ""
        return f"{self.called('join')} ({self.require}{within})"

    @property
    def picture(self) -> Picture:
        return Picture(("{{", "}}"), "hexagon")

    def said(self) -> dict[str, object]:
        return {"require": self.require, "fork": self.fork}

    def functions(self) -> Mapping[str, Callable[..., object] | None]:
        return {}

    @property
    def state(self) -> State:
        # What it said of each row, it tells the journal by `Decided`.
        return "none"

    @property
    def never_waits(self) -> bool:
        return True

    def actor(self, wiring: Wiring) -> Actor:
        name = self.name
        outputs, late, words = wiring.outputs(name), wiring.outputs(name, late=True), wiring.past.joins.get(name)
        # The fork tells it, too.
        inputs = wiring.inputs(name) + 1
        return Join(wiring.join_terms(name), outputs, late, wiring.conductor, inputs, wiring.journal, words)
