"""What an actor is, and all that it may do to the world.

An actor is a plain object: a message in, effects out. Its host calls `start(context)` once, then `receive(message)`
for one message at a time. Effects go through the context alone, so that the threads host and the simulation run the
same bytes of code. A message that an actor does not know is an error, never a warning.
"""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn, Protocol

from .errors import HeadraceError


class Ref(Protocol):
    """The address of an actor. Opaque: compare it, name it, tell it things through a context."""

    @property
    def name(self) -> str: ...


class Timer(Protocol):
    """A message that an actor will tell itself later."""

    def cancel(self) -> None:
        """Forget it; harmless when it has already been delivered."""


class Context(Protocol):
    """The port between an actor and its host."""

    @property
    def me(self) -> Ref: ...

    def tell(self, ref: Ref, message: Any) -> None:
        """Put `message` into the inbox of `ref`. Never blocks and never fails; to a dead actor it is a dead letter."""

    def after(self, delay_s: float, message: Any) -> Timer:
        """Tell this actor `message` once `delay_s` seconds have passed."""

    def now(self) -> float:
        """The time in monotonic seconds, real or virtual."""

    def random(self) -> float:
        """A random number of at least 0 and below 1."""

    def spawn(self, name: str, actor: Actor) -> Ref:
        """Start a child. Its death comes to this actor as `protocol.Died`."""

    def abandon(self, ref: Ref, error: BaseException) -> None:
        """Give up on a child that may hang: it gets no more messages, and what it had finished comes as `Died`."""

    def stop(self) -> None:
        """End this actor after the message in hand."""


class UnknownMessage(HeadraceError, TypeError):
    """An actor was told something that its protocol does not have."""


class Actor:
    """Base of all actors. Subclasses implement `receive`; `statistics()` is frozen and safe to hand out."""

    context: Context
    blocks: ClassVar[bool] = False
    """Its handler may take long, because it calls code that is not ours."""

    def start(self, context: Context) -> None:
        """Take the context and begin. Subclasses extend this to arm timers or spawn children."""
        self.context = context

    def receive(self, message: Any) -> None:
        """Handle one message."""
        raise NotImplementedError

    def statistics(self) -> Any:
        """What this actor counts, as a frozen struct; None where there is nothing to count."""
        return None

    def salvage(self) -> Any:
        """What a dying actor leaves to its parent (see `Worker`); None where there is nothing to inherit."""
        return None

    def ended(self) -> None:
        """The host has ended this actor, for whatever reason; the place to let go of a port."""

    def _unknown(self, message: object) -> NoReturn:
        raise UnknownMessage(f"{type(self).__name__} was told {type(message).__name__}, which it does not know")
