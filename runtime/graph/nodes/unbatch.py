"""An unbatch lets the rows of a batch go on by themselves."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import ClassVar

from headrace.actors.actor import Actor
from headrace.actors.edges.operators import Unbatch
from headrace.actors.relay import Relay

from .node import FileKeys, Moves, NodePlan, Picture, Shape, State, Wiring
from .types import Batched


class UnbatchPlan(NodePlan, frozen=True):
    """The rows of a batch go on by themselves."""

    kind: ClassVar[str] = "unbatch"

    @classmethod
    def in_files(cls) -> FileKeys | None:
        return FileKeys()

    def check_ports(self, ports: Collection[str]) -> None:
        self.check_no_branches(ports)

    def shape_after(self, shape: Shape, port: str) -> Shape:
        return shape[:-1]

    @property
    def moves(self) -> Moves:
        return "unbatch"

    @property
    def in_order(self) -> bool:
        return False

    def check_takes(self, came: object) -> None:
        """That it is a batch is a matter of shape, which the graph looks at."""

    def gives(self, came: object, port: str) -> object:
        # What the calls between have made of the batch, its function may not say.
        return came.of if isinstance(came, Batched) else None

    @property
    def label(self) -> str:
        return self.called("unbatch")

    @property
    def picture(self) -> Picture:
        return Picture(("[[", "]]"), "box3d")

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
        return Relay(wiring.outputs(self.name), Unbatch(), wiring.conductor, wiring.inputs(self.name))
