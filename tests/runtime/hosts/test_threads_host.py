"""The host on pykka: lanes, timers, deaths, and the hooks that we rely on."""

from __future__ import annotations

import inspect
import threading
from typing import Any

import pykka
import pytest

from headrace.actors import protocol
from headrace.actors.actor import Actor, Context, UnknownMessage
from headrace.actors.protocol import Rows
from headrace.runtime.hosts.threads.dispatcher import Inbox
from headrace.runtime.hosts.threads.system import Callback, Host, System


class Box:
    """A ref that can be waited for."""

    def __init__(self) -> None:
        self.name = "box"
        self.got: list[Any] = []
        self._changed = threading.Condition()

    def put(self, item: Any, /) -> None:
        with self._changed:
            self.got.append(item)
            self._changed.notify_all()

    def wait_for(self, n: int) -> list[Any]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.got) >= n, 10)
            return list(self.got)


def test_control_overtakes_rows_however_many_L48_L58() -> None:
    inbox = Inbox()
    for _ in range(10_000):
        inbox.put(Rows([0], [0]))
    inbox.put(protocol.Abort("now"))
    inbox.put(protocol.Failing(inbox, OSError()))
    assert isinstance(inbox.get(), protocol.Abort)
    assert isinstance(inbox.get(), protocol.Failing)
    assert isinstance(inbox.get(), Rows)


def test_the_account_is_not_closed_before_what_was_settled_earlier() -> None:
    inbox = Inbox()
    inbox.put(protocol.Settled(protocol.Status.DELIVERED, range(1)))
    inbox.put(protocol.CloseAccount(inbox, True))
    assert isinstance(inbox.get(), protocol.Settled)


class Echo(Actor):
    """Tells everything on; timers and errors on demand."""

    def __init__(self, to: Any) -> None:
        self._to = to

    def receive(self, message: Any) -> None:
        match message:
            case protocol.Demand(n):
                self.context.after(n / 1000, protocol.Read(n))
            case protocol.Abort(_, BaseException() as error):
                raise error
            case Rows() | protocol.Read():
                self.context.tell(self._to, message)
            case _:
                self._unknown(message)


def hosted(box: Box) -> tuple[System, Inbox]:
    system = System("test")
    address = system.address("echo")
    system.host(address, Echo(box), box)
    return system, address


def test_rows_of_one_teller_stay_in_order_and_timers_come_when_due() -> None:
    box = Box()
    system, address = hosted(box)
    address.put(protocol.Demand(60))
    address.put(protocol.Demand(20))
    for i in range(100):
        address.put(Rows([i], [i]))
    got = box.wait_for(102)
    assert [m.seqs[0] for m in got if isinstance(m, Rows)] == list(range(100))
    assert [m.n for m in got if isinstance(m, protocol.Read)] == [20, 60]
    assert system.stop(5.0) == []


@pytest.mark.parametrize("error", [SystemExit(), KeyboardInterrupt(), GeneratorExit(), MemoryError(), ValueError()])
def test_a_death_goes_to_the_parent_and_nowhere_else_L31(error: BaseException) -> None:
    bystander = pykka.ThreadingActor.start()
    try:
        box = Box()
        system, address = hosted(box)
        address.put(protocol.Abort("die", error))
        (died,) = box.wait_for(1)
        assert (died.who, died.error) == (address, error)
        assert bystander.is_alive()
        system.stop(5.0)
    finally:
        bystander.stop()


def test_a_message_that_is_not_known_is_loud() -> None:
    box = Box()
    system, address = hosted(box)
    address.put(protocol.Start())
    (died,) = box.wait_for(1)
    assert isinstance(died.error, UnknownMessage)
    assert "Start" in str(died.error)
    system.stop(5.0)


def test_stop_all_of_the_application_does_not_see_our_actors_L31() -> None:
    box = Box()
    system, address = hosted(box)
    pykka.ActorRegistry.stop_all()
    address.put(Rows([1], [1]))
    assert box.wait_for(1) == [Rows([1], [1])]
    system.stop(5.0)


def test_pykkas_hooks_are_called_as_we_rely_on() -> None:
    called = []

    class Watched(Host):
        @staticmethod
        def _create_actor_inbox() -> Inbox:
            called.append("inbox")
            return Inbox()

    system = System("test")
    host = Watched(system, system.address("watched"), Echo(Box()), None)
    assert called == ["inbox"]
    assert host.actor_ref.actor_inbox is host.actor_inbox
    # What `start` does besides is what we leave out: the registry.
    source = inspect.getsource(pykka.Actor.start)
    assert "ActorRegistry.register" in source
    assert "_start_actor_loop" in source
    assert inspect.signature(pykka.Actor._create_actor_inbox).parameters == {}


def test_an_actor_born_while_the_others_are_ended_ends_too() -> None:
    system = System("test")
    system.stop(1.0)
    host = system.host(system.address("late"), Echo(Box()), Callback("parent", lambda _: None))
    assert host.thread is not None
    host.thread.join(5.0)
    assert not host.thread.is_alive()


class Last(Actor):
    """Ends with its first message, unless that kills it."""

    def __init__(self, ended: threading.Event) -> None:
        self._ended = ended

    def receive(self, message: Any) -> None:
        if isinstance(message, protocol.Abort):
            raise SystemExit
        self.context.stop()

    def ended(self) -> None:
        self._ended.set()


def test_the_death_of_one_on_a_shared_thread_is_its_own_L31() -> None:
    box, gone = Box(), threading.Event()
    system = System("test")
    dies, lives = system.address("dies", shared=True), system.address("lives", shared=True)
    system.host(dies, Last(gone), box)
    host = system.host(lives, Echo(box), box)
    dies.put(protocol.Abort("die"))
    assert gone.wait(10)
    lives.put(Rows([1], [1]))
    assert [type(message).__name__ for message in box.wait_for(2)] == ["Died", "Rows"]
    assert host.thread.name == "test.shared"
    assert system.stop(5.0) == []


def test_who_comes_to_a_shared_thread_after_all_have_left_finds_one() -> None:
    system = System("test")
    for _ in range(50):
        gone, box = threading.Event(), Box()
        address = system.address("short", shared=True)
        # Told before it is there, as all are while a run is put together.
        address.put(Rows([1], [1]))
        system.host(address, Last(gone), box)
        assert gone.wait(10)
    assert system.stop(5.0) == []


def test_only_those_who_hang_are_named() -> None:
    system, box, release = System("test"), Box(), threading.Event()

    class Hangs(Actor):
        def receive(self, message: Any) -> None:
            box.put(message)
            release.wait(10)

    first, other = system.address("first", shared=True), system.address("hangs", shared=True)
    gone = threading.Event()
    system.host(first, Last(gone), box)
    system.host(other, Hangs(), box)
    first.put(Rows([1], [1]))
    assert gone.wait(10)
    other.put(Rows([1], [1]))
    box.wait_for(1)
    assert system.stop(0.05) == ["test.hangs"]
    release.set()


def test_no_actor_asks_another_L33() -> None:
    # There is nothing to ask with: the context has no question that waits for its answer.
    assert {name for name in vars(Context) if not name.startswith("_")} == {
        "me",
        "tell",
        "after",
        "now",
        "random",
        "spawn",
        "abandon",
        "stop",
    }
