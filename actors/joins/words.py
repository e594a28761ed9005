"""What a join says in one turn: gathered while a message is handled, and told at its end, each kind as one message.

State only; the join decides.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .. import protocol
from ..actor import Context, Ref
from ..buffers.backlog import as_seqs
from ..edges.operators import ONWARD
from ..edges.outputs import NodeStatistics, Outputs
from ..protocol import Ended, Status
from ..rows.identity import Id, Ids, merged, part
from ..text import told
from .terms import LATE, JoinTerms, Merging, Parts, PartsMissing

_STATUS_OF = {"quarantine": Status.QUARANTINED, "fail": Status.FAILED, "drop": Status.DROPPED}


class Words:
    """Those of one join. `outputs`: of what it makes; `late`: of parts that come too late. `made`: rows on which it has said
    its word."""

    def __init__(self, terms: JoinTerms, outputs: Outputs, late: Outputs, conductor: Ref, journal: Ref | None) -> None:
        self._terms = terms
        self._outputs = outputs
        self._late_outputs = late
        self._conductor = conductor
        self._journal = journal
        self._context: Context
        self.made = 0
        self._late = 0
        self._decided: list[tuple[Id, tuple[int, ...]]] = []
        self._made_seqs: list[Id] = []
        self._made_values: list[Merging | Parts[Any]] = []
        self._made_attempts: dict[Id, int] = {}
        self._merged = 0
        self._merged_names: list[Id] = []
        self._merged_apart: list[Id] = []
        self._ended: list[Ended] = []
        self._cut_off: list[Ended] = []
        """Parts of rows that were interrupted."""
        self._late_seqs: list[Id] = []
        self._late_values: list[Any] = []

    def start(self, context: Context) -> None:
        """Before the first row."""
        self._context = context
        self._outputs.start(context)
        self._late_outputs.start(context)

    # --- what is gathered ---

    def decide(self, seq: Id, parts: tuple[int, ...]) -> None:
        """For another life: the word on this row was said with these parts."""
        if self._journal is not None:
            self._decided.append((seq, parts))

    def late(self, name: Id, value: Any) -> None:
        """A part has come after the word."""
        self._late_seqs.append(name)
        self._late_values.append(value)

    def whole(
        self, seqs: Ids, rows: list[Any], parts: dict[int, list[Any]], attempts: dict[Id, int], *, decided: bool
    ) -> None:
        """Rows of which all parts are here go on, column by column. `attempts`: of rows that took more than one; those of
        these rows are taken out of it. `decided`: another life must know that."""
        terms, ways = self._terms, self._terms.ways
        if decided and self._journal is not None:
            whole = tuple(parts)
            self._decided += [(seq, whole) for seq in seqs]
        names = list(terms.branches.values())
        values = [Parts(zip(names, each, strict=True)) for each in zip(*parts.values(), strict=True)]
        n = len(seqs)
        if ways != len(terms.branches):
            for seq in seqs:
                self._merged_apart += [part(seq, index, ways) for index in parts]
            self._made_seqs += [merged(seq, ways) for seq in seqs]
        else:
            self._made_seqs += seqs
        if self._late_outputs.has(LATE):
            self._merged_names += [part(seq, index, ways) for seq in seqs for index in parts]
        self.made += n
        self._merged += n * len(parts)
        if terms.bare:
            self._made_values += values
        else:
            self._made_values += map(Merging, rows, values)
        if attempts:
            for seq, made in zip(seqs, self._made_seqs[-n:], strict=True):
                if seq in attempts:
                    self._made_attempts[made] = attempts.pop(seq)

    def merge(self, names: list[Id], *, apart: bool) -> None:
        """The word on a row was said with these parts. `apart`: they are not all of it, and are settled by themselves."""
        if apart:
            self._merged_apart += names
        self.made += 1
        self._merged += len(names)
        self._merged_names += names

    def go_on(self, made: Id, row: Any, values: Parts[Any], attempts: int) -> None:
        """The row goes on as `made`, with these parts."""
        self._made_seqs.append(made)
        self._made_values.append(values if self._terms.bare else Merging(row, values))
        if attempts > 1:
            self._made_attempts[made] = attempts

    def lack(self, made: Id, row: Any, values: Parts[Any], attempts: int) -> None:
        """The row ends, for it lacks parts that are required."""
        missing = values.missing
        why = ", ".join(
            f"{name} ({told(error)})" if error is not None else f"{name} (not here)" for name, error in missing.items()
        )
        expected, needed = len(self._terms.branches), self._terms.needed
        error = PartsMissing(f"{len(values)} of {expected} parts came, {needed} are required; missing: {why}")
        error.__cause__ = next((e for e in missing.values() if e is not None), None)
        status = _STATUS_OF[self._terms.on_missing]
        self._ended.append(Ended(made, status, error, attempts, row, self._terms.name))

    def interrupt(self, made: Id, row: Any, parts: dict[Id, Any], attempts: int) -> None:
        """The row comes again in another life of the run, and so do its parts, whatever would have become of them."""
        name = self._terms.name
        self.made += 1
        self._cut_off += [Ended(each, Status.INTERRUPTED, None, 1, value, name) for each, value in parts.items()]
        self._ended.append(Ended(made, Status.INTERRUPTED, None, attempts, row, name))

    # --- what is told ---

    def say(self) -> None:
        """Tell what has been gathered."""
        if self._decided and self._journal is not None:
            decided, self._decided = self._decided, []
            words = protocol.Decided(self._terms.name, [seq for seq, _ in decided], [parts for _, parts in decided])
            self._context.tell(self._journal, words)
        if self._merged:
            self._say_merged()
        if self._cut_off:
            cut_off, self._cut_off = self._cut_off, []
            self._late_outputs.end(cut_off)
        if self._made_seqs:
            seqs, values, attempts = self._made_seqs, self._made_values, self._made_attempts
            self._made_seqs, self._made_values, self._made_attempts = [], [], {}
            self._outputs.send(ONWARD, as_seqs(seqs), values, attempts or None)
        if self._ended:
            self._say_ended()
        if self._late_seqs:
            self._say_late()

    def _say_merged(self) -> None:
        self._outputs.live_on(Status.MERGED, self._merged)
        self._merged = 0
        names, self._merged_names = self._merged_names, []
        if names:
            self._late_outputs.tell_gaps(names)
        if self._merged_apart:
            apart, self._merged_apart = self._merged_apart, []
            self._outputs.report(Status.MERGED, apart)

    def _say_ended(self) -> None:
        ended, self._ended = self._ended, []
        self._outputs.end(ended)
        failed = next((end.error for end in ended if end.status is Status.FAILED), None)
        if failed is not None:
            self._context.tell(self._conductor, protocol.Failing(self._context.me, failed))

    def _say_late(self) -> None:
        seqs, values = self._late_seqs, self._late_values
        self._late_seqs, self._late_values = [], []
        self._late += len(seqs)
        if self._late_outputs.has(LATE):
            self._late_outputs.send(LATE, seqs, values)
        else:
            self._late_outputs.live_on(Status.DROPPED, len(seqs))
            self._late_outputs.report(Status.DROPPED, seqs)

    def finish(self, total: int) -> None:
        """There is nothing more to say, of so many rows."""
        self._outputs.finish(total)
        self._late_outputs.finish(total)

    def statistics(self, came: int, here: int) -> NodeStatistics:
        """What was said; `came`: parts, of which so many are `here`."""
        traffic, late = self._outputs.traffic(came, here, self.made), self._late_outputs.traffic(0, 0)
        traffic = msgspec.structs.replace(
            traffic,
            went=traffic.went + late.went,
            dropped=traffic.dropped + late.dropped,
            interrupted=traffic.interrupted + late.interrupted,
            ways={**traffic.ways, **late.ways},
        )
        return NodeStatistics(self._terms.name, traffic, self._late)
