"""A run in a journal: what its actors tell is written down as records, all of a commit or nothing.

Its commits are fenced by the number of its life. Whoever goes on with a run begins another life in the store before he
does anything; and a commit looks, within its transaction, whether its own life is still the last one and what it wrote last
is still what stands there. So an owner who has lost the store, and does not know it yet, changes nothing any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from headrace.actors import protocol
from headrace.actors.errors import InternalError
from headrace.actors.journaling.recovered import LASTING, Recovered
from headrace.actors.journaling.stage_record import Encoders
from headrace.actors.ledger import Settlement
from headrace.actors.protocol import Ended, Status
from headrace.actors.rows.identity import Bundle, Id, Ids, plain, rows_of, span_of
from headrace.runtime.errors import ConfigError, JournalError, name_of
from headrace.runtime.text import message_of

from .mistakes import StoreFailed, StoreLost
from .notes import Noted
from .options import Journal
from .port import Bound
from .records import HeldRecords, Life, Progress, RunRow
from .recovery import Recovery
from .requeue import Again, mark_again
from .values.codec import encode_bits, encode_id, encode_ids
from .values.columns import Values
from .values.learned import encode_priors

_pack = msgspec.msgpack.encode


class KeptRun:
    """One run in a journal. `values`: how each stage's answers are written down; `options`: how the journal is kept."""

    def __init__(
        self, journal: HeldRecords, run: int, values: dict[str, Values], options: Journal | None = None
    ) -> None:
        self.name = journal.name
        self._journal = journal
        self._run = run
        self._values = values
        options = options or Journal()
        self._discreet = options.discreet
        self._until_done = options.payloads == "until_done"
        self._spent: dict[str, dict[str, float]] = {}
        """In this life, by node and unit."""
        self._forgotten = 0
        """Rows before this have no answers any more, where they are kept only until the rows are done."""
        self._node = journal.number_of
        self.clock = journal.store.now() - time.monotonic()
        """What makes of a time by the clock of this process one by that of the store."""
        self._settled = Settlement()
        self._progress = journal.progress_of(run)
        self._as_read = _copy_of(self._progress)
        self._reach = self._progress.reach
        self._life: Life | None = None
        self._places = [row for _, row, _ in journal.read("read", run)]
        """Rows at which the source's place is written down."""
        self._noted = Noted(journal, run)
        self._first: list[Callable[[Progress], object]] = []
        """What the first commit writes before all else: nothing is changed before the run has opened what it works with."""
        self.given: Callable[[], Iterable[tuple[int, bytes]]] = tuple
        """Digests of the rows that have been read since it was asked last, as (first row, four bytes a row)."""

    def past(
        self,
        again: Again | None = None,
        forget: Iterable[str] = (),
        renew: RunRow | None = None,
        *,
        other_rows: bool = False,
    ) -> Recovered:
        """What a life that begins now is left. Raises `Damaged`, `ConfigError`.

        What it changes in the journal is written with the first commit, so that a run that cannot begin has changed nothing.
        `again`: these rows in quarantine are to be tried again. `forget`: nodes whose answers mean something else now.
        `renew`: the run, where its fingerprint is another one. `other_rows`: the source may give others
        than it did.
        """
        journal, run = self._journal, self._run
        if again is not None:
            self._first.append(lambda progress: again.note(mark_again(journal, progress, again)))
        for node in forget:
            self._first.append(lambda progress, node=node: self._forget(progress, node))  # type: ignore[misc]
        if other_rows:
            self._first.append(journal.forget_given)
        if renew is not None:
            self._first.append(lambda _: journal.save_run(renew))
        with journal.store.transaction(keep=False):
            # As it will be; then as it was.
            self._write_first()
            past = Recovery(journal, run, self._values).past()
        self._progress = journal.progress_of(run)
        self._as_read = _copy_of(self._progress)
        if past.again:
            come = [(run, status.value, row, row, -1, None) for status, row in past.again]
            self._first.append(lambda progress: journal.write(progress, "settled", come))
        self._noted.know(self._progress)
        self._settled = Settlement(past.first)
        for first, bits in past.done:
            self._settled.add_some(first, bits)
        return past

    def _write_first(self) -> None:
        for write in self._first:
            write(self._progress)
        self._journal.save_progress(self._progress)

    def _forget(self, progress: Progress, node: str) -> None:
        number = self._journal.numbers.get(node)
        if number is not None:
            self._journal.forget_answers(progress, max(0, progress.mark - progress.reach), _LAST, node=number)
            progress.note("noted", self._journal.store.remove("noted", self._run, Bound("node", "=", number)))

    # --- the life that it is opened for ---

    def begin_life(self) -> int:
        """Begin another life of the run; its number, from 1. From then on, no commit of an earlier one succeeds. Raises
        `ConfigError` where another owner has gone on with the run since it was read here."""
        journal, run = self._journal, self._run
        with journal.store.transaction():
            lives = journal.lives_of(run)
            if journal.progress_of(run) != self._as_read:
                raise ConfigError(
                    f"{self.name}: another process is running with this journal; wait for its end, or stop it"
                )
            self._life = Life(len(lives) + 1, journal.store.now(), None, None)
            journal.save_life(run, self._life)
        return self._life.n

    def withdraw(self) -> None:
        """End a life in which nothing was done, as if it had not begun: a run that was complete, perhaps, still is (L65)."""
        if self._life is None or self._life.n == 1:
            self.close(False)
            return
        try:
            with self._journal.store.transaction():
                self._check_life()
                self._journal.drop_life(self._run, self._life.n)
        finally:
            self._journal.close()

    def _check_life(self) -> None:
        """Raises `StoreLost` where another owner goes on with the run. Within a transaction."""
        life = self._life
        if life is not None:
            found = list(self._journal.read("life", self._run, Bound("n", ">=", life.n)))
            if found != [(self._run, *msgspec.structs.astuple(life))]:
                raise StoreLost(f"{self.name}: another process has gone on with this run; {_SAFE}")

    def _check_progress(self) -> None:
        """Raises `StoreLost` where somebody else has changed the run. Within a transaction."""
        if self._journal.progress_of(self._run) != self._as_read:
            raise StoreLost(f"{self.name}: another process has changed this run while it went on; {_SAFE}")

    # --- what is told ---

    def keeps(self, stage: str) -> Encoders:
        """Answers and states of a stage, as bytes, or as a `Partial` answer. Raise `Unkept`."""
        return Encoders(self._values[stage].encode, Values(stage).encode)

    def commit(self, entries: list[object]) -> None:
        """All of these, durable when it returns. Raises `JournalError`."""
        try:
            with self._journal.store.transaction():
                self._check_life()
                self._check_progress()
                if self._first:
                    self._write_first()
                self._write(entries)
            self._first = []
            self._as_read = _copy_of(self._progress)
        except StoreFailed as error:
            raise JournalError(f"{self.name}: {error}; {_SAFE}") from error
        except StoreLost as lost:
            raise JournalError(str(lost)) from None

    def _write(self, entries: list[object]) -> None:
        run, node, insert = self._run, self._node, self._insert
        answers: list[tuple[Any, ...]] = []
        spending: set[str] = set()
        noted: list[tuple[Any, ...]] = []
        settled: list[tuple[Any, ...]] = []
        total = self._progress.total
        for entry in entries:
            match entry:
                case protocol.Answers():
                    self._answers(entry, answers)
                case protocol.Settled(status, seqs, sink, place):
                    if sink is not None and status in LASTING:
                        first, last, ids = _ends_of(seqs)
                        at = _pack(place) if place is not None else None
                        insert("written", [(run, node(sink), status.value, first, last, ids, at, self.now())])
                case protocol.RowsSettled(status, seqs):
                    if status in LASTING:
                        first, bits = span_of(seqs)
                        last = first + bits.bit_length() - 1
                        settled.append((run, status.value, first, last, bits.bit_count(), encode_bits(bits)))
                        self._settled.add_some(first, bits)
                case protocol.Ends(name, ended, at_s):
                    insert("ended", [self._end(name, end, at_s) for end in ended if end.status in LASTING])
                    for end in ended:
                        if end.status is Status.QUARANTINED:
                            self._noted.may_come_again(end.seq, self._reach)
                case protocol.Faulted(name, faults, at_s, took_s):
                    insert("fault", [self._fault(name, fault, at_s, took_s) for fault in faults])
                case protocol.Parked(name, seq, state, at_s, after_s):
                    due = self.clock + at_s + after_s
                    insert("parked", [(run, _row(seq), node(name), encode_id(seq), due, state)])
                case protocol.Cooled(name, at_s, until_s, closure):
                    times = (self.clock + at_s, self.clock + until_s)
                    insert("cooldown", [(run, node(name), *times, closure.value)])
                case protocol.ReadTo(row, place, ended):
                    if ended:
                        total = row
                    if place is not None:
                        self._places.append(row)
                        self._journal.put("read", (run, row, _pack(place)))
                case protocol.Formed(name, bundles):
                    insert("batch", [self._batch(name, bundle) for bundle in bundles])
                case protocol.Decided(name, seqs, parts):
                    words = zip(seqs, parts, strict=True)
                    insert("word", [(run, _row(s), node(name), encode_id(s), _pack(word)) for s, word in words])
                case protocol.Noted(name, _, seqs):
                    noted.append(self._noted.record(node(name), entry, *_ends_of(seqs)))
                case protocol.Metered(name, spent):
                    spending.add(name)
                    total_of = self._spent.setdefault(name, {})
                    total_of.update({unit: total_of.get(unit, 0.0) + amount for unit, amount in spent.items()})
                case protocol.LimitLearned(budget, lessons, at_s):
                    told = encode_priors(lessons.priors, self.clock, keys=not self._discreet)
                    of = (node(budget.name), int(budget.shared))
                    insert("learned", [(run, *of, self.clock + at_s, lessons.stated, told)])
                case _:
                    raise AssertionError(f"a journal has no {type(entry).__name__}")
        insert("answer", answers)
        insert("noted", noted)
        if spending:
            life = self._life.n if self._life is not None else 1
            insert("spent", [(run, life, node(name), _pack(self._spent[name])) for name in sorted(spending)])
        insert("settled", settled)
        insert("given", [(run, first, digests) for first, digests in self.given()])
        self._go_forward(total)

    def _insert(self, table: str, records: Iterable[tuple[Any, ...]]) -> None:
        self._journal.write(self._progress, table, records)

    def _go_forward(self, total: int | None) -> None:
        progress, mark, reach = self._progress, self._settled.mark, self._reach
        progress.mark, progress.reach, progress.total = mark, reach, total
        self._noted.forget(progress, mark - reach)
        # Only the last place before the mark will be asked for.
        last = max((row for row in self._places if row <= mark - reach), default=None)
        if last is not None and min(self._places) < last:
            self._places = [row for row in self._places if row >= last]
            self._journal.store.remove("read", self._run, Bound("row", "<", last))
        if self._until_done:
            # What batches tie to a row that is not done may be needed again.
            done = mark if mark == total else mark - reach
            if done > self._forgotten:
                self._journal.forget_answers(progress, self._forgotten, done - 1)
                self._forgotten = done
        self._journal.save_progress(progress)

    def _answers(self, entry: protocol.Answers, rows: list[tuple[Any, ...]]) -> None:
        run, node, tries = self._run, self._node(entry.node), entry.attempts or {}
        at, took = self.clock + entry.at_s, entry.took_s
        if not tries and plain(entry.seqs) and set(map(type, entry.values)) == {bytes}:
            rows += [
                (run, seq, node, b"", 1, at, took, value, 1)
                for seq, value in zip(entry.seqs, entry.values, strict=True)
            ]
            return
        for seq, value in zip(entry.seqs, entry.values, strict=True):
            is_row = type(seq) is int
            whole = type(value) is bytes
            rows.append(
                (
                    run,
                    seq if is_row else _row(seq),
                    node,
                    b"" if is_row else encode_id(seq),
                    tries.get(seq, 1),
                    at,
                    took,
                    value if whole else value.data,
                    int(whole),
                )
            )

    def _end(self, name: str, end: Ended, at_s: float) -> tuple[Any, ...]:
        error = end.error
        what = (name_of(error), self._message(error)) if error is not None else (None, None)
        path, at = encode_id(end.seq), self.clock + at_s
        return (self._run, _row(end.seq), self._node(name), path, end.attempts, at, end.status.value, *what)

    def _fault(self, name: str, fault: protocol.Fault, at_s: float, took_s: float) -> tuple[Any, ...]:
        seq, error = fault.seq, fault.error
        hint = float(fault.retry_after_s) if fault.retry_after_s is not None else None
        what = (fault.kind.value, name_of(error), self._message(error), hint)
        return (self._run, _row(seq), self._node(name), encode_id(seq), self.clock + at_s, took_s, *what)

    def _message(self, error: BaseException) -> str | None:
        return None if self._discreet else message_of(error)

    def _batch(self, name: str, bundle: Id) -> tuple[Any, ...]:
        if not isinstance(bundle, Bundle):
            raise InternalError("what was formed is a batch")
        rows = list(rows_of(bundle))
        first, last = min(rows), max(rows)
        self._reach = max(self._reach, last - first + 1)
        return (self._run, self._node(name), first, last, encode_ids([bundle]))

    def now(self) -> float:
        """Seconds since 1970 by the clock of the store."""
        return self.clock + time.monotonic()

    def close(self, complete: bool) -> None:  # noqa: FBT001 - whatever is opened is closed so
        """Say how the life ended, and let go of the store."""
        life = self._life
        try:
            if life is not None:
                ended = msgspec.structs.replace(
                    life, ended=self.now(), state="completed" if complete else "interrupted"
                )
                with self._journal.store.transaction():
                    self._check_life()
                    self._journal.save_life(self._run, ended)
        except (StoreFailed, StoreLost) as error:
            raise JournalError(f"{self.name}: its end could not be written down: {error}") from error
        finally:
            self._journal.close()


_SAFE = "what was committed before is safe"
_LAST = (1 << 63) - 1
"""No row has a higher number."""


def _row(seq: Id) -> int:
    return min(rows_of(seq))


def _ends_of(seqs: Ids) -> tuple[int, int, bytes | None]:
    """(first row, last row, who they are); None where they are all rows between."""
    if type(seqs) is range:
        return seqs.start, seqs.stop - 1, None
    rows = [row for seq in seqs for row in rows_of(seq)]
    return min(rows), max(rows), encode_ids(list(seqs))


def _copy_of(progress: Progress) -> Progress:
    return msgspec.structs.replace(progress, tally=dict(progress.tally))
