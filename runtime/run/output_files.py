"""A run's files: that no two parts of a pipeline use the same one is checked before anything opens, and the outputs are held
until the run has ended (L61)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
from loguru import logger

from ..connectors.calling import asked
from ..connectors.file_identity import FileUse, StrPath, check_uses
from ..connectors.port import Claim, RunInfo, SinkConnector, Written
from ..errors import ConfigError
from ..graph.nodes.sink import SinkPlan
from ..graph.plan import QUARANTINE, Plan

CLOSING_S = 600.0
"""So long an output may take to get its name after everything else of a run that went well has ended."""


class Outputs:
    """The outputs of one run. `error` and `written` are asked once it has ended."""

    def __init__(self, sinks: Sequence[SinkConnector], claims: Sequence[Claim] = ()) -> None:
        self._sinks = sinks
        self._claims = list(claims)

    def release(self) -> None:
        """Let go of the outputs that the run did not come to open."""
        for claim in self._claims:
            claim.release()

    def error(self) -> BaseException | None:
        """Why an output of a run that went well is not complete: it could not get its name. Waits for an end of the closing,
        which is bounded."""
        until = time.monotonic() + CLOSING_S
        for claim in self._claims:
            error = claim.error(max(0.0, until - time.monotonic()))
            if error is not None:
                return error
        return None

    def written(self) -> tuple[Written, ...]:
        """What was done to each of them."""
        done: list[Written] = []
        for sink in self._sinks:
            try:
                written = asked("sink", sink, "written")
            except ConfigError as error:
                # The rows are where they are, whatever the sink says of it.
                logger.warning("{}", error)
            else:
                if written is not None:
                    done.append(written)
        return tuple(done)


def check_files(nodes: Iterable[object], quarantine: object, source: object, others: Iterable[FileUse] = ()) -> None:
    """Raise `ConfigError` where two parts of a pipeline would use one file, and one of them writes it. `others`: files that
    are used beside the connectors."""
    uses = [*_uses(source, "the source", "read")]
    for node in nodes:
        if isinstance(node, SinkPlan):
            uses += _uses(node.connector, f"the sink {node.name!r}", "write")
    uses += _uses(quarantine, "the quarantine", "write")
    check_uses([*uses, *others])


def uses_of_a_run(journal: StrPath | None, origin: StrPath | None) -> list[FileUse]:
    """The files that a run uses beside its connectors: its journal, and the file that describes it."""
    uses = []
    if origin is not None and os.path.exists(origin):
        uses.append(FileUse(os.fspath(origin), "read", user="the pipeline's own description"))
    if journal is not None:
        # Nothing of a journal is imported before there is one.
        from ..journal.stores import file_of

        path = file_of(journal)
        if path is not None:
            ends = ("", "-wal", "-shm", "-journal", ".lock")
            uses += [FileUse(f"{path}{end}", "write", user="the journal") for end in ends]
    return uses


def hold(plan: Plan, run: RunInfo, places: Mapping[str, object] | None = None) -> Outputs:
    """Hold the outputs of a run. `places`: how far earlier lives of it had written, by sink. Raises `ConfigError`, and holds
    nothing then."""
    named = [(sink.name, sink.connector) for sink in plan.sinks]
    if plan.quarantine is not None:
        named.append((QUARANTINE, plan.quarantine))
    outputs = Outputs([connector for _, connector in named])
    try:
        for name, connector in named:
            durable = run.journal is not None and getattr(connector, "durable", False)
            claim = asked("sink", connector, "claim", run, (places or {}).get(name) if durable else None)
            if claim is not None:
                outputs._claims.append(claim)
    except BaseException:
        outputs.release()
        raise
    return outputs


def _uses(connector: object, user: str, use: object) -> Iterator[FileUse]:
    files = asked("source" if use == "read" else "sink", connector, "files")
    if files is not None:
        for used in files:
            yield msgspec.structs.replace(used, user=used.user or user)
    elif use == "read" and isinstance(path := getattr(connector, "path", None), str | os.PathLike):
        # A source that is read from a file, and does not say so otherwise.
        yield FileUse(os.fspath(path), "read", user=user)
