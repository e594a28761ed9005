"""An executor when the interpreter ends: it takes no more calls, those that it was given are made, as long as some of
them still end, and what does not end is aborted, which standard error is told."""

from __future__ import annotations

from ..errors import RunAborted
from ..process import at_exit
from .core import ExecutorCore


class Leftover:
    """What the end of the interpreter, and a child process that was forked, see of an executor. The executor keeps it
    until it has ended."""

    def __init__(self, core: ExecutorCore) -> None:
        self.pid = core.pid
        self._core = core
        self._wound_up: tuple[float, int | None] = (core.began, None)
        """When that was, and how many calls were answered by then."""
        core.at_end(self._on_end)

    def _on_end(self) -> None:
        self._core.host.ended(self)

    def wind_up(self, *, hurried: bool) -> None:
        """Take no more; `hurried`, what has not begun does not begin."""
        core = self._core
        core.close()
        self._wound_up = core.host.monotonic(), core.answered()
        if core.loop_home is not None:
            core.loop_home.perish_if_still()
        if hurried:
            core.give_up(RunAborted("the interpreter is ending"), begun=False)

    def wait_wound_up(self, *, hurried: bool) -> None:
        """Until all calls are made, as long as now and then one of them ends."""
        core = self._core
        began_s, before = self._wound_up
        core.wait(self._left_s(at_exit.QUIET_S, began_s))
        if core.ended.is_set():
            return
        at_exit.say(f"the interpreter ends when {core.name} has made its calls ({self._waiting()}); Ctrl-C aborts them")
        still_s = at_exit.LEAVE_S if hurried else at_exit.STILL_S
        while True:
            # All that ends with the interpreter began to end together, and waits together.
            core.wait(self._left_s(still_s, began_s))
            began_s = core.host.monotonic()
            if core.ended.is_set():
                return
            before, last = core.answered(), before
            if before == last:
                break
        at_exit.say(
            f"{core.name} is aborted at the interpreter's end: no call has ended for {still_s:g} s ({self._waiting()})"
        )
        self.cut_short()

    def _left_s(self, of_s: float, since_s: float) -> float:
        return max(0.0, of_s - (self._core.host.monotonic() - since_s))

    def _waiting(self) -> str:
        return f"{len(self._core.outstanding)} callers wait"

    def cut_short(self) -> None:
        """Answer every caller now."""
        self._core.abort(RunAborted("the interpreter is ending"))

    def after_fork(self) -> None:
        """Tell whoever waits in the child whose it is."""
        self._core.after_fork()
