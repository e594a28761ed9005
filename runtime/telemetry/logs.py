"""What a run logs: bound with run, stage and row, never with a row's contents (an error's text may hold some)."""

from __future__ import annotations

from typing import Any

from loguru import logger

from headrace.actors import protocol
from headrace.actors.identity import row_of, show

from ..errors import name_of
from ..text import visible


class OutcomesLog:
    """Is told of rows that end badly, and logs them."""

    __slots__ = ("_log", "name")

    def __init__(self, run: str, pipeline: str) -> None:
        self.name = "log of outcomes"
        self._log = logger.bind(run=run, pipeline=pipeline)

    def put(self, message: Any, /) -> None:
        """Told by a node."""
        if isinstance(message, protocol.Outcomes):
            for ended in message.ended:
                error = visible(name_of(ended.error)) if ended.error is not None else "no error"
                self._log.bind(stage=ended.stage, row=row_of(ended.seq)).warning(
                    "row {} {} in {}: {} after {} attempts",
                    show(ended.seq),
                    ended.status.value,
                    ended.stage,
                    error,
                    ended.attempts,
                )


class CooldownLog:
    """Enlisted with a governor as if it were a stage: hears of cooldowns, and logs them."""

    __slots__ = ("_log", "_shut", "_stage", "name")

    def __init__(self, run: str, pipeline: str, stage: str) -> None:
        self.name = f"log of {stage}"
        self._stage = stage
        self._shut: set[Any] = set()
        """Keys of which has been told that the account is exhausted: each probe in vain is no news."""
        self._log = logger.bind(run=run, pipeline=pipeline, stage=stage)

    def put(self, message: Any, /) -> None:
        """Told by the governor."""
        match message:
            case protocol.CooldownBegan(_, _, protocol.Closure.EXHAUSTED, key, words):
                if key not in self._shut:
                    self._shut.add(key)
                    self._log.warning(
                        "{}: the other side takes no call of this account for long: {}; rows wait and lose nothing, and one "
                        "call at a time asks again",
                        self._stage,
                        visible(words or "").rstrip("."),
                    )
            case protocol.CooldownEnded(_, True, key) if key in self._shut:
                return
            case protocol.Reopened(_, key) if key in self._shut:
                self._shut.discard(key)
                self._log.info("{}: the account takes calls again; its rows go on", self._stage)
            case protocol.CooldownBegan(epoch, _, closure, _):
                self._log.info("{}: closed ({}), epoch {}", self._stage, closure.value, epoch)
            case protocol.CooldownEnded(epoch, probing, _):
                self._log.info("{}: open{}, epoch {}", self._stage, " for a probe" if probing else "", epoch)
            case protocol.Reopened(epoch, _):
                self._log.info("{}: the outage is over, epoch {}", self._stage, epoch)
            case _:
                return
