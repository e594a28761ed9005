"""An event loop in virtual time: coroutines of user code, and all that asyncio builds on a loop, in the simulation.

`asyncio.sleep`, `timeout`, `wait_for`, `gather`, tasks, locks and queues work as they do elsewhere. Sockets, subprocesses
and threads do not: there is no outside here but the one that the simulation plays.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from loguru import logger

from headrace.actors import protocol
from headrace.actors.actor import Actor

from .system import Event, Signal, Simulation


class _Turn(protocol.Message, frozen=True):
    """A callback of the virtual event loop is due."""

    handle: asyncio.Handle


class _Loop(Actor):
    """The actor that carries a loop: one callback a step, so that other actors may come in between."""

    blocks = True

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def receive(self, message: _Turn) -> None:
        if message.handle.cancelled():
            return
        asyncio._set_running_loop(self._loop)
        try:
            message.handle._run()
        except (SystemExit, KeyboardInterrupt):
            # asyncio lets these two out; the task that raised has its error, and the loop goes on, as a real one does (L69).
            return
        finally:
            asyncio._set_running_loop(None)


class _TimerHandle(asyncio.TimerHandle):
    event: Event


class VirtualLoop(asyncio.AbstractEventLoop):
    """An event loop in virtual time; the module says what it has and what it refuses."""

    def __init__(self, simulation: Simulation, name: str) -> None:
        self._simulation = simulation
        self._mailbox = simulation.address(name)
        simulation.host(self._mailbox, _Loop(self), None)
        self._tasks: dict[asyncio.Task[Any], None] = {}
        simulation.at_close(self._close)

    # --- what asyncio asks of a loop ---

    def time(self) -> float:
        return self._simulation.now

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._mailbox.put(_Turn(handle))
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._simulation.now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        handle = _TimerHandle(when, callback, args, self, context)
        handle.event = self._simulation.call_at(when, self._due, handle)
        return handle

    def _due(self, handle: asyncio.TimerHandle) -> None:
        if not handle.cancelled():
            self._mailbox.put(_Turn(handle))

    def _timer_handle_cancelled(self, handle: _TimerHandle) -> None:
        """Cancel the event of a timer; `TimerHandle.cancel` calls this."""
        handle.event.cancel()

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, **options)
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))
        return task

    def _close(self) -> None:
        """What is still suspended ends here."""
        asyncio._set_running_loop(self)
        try:
            for task in list(self._tasks):
                coroutine = task.get_coro()
                if coroutine is not None:
                    with contextlib.suppress(BaseException):
                        coroutine.close()
        finally:
            asyncio._set_running_loop(None)

    def stop(self) -> None:
        """A loop that the user's code stops goes on, as a real one does (L69)."""

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def get_debug(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Logs what a callback raised, which nobody else would hear of; a task has whoever awaits it."""
        error = context.get("exception")
        if "handle" in context and error is not None:
            logger.opt(exception=error).error("a callback on the simulated event loop {} raised", self._mailbox.name)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Do nothing: `call_exception_handler` has logged what there is to log."""

    async def shutdown_asyncgens(self) -> None:
        """Generators are closed by whoever iterates."""

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise RuntimeError(
            "a simulation has no network, subprocesses or threads: give this stage a stand-in for what it calls"
        )

    run_in_executor = create_connection = create_server = getaddrinfo = sock_connect = _refuse  # type: ignore[assignment]
    subprocess_exec = subprocess_shell = create_datagram_endpoint = create_unix_connection = _refuse


class VirtualLoopThread:
    """A virtual event loop with the methods of `LoopThread`."""

    dead = False
    """A virtual loop ends with all that is on it."""
    here = False
    """It is nobody's own."""

    def __init__(self, simulation: Simulation, name: str) -> None:
        self._simulation = simulation
        self.loop = VirtualLoop(simulation, name)  # type: ignore[abstract]

    @property
    def over(self) -> bool:
        return self._simulation.closed

    def call_soon(self, function: Callable[..., object], *args: object) -> None:
        self.loop.call_soon(function, *args)

    def task(self, coroutine: Coroutine[Any, Any, Any], context: contextvars.Context) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = self.loop.create_task(coroutine, context=context)
        return task

    def left_alone(self, task: asyncio.Task[Any]) -> bool:
        return False

    def at_death(self, mourner: Callable[..., object]) -> None:
        """A virtual loop has nothing that could break."""

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end, from an actor that may block."""
        done = Signal(self._simulation)
        task = self.loop.create_task(coroutine)
        task.add_done_callback(lambda _: done.set())
        done.wait()
        return task.result()

    def news(self) -> News:
        return News(self._simulation)

    def stop(self, timeout_s: float) -> bool:
        return True


class News:
    """As the queue of hints that two threads share."""

    def __init__(self, simulation: Simulation) -> None:
        self._signal = Signal(simulation)
        self._n = 0

    def put(self, item: None) -> None:
        self._n += 1
        self._signal.set()

    def get(self, timeout: float | None = None) -> None:
        from queue import Empty

        if not self._n and not self._signal.wait(timeout):
            raise Empty
        self._n -= 1
        if not self._n:
            self._signal.clear()
