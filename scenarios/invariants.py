"""What must always hold, checked on every message of a simulation: the ten invariants, fairness, and that no actor dies of
itself.

A checker sees what is told, when it is told, and what is received, when it is received; it knows nothing of an actor's
inside. What an actor promises is checked on what it tells; what it may do, on what it has heard.

This file is long: one table from messages to checks, in sections by conversation, as `protocol.py` has them.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from headrace.actors import protocol
from headrace.actors.conductor import LifeTerms
from headrace.actors.journaling.recovered import NEW, Recovered
from headrace.actors.protocol import Closure, Key, Kind, Seqs, State, Status
from headrace.actors.rows.identity import Id, place, row_of, show
from headrace.actors.source import DRAIN_PATIENCE_S
from headrace.runtime.hosts.simulation.system import Killed, Mailbox, Simulation

from .outside import concerns_many
from .script import id_of
from .tokens import NodeTerms, Tokens, rows_done, rows_in
from .verdict import Breach, Invariant

MET_CALLS = 32
MET_BY = 8
"""Where so many other rows, by their last calls, met with what concerns many, no row may be lost to it."""
CLOSING_S = 0.5
"""An abort ends within its deadlines, and so much for the steps between them."""


class _Account:
    """What is known of the rows of one ledger."""

    __slots__ = ("_done", "_first", "begin", "drained_at", "given", "row", "said_end", "taken", "window")

    def __init__(self, window: int, past: Recovered) -> None:
        self.window = max(window, past.crowd)
        self.given = 0
        self.begin = self.row = past.row
        """With which row the source begins, and the next one after those that it gave."""
        self._first = past.first
        self._done = rows_done(past)
        self.said_end = False
        self.taken = 0
        """Rows that were read, but for those that came long after the drain (see `Source`)."""
        self.drained_at: float | None = None

    def give(self, n: int) -> Sequence[int]:
        """The next so many rows that are to be done."""
        self.given += n
        first = self.row
        if first >= self._first and not self._done:
            self.row += n
            return range(first, self.row)
        rows: list[int] = []
        while len(rows) < n:
            if self.row >= self._first and self.row not in self._done:
                rows.append(self.row)
            self.row += 1
        return rows

    def give_up_to(self, total: int) -> int:
        """The source is at its end: what may be left are rows that are done. Where it is then."""
        while self.row < total and (self.row < self._first or self.row in self._done):
            self.row += 1
        return self.row


class _Stage:
    """Calls and permits of a stage, as told. `tried`: rows whose calls did not answer, so that they will be tried again."""

    __slots__ = (
        "aborted",
        "assigned",
        "cooling",
        "epoch",
        "granted",
        "keyed",
        "met",
        "open",
        "out",
        "refused",
        "spares",
        "tried",
    )

    def __init__(self, keyed: bool, spares: bool = True) -> None:
        self.spares = spares
        """Rows shall not be lost to what concerns many."""
        self.keyed = keyed
        self.met: deque[Id | None] = deque(maxlen=MET_CALLS)
        """Of the last calls that ended: the row, where it met with what concerns many (see `outside.concerns_many`)."""
        self.tried: set[Id] = set()
        self.open: dict[int, tuple[Mailbox, set[Id]]] = {}
        """Assignments that have not been answered: their worker, and the rows that are left."""
        self.refused: set[Id] = set()
        self.out = 0
        self.granted = 0
        self.assigned = 0
        self.epoch = 0
        self.cooling = False
        self.aborted = False


class _Gate:
    """What is known of one key of one governor."""

    __slots__ = ("cooling", "epoch", "hit", "wishes")

    def __init__(self) -> None:
        self.wishes: dict[Any, tuple[int, set[Any]]] = {}
        """Of each stage that the governor has heard of: how many permits it waits for, and who got some meanwhile."""
        self.epoch = 0
        self.cooling = False
        self.hit = -1
        """The latest epoch that a refusal has been told of."""


class RunTerms(msgspec.Struct, frozen=True):
    """What the checker must know of a run. `first_id`: of row 0, where rows can be told by what they hold
    (`script.id_of`). `taker`: who takes all outcomes, where somebody does."""

    conductor: Mailbox
    ledger: Mailbox
    source: Mailbox
    nodes: tuple[NodeTerms, ...]
    keyed: dict[Mailbox, bool]
    """Of the stages: whether their limits have keys."""
    taker: Mailbox | None
    window: int
    life: LifeTerms
    resources: int
    first_id: int | None
    journal: Mailbox | None = None
    keeper: Mailbox | None = None
    """Who was open before the run began."""
    past: Recovered = NEW
    """What earlier lives of the run have left."""
    closed: frozenset[tuple[Mailbox, Key]] = frozenset()
    """Governors, and keys, that those have left in a cooldown."""


class _Run:
    """What is known of the life of a run."""

    def __init__(self, terms: RunTerms) -> None:
        self.terms = terms
        self.first_error: BaseException | None = None
        self.stopping_since: float | None = None
        self.aborted = False
        self.closing = False
        self.ended: protocol.RunEnded | None = None
        self.opened: dict[Mailbox, int] = defaultdict(int)
        if terms.keeper is not None:
            self.opened[terms.keeper] = 1
        self.closed: dict[Mailbox, int] = defaultdict(int)


class Checker:
    """It does what the module says. `told` and `received` are what a simulation asks a watcher for."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self.breach: Breach | None = None
        self._accounts: dict[Mailbox, _Account] = {}
        self._tokens = tokens = Tokens(self.fail, simulation.clock)
        self._ledger_of: dict[Mailbox, Mailbox] = {}
        self._stages: dict[Mailbox, _Stage] = {}
        self._runs: dict[Mailbox, _Run] = {}
        self._gates: dict[tuple[Mailbox, Key], _Gate] = {}
        self._discharged: set[tuple[Mailbox, Any]] = set()
        self._first_id: dict[Mailbox, int | None] = {}
        self._waiters: dict[Any, tuple[int, set[int]]] = {}
        p = protocol
        self.told: dict[type, Callable[[float, Mailbox, Any, Any], None]] = {
            p.ReadDone: self._on_read_done,
            p.RowsGiven: self._on_rows_given,
            p.Settled: self._on_settled,
            p.Rows: self._on_rows,
            p.Outcomes: self._on_outcomes,
            p.Gaps: tokens.on_gaps,
            p.Forked: tokens.on_forked,
            p.EndOfRows: self._on_end_of_rows,
            p.Write: tokens.on_write,
            p.Written: tokens.on_written,
            p.OutOfTurn: tokens.on_out_of_turn,
            p.WriteFailed: tokens.on_write_failed,
            p.PermitsGranted: self._on_granted,
            p.PermitsReturned: self._on_returned,
            p.CallsEnded: self._on_calls_ended,
            p.LimitHit: self._on_limit_hit,
            p.CooldownBegan: self._on_cooldown_began,
            p.CooldownEnded: self._on_cooldown_ended,
            p.Unregister: self._on_discharge,
            p.Assign: self._on_assign,
            p.Close: self._on_close,
            p.CloseAccount: self._on_close_account,
            p.RunEnded: self._on_run_ended,
            p.Died: self._on_died,
            p.Submit: self._on_submit,
            p.Waited: self._on_waited,
        }
        self.received: dict[type, Callable[[float, Mailbox, Mailbox, Any], None]] = {
            p.PermitsWanted: self._heard_wanted,
            p.WishesWithdrawn: self._heard_withdrawn,
            p.Unregister: self._heard_discharge,
            p.PermitsGranted: self._heard_granted,
            p.CooldownBegan: self._heard_cooldown_began,
            p.CooldownEnded: self._heard_cooldown_ended,
            p.Answered: self._heard_answered,
            p.Drain: self._heard_drain,
            p.Abort: self._heard_abort,
            p.Failing: self._heard_failing,
            p.Died: self._heard_died,
            p.Opened: self._heard_opened,
        }

    # --- what is checked ---

    def watch_run(self, terms: RunTerms) -> None:
        """Check this run from now on."""
        self._runs[terms.conductor] = _Run(terms)
        self._accounts[terms.ledger] = account = _Account(terms.window, terms.past)
        if terms.journal is not None:
            self._accounts[terms.journal] = account
        self._ledger_of[terms.source] = terms.ledger
        nodes = [NodeTerms(terms.source, "source"), *terms.nodes]
        self._tokens.watch_run(terms.ledger, nodes, terms.taker, terms.journal, terms.past)
        for governor, key in terms.closed:
            # Somebody was refused, in another life.
            gate = self._gate(governor, key)
            gate.hit = max(gate.hit, 0)
        for stage, keyed in terms.keyed.items():
            self._stages[stage] = watched = _Stage(keyed)
            # Those that were pending in an earlier life were tried in that.
            watched.tried.update(terms.past.parked.get(stage.name, {}))
        for node in terms.nodes:
            if node.kind == "sink" and terms.first_id is not None:
                self._first_id[node.at] = terms.first_id

    def watch_stage(self, stage: Mailbox, keyed: bool, spares: bool = True) -> None:
        """A stage of an executor takes part. Not `spares`: each failure is its caller's."""
        self._stages[stage] = _Stage(keyed, spares)
        self._tokens.watch_stage(stage)

    def fail(self, invariant: Invariant, what: str) -> None:
        """Note a breach, the first one, and stop the simulation."""
        if self.breach is None:
            self.breach = Breach(invariant, what, self._simulation.now)
        self._simulation.finish()

    # --- rows ---

    def _on_read_done(self, now: float, sender: Mailbox, ref: Any, message: protocol.ReadDone) -> None:
        account = self._accounts[self._ledger_of[ref]]
        if account.drained_at is None or now < account.drained_at + DRAIN_PATIENCE_S:
            account.taken += len(message.values)

    def _on_rows_given(self, now: float, sender: Mailbox, ref: Any, message: protocol.RowsGiven) -> None:
        account = self._accounts[ref]
        if message.total < account.given:
            self.fail(Invariant.ACCOUNTED, f"the source gave {message.total} rows in all, and {account.given} before")
        self._tokens.on_given(sender, account.give(message.total - account.given))
        in_flight = account.given - self._tokens.fates(ref).settled
        if in_flight > account.window:
            self.fail(Invariant.BOUNDED, f"{in_flight} rows in a window of {account.window}")

    def _on_settled(self, now: float, sender: Mailbox, ref: Any, message: protocol.Settled) -> None:
        account = self._accounts.get(ref)
        if account is None:
            return
        last = row_of(message.seqs[-1])
        if last >= account.row:
            self.fail(
                Invariant.ACCOUNTED, f"row {last} is settled, and the source has given those before {account.row}"
            )
        self._tokens.on_settled(now, sender, ref, message)

    def _on_rows(self, now: float, sender: Mailbox, ref: Any, message: protocol.Rows) -> None:
        self._tokens.on_rows(now, sender, ref, message)
        first_id = self._first_id.get(ref)
        if first_id is None:
            return
        for seq, value in zip(message.seqs, message.values, strict=True):
            for row, said in rows_in(seq, value, id_of):
                if said != first_id + row:
                    self.fail(Invariant.ISOLATED, f"row {row} holds what belongs to row {said - first_id}")
                    return

    def _on_outcomes(self, now: float, sender: Mailbox, ref: Any, message: protocol.Outcomes) -> None:
        stage = self._stages.get(sender)
        if stage is not None and stage.spares:
            for ended in message.ended:
                if concerns_many(ended.error):
                    self._check_spared(sender, stage, ended)
        self._tokens.on_outcomes(now, sender, ref, message)

    def _check_spared(self, sender: Mailbox, stage: _Stage, ended: protocol.Ended) -> None:
        others = {seq for seq in stage.met if seq is not None and seq != ended.seq}
        if len(others) >= MET_BY and not stage.keyed and not stage.aborted:
            self.fail(
                Invariant.SPARED,
                f"{sender.name} gives row {show(ended.seq)} up after {ended.attempts} attempts for {ended.error!r}, "
                f"which {len(others)} other rows met at the same time",
            )

    def _on_end_of_rows(self, now: float, sender: Mailbox, ref: Any, message: protocol.EndOfRows) -> None:
        ledger = self._ledger_of.get(sender)
        if ledger is not None:
            account = self._accounts[ledger]
            account.said_end = True
            if message.total != account.give_up_to(message.total):
                self.fail(
                    Invariant.ACCOUNTED, f"the source says {message.total} rows at its end, and is at row {account.row}"
                )
        self._tokens.on_end_of_rows(now, sender, ref, message)

    # --- permits ---

    def _gate(self, governor: Mailbox, key: Key) -> _Gate:
        gate = self._gates.get((governor, key))
        if gate is None:
            gate = self._gates[governor, key] = _Gate()
        return gate

    def _on_granted(self, now: float, sender: Mailbox, ref: Any, message: protocol.PermitsGranted) -> None:
        gate = self._gate(sender, message.key)
        if gate.cooling:
            self.fail(
                Invariant.QUIET, f"{sender.name} grants {message.n} permits in the cooldown of epoch {gate.epoch}"
            )
        if message.epoch != gate.epoch:
            self.fail(Invariant.QUIET, f"{sender.name} grants permits of epoch {message.epoch} in epoch {gate.epoch}")
        wishes = gate.wishes
        if len(wishes) > 1:
            self._check_overtaking(wishes, ref)
        waits, _ = wishes.pop(ref, (0, None))
        if waits > message.n:
            wishes[ref] = (waits - message.n, set())

    def _check_overtaking(self, wishes: dict[Any, tuple[int, set[Any]]], served: Any) -> None:
        for other, (_, overtakers) in wishes.items():
            if other is served or other == served:
                continue
            if served in overtakers:
                self.fail(Invariant.TURNS, f"{served.name} gets permits twice while {other.name} waits for its first")
            overtakers.add(served)

    def _heard_wanted(self, now: float, sender: Mailbox, me: Mailbox, message: protocol.PermitsWanted) -> None:
        if (me, message.stage) in self._discharged:
            # It asked, and was gone before that was heard.
            return
        wishes = self._gate(me, message.key).wishes
        waits, overtakers = wishes.get(message.stage, (0, set()))
        wishes[message.stage] = (waits + message.n, overtakers)

    def _heard_withdrawn(self, now: float, sender: Mailbox, me: Mailbox, message: protocol.WishesWithdrawn) -> None:
        self._gate(me, message.key).wishes.pop(message.stage, None)

    def _heard_discharge(self, now: float, sender: Mailbox, me: Mailbox, message: protocol.Unregister) -> None:
        self._discharged.add((me, message.stage))
        for (governor, _), gate in self._gates.items():
            if governor is me:
                gate.wishes.pop(message.stage, None)

    def _on_returned(self, now: float, sender: Mailbox, ref: Any, message: protocol.PermitsReturned) -> None:
        self._come_back(sender, message.n)

    def _on_calls_ended(self, now: float, sender: Mailbox, ref: Any, message: protocol.CallsEnded) -> None:
        self._come_back(sender, message.used)

    def _come_back(self, sender: Mailbox, n: int) -> None:
        stage = self._stages[sender]
        stage.out -= n
        if stage.out < 0:
            self.fail(Invariant.BOUNDED, f"{sender.name} gives back {-stage.out} permits that it was not granted")

    def _on_discharge(self, now: float, sender: Mailbox, ref: Any, message: protocol.Unregister) -> None:
        stage = self._stages.get(sender)
        if stage is None or stage.aborted:
            return
        # Rows whose deadline has passed may still be in a call.
        leaked = stage.out - sum(len(left) for _, left in stage.open.values())
        if leaked:
            self.fail(Invariant.BOUNDED, f"{sender.name} is done, and {leaked} of its permits have leaked")

    def _on_assign(self, now: float, sender: Mailbox, ref: Any, message: protocol.Assign) -> None:
        stage = self._stages[sender]
        stage.assigned += len(message.seqs)
        stage.open[message.id] = (ref, set(message.seqs))
        if stage.assigned > stage.granted:
            what = f"{sender.name} has started {stage.assigned} calls on {stage.granted} permits of epoch {stage.epoch}"
            self.fail(Invariant.BOUNDED, what)
        if stage.cooling:
            self.fail(
                Invariant.QUIET, f"{sender.name} starts a call of row {message.seqs[0]} in a cooldown that it knows of"
            )
        if stage.refused:
            self._check_turn(sender, stage, message.seqs)
        if not self._tokens.inside(sender).issuperset(message.seqs):
            self.fail(Invariant.ONCE, f"{sender.name} calls for row {message.seqs[0]}, which has left it")

    def _check_turn(self, name: Mailbox, stage: _Stage, seqs: Seqs) -> None:
        inside = self._tokens.inside(name)
        stage.refused &= inside
        stage.refused.difference_update(seqs)
        if stage.refused and not stage.keyed:
            stage.tried &= inside
            fresh = set(seqs) - stage.tried
            if fresh:
                self.fail(
                    Invariant.FAIR,
                    f"{name.name} calls for row {show(min(fresh, key=place))}, and row "
                    f"{show(min(stage.refused, key=place))} was refused before",
                )

    def _on_limit_hit(self, now: float, sender: Mailbox, ref: Any, message: protocol.LimitHit) -> None:
        gate = self._gate(ref, message.key)
        gate.hit = max(gate.hit, message.epoch)

    def _on_cooldown_began(self, now: float, sender: Mailbox, ref: Any, message: protocol.CooldownBegan) -> None:
        gate = self._gate(sender, message.key)
        if message.epoch == gate.epoch and gate.cooling:
            # The same news to another stage.
            return
        if message.epoch != gate.epoch + 1 or gate.cooling:
            self.fail(
                Invariant.QUIET,
                f"{sender.name} begins a cooldown of epoch {message.epoch} in epoch {gate.epoch}"
                f"{', which is cooling' if gate.cooling else ''}",
            )
        if message.closure is Closure.REFUSED and gate.hit < message.epoch - 1:
            self.fail(
                Invariant.QUIET,
                f"{sender.name} begins a cooldown, and nobody was refused since the last one: old news of epoch {gate.hit}",
            )
        gate.epoch = message.epoch
        gate.cooling = True

    def _on_cooldown_ended(self, now: float, sender: Mailbox, ref: Any, message: protocol.CooldownEnded) -> None:
        self._gate(sender, message.key).cooling = False

    def _heard_cooldown_began(self, now: float, sender: Mailbox, me: Mailbox, message: protocol.CooldownBegan) -> None:
        stage = self._stages.get(me)
        if stage is not None and not stage.keyed:
            stage.cooling = True
            # Permits of older epochs are void.
            stage.epoch = message.epoch
            stage.granted = stage.assigned = 0

    def _heard_granted(self, now: float, sender: Mailbox, me: Mailbox, message: protocol.PermitsGranted) -> None:
        stage = self._stages.get(me)
        if stage is None or self._tokens.is_over(me):
            return
        stage.out += message.n
        if message.epoch >= stage.epoch:
            stage.granted += message.n

    def _heard_cooldown_ended(self, now: float, sender: Mailbox, me: Mailbox, message: protocol.CooldownEnded) -> None:
        stage = self._stages.get(me)
        if stage is not None:
            stage.cooling = False

    def _heard_answered(self, now: float, sender: Mailbox, me: Mailbox, message: protocol.Answered) -> None:
        stage = self._stages[me]
        opened = stage.open.get(message.id)
        if opened is None or self._tokens.is_over(me):
            # Late news.
            return
        left = opened[1]
        left.difference_update(message.seqs)
        if message.unstarted:
            left.difference_update(message.unstarted)
            stage.tried.update(message.unstarted)
        if message.faults:
            left.difference_update(fault.seq for fault in message.faults)
        if not left:
            del stage.open[message.id]
        if stage.spares and (stage.met or message.faults):
            stage.met.extend([None] * min(len(message.seqs), MET_CALLS))
        for fault in message.faults:
            if stage.spares:
                stage.met.append(fault.seq if concerns_many(fault.error) else None)
            stage.tried.add(fault.seq)
            if fault.kind is Kind.REFUSED and fault.seq in self._tokens.inside(me):
                stage.refused.add(fault.seq)

    # --- life ---

    def _on_close(self, now: float, sender: Mailbox, ref: Any, message: protocol.Close) -> None:
        run = self._runs.get(sender)
        if run is None:
            return
        run.closed[ref] += 1
        if run.closed[ref] > 1:
            self.fail(Invariant.PAIRED, f"{ref.name} is closed twice")
        if not run.opened[ref]:
            self.fail(Invariant.PAIRED, f"{ref.name} is closed and was not opened")

    def _on_close_account(self, now: float, sender: Mailbox, ref: Any, message: protocol.CloseAccount) -> None:
        run = self._runs.get(sender)
        if run is not None:
            # What opens from here on closes itself (see `Resource.ended`); the diary outside sees to that.
            run.closing = True

    def _heard_drain(self, now: float, sender: Mailbox, me: Mailbox, message: protocol.Drain) -> None:
        run = self._runs.get(me)
        if run is not None:
            account = self._accounts[run.terms.ledger]
            account.drained_at = account.drained_at if account.drained_at is not None else now

    def _heard_abort(self, now: float, sender: Mailbox, me: Mailbox, message: protocol.Abort) -> None:
        run = self._runs.get(me)
        if run is not None:
            self._stop(run, now)
        stage = self._stages.get(me)
        if stage is not None:
            stage.aborted = True

    def _stop(self, run: _Run, now: float) -> None:
        run.aborted = True
        if run.stopping_since is None:
            run.stopping_since = now

    def _heard_failing(self, now: float, sender: Mailbox, me: Mailbox, message: protocol.Failing) -> None:
        self._blame(now, me, message.error, message.drain)

    def _heard_died(self, now: float, sender: Mailbox, me: Mailbox, message: protocol.Died) -> None:
        stage = self._stages.get(me)
        if stage is not None and not self._tokens.is_over(me):
            for id_ in [i for i, (worker, _) in stage.open.items() if worker is message.who]:
                stage.tried.update(stage.open.pop(id_)[1])
        self._blame(now, me, message.error)

    def _heard_opened(self, now: float, sender: Mailbox, me: Mailbox, message: protocol.Opened) -> None:
        run = self._runs.get(me)
        # What its conductor does not hear of in time closes by itself, which is seen to outside.
        if run is not None and run.ended is None and message.error is None and not run.closing:
            run.opened[sender] += 1
            if run.opened[sender] > 1:
                self.fail(Invariant.PAIRED, f"{sender.name} was opened twice")
        if message.error is not None:
            self._blame(now, me, message.error)

    def _blame(self, now: float, conductor: Mailbox, error: BaseException, drain: bool = False) -> None:
        run = self._runs.get(conductor)
        if run is None or run.ended is not None:
            return
        if run.first_error is None:
            run.first_error = error
        if drain and not run.closing:
            # The others may finish what they have.
            run.aborted = True
            account = self._accounts[run.terms.ledger]
            account.drained_at = account.drained_at if account.drained_at is not None else now
        else:
            self._stop(run, now)

    def _on_died(self, now: float, sender: Mailbox, ref: Any, message: protocol.Died) -> None:
        error = message.error
        if sender is message.who and not isinstance(error, Killed):
            self.fail(Invariant.ALIVE, f"{sender.name} died of {type(error).__name__}: {error}")

    def _on_run_ended(self, now: float, sender: Mailbox, ref: Any, message: protocol.RunEnded) -> None:
        run = self._runs[sender]
        if run.ended is not None:
            self.fail(Invariant.ONE_PATH, f"the run ended {message.state.value}, and had ended {run.ended.state.value}")
            return
        run.ended = message
        if message.errors and _is_of_time(message.errors[0]):
            # The conductor's own decision: a deadline has passed.
            run.aborted = True
        self._check_accounts(run, message)
        self._check_end(run, message)
        self._check_errors(run, message)
        if run.stopping_since is not None:
            life = run.terms.life
            allowed = 2 * life.abort_s + life.close_s * run.terms.resources + CLOSING_S
            took = now - run.stopping_since
            if took > allowed:
                self.fail(Invariant.ANSWERED, f"it took {took:.3f} s to stop, and {allowed:g} s are allowed")

    def _check_accounts(self, run: _Run, ended: protocol.RunEnded) -> None:
        account, fates = self._accounts[run.terms.ledger], self._tokens.fates(run.terms.ledger)
        counts, past = ended.counts, run.terms.past
        if any("counts are missing" in note for note in ended.notes):
            return
        # Of this life.
        counts = msgspec.structs.replace(
            counts,
            rows=counts.rows - past.rows,
            **{status.value: getattr(counts, status.value) - n for status, n in past.counts.items()},
        )
        told = {status: getattr(counts, status.value) for status in fates.by_status}
        settled = sum(n for s, n in told.items() if s is not Status.INTERRUPTED)
        own = dict(fates.by_status)
        # What was told and not received when the account was closed is the ledger's to call interrupted.
        own[Status.INTERRUPTED] = counts.rows - settled
        late = fates.settled - fates.by_status[Status.INTERRUPTED] - settled
        if sum(told.values()) != counts.rows:
            self.fail(Invariant.ACCOUNTED, f"{counts.rows} rows, and outcomes of {sum(told.values())}")
        elif not run.aborted and (counts.rows != account.given or late or told != own):
            self.fail(
                Invariant.ACCOUNTED, f"the report says {counts}, and the outcomes add up to {own} of {account.given}"
            )
        elif not run.aborted and account.taken > account.row - account.begin:
            passed = account.row - account.begin
            self.fail(Invariant.ACCOUNTED, f"{account.taken} rows were read, and {passed} were given, or done before")
        elif any(told[s] > n for s, n in fates.by_status.items() if s is not Status.INTERRUPTED):
            self.fail(Invariant.ACCOUNTED, f"the report says {counts}, and no more than {fates.by_status} was told")

    def _check_end(self, run: _Run, ended: protocol.RunEnded) -> None:
        account, fates = self._accounts[run.terms.ledger], self._tokens.fates(run.terms.ledger)
        state, interrupted = ended.state, ended.counts.interrupted
        if state is State.COMPLETED and (not account.said_end or interrupted or fates.settled != account.given):
            self.fail(
                Invariant.ONE_PATH,
                f"completed with {interrupted} rows interrupted, {fates.settled} of {account.given} settled, "
                f"and the source {'at' if account.said_end else 'not at'} its end",
            )
        # Of a batch that an earlier life has formed, not all rows may have come before the drain.
        cut = state is State.DRAINED and run.terms.journal is not None
        if not run.aborted and ((interrupted and not cut) or fates.settled != account.given):
            self.fail(
                Invariant.ACCOUNTED, f"{interrupted} rows were interrupted by a run that nobody aborted ({state.value})"
            )
        if (
            state in (State.COMPLETED, State.DRAINED)
            and run.first_error is not None
            and not (ended.notes or ended.errors)
        ):
            self.fail(
                Invariant.FIRST_ERROR, f"{state.value}, and {type(run.first_error).__name__} is nowhere to be seen"
            )
        for resource, n in run.opened.items():
            if n and not run.closed[resource]:
                self.fail(Invariant.PAIRED, f"{resource.name} was opened and is not closed at the end")

    def _check_errors(self, run: _Run, ended: protocol.RunEnded) -> None:
        first = run.first_error
        if ended.state is not State.FAILED or first is None:
            if ended.state is State.FAILED and not ended.errors:
                self.fail(Invariant.FIRST_ERROR, "failed without an error")
            return
        shown = ended.errors[0] if ended.errors else None
        if shown is not first and getattr(shown, "__cause__", None) is not first and not _is_of_time(shown):
            self.fail(Invariant.FIRST_ERROR, f"{shown!r} is shown, and {first!r} came first")

    # --- waiters ---

    def _on_submit(self, now: float, sender: Mailbox, ref: Any, message: protocol.Submit) -> None:
        self._waiters[message.waiter] = (len(message.values), set())

    def _on_waited(self, now: float, sender: Mailbox, ref: Any, message: protocol.Waited) -> None:
        n, answered = self._waiters[ref]
        if message.place in answered or not 0 <= message.place < n:
            self.fail(Invariant.ANSWERED, f"place {message.place} of {ref.name} is answered once more")
        answered.add(message.place)

    # --- at the end ---

    def check_stalled(self, now: float) -> None:
        """Nothing is left to happen, or time is up: whoever has not ended never will."""
        for conductor, run in self._runs.items():
            if run.ended is None:
                account, fates = self._accounts[run.terms.ledger], self._tokens.fates(run.terms.ledger)
                settled = f"{fates.settled} of {account.given} rows settled"
                self.fail(Invariant.ANSWERED, f"{conductor.name} has not ended after {now:.3f} s, with {settled}")


def _is_of_time(error: BaseException | None) -> bool:
    """The conductor's own errors come of time, not of a message."""
    from headrace.actors.conductor import Overdue

    return isinstance(error, Overdue)
