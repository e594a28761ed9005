"""What a run and its worker processes say to each other: frames of a length, a kind and a pickle, over a socket.

Values are pickled by cloudpickle, which sends functions and classes of `__main__`, lambdas and closures by value, and is
as fast as pickle for plain data. A context variable is sent as the name of the module that holds it.
"""

from __future__ import annotations

import enum
import functools
import io
import pickle
import struct
import sys
from collections.abc import Iterator
from contextvars import Context, ContextVar
from typing import Any

from loguru import logger

from ...errors import ConfigError
from ...text import told

PROTOCOL = 5
HEAD = struct.Struct("<QB")
_GLOBAL = b"\x93"
"""The opcode with which a pickle names a class or a function. Without it, the pickle has plain data alone."""


class Word(enum.IntEnum):
    """What a frame says."""

    SET_UP = 1
    """Run → process: the `Job` to be done."""
    WORK = 2
    """Run → process: an assignment, or a part of one: (id, index of its first row here, how many, pickle of its rows)."""
    RECALL = 3
    """Run → process: give back what you have not begun."""
    FINISH = 4
    """Run → process: close the function, and end."""
    READY = 5
    """Process → run: the function is prepared."""
    FAILED = 6
    """Process → run: the function could not be had, or its `prepare` raised: (error, traceback)."""
    PART = 7
    """Process → run: calls have ended: (id, index of the first row, how many, pickle of what came of them)."""
    UNREAD = 8
    """Process → run: these rows cannot be unpickled: (id, index of the first row, rows, error)."""
    RETURNED = 9
    """Process → run: these rows of an assignment were not begun: (id, index of the first, index after the last)."""
    LOGGED = 10
    """Process → run: a line of the log."""
    CLOSED = 11
    """Process → run: the function is closed: an error or None, and its traceback."""


class Frames:
    """Makes frames of the bytes that come."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Word, bytes]]:
        """The frames that are complete with these bytes."""
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= HEAD.size:
            length, word = HEAD.unpack_from(buffer, at)
            if len(buffer) - at - HEAD.size < length:
                break
            at += HEAD.size
            yield Word(word), bytes(memoryview(buffer)[at : at + length])
            at += length
        del buffer[:at]


def frame(word: Word, body: bytes = b"") -> bytes:
    """The bytes of a frame."""
    return HEAD.pack(len(body), word) + body


def dump(value: object) -> bytes:
    """Raises whatever pickling the value raises."""
    out = io.BytesIO()
    _pickler()(out, PROTOCOL).dump(value)
    return out.getvalue()


load = pickle.loads


def is_plain(data: bytes) -> bool:
    """Whether a pickle surely has nothing but plain data, which any process can read."""
    return _GLOBAL not in data


def _variable(module: str, name: str) -> ContextVar[object]:
    variable: ContextVar[object] = getattr(__import__(module, fromlist=[name]), name)
    return variable


def _logger(extra: dict[str, object]) -> object:
    return logger.bind(**extra)


_Logger = type(logger)
_types: list[object] = []


def _pickler() -> Any:
    if not _types:
        try:
            import cloudpickle
        except ImportError as error:
            raise ConfigError(
                "on='processes' needs cloudpickle, which the extra has: pip install 'headrace[processes]'"
            ) from error

        class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
            """cloudpickle's, which knows nothing of context variables, nor of loguru's logger, whose handlers stay here."""

            def reducer_override(self, value: object) -> object:
                if type(value) is ContextVar and (home := _home_of(value)) is not None:
                    return _variable, home
                if type(value) is _Logger:
                    return _logger, (value._options[-1],)  # type: ignore[attr-defined]
                return super().reducer_override(value)

        _types.append(Pickler)
    return _types[0]


@functools.lru_cache(1024)
def _home_of(variable: ContextVar[object]) -> tuple[str, str] | None:
    """The module and the name under which it can be had in another process; None where there is none."""
    for module_name, module in list(sys.modules.items()):
        if module_name == "__main__":
            continue
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if value is variable:
                return module_name, name
    return None


def pairs_of(context: Context) -> list[bytes]:
    """What is set in a context, as far as it can be sent: pickled pairs of a variable and its value."""
    pairs: list[bytes] = []
    for variable, value in context.items():
        if _home_of(variable) is None:
            continue
        try:
            pairs.append(dump((variable, value)))
        except Exception as error:
            logger.debug("the context variable {!r} is not sent to processes: {}", variable.name, told(error))
    return pairs
