"""A sink is where rows leave."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import ClassVar, Literal

from headrace.actors.actor import Actor
from headrace.actors.sink import Sink

from ...connectors.port import SinkConnector
from ...names import connector_name
from .node import FileKeys, Moves, NodePlan, Picture, Shape, State, Wiring


class SinkPlan(NodePlan, frozen=True):
    """Where rows leave. `whole`: it takes every row's outcome. `on_error`: what a failed write does to the others."""

    connector: SinkConnector
    ordered: bool
    on_error: Literal["abort", "drain"] = "abort"
    whole: bool = False
    kind: ClassVar[str] = "sink"

    @classmethod
    def in_files(cls) -> FileKeys | None:
        # It has a table of its own.
        return None

    def check_ports(self, ports: Collection[str]) -> None:
        """Nothing stands after a sink, which the graph looks at."""

    def shape_after(self, shape: Shape, port: str) -> Shape:
        return shape

    @property
    def moves(self) -> Moves:
        return "sink"

    @property
    def in_order(self) -> bool:
        return self.ordered

    def check_takes(self, came: object) -> None:
        """It takes whatever comes; a value that it cannot hold is that row's fault."""

    def gives(self, came: object, port: str) -> object:
        return came

    @property
    def label(self) -> str:
        return f"{connector_name(self.connector)}{'' if self.ordered else ' (as they come)'}"

    @property
    def picture(self) -> Picture:
        return Picture(("[(", ")]"), "cylinder")

    def said(self) -> dict[str, object]:
        return {"to": connector_name(self.connector), "ordered": self.ordered}

    def functions(self) -> Mapping[str, Callable[..., object] | None]:
        return {}

    @property
    def state(self) -> State:
        # How far it has written is told with the outcomes (`Settled.place`).
        return "none"

    @property
    def never_waits(self) -> bool:
        return True

    def actor(self, wiring: Wiring) -> Actor:
        name, past = self.name, wiring.past
        ends = {seq: answer.ended for seq, answer in past.answers.get(name, {}).items() if answer.ended is not None}
        return Sink(
            name,
            wiring.writer(name),
            wiring.account,
            wiring.conductor,
            wiring.inputs(name),
            drain=self.on_error == "drain",
            written=past.written.get(name, ()),
            shown_as=connector_name(self.connector),
            outputs=wiring.outputs_of_sink(name),
            unwritable=ends,
        )
