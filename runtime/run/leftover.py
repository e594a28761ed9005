"""A run that nobody has waited for when the interpreter ends: it is drained, or its stream is left, and whoever did not
wait is told so in a line on standard error."""

from __future__ import annotations

from collections.abc import Callable

from ..process import at_exit
from ..text import told
from .core import RunCore

CUT_SHORT_S = 20.0
"""Longer than an abort takes."""


class Leftover:
    """What the end of the interpreter sees of a run. The run's handle keeps it, and tells it what its owner has done.

    `heard`: somebody has been told of the run's end, or will be. `bidden`: somebody has said that it is to end.
    `leaving`: how a stream is left, in place of a drain."""

    def __init__(self, core: RunCore) -> None:
        self.pid = core.pid
        self.heard = False
        self.bidden = False
        self.leaving: Callable[[], object] | None = None
        self._core = core
        self._knew = False
        self._wound_up_s = 0.0
        # The run keeps it until it has ended, also where nobody has kept its handle.
        core.report.add_done_callback(self._on_end)

    def _on_end(self, _: object) -> None:
        """Note that there is a report."""

    @property
    def within_s(self) -> float:
        """Seconds that the calls under way are given when the run is left."""
        drain_s = self._core.plan.life.drain_s
        return drain_s if drain_s is not None else at_exit.LEAVE_S

    def wind_up(self, *, hurried: bool) -> None:
        """Drain, or leave the stream that it is for."""
        self._knew = self.bidden
        self._wound_up_s = self._core.host.monotonic()
        if self._core.loop_home is not None:
            self._core.loop_home.perish_if_still()
        (self.leaving or self._core.drain)()

    def wait_wound_up(self, *, hurried: bool) -> None:
        """Until it has ended; what is not done in time is aborted."""
        core = self._core
        if core.report.done():
            if not self.heard and core.error is not None:
                at_exit.say(f"the run of {core.plan.name} failed, and nobody has waited for it: {told(core.error)}")
            return
        how = "drained"
        try:
            # All that ends with the interpreter began to end together, and waits together.
            waited_s = core.host.monotonic() - self._wound_up_s
            report = core.report.result(max(0.0, self.within_s - waited_s))
        except TimeoutError:
            how = f"aborted, since it was not drained within {self.within_s:g} s"
            self.cut_short()
            report = core.report.result(CUT_SHORT_S)
        if core.error is not None:
            how += f" and failed ({told(core.error)})"
        if self.leaving is None and not (self._knew and how == "drained"):
            at_exit.say(
                f"nobody has waited for the run of {core.plan.name} when the interpreter ended, so it was {how}: "
                f"{report.delivered} of {report.rows} rows that were read are delivered; call run.wait()"
            )

    def cut_short(self) -> None:
        """Abort the run."""
        self.bidden = True
        self._core.abort("the interpreter is ending")

    def after_fork(self) -> None:
        """Whoever waits for the run in the child is told by its handle whose it is."""
