"""What Headrace relies on of pykka: each hook that it overrides or calls, tried on pykka itself and on our host.

`pykka>=4.5,<5` is required since these names begin with an underscore: a release of pykka that calls them otherwise fails
here and not at a user's.
"""

from __future__ import annotations

import threading
from typing import Any

import pykka
import pytest

from headrace.actors import protocol
from headrace.actors.actor import Actor
from headrace.runtime.hosts.threads.dispatcher import Inbox
from headrace.runtime.hosts.threads.system import Callback, Host, Stopped, System


class Told(Actor):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.changed = threading.Event()

    def receive(self, message: Any) -> None:
        self.got.append(message)
        self.changed.set()


def hosted(died: list[Any] | None = None, gone: threading.Event | None = None) -> tuple[System, Host, Told]:
    """An actor of ours on its thread. Its death is noted, and told by `gone`."""
    system, told = System("test"), Told()

    def note(message: Any) -> None:
        if died is not None:
            died.append(message)
        if gone is not None:
            gone.set()

    return system, system.host(system.address("told"), told, Callback("parent", note)), told


def test_pykka_makes_an_inbox_first_and_begins_the_loop_last_by_the_hooks() -> None:
    called: list[str] = []

    class Hooked(pykka.ThreadingActor):
        @staticmethod
        def _create_actor_inbox() -> Any:
            called.append("inbox")
            return pykka.ThreadingActor._create_actor_inbox()

        @staticmethod
        def _create_future() -> Any:
            called.append("future")
            return pykka.ThreadingActor._create_future()

        def _start_actor_loop(self) -> None:
            called.append("loop")
            super()._start_actor_loop()

        def on_receive(self, message: Any) -> Any:
            return message

    ref = Hooked.start()
    try:
        assert called == ["inbox", "loop"]
        assert ref.ask("hello", timeout=10) == "hello"
        assert called == ["inbox", "loop", "future"]
    finally:
        ref.stop(timeout=10)
    assert called == ["inbox", "loop", "future", "future"], "a stop that blocks waits for a future too"


def test_our_host_is_one_of_pykka_s_actors_and_not_in_its_registry() -> None:
    system, host, _ = hosted()
    assert isinstance(host, pykka.ThreadingActor)
    assert host.actor_urn.startswith("urn:uuid:")
    assert host.actor_ref.actor_class is Host
    assert host.actor_ref.is_alive()
    assert pykka.ActorRegistry.get_by_urn(host.actor_urn) is None
    system.stop(10)
    assert not host.actor_ref.is_alive()


def test_our_host_s_inbox_is_made_by_the_hook_and_its_loop_is_begun_by_the_hook(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called: list[str] = []
    make, begin = Host._create_actor_inbox, Host._start_actor_loop

    def making() -> Inbox:
        called.append("inbox")
        return make()

    def beginning(host: Host) -> None:
        called.append("loop")
        begin(host)

    monkeypatch.setattr(Host, "_create_actor_inbox", staticmethod(making))
    monkeypatch.setattr(Host, "_start_actor_loop", beginning)
    system, host, told = hosted()
    assert called == ["inbox", "loop"]
    host.me.put(protocol.Start())
    assert told.changed.wait(10)
    assert told.got == [protocol.Start()]
    assert host.thread.daemon, "a call that never comes back must not keep the interpreter from ending (L34)"
    system.stop(10)


def test_what_pykka_s_ref_tells_comes_to_the_inbox_that_others_know() -> None:
    system, host, _ = hosted()
    assert host.actor_ref.actor_inbox is host.actor_inbox is host.me
    system.stop(10)


@pytest.mark.parametrize("block", [True, False])
def test_one_of_ours_that_is_stopped_by_way_of_pykka_ends_and_its_parent_hears_of_it(block: bool) -> None:
    died: list[Any] = []
    gone = threading.Event()
    system, host, _ = hosted(died, gone)
    # Who blocks waits for a future that our host must set.
    assert host.actor_ref.stop(block=block, timeout=10 if block else None)
    assert gone.wait(10)
    (message,) = died
    assert (message.who, type(message.error)) == (host.me, Stopped)
    assert str(message.error) == "test.told was stopped from outside, by way of pykka"
    host.thread.join(10)
    assert not host.actor_ref.is_alive()
    assert system.stop(10) == []


def test_one_of_ours_that_is_told_something_by_way_of_pykka_does_not_take_it_for_a_message() -> None:
    died: list[Any] = []
    gone = threading.Event()
    system, host, told = hosted(died, gone)
    host.actor_ref.tell(protocol.Start())
    assert gone.wait(10)
    assert str(died[0].error) == "test.told was told Start from outside, by way of pykka"
    assert told.got == []
    system.stop(10)
