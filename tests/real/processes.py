"""Servers as children: each is waited for, and ends by its pid, whatever becomes of the test."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port: int = held.getsockname()[1]
        return port


@contextlib.contextmanager
def ended(process: subprocess.Popen[Any], within_s: float = 10.0) -> Iterator[subprocess.Popen[Any]]:
    """Asked to end, and killed where it does not."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def waited_for(port: int, process: subprocess.Popen[Any], within_s: float = 20.0) -> None:
    """Until it listens. Raises `RuntimeError` with its words where it does not."""
    until = time.monotonic() + within_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                ended_itself = process.stderr is not None and process.poll() is not None
                words = repr(process.stderr.read()) if ended_itself and process.stderr is not None else ""
                raise RuntimeError(f"{process.args!r} does not listen on port {port}: {words}") from None
            time.sleep(0.05)


@contextlib.contextmanager
def upstream() -> Iterator[int]:
    """The port of `upstream.py`, which ends with its standard input, so even if this process is killed."""
    command = [sys.executable, "-m", "tests.real.upstream"]
    with ended(subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)) as child:
        assert child.stdout is not None
        yield int(child.stdout.readline())


@contextlib.contextmanager
def redis(program: str) -> Iterator[int]:
    """The port of a Redis that keeps nothing."""
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        port = free_port()
        flags = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        with ended(subprocess.Popen([program, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)) as process:
            waited_for(port, process)
            yield port
