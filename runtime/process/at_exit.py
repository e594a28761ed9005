"""What becomes of runs and executors that nobody has waited for when the interpreter ends.

Their threads are daemons, which the interpreter would cut off in the middle of a call, without a word. So they are wound up
first: a run is drained, and the calls that an executor was given are made, as the standard library's executors do. Either
has a bound, and standard error is told in one line. Ctrl-C cuts it short; where Ctrl-C is why the interpreter ends, calls
that have not begun do not begin.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import weakref
from typing import Protocol

from ..text import told, visible

LEAVE_S = 5.0
"""Whoever leaves calls under way gives them so long to end, where no `drain_timeout` says otherwise."""
STILL_S = 60.0
"""At the interpreter's end, an executor none of whose calls has ended for so long is given up."""
QUIET_S = 2.0
"""What takes no longer than this is not worth a line."""


class Unfinished(Protocol):
    """What must be ended before the interpreter is: a run, or an executor."""

    pid: int

    def wind_up(self, *, hurried: bool) -> None:
        """Begin to end. `hurried`: somebody has pressed Ctrl-C. Returns at once."""

    def wait_wound_up(self, *, hurried: bool) -> None:
        """Wait for the end, within a bound, and `say` what is to be said."""

    def cut_short(self) -> None:
        """End at once, whatever is under way."""


_unfinished: weakref.WeakSet[Unfinished] = weakref.WeakSet()
_exiting = False


def note(one: Unfinished) -> None:
    """A run or an executor has begun."""
    _unfinished.add(one)


def forget(one: Unfinished) -> None:
    """A run or an executor has ended, so nobody need wait for it."""
    _unfinished.discard(one)


def exiting() -> bool:
    """Whether the interpreter is about to end."""
    return _exiting


def say(line: str) -> None:
    """One line on standard error; nobody need be there to read it (L91)."""
    with contextlib.suppress(BaseException):
        sys.stderr.write(f"headrace: {visible(line)}\n")
        sys.stderr.flush()


def _at_exit() -> None:
    global _exiting
    _exiting = True
    ours = [one for one in _unfinished if one.pid == os.getpid()]
    # The interpreter leaves the exception there that it ends with.
    hurried = getattr(sys, "last_type", None) is KeyboardInterrupt
    try:
        for step in (_begin, _wait):
            for one in ours:
                step(one, hurried=hurried)
    except KeyboardInterrupt:
        for one in ours:
            one.cut_short()


def _begin(one: Unfinished, *, hurried: bool) -> None:
    try:
        one.wind_up(hurried=hurried)
    except Exception as error:
        say(f"what was not waited for could not be ended: {told(error)}")


def _wait(one: Unfinished, *, hurried: bool) -> None:
    try:
        one.wait_wound_up(hurried=hurried)
    except Exception as error:
        say(f"what was not waited for has not ended: {told(error)}")


# As the standard library's executors do: before the interpreter stops letting threads start. `atexit` comes later.
getattr(threading, "_register_atexit", atexit.register)(_at_exit)
