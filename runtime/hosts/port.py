"""What the face to users needs of a host, whichever it is: threads or the simulation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from headrace.actors.actor import Actor, Ref


class Address(Ref, Protocol):
    """A ref that can be told something from outside the actors."""

    def put(self, item: Any, /) -> None:
        """Put something into the inbox. It never blocks."""


class Bell(Address, Protocol):
    """The address of an actor whose handler may wait for something outside: `Close` rings, so that it waits no longer."""

    ring: Callable[[], None] | None


class Actors(Protocol):
    """The actors of one run or executor."""

    name: str

    def address(self, name: str, *, shared: bool = False) -> Address:
        """The address of an actor that is yet to be hosted. `shared`: it never waits for anything but messages and calls
        nobody's code, so it may have its thread together with others of that kind."""

    def doorbell(self, name: str) -> Bell:
        """The same of one that `Close` must wake."""

    def host(self, address: Any, actor: Actor, parent: Any) -> object:
        """Let `actor` live at `address`; its death comes to `parent` as `protocol.Died`."""
