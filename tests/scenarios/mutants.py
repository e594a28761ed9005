"""The real actors with one fault put into each: what the checker must catch, or it has a hole.

A mutant is a small edit of one method's source. One whose text is not found any more fails loudly: it must move with
the code. So does one whose code does not run any more, since what it raises breaks no promise.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from headrace.actors.batch import Batch
from headrace.actors.buffers.recent import Recent
from headrace.actors.buffers.resequencer import Order
from headrace.actors.conductor import Conductor
from headrace.actors.desk import Desk
from headrace.actors.edges.operators import Fork, Split, Switch, Unbatch
from headrace.actors.edges.outputs import Outputs
from headrace.actors.governor import Governor
from headrace.actors.join import Join
from headrace.actors.joins.waiting import Waiting
from headrace.actors.ledger import Ledger
from headrace.actors.limits.gate import Gate
from headrace.actors.limits.permits import Permits
from headrace.actors.limits.token_bucket import TokenBucket
from headrace.actors.limits.wishes import Wishes
from headrace.actors.sink import Sink
from headrace.actors.source import Source
from headrace.actors.stage import Stage
from headrace.actors.stages.attempts import Attempts
from headrace.actors.stages.scheduler import Scheduler
from headrace.actors.stages.trials import Trials
from headrace.actors.worker import Worker
from headrace.runtime.executor.core import ExecutorCore
from headrace.runtime.run.io_actors import Resource, Strategies
from headrace.scenarios.verdict import Invariant


class Mutant(NamedTuple):
    """`old` becomes `new` in the source of `cls.method`; one of `caught_by` must name it, in one of `scenarios`."""

    name: str
    cls: type
    method: str
    old: str
    new: str
    caught_by: tuple[Invariant, ...]
    scenarios: tuple[str, ...]


MUTANTS = (
    Mutant(
        "a stage that holds every failure against its row",
        Attempts,
        "_on_failed",
        "elif not self.trials.held:",
        "elif trouble.failed:",
        (Invariant.SPARED,),
        ("a_brown_out", "a_brown_out_on_a_loop"),
    ),
    Mutant(
        "trials that excuse nobody",
        Trials,
        "_settle",
        "excused = share > 0.0 and trouble.doubt >= DOUBT_MIN",
        "excused = False",
        (Invariant.SPARED,),
        ("a_brown_out", "a_brown_out_on_a_loop"),
    ),
    Mutant(
        "trials that go on when the governor has closed",
        Trials,
        "acquit",
        "if trial.fault.kind is not Kind.EXHAUSTED:",
        "if trial.fault.kind is not Kind.EXHAUSTED:\n                self._leave(queue, trial.seq)\n"
        "                self._end(trial.seq, trial.value, queue, trial.fault.error)\n                continue",
        (Invariant.SPARED,),
        ("an_outage_and_one_attempt",),
    ),
    Mutant(
        "a governor without epochs",
        Gate,
        "hit",
        "if epoch != self.epoch or self.state is GateState.COOLING:",
        "if self.state is GateState.COOLING:",
        (Invariant.QUIET,),
        ("refusals_that_come_late",),
    ),
    Mutant(
        "a governor that serves whoever came first until it has had enough",
        Wishes,
        "end_turn",
        "        del self._of[stage]\n        if wishes:\n            self._of[stage] = wishes\n",
        "        if not wishes:\n            del self._of[stage]\n",
        (Invariant.TURNS,),
        ("one_beside_two_hundred",),
    ),
    Mutant(
        "a governor that grants in a cooldown",
        Permits,
        "grant",
        "if shut or not self.wishes:",
        "if not self.wishes:",
        (Invariant.QUIET,),
        ("ten_refused_at_once", "abort_ten_thousand_rows"),
    ),
    Mutant(
        "a governor that grants what was returned in a cooldown at once, by the old epoch",
        Governor,
        "_grant",
        "protocol.PermitsGranted(gate.epoch,",
        "protocol.PermitsGranted(max(gate.epoch - 1, 0),",
        (Invariant.QUIET,),
        ("ten_refused_at_once",),
    ),
    Mutant(
        "a stage that leaks the permit of a worker that dies",
        Stage,
        "_on_worker_died",
        "self._on_answered(self._assignments.inherited(id_, error, salvage, self._terms.dispatch))",
        "tell, self._tell_governor = self._tell_governor, lambda *_: None\n"
        "            self._on_answered(self._assignments.inherited(id_, error, salvage, self._terms.dispatch))\n"
        "            self._tell_governor = tell",
        (Invariant.BOUNDED, Invariant.ANSWERED),
        ("worker_killed_in_every_state", "calls_that_hang"),
    ),
    Mutant(
        "a reorder buffer that releases on a gap",
        Order,
        "take",
        "n = self.next\n",
        "waiting = [*self._rows, *self._chunks]\n"
        "        if waiting and self.next not in waiting and not self._known.has(self.next):\n"
        "            self.next = min(waiting)\n"
        "        n = self.next\n",
        (Invariant.ORDERED, Invariant.ACCOUNTED),
        ("gaps_are_told", "retried_in_order"),
    ),
    Mutant(
        "a stage that takes a late answer for its row's",
        Stage,
        "_on_answered",
        "        if found is None:\n            return",
        "        if found is None:\n            if answered.seqs:\n"
        "                self._outputs.send('', answered.seqs, answered.values)\n            return",
        (Invariant.ONCE,),
        ("late_answers", "an_answer_comes_twice"),
    ),
    Mutant(
        "a conductor that stops the stages before the source",
        Conductor,
        "_on_drain",
        "self.context.tell(self._all.source, protocol.Drain())",
        "[self.context.tell(ref, protocol.Abort('drain')) for ref in self._all.line]\n"
        "                self.context.tell(self._all.source, protocol.Drain())",
        (Invariant.ACCOUNTED,),
        ("drain_amid_a_hundred_rows",),
    ),
    Mutant(
        "a conductor that closes twice",
        Conductor,
        "_on_account_closed",
        "self._counts = counts",
        "self._counts = counts\n"
        "        [self.context.tell(ref, protocol.Close(self.context.me, False)) for ref in self._opened[:1]]",
        (Invariant.PAIRED,),
        ("ten_refused_at_once",),
    ),
    Mutant(
        "a conductor that forgets what opened before a later open failed",
        Conductor,
        "_close",
        "self._to_close = list(self._opened)",
        "self._to_close = list(self._opened) if self._drained else []",
        (Invariant.PAIRED,),
        ("an_open_fails", "abort_during_the_start"),
    ),
    Mutant(
        "an abort that does not answer those who wait",
        ExecutorCore,
        "give_up",
        "for waiter in list(self.outstanding):",
        "for waiter in list(self.outstanding)[:-1]:",
        (Invariant.ANSWERED,),
        ("executor_aborted",),
    ),
    Mutant(
        "a stage that puts refused rows at the end",
        Attempts,
        "_on_refused",
        "queue.put_first(seq, value)",
        "queue.backlog.append([seq], [value])",
        (Invariant.FAIR,),
        ("siblings_do_not_starve", "ten_refused_at_once", "concurrency_by_latency"),
    ),
    Mutant(
        "a ledger that counts a retry as a row",
        Ledger,
        "_count",
        "self._by_status[status] += len(rows)",
        "self._by_status[status] += len(rows) + (self._settled.mark % 97 == 5)",
        (Invariant.ACCOUNTED,),
        ("retried_in_order",),
    ),
    Mutant(
        "a ledger that does not mind a row that is settled twice, and a sink that settles twice",
        Sink,
        "_settle",
        "self.context.tell(self._ledger, protocol.Settled(status, seqs, self._name, place))",
        "[self.context.tell(self._ledger, protocol.Settled(status, seqs)) for _ in 'ab']",
        (Invariant.ONCE, Invariant.ACCOUNTED),
        ("ten_refused_at_once",),
    ),
    Mutant(
        "a sink that settles before it has written",
        Sink,
        "_write",
        "self.context.tell(self._writer, protocol.Write(self._writing))",
        "self.context.tell(self._writer, protocol.Write(self._writing))\n"
        "        for p in self._writing:\n"
        "            self._settle(Status.DELIVERED, p.seqs)",
        (Invariant.ONCE,),
        ("disk_is_full", "sink_is_slow"),
    ),
    Mutant(
        "a source that says its end and forgets a read that is under way",
        Source,
        "receive",
        "self.context.after(DRAIN_PATIENCE_S, _DrainedLongEnough())",
        "self._end()",
        (Invariant.ACCOUNTED,),
        ("drain_a_slow_source",),
    ),
    Mutant(
        "a source that reads more than was asked for",
        Source,
        "receive",
        "self._demand += n\n                self._read()",
        "self._demand += 2 * n\n                self._read()",
        (Invariant.BOUNDED,),
        ("sink_is_slow", "a_heavy_tail"),
    ),
    Mutant(
        "a conductor that shows the last error",
        Conductor,
        "_blame",
        "if not self._errors:",
        "if self._errors:\n            self._errors.insert(0, error)\n        elif not self._errors:",
        (Invariant.FIRST_ERROR,),
        ("several_things_go_wrong",),
    ),
    Mutant(
        "a conductor that ends once more",
        Conductor,
        "receive",
        "if self._state.terminal:\n            return",
        "if self._state.terminal and not isinstance(message, protocol.Abort):\n            return\n"
        "        if self._state.terminal:\n"
        "            ended = protocol.RunEnded(self._state, self._counts, [], [])\n"
        "            self.context.tell(self._caller, ended)\n            return",
        (Invariant.ONE_PATH,),
        ("told_after_the_end",),
    ),
    Mutant(
        "a stage that begins a call after an abort",
        Worker,
        "receive",
        "if not self._cancelled:",
        "if True:",
        (Invariant.PAIRED,),
        ("abort_among_many_workers",),
    ),
    Mutant(
        "a desk that answers the wrong waiter",
        Desk,
        "_answer",
        "self._answers.append((submission.waiter, Waited(place, status, value, error, attempts)))",
        "whom = next(iter(self._submissions.values())) if len(self._submissions) > 1 else submission\n"
        "        self._answers.append((whom.waiter, Waited(place, status, value, error, attempts)))",
        (Invariant.ISOLATED, Invariant.ANSWERED),
        ("twenty_batches_at_once",),
    ),
    Mutant(
        "a desk that keeps the share of those who left",
        Desk,
        "_on_withdraw",
        "self.context.tell(submission.stage, protocol.Retract(seqs))",
        "self._fed[submission.stage] += len(seqs)",
        (Invariant.ANSWERED,),
        ("callers_who_leave",),
    ),
    Mutant(
        "a strategy that is prepared once a stage",
        Strategies,
        "__init__",
        "list({id(function): function for function in functions}.values())",
        "list(functions)",
        (Invariant.PAIRED,),
        ("one_strategy_three_stages",),
    ),
    Mutant(
        "a resource that opens late and stays open",
        Resource,
        "ended",
        "if self._is_open:",
        "if False:",
        (Invariant.PAIRED,),
        ("opens_after_all_is_over",),
    ),
    Mutant(
        "a stage that forgets a row whose backoff is over",
        Attempts,
        "on_again",
        "found = self._resting.end(seq)",
        "found = None if seq % 50 == 7 else self._resting.end(seq)",
        (Invariant.ANSWERED,),
        ("retried_in_order",),
    ),
    Mutant(
        "a ledger that forgets that a dropped row has left the window",
        Ledger,
        "_count",
        "self._settled_rows += len(rows)",
        "self._settled_rows += len(rows) if status is not Status.DROPPED else 0",
        (Invariant.ANSWERED, Invariant.BOUNDED),
        ("dropped_rows_leave_the_window",),
    ),
    Mutant(
        "a stage that starts calls without permits",
        Scheduler,
        "_assign",
        "seqs, values = queue.take(n)",
        "queue.held += 1\n        seqs, values = queue.take(n)",
        (Invariant.BOUNDED,),
        ("ten_refused_at_once",),
    ),
    Mutant(
        "a stage that goes on with the permits it has when a cooldown begins",
        Scheduler,
        "on_cooldown_began",
        "self.give_back(queue)",
        "queue.on_cooled(began.epoch, probing=False)\n        self._launch(queue)",
        (Invariant.QUIET, Invariant.BOUNDED),
        ("refusals_that_come_late", "concurrency_by_latency"),
    ),
    Mutant(
        "a stage that keeps its permits through a cooldown",
        Scheduler,
        "on_cooldown_began",
        "self.give_back(queue)",
        "pass",
        (Invariant.BOUNDED,),
        ("refusals_that_come_late", "concurrency_by_latency"),
    ),
    Mutant(
        "a join that forgets a late part",
        Join,
        "_without_late",
        "self._words.late(self._waiting.name_of(seq, index), value)\n",
        "pass\n",
        (Invariant.ANSWERED, Invariant.ACCOUNTED),
        ("the_first_answer_wins", "all_three_answer"),
    ),
    Mutant(
        "a join that goes on without what it requires",
        Join,
        "_decide",
        "len(here) >= self._terms.needed",
        "here",
        (Invariant.JOINED,),
        ("all_three_answer",),
    ),
    Mutant(
        "a join that does not wait for what may yet come",
        Waiting,
        "is_ready",
        'self._terms.require == "any" and here > 0',
        'self._terms.require == "any"',
        (Invariant.JOINED,),
        ("the_first_answer_wins",),
    ),
    Mutant(
        "a join whose deadline says its word a second time",
        Join,
        "_on_check_deadlines",
        "if seq in waiting.rows and seq not in waiting.known and not waiting.is_cut(seq):",
        "waiting.rows.setdefault(seq, None)\n                if True:",
        (Invariant.JOINED, Invariant.ONCE, Invariant.ALIVE, Invariant.ORDERED),
        ("the_first_answer_wins",),
    ),
    Mutant(
        "a join that is told that a part will not come, and waits for it",
        Join,
        "_on_absent",
        "self._check([of])",
        "pass",
        (Invariant.ANSWERED,),
        ("joins_within_joins",),
    ),
    Mutant(
        "a join that takes a row for whole, parts of whose parts went elsewhere",
        Join,
        "_decide",
        "len(here) != self._terms.ways or (odd is not None and not odd.names.keys().isdisjoint(here))",
        "len(here) != self._terms.ways",
        (Invariant.JOINED, Invariant.ACCOUNTED, Invariant.BOUNDED),
        ("joins_within_joins",),
    ),
    Mutant(
        "a join that takes a row for whole that lacks a part",
        Join,
        "_decide",
        "len(here) != self._terms.ways or (odd is not None and not odd.names.keys().isdisjoint(here))",
        "False",
        (Invariant.JOINED,),
        ("all_three_answer",),
    ),
    Mutant(
        "a batch that loses its rest at the end",
        Batch,
        "receive",
        "for key in list(self._open):\n                        self._flush(key)\n",
        "pass\n",
        (Invariant.ACCOUNTED,),
        ("the_rest_of_a_batch",),
    ),
    Mutant(
        "a batch that keeps the row on which the window waits",
        Batch,
        "_let_go",
        "self._flush(key)",
        "pass",
        (Invariant.ANSWERED,),
        ("batches_by_key_in_a_small_window",),
    ),
    Mutant(
        "a batch that forgets what it was pressed for before it came",
        Batch,
        "receive",
        "self._pressed = seq\n",
        "pass\n",
        (Invariant.ANSWERED,),
        ("batches_by_key_in_a_small_window", "a_small_window_and_slow_calls"),
    ),
    Mutant(
        "a batch that gathers one row too many",
        Batch,
        "_fill",
        "count = self._terms.count or n",
        "count = (self._terms.count or n) + 1",
        (Invariant.BOUNDED,),
        ("the_rest_of_a_batch",),
    ),
    Mutant(
        "a route that sends rows twice",
        Switch,
        "_leave",
        "outputs.send_apart(seqs, there, attempts)",
        "[outputs.send_apart(seqs, there, attempts) for _ in 'ab']",
        (Invariant.ONCE,),
        ("route_in_order",),
    ),
    Mutant(
        "a route that tells each branch of all rows' attempts",
        Outputs,
        "send_apart",
        "self._send(name, seqs, values, tries or None,",
        "self._send(name, seqs, values, attempts,",
        (Invariant.ISOLATED,),
        ("retried_and_routed",),
    ),
    Mutant(
        "a route that counts twice",
        Outputs,
        "_send",
        "self._sent[name] += len(seqs)",
        "self._sent[name] += len(seqs) * (2 if name else 1)",
        (Invariant.ACCOUNTED,),
        ("route_in_order",),
    ),
    Mutant(
        "a route that does not tell the gap",
        Outputs,
        "_tell_missed",
        "for ref in missed:",
        "for ref in ():",
        (Invariant.ANSWERED, Invariant.ORDERED),
        ("route_in_order",),
    ),
    Mutant(
        "a filter that does not tell the gap",
        Outputs,
        "drop",
        "self.tell_gaps(seqs, self._next_door if isinstance(of, range) and of else ())",
        "pass",
        (Invariant.ANSWERED,),
        ("filtered_rows_leave_gaps",),
    ),
    Mutant(
        "a node that does not tell whom the rows that end in it would have come to",
        Outputs,
        "end",
        "for ref in self._behind:",
        "for ref in self._behind[1:]:",
        (Invariant.ANSWERED,),
        ("all_three_answer", "gaps_are_told"),
    ),
    Mutant(
        "a fork that leaves out a branch at times",
        Fork,
        "leave",
        "outputs.send(name, ids, list(map(own, rows)) if changeable else rows, tries or None)",
        "if i != 1 or self.made % 7:\n"
        "                outputs.send(name, ids, list(map(own, rows)) if changeable else rows, tries or None)",
        (Invariant.ANSWERED, Invariant.ACCOUNTED),
        ("all_three_answer",),
    ),
    Mutant(
        "a split that promises one piece too many",
        Split,
        "leave",
        "young = children(seq, n)",
        "young = children(seq, n + 1)[:-1]",
        (Invariant.ANSWERED, Invariant.ACCOUNTED),
        ("pieces_in_order",),
    ),
    Mutant(
        "an unbatch that gives rows each other's values",
        Unbatch,
        "leave",
        "apart.extend(values)",
        "apart.extend(reversed(values))",
        (Invariant.ISOLATED,),
        ("batches_in_order",),
    ),
    Mutant(
        "a reorder buffer that lets pieces overtake each other",
        Order,
        "_harvest",
        "if kid is None:\n                return False",
        "if kid is None and tree.kids:\n"
        "                tree.next = min(tree.kids)\n"
        "                continue\n"
        "            if kid is None:\n                return False",
        (Invariant.ORDERED,),
        ("pieces_in_order",),
    ),
    Mutant(
        "a ledger that settles a row with the first of its pieces",
        Ledger,
        "_settle",
        "if brood.settled != (1 << (n if n > 0 else 1 - n)) - 1:",
        "if False:",
        (Invariant.ALIVE, Invariant.ACCOUNTED, Invariant.BOUNDED),
        ("pieces_in_order",),
    ),
    Mutant(
        "a ledger that blames the row for a part that its join could do without",
        Ledger,
        "_settle",
        "excused = n < 0 and index != -n and _GRAVITY[status] < _INEXCUSABLE",
        "excused = False",
        (Invariant.ACCOUNTED,),
        ("joins_within_joins",),
    ),
    Mutant(
        "a broken sink that keeps what still comes",
        Sink,
        "receive",
        "if self._life.now is SinkState.BROKEN:\n                    self._interrupt()",
        "if self._life.now is SinkState.BROKEN:\n                    pass",
        (Invariant.ANSWERED,),
        ("one_sink_breaks_the_others_finish",),
    ),
    Mutant(
        "a sink that counts a row that it could not write as delivered",
        Sink,
        "_on_written",
        "seqs = self._without_unwritable(part, unwritable) if unwritable else part.seqs",
        "seqs = part.seqs",
        (Invariant.ONCE,),
        ("sinks_that_cannot_hold_a_row",),
    ),
    Mutant(
        "a dedupe that forgets each row when the next one has come",
        Recent,
        "_forget",
        "window[0][0] < turn",
        "len(window) > 1",
        (Invariant.DISTINCT,),
        ("the_first_of_duplicates_goes_on",),
    ),
    Mutant(
        "a dedupe that remembers rows for longer than it should",
        Recent,
        "_forget",
        "window[0][0] < turn",
        "window[0][0] < turn - 10",
        (Invariant.DISTINCT,),
        ("duplicates_far_apart",),
    ),
    Mutant(
        "a bucket whose rate is higher by a tenth than the one that was stated",
        TokenBucket,
        "__init__",
        "self.rate_per_s = rate_per_s",
        "self.rate_per_s = rate_per_s * 1.1",
        (Invariant.CEILING,),
        ("a_minute_at_a_time",),
    ),
    Mutant(
        "a sink that does not tell the quarantine that it has no more rows for it",
        Sink,
        "_finish_if_done",
        "self._outputs.finish(self._total)",
        "pass",
        (Invariant.ANSWERED,),
        ("sinks_that_cannot_hold_a_row",),
    ),
)


NOT_A_PROMISE = {"AttributeError", "NameError", "UnboundLocalError", "TypeError"}
"""An actor that dies of one of these shows that the fault does not fit the code any more."""


class Vacuous(AssertionError):
    """A mutant is not a fault of the kind that it names."""


def reject_if_vacuous(mutant: Mutant, kind: str, error: object) -> None:
    """Raises `Vacuous` if an actor with that fault died of an error of this kind, which says nothing of the checker."""
    if kind in NOT_A_PROMISE:
        raise Vacuous(f"mutant {mutant.name!r} is vacuous: {kind}: {error}")


@contextmanager
def mutated(mutant: Mutant) -> Iterator[None]:
    """Within this block, the fault is in the class."""
    original = inspect.getattr_static(mutant.cls, mutant.method)
    source = inspect.getsource(original)
    assert source.count(mutant.old) == 1, (
        f"{mutant.name}: {mutant.cls.__name__}.{mutant.method} has changed: move it along"
    )
    namespace: dict[str, Any] = dict(vars(sys.modules[mutant.cls.__module__]))
    exec(compile("class Mutated:\n" + source.replace(mutant.old, mutant.new), f"<{mutant.name}>", "exec"), namespace)
    setattr(mutant.cls, mutant.method, vars(namespace["Mutated"])[mutant.method])
    try:
        yield
    finally:
        setattr(mutant.cls, mutant.method, original)
