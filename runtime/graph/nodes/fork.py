"""A fork gives every row to each of its branches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import ClassVar

from headrace.actors.actor import Actor
from headrace.actors.edges.operators import Fork
from headrace.actors.relay import Relay

from ...errors import GraphError
from .node import FileKeys, Moves, NodePlan, Picture, Shape, State, Wiring


class ForkPlan(NodePlan, frozen=True):
    """A node that gives every row to each of its branches."""

    branches: tuple[str, ...]
    kind: ClassVar[str] = "fork"

    @classmethod
    def in_files(cls) -> FileKeys | None:
        return FileKeys(("branches",))

    def check_ports(self, ports: Collection[str]) -> None:
        name, branches = self.name, self.branches
        for branch in branches:
            if branch not in ports:
                raise GraphError(
                    name, f"branch {branch!r} of fork {name!r} leads nowhere; let a sink or a join stand after it"
                )
        unknown = [port for port in ports if port not in branches]
        if unknown:
            raise GraphError(
                name, f"fork {name!r} has no branch {unknown[0] or '(main line)'!r}; it has {', '.join(branches)}"
            )

    def shape_after(self, shape: Shape, port: str) -> Shape:
        return (*shape, f"fork {self.name}")

    @property
    def moves(self) -> Moves:
        return "fork"

    @property
    def in_order(self) -> bool:
        return False

    def check_takes(self, came: object) -> None:
        """It takes whatever comes."""

    def gives(self, came: object, port: str) -> object:
        return came

    @property
    def label(self) -> str:
        return self.called("fork")

    @property
    def picture(self) -> Picture:
        return Picture(("{{", "}}"), "hexagon")

    def said(self) -> dict[str, object]:
        return {}

    def functions(self) -> Mapping[str, Callable[..., object] | None]:
        return {}

    @property
    def state(self) -> State:
        return "none"

    @property
    def never_waits(self) -> bool:
        return True

    def actor(self, wiring: Wiring) -> Actor:
        name = self.name
        operator = Fork(self.branches, wiring.join_of(name))
        return Relay(wiring.outputs(name), operator, wiring.conductor, wiring.inputs(name), wiring.before(name))
