"""How a journal is kept: what people can say of it."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

import msgspec

from headrace.runtime.errors import ConfigError
from headrace.runtime.quantities import Range, option

COMMIT_S = 0.02
"""An answer waits so long for others; with the commit itself, it is durable within 50 ms."""
WITHIN = Range(0.0, 60.0, "seconds, from 0 to 60")
"""A longer wait would let a kill take back more than a minute of answers."""
REDACTED = "[redacted]"

Payloads = Literal["keep", "until_done", "never"]
Sync = Literal["group", "row"]


class Journal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file in which a run goes on where it was, however it ended, and how the file is kept.

    Where `payloads` or `redact` is said, messages of errors are left out too, since nobody can say what is in them. The
    states of `Pending` rows are always written: without them, what was begun would be begun twice.

    Args:
        path: The file. Another run's journal, and a file that is no journal, are refused. `memory:NAME` is a journal in the
            memory of this process, for tests; a package may bring other stores, with names of their own.
        sync: "group": answers go on at once, and are durable `within` seconds later. "row": no row goes on before its
            answer is durable, so that nobody acts on what a kill could take back.
        within: Seconds that an answer waits for others to be made durable with it, from 0 (as soon as the disk allows) to
            60.
        payloads: "keep": what calls answered stays in the file until it is pruned. "until_done": until the row is done.
            "never": it is never written, and after a kill, rows that were not done are called again.
        redact: Names of fields, such as "email" or "person.email", that are never written. An answer that had one is not
            whole, and its call is made again after a kill.

    Raises:
        ConfigError: An option cannot be.

    Examples:
        >>> pipeline = Pipeline("shout").source(["Lund", "Oslo"]).map(str.upper).sink(print)
        >>> pipeline.run(journal=Journal("run.db", sync="row")).calls
        LUND
        OSLO
        2
    """

    path: str | os.PathLike[str] | None = None
    sync: Sync = "group"
    within: Annotated[float, msgspec.Meta(ge=0)] = COMMIT_S
    payloads: Payloads = "keep"
    redact: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, value, known in (
            ("sync", self.sync, ("group", "row")),
            ("payloads", self.payloads, ("keep", "until_done", "never")),
        ):
            if value not in known:
                raise ConfigError(f"Journal: {name} is {value!r}; it can be {', '.join(map(repr, known))}")
        option("Journal", "within", self.within, WITHIN)
        if isinstance(self.redact, str) or not all(isinstance(name, str) and name for name in self.redact):
            raise ConfigError(f"Journal: redact is {self.redact!r}; it is a list of names of fields")

    @property
    def discreet(self) -> bool:
        """Something of what calls answer is not to be in the file."""
        return self.payloads != "keep" or bool(self.redact)


def as_journal(said: str | os.PathLike[str] | Journal) -> Journal:
    """The `Journal` that `journal=` stands for."""
    return said if isinstance(said, Journal) else Journal(said)


def redacted(value: object, paths: tuple[tuple[str, ...], ...]) -> tuple[Any, bool]:
    """(plain data without these fields, whether there were any). Lists on the way are gone into. A key that is spelled with
    the dots, as in a table that was made flat, is the same field."""
    if isinstance(value, dict):
        here = {".".join(path) for path in paths}
        found, out = False, {}
        for key, each in value.items():
            if key in here:
                out[key], found = REDACTED, True
                continue
            deeper = tuple(path[n:] for path in paths for n in range(1, len(path)) if ".".join(path[:n]) == key)
            out[key], inside = redacted(each, deeper) if deeper else (each, False)
            found = found or inside
        return out, found
    if isinstance(value, list | tuple):
        items = [redacted(each, paths) for each in value]
        return [item for item, _ in items], any(inside for _, inside in items)
    return value, False
