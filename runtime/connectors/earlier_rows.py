"""Rows that are in a table before a run writes there: one rule for the tables of all databases, as it is said in `sinks`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError
from .part_file import IfExists, can_go_on
from .port import RunInfo


def what_becomes(said: IfExists | None, what: str, pipeline: str, *, ours: bool) -> IfExists:
    """What becomes of the rows of a table that has some. `said`: `if_exists`. `what`: the sink, in messages. `ours`: they
    are what an earlier run of this pipeline wrote. Raises `ConfigError`."""
    if said == "error":
        raise ConfigError(
            f'{what}: has rows already, and if_exists="error" was said; name another table, empty this one, or say'
            ' "replace" or "append"'
        )
    if said is None and not ours:
        raise ConfigError(
            f"{what}: has rows already, and they are not what an earlier run of the pipeline {pipeline!r} wrote; say"
            ' if_exists="replace" or "append", or name another table'
        )
    return said or "replace"


def check_none_is_interrupted(what: str, before: Mapping[Any, Any] | None, run: RunInfo) -> None:
    """Raises `ConfigError` where the rows are those of another run that was interrupted, and can be resumed. `before`: the
    note of the run that wrote here last, by `complete`, `journal` and `pipeline`."""
    if before is not None and not before["complete"] and can_go_on(before["journal"], before["pipeline"], run):
        raise ConfigError(
            f"{what}: has the rows of a run of the pipeline {before['pipeline']!r} that was interrupted; go on with"
            f" it (its journal is {before['journal']}), or remove that journal and the rows"
        )


def not_here(what: str, place: object) -> str:
    """What is wrong where rows that the journal knows are not in the table."""
    return f"{what}: the journal says that {place} rows were written here, and they are not: it was changed"
