"""Progress on a real terminal: a line that is written over, as wide as the terminal is, in its character set, and without
colour where none is wanted; Ctrl-C is answered at once."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
HANGS_S = 30.0

JOB = """
name = "geocode"
[source]
type = "csv"
path = "in.csv"
[[stage]]
call = "slow:ask"
workers = 2
[sink]
type = "jsonl"
path = "out.jsonl"
"""
SLOW = """
import os, time

def ask(row):
    if row["id"] == "3":
        raise ValueError("no \\x1b[2Jsuch city")
    while os.path.exists("hold"):
        time.sleep(0.01)
    return row
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "in.csv").write_text("id,name\n" + "".join(f"{n},name {n}\n" for n in range(400)))
    (tmp_path / "job.toml").write_text(JOB)
    (tmp_path / "hold").touch()
    return tmp_path


# Whoever runs the tests in the background may have SIGINT ignored, and that is inherited.
COMMAND = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('headrace.runtime.cli', run_name='__main__', alter_sys=True)"
)


class Screen:
    """What the command has written to its terminal."""

    def __init__(self, terminal: int, process: subprocess.Popen[bytes]) -> None:
        self._terminal = terminal
        self.process = process
        self.text = ""

    def read_until(self, wanted: str) -> None:
        while re.search(wanted, ESCAPE.sub("", self.text)) is None:
            if not self._read():
                raise AssertionError(f"{wanted!r} never came: {self.text!r}")

    def read_all(self) -> None:
        while self._read():
            pass

    def _read(self) -> bool:
        ready, _, _ = select.select([self._terminal], [], [], HANGS_S)
        if not ready:
            raise AssertionError(f"nothing came for {HANGS_S} s after {self.text!r}")
        try:
            data = os.read(self._terminal, 65536)
        except OSError:
            return False
        self.text += data.decode("utf-8", "replace")
        return bool(data)

    @property
    def lines(self) -> list[str]:
        """What was on a line at any time, without escapes."""
        return [part for part in re.split(r"[\r\n]+", ESCAPE.sub("", self.text)) if part.strip()]


@contextmanager
def running(folder: Path, columns: int, *, lang: str = "C.UTF-8", **environment: str) -> Iterator[Screen]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    base = {
        k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "NO_COLOR", "COLUMNS", "PYTHONUTF8"))
    }
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "run", "job.toml"],
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**base, "TERM": "xterm", "LANG": lang, **environment},
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Screen(ours, process)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.mark.parametrize("columns", [60, 120])
def test_it_is_one_line_as_wide_as_the_terminal_and_the_last_is_exact(folder: Path, columns: int) -> None:
    with running(folder, columns) as screen:
        screen.read_until(r"of \d+ rows")
        (folder / "hold").unlink()
        screen.read_all()
        assert screen.process.wait() == 3
    assert "\r" in screen.text
    assert max(map(len, screen.lines)) <= columns
    shown = [part for part in screen.lines if re.search(r"of \d+ rows", part)]
    assert "400 of 400 rows" in shown[-1]
    assert "completed" in shown[-1]
    assert "1 × ValueError in ask: quarantined" in screen.text
    assert "\x1b[2J" not in screen.text, "what an error says is not obeyed (L81)"


def test_the_first_ctrl_c_is_answered_with_what_is_left_and_what_stops_it(folder: Path) -> None:
    with running(folder, 60) as screen:
        screen.read_until(r"of \d+ rows")
        os.killpg(screen.process.pid, signal.SIGINT)
        screen.read_until(r"draining, \d+ left; Ctrl-C again stops")
        (folder / "hold").unlink()
        screen.read_all()
        assert screen.process.wait() == 130


def test_where_the_locale_is_c_only_ascii_is_shown(folder: Path) -> None:
    with running(folder, 80, lang="C") as screen:
        screen.read_until(r"of \d+ rows")
        progress = screen.text
        (folder / "hold").unlink()
        screen.read_all()
    assert progress.isascii()
    assert "--" in progress


@pytest.mark.parametrize(
    ("environment", "colours"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colour_only_where_it_is_wanted(folder: Path, environment: dict[str, str], colours: bool) -> None:
    with running(folder, 100, **environment) as screen:
        (folder / "hold").unlink()
        screen.read_all()
    assert ("\x1b[31m" in screen.text) is colours
    if "TERM" in environment:
        assert "\x1b" not in screen.text
