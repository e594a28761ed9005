"""What a run logs: bound with run, stage and row, never with a row's contents (an error's text may hold some)."""

from __future__ import annotations

from loguru import logger

from headrace.actors.protocol import Closure

from ..errors import name_of
from ..text import visible
from . import events
from .observer import Observer


class RunLog(Observer):
    """Logs that a run begins and ends, the rows that end badly, and the cooldowns of its limits."""

    def __init__(self, run: str, pipeline: str) -> None:
        self._log = logger.bind(run=run, pipeline=pipeline)
        self._pipeline = pipeline
        self._shut: set[tuple[str, object]] = set()
        """Stages and keys of which has been told that the account is exhausted: each probe in vain is no news."""

    def on_run_began(self, event: events.RunBegan) -> None:
        self._log.info("{} starts", self._pipeline)

    def on_row_ended(self, event: events.RowEnded) -> None:
        error = visible(name_of(event.error)) if event.error is not None else "no error"
        # What is given by name is bound to the record, too; `bind` would make a logger for each row.
        self._log.warning(
            "row {} {} in {stage}: {} after {} attempts",
            event.name,
            event.status.value,
            error,
            event.attempts,
            stage=event.stage,
            row=event.row,
        )

    def on_cooldown_began(self, event: events.CooldownBegan) -> None:
        log = self._log.bind(stage=event.stage)
        if event.closure is not Closure.EXHAUSTED:
            log.info("{}: closed ({}), epoch {}", event.stage, event.closure.value, event.epoch)
            return
        if (event.stage, event.key) in self._shut:
            return
        self._shut.add((event.stage, event.key))
        log.warning(
            "{}: the other side takes no call of this account for long: {}; rows wait and lose nothing, and one "
            "call at a time asks again",
            event.stage,
            visible(event.words or "").rstrip("."),
        )

    def on_cooldown_ended(self, event: events.CooldownEnded) -> None:
        if event.probing and (event.stage, event.key) in self._shut:
            return
        probe = " for a probe" if event.probing else ""
        self._log.bind(stage=event.stage).info("{}: open{}, epoch {}", event.stage, probe, event.epoch)

    def on_reopened(self, event: events.Reopened) -> None:
        log = self._log.bind(stage=event.stage)
        if (event.stage, event.key) in self._shut:
            self._shut.discard((event.stage, event.key))
            log.info("{}: the account takes calls again; its rows go on", event.stage)
        else:
            log.info("{}: the outage is over, epoch {}", event.stage, event.epoch)
