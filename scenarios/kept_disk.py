"""A disk with a real journal beside the model of one, in any store: what the two leave to the next life must be the same;
and what people are told of the run, and told to change, is looked at in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Mapping
from random import Random
from typing import Any

import msgspec

from headrace.actors import protocol
from headrace.actors.journaling.recovered import LASTING, Recovered
from headrace.actors.protocol import Status
from headrace.actors.rows.identity import Id, rows_of
from headrace.runtime.errors import ConfigError
from headrace.runtime.journal.audit import Broken, examine, export, prune
from headrace.runtime.journal.explain import account_of, explain, outcomes_of
from headrace.runtime.journal.kept_run import KeptRun
from headrace.runtime.journal.memory import Memory, MemoryStore
from headrace.runtime.journal.mistakes import Damaged
from headrace.runtime.journal.port import Store
from headrace.runtime.journal.records import HeldRecords, RunRow
from headrace.runtime.journal.requeue import Again, look, try_again
from headrace.runtime.journal.values.columns import Values

from .disk import Disk, unpickled
from .script import Script

RUN = RunRow(1, "k", "n", 0.0, '{"source":{"name":"scripted"},"nodes":{},"edges":[]}', None)
LATER_S = 1e12
"""After everything that is in a journal."""


class KeptDisk(Disk):
    """It does what the module says. `open_`: open the store, for the next life; `break_lock`: the process that held it is
    gone."""

    def __init__(
        self, random: Random, script: Script, open_: Callable[[], Store], break_lock: Callable[[], object]
    ) -> None:
        super().__init__(random)
        self._open = open_
        self._break_lock = break_lock
        names = [name for stage in script.stage for name in (stage.name, f"{stage.name}.merge")]
        self._values = {name: Values(name) for name in names}
        self._rows = script.source.rows
        self._run: KeptRun | None = None
        self.compared = self.learned = 0
        """Lives that were left something."""

    def _held(self) -> HeldRecords:
        self._break_lock()
        held = HeldRecords(self._open())
        if held.run_named(RUN.name) is None:
            with held.store.transaction():
                held.save_run(RUN)
        return held

    def past(self) -> Recovered:
        """What the journal leaves, if that is what the model leaves. Raises `AssertionError`."""
        expected = super().past()
        stale = self._run
        self._run = KeptRun(self._held(), RUN.id, self._values)
        told = self._run.past()
        self._run.begin_life()
        tied = {row for past in (told, expected) for _, row in past.again}
        if comparable(told, tied) != comparable(expected, tied):
            raise AssertionError(f"the journal leaves {comparable(told)}, and the model {comparable(expected)}")
        if stale is not None:
            self._check_fenced(stale)
        self.compared += bool(expected.answers)
        self.learned += bool(expected.learned)
        return told

    def _check_fenced(self, stale: KeptRun) -> None:
        """The owner before this one may wake up."""
        try:
            stale.commit([protocol.ReadTo(1 << 40, None)])
        except Exception:
            return
        raise AssertionError("an owner whose life is over has committed")

    def commit(self, entries: list[Any]) -> None:
        super().commit(entries)
        if self._run is None:
            raise AssertionError("nothing is committed before the journal was looked at")
        self._run.commit(list(map(self._as_kept, entries)))

    def _as_kept(self, entry: Any) -> Any:
        """As this journal writes it down."""
        told = unpickled(entry)
        match told:
            case protocol.Answers(node, _, values):
                return msgspec.structs.replace(told, values=list(map(self._values[node].encode, values)))
            case protocol.Parked(node):
                return msgspec.structs.replace(told, state=Values(node).encode(told.state))
            case protocol.LimitLearned() if self._run is not None:
                # By the clock of the store; else it may be from too long ago.
                return msgspec.structs.replace(told, at_s=self._run.now() - self._run.clock)
            case _:
                return told

    # --- after the last life ---

    def complaint(self) -> str | None:
        """What is wrong with what people are told of a run that is done, if anything."""
        return self._of_held(self._complaint)

    def complaint_of_pruning(self) -> str | None:
        """What is wrong once all answers that can be dropped are; no life comes after that."""
        return self._of_held(self._complaint_of_pruning)

    def try_again(self) -> list[int]:
        """Mark rows in quarantine to be tried again, a few of them, in the journal and in the model; which ones."""
        held = self._held()
        try:
            bad = look(held, RUN.id, Again()).rows if "quarantined" in account_of(held, RUN.id) else []
            asked = set(bad[: min(5, (len(bad) + 1) // 2)])
            marked = set(try_again(held, rows=asked)) if asked else set()
        finally:
            held.close()
        self.entries = [_without(entry, asked, marked) for entry in self.entries]
        return sorted(marked)

    def _of_held(self, look_at: Callable[[HeldRecords], str | None]) -> str | None:
        held = self._held()
        try:
            return look_at(held)
        except (ConfigError, Broken, Damaged) as error:
            return f"what is told of the run cannot be told: {error}"
        finally:
            held.close()

    def _outcomes(self) -> dict[int, str]:
        settled = [
            entry for entry in self.entries if isinstance(entry, protocol.RowsSettled) and entry.status in LASTING
        ]
        return {row: entry.status.value for entry in settled for row in entry.seqs if isinstance(row, int)}

    def _complaint(self, held: HeldRecords) -> str | None:
        outcome = self._outcomes()
        account = dict(Counter(outcome.values()))
        if account_of(held, RUN.id) != account:
            return f"the journal's account is {account_of(held, RUN.id)}, and {account} were settled"
        if outcomes_of(held, RUN.id, outcome) != outcome:
            return "the journal tells other outcomes of rows than they had"
        verified = examine(export(held))
        if verified.outcomes != account:
            return f"its export tells {verified.outcomes}, and {account} were settled"
        for row in sorted(outcome)[:: max(1, len(outcome) // 5)]:
            story = explain(held, row)
            if story.outcome != outcome[row]:
                return f"row {row} is explained as {story.outcome}, and was {outcome[row]}"
        return None

    def _complaint_of_pruning(self, held: HeldRecords) -> str | None:
        dropped = prune(held, before=LATER_S)
        if dropped and prune(held, before=LATER_S):
            return "what was pruned was there to be pruned again"
        return self._complaint(held)


def _without(entry: Any, asked: set[int], marked: set[int]) -> Any:
    """What the model keeps of an entry, when rows in quarantine are to be tried again."""
    replace = msgspec.structs.replace
    match entry:
        case protocol.Ends(_, ended):
            left = [e for e in ended if e.status is not Status.QUARANTINED or asked.isdisjoint(rows_of(e.seq))]
            return replace(entry, ended=left)
        case protocol.Decided(_, seqs, parts):
            words = [(seq, word) for seq, word in zip(seqs, parts, strict=True) if min(rows_of(seq)) not in marked]
            return replace(entry, seqs=[seq for seq, _ in words], parts=[word for _, word in words])
        case protocol.RowsSettled(_, seqs):
            return replace(entry, seqs=[row for row in seqs if row not in marked])
        case _:
            return entry


def kept_in_memory(random: Random, script: Script) -> KeptDisk:
    """A disk with a journal in memory beside the model."""
    memory = Memory()
    return KeptDisk(random, script, lambda: MemoryStore("memory", memory), memory.release)


def comparable(past: Recovered, tied: Container[int] = ()) -> Any:
    """What is left to a life, as far as a journal must tell it the same. Errors are told by name and message; what
    nothing is known of is left out. `tied`: rows that come again with a batch, of which a journal may have forgotten what
    was noted."""
    answers = {
        node: {seq: (a.value, a.attempts, a.ended and (a.ended.status, str(a.ended.error))) for seq, a in of.items()}
        for node, of in past.answers.items()
        if of
    }

    def known(open_: Mapping[Id, bytes]) -> dict[Id, bytes]:
        return {seq: word for seq, word in open_.items() if not any(row in tied for row in rows_of(seq))}

    noted = {node: (notes.turns, notes.last, known(notes.open)) for node, notes in past.noted.items()}

    # Until when it is closed is told by another clock.
    learned = {
        budget: (told.stated, {key: (p.rate, p.sure, p.in_flight, p.chance) for key, p in told.priors.items()})
        for budget, told in past.learned.items()
    }

    def some(of: Any) -> Any:
        return {name: each for name, each in of.items() if each}

    # Where a read place was forgotten, an earlier one does as well.
    parts = (past.first, past.done, some(past.counts), some(past.joins), some(past.written), past.places, past.crowd)
    return answers, learned, some(past.batches), noted, parts, (past.row == 0) == (past.place is None)
