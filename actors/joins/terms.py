"""What is said of a join: its terms, its error, and what it gives to the one who merges."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import msgspec

from ..errors import HeadraceError

LATE = "late"
"""The edge of parts that come too late."""

Require = Literal["all", "any", "best"] | int


class JoinTerms(msgspec.Struct, frozen=True):
    """What the user said of a join.

    `branches`: those that meet here, by their index in the fork, which has `ways` in all. `require`: `all` parts;
    `any`, the first that comes; so many of those that come; `best`, whatever comes. `within_s`: seconds from the fork
    on, None: as long as it takes. `on_missing`: what becomes of a row that lacks parts. `bare`: nobody merges, so the
    parts are the row.
    """

    name: str
    branches: dict[int, str]
    ways: int
    require: Require = "all"
    within_s: float | None = None
    on_missing: Literal["quarantine", "drop", "fail"] = "quarantine"
    bare: bool = False

    @property
    def needed(self) -> int:
        """Parts without which a row does not go on."""
        match self.require:
            case "all":
                return len(self.branches)
            case "any":
                return 1
            case "best":
                return 0
            case n:
                return n


T = TypeVar("T")


class PartsMissing(HeadraceError, RuntimeError):
    """A row lacks parts that its join requires."""


class Parts(dict[str, T]):
    """The parts of one row, by branch. `missing`: why the others are not there: their error; None where there is none (it
    was dropped, or went elsewhere, or is not here yet)."""

    missing: Mapping[str, BaseException | None] = MappingProxyType({})


class Merging(msgspec.Struct, frozen=True):
    """What a join gives to the one who merges: the row as it was forked, and its parts."""

    row: Any
    parts: Parts[Any]
