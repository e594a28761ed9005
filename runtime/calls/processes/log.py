"""What is logged in a worker process is logged by its run: lines of loguru and of the standard library's logging."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
from loguru import logger

if TYPE_CHECKING:
    from loguru import Message, Record

_LOG = compile("logger.log(level, '{}', text)", "<worker process>", "eval")
OFF = 1 << 30
"""Above any level: nothing is logged."""


class Levels(msgspec.Struct, frozen=True):
    """From which level on something is of use to the run, for loguru and for the standard library."""

    loguru: int
    standard: int


class Line(msgspec.Struct, frozen=True):
    """One line. `where`: module, function and line number that it comes from; `name`: of the standard library's logger,
    None for loguru."""

    level: int | str
    text: str
    where: tuple[str, str, int]
    extra: dict[str, str] = {}
    name: str | None = None
    trace: str | None = None


def levels() -> Levels:
    """What the log of this process takes."""
    handlers: object = getattr(logger, "_core", None)
    return Levels(getattr(handlers, "min_level", 0), logging.getLogger().getEffectiveLevel())


def forward(wanted: Levels, tell: Callable[[Line], object]) -> None:
    """Send what is logged here to the run instead."""

    def take(message: Message) -> None:
        record: Record = message.record
        error = record["exception"]
        tell(
            Line(
                record["level"].name,
                record["message"],
                (record["name"] or "", record["function"], record["line"]),
                {str(key): str(value) for key, value in record["extra"].items()},
                trace=str(error.value) if error is not None and error.value is not None else None,
            )
        )

    logger.remove()
    if wanted.loguru < OFF:
        logger.add(take, level=wanted.loguru, format="{message}", catch=True)
    root = logging.getLogger()
    root.setLevel(wanted.standard)
    root.handlers[:] = [_Handler(tell)]


class _Handler(logging.Handler):
    def __init__(self, tell: Callable[[Line], object]) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else None
        where = (record.pathname, record.funcName, record.lineno)
        self._tell(Line(record.levelno, record.getMessage(), where, {}, record.name, trace))


def write(line: Line, stage: str, pid: int) -> None:
    """Log a line of a worker process here, as it was logged there."""
    module, function, number = line.where
    text = line.text if line.trace is None else f"{line.text}\n{line.trace}"
    if line.name is not None:
        record = logging.LogRecord(line.name, int(line.level), module, number, text, None, None, function)
        record.process = pid
        source = logging.getLogger(line.name)
        if source.isEnabledFor(record.levelno):
            source.handle(record)
        return

    def place(record: Record) -> None:
        record["name"], record["function"], record["line"] = module, function, number

    # loguru asks the module that logs whether it may (`logger.enable`): that is the one over there.
    here = logger.patch(place).bind(**line.extra, stage=stage, pid=pid)
    eval(_LOG, {"__name__": module, "logger": here, "level": line.level, "text": text})
