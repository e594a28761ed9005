"""The event loop of the caller (L80): calls run where the application's own clients are, its aiohttp session, httpx client
or connection pool, which work on the loop that they were made on and on no other.

The loop is not ours: nothing here stops or replaces it. A task of ours waits on it for its end, since whoever ends a loop
cancels all tasks first (`asyncio.run` does, and so do uvicorn and pytest-asyncio). A loop that was closed without that is
found out when something is asked of it. Either is the loop's death, as for one of our own (L69).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Callable, Coroutine
from contextvars import Context

from ...errors import ConfigError, LoopDied
from ..loop_home import LoopHome


def check_whose(where: str, loop: object) -> None:
    """Raises `ConfigError` for what is no `Whose`, and for the caller's loop where none runs."""
    if loop not in ("own", "caller"):
        raise ConfigError(f"{where}: loop={loop!r}: 'own' or 'caller' is expected")
    if loop == "caller" and running_loop() is None:
        raise ConfigError(
            f"{where}: loop='caller': no event loop runs here; use it in a coroutine, such as the application's lifespan"
        )


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The one that runs on this thread."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class CallerLoop(LoopHome):
    """The event loop that runs where the run was started; the module says what its end means."""

    def __init__(self, name: str, failed: Callable[[LoopDied], object] | None = None) -> None:
        """Made on the loop's thread. `failed`: called once, if the loop ends although `stop` was not called."""
        super().__init__(asyncio.get_running_loop(), name, failed)
        self._watch = self.task(self._wait_for_the_end(), Context())
        self._watch.set_name(f"{name} (waits for its end)")

    @property
    def here(self) -> bool:
        """This thread runs the loop now, so that to wait here would be to wait for oneself."""
        return running_loop() is self.loop

    def run(self, coroutine: Coroutine[object, object, object]) -> object:
        try:
            return super().run(coroutine)
        except concurrent.futures.CancelledError as error:
            with self._mutex:
                died = self._dead
            raise died or self._epitaph() from error

    def stop(self, timeout_s: float) -> bool:
        with self._mutex:
            self.over = True
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self._watch.cancel)
        return True

    def left_alone(self, task: asyncio.Task[object]) -> bool:
        return task.cancelling() > 0 and not self.over

    def perish(self) -> None:
        self._end(self._epitaph())

    def perish_if_still(self) -> None:
        """At the interpreter's end: a loop that does not run will not run again."""
        if not self.over and not self.loop.is_running():
            self._on_still()

    def _on_still(self) -> None:
        self._watch._log_destroy_pending = False  # type: ignore[attr-defined]
        self.perish()

    def _on_closed(self) -> None:
        self._on_still()
        with self._mutex:
            if self._dead is not None and not self.over:
                raise self._dead

    async def _wait_for_the_end(self) -> None:
        try:
            await self.loop.create_future()
        finally:
            if not self.over:
                self.perish()

    def _epitaph(self) -> LoopDied:
        return LoopDied(
            f"the caller's event loop, on which {self._name} makes its calls, has ended; whether those under way happened, "
            f"nobody can say; let it go on until the run has ended, or the executor is closed"
        )
