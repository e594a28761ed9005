"""How a run is doing, for people: a live line on a terminal, one that is renewed in a notebook, calm lines elsewhere.

A thread looks at the run now and then (L28: by time, not by rows), and says what `progress_line.py` makes of its report and
`waiting.py` of its limits. It ends with the run, and holds up nobody; telling never ends a run (L91).
"""

from __future__ import annotations

import concurrent.futures
import html
import os
import sys
import threading
from contextlib import suppress
from typing import IO, Any, Protocol

from loguru import logger

from ..errors import CannotStartThread, ConfigError
from ..hosts.threads.starting import started
from ..quantities import SECONDS, optional
from ..telemetry.observer import Observer
from ..text import kind_of, told
from . import progress_line as lines
from .core import RunCore
from .progress_line import Pace, Style
from .waiting import LimitWatch, Waiting

LIVE_S = 0.2
"""Seconds between two looks on a terminal."""
NOTEBOOK_S = 0.5
CALM_S = 5.0
"""Seconds between two lines elsewhere."""
WIDTH = 80
LAST_S = 5.0
"""Whoever waits for a run waits so long for its last line."""


class Display(Protocol):
    """Where lines are shown. What it raises ends the showing."""

    every_s: float
    style: Style

    def width(self) -> int:
        """Characters in a line at most."""

    def show(self, line: str, elapsed_s: float) -> None:
        """Show a line, in the place of the last one where that can be."""

    def close(self) -> None:
        """That was the last one."""


class Terminal:
    """One line that is written over. `erase` makes room for others who write there."""

    def __init__(self, stream: IO[str], again: str | None = None) -> None:
        self.every_s = LIVE_S
        self.style = Style(_shows_unicode(stream), not os.environ.get("NO_COLOR"), again)
        self._stream = stream
        self._mutex = threading.Lock()
        self._shown = False
        _live.add(self)

    def width(self) -> int:
        # One less: in its last column, a terminal begins the next line.
        try:
            return max(20, os.get_terminal_size(self._stream.fileno()).columns - 1)
        except (OSError, ValueError):
            return WIDTH - 1

    def show(self, line: str, elapsed_s: float) -> None:
        with self._mutex:
            self._stream.write(f"\r{line}\x1b[K")
            self._stream.flush()
            self._shown = True

    def erase(self) -> None:
        """Take the line away; the next look shows it again."""
        with self._mutex:
            if self._shown:
                self._stream.write("\r\x1b[K")
                self._stream.flush()
                self._shown = False

    def close(self) -> None:
        _live.discard(self)
        with self._mutex:
            if self._shown:
                self._stream.write("\n")
                self._stream.flush()


class Calm:
    """A line now and then, for a log or a file: no escapes, no colour."""

    def __init__(self, stream: IO[str], again: str | None = None) -> None:
        self.every_s = CALM_S
        self.style = Style(again=again, bar=False)
        self._stream = stream

    def width(self) -> int:
        return 1 << 16

    def show(self, line: str, elapsed_s: float) -> None:
        print(f"{elapsed_s:7.1f} s  {line}", file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing is left to do."""


class Notebook:
    """An output of a notebook's cell that is renewed."""

    def __init__(self, again: str | None = None) -> None:
        from IPython.display import display  # type: ignore[import-not-found,unused-ignore]

        self.every_s = NOTEBOOK_S
        self.style = Style(unicode=True, again=again)
        self._display = display
        self._handle: Any = None

    def width(self) -> int:
        return 120

    def show(self, line: str, elapsed_s: float) -> None:
        shown = {"text/plain": line, "text/html": f"<pre>{html.escape(line)}</pre>"}
        if self._handle is None:
            self._handle = self._display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)

    def close(self) -> None:
        """What was shown last stays."""


_live: set[Terminal] = set()


def erase() -> None:
    """Before something else is written to the terminal: take away the lines that are shown there."""
    for terminal in list(_live):
        with suppress(OSError, ValueError):
            terminal.erase()


class Progress:
    """Shows how a run is doing, from `follow` until it has ended."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._watch = LimitWatch()
        self._thread: threading.Thread | None = None

    @property
    def observer(self) -> Observer:
        """To be given to the run."""
        return self._watch

    def follow(self, core: RunCore) -> None:
        """Begin. Where there is no thread to be had for it, nothing is shown."""
        try:
            self._thread = started(self._follow, f"headrace progress of {core.plan.name}", core)
        except CannotStartThread as error:
            logger.warning("the progress of {} is not shown: {}", core.plan.name, told(error))

    def join(self) -> None:
        """Once the run has ended: wait until that is shown."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(LAST_S)

    def _follow(self, core: RunCore) -> None:
        # Nobody may be reading: a stream that is closed, full, or a terminal that is gone.
        with suppress(OSError, ValueError):
            self._look_until_ended(core)
        with suppress(OSError, ValueError):
            self._display.close()

    def _look_until_ended(self, core: RunCore) -> None:
        pace, waiting = Pace(), Waiting(self._watch)
        ended = False
        while not ended:
            try:
                # Once more after the end, so that the last line is exact (L28).
                core.report.result(self._display.every_s)
                ended = True
            except (TimeoutError, concurrent.futures.TimeoutError):
                pass
            except Exception:
                return
            report = core.stats()
            words = waiting.words(report, core.host.monotonic())
            display = self._display
            line = lines.line(report, pace.per_s(report), words, display.width(), display.style)
            display.show(line, report.elapsed_s)


def progress_of(again: str | None = None, stream: IO[str] | None = None, every: float | None = None) -> Progress:
    """For a notebook, a terminal or anything else, as `stream` (standard error) is. `again`: what stops a run that drains.
    `every`: seconds between two looks."""
    out = stream or sys.stderr
    display: Display
    if stream is None and _in_notebook():
        display = Notebook(again)
    elif out is not None and _is_terminal(out):
        display = Terminal(out, again)
    else:
        display = Calm(out if out is not None else open(os.devnull, "w"), again)  # noqa: SIM115 - as long as the run
    pause_s = optional("progress", "every", every, SECONDS)
    if pause_s is not None:
        display.every_s = pause_s
    return Progress(display)


def as_progress(given: object) -> Progress | None:
    """What an option `progress` says. Raises `ConfigError`."""
    if isinstance(given, Progress):
        return given
    if given is not True and given is not False and given is not None:
        raise ConfigError(f"progress: {kind_of(given)} is neither True nor False")
    return progress_of() if given else None


def _is_terminal(stream: IO[str]) -> bool:
    try:
        return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    except (OSError, ValueError):
        return False


def _shows_unicode(stream: IO[str]) -> bool:
    """Python takes UTF-8 where the locale is C (PEP 538, 540), and says so in LC_CTYPE; the terminal does not."""
    said = os.environ.get("LC_ALL") or os.environ.get("LC_CTYPE") or os.environ.get("LANG") or "C"
    coerced = said == "C.UTF-8" and not os.environ.get("LC_ALL") and os.environ.get("LANG", "C") in ("", "C", "POSIX")
    if coerced or said in ("C", "POSIX"):
        return False
    try:
        "\u2588\u2591".encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and getattr(shell, "kernel", None) is not None
