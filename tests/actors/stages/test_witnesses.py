"""Whose fault a failure is (L40, L76): the rule of `actors/stages/witnesses.py`, and what a stage makes of it."""

from __future__ import annotations

from typing import Any

from tests.actors.fake import Fake
from tests.actors.stages.fixtures import GOVERNOR, assigned, ends, refused, staged

from headrace.actors import protocol
from headrace.actors.protocol import Answered, Closure, Epoch, Fault, Kind, PermitsGranted, Rows
from headrace.actors.stages.backoff import Backoff
from headrace.actors.stages.witnesses import CALLS, FEWEST, Witnesses


def failed(seq: int) -> Fault:
    return Fault(seq, Kind.TRANSIENT, ConnectionError(seq))


def tried(witnesses: Witnesses, seq: int) -> Any:
    witnesses.on_failed(seq)
    return witnesses.try_(seq, None, failed(seq), 0.0)


def test_a_row_that_fails_while_others_are_answered_is_at_fault() -> None:
    witnesses = Witnesses()
    witnesses.on_answered(100)
    trial = tried(witnesses, 7)
    assert witnesses.share(trial, over=False) is None, "what comes after it is not known yet"
    witnesses.on_answered(CALLS)
    assert witnesses.share(trial, over=False) == 0.0


def test_a_row_that_fails_when_many_have_just_failed_is_excused_at_once_L76() -> None:
    witnesses = Witnesses()
    witnesses.on_answered(10)
    for seq in range(10):
        witnesses.on_failed(seq)
    share = witnesses.share(tried(witnesses, 77), over=False)
    assert share == 0.5


def test_the_first_to_fail_is_excused_by_those_who_fail_after_it_L76() -> None:
    witnesses = Witnesses()
    witnesses.on_answered(100)
    trial = tried(witnesses, 0)
    for seq in range(1, FEWEST):
        witnesses.on_failed(seq)
        assert witnesses.share(trial, over=False) is None
    witnesses.on_answered(1)
    assert witnesses.share(trial, over=False) == (FEWEST - 1) / FEWEST


def test_the_last_to_fail_is_excused_by_those_who_failed_before_it_L76() -> None:
    witnesses = Witnesses()
    for seq in range(8):
        witnesses.on_failed(seq)
    trial = tried(witnesses, 9)
    witnesses.on_answered(CALLS)
    assert witnesses.share(trial, over=False) == 1.0


def test_with_fewer_than_eight_calls_before_it_a_trial_waits_for_those_after_it() -> None:
    witnesses = Witnesses()
    for seq in range(FEWEST - 1):
        witnesses.on_failed(seq)
    trial = tried(witnesses, 99)
    assert witnesses.share(trial, over=False) is None
    assert witnesses.share(trial, over=True) == 1.0
    witnesses = Witnesses()
    for seq in range(FEWEST):
        witnesses.on_failed(seq)
    assert witnesses.share(tried(witnesses, 99), over=False) == 1.0


def test_only_the_calls_next_to_it_are_its_witnesses() -> None:
    witnesses = Witnesses()
    for seq in range(20):
        witnesses.on_failed(seq)
    # The first of the 64 calls before its own, which counts as one of them, is the last that failed.
    witnesses.on_answered(CALLS - 2)
    trial = tried(witnesses, 99)
    assert witnesses.share(trial, over=False) is None, "one other row may be at fault itself"
    witnesses.on_answered(CALLS)
    for seq in range(100, 200):
        witnesses.on_failed(seq)
    assert witnesses.share(trial, over=False) == 0.0, "those came later"


def test_more_than_one_in_eight_concerns_many_and_so_many_does_not() -> None:
    for others, expected in ((7, 0.0), (8, 8 / 63)):
        witnesses = Witnesses()
        for seq in range(others):
            witnesses.on_failed(seq)
        witnesses.on_answered(CALLS - 1 - others)
        trial = tried(witnesses, 99)
        assert (witnesses.share(trial, over=False) or 0.0) == (expected if expected > 1 / 8 else 0.0)


def test_a_refusal_concerns_many_where_two_other_rows_were_refused_since_the_last_answer_L71() -> None:
    witnesses = Witnesses()
    assert [witnesses.on_refused(seq) for seq in (1, 1, 2, 1, 2, 3, 1, 4)] == [True] * 5 + [False] * 3
    witnesses.on_answered(0)
    assert not witnesses.on_refused(3), "none was answered"
    witnesses.on_answered(1)
    assert witnesses.on_refused(3)


def test_the_same_row_that_fails_again_and_again_excuses_nobody() -> None:
    witnesses = Witnesses()
    for _ in range(20):
        witnesses.on_failed(3)
    trial = tried(witnesses, 4)
    assert witnesses.share(trial, over=True) == 0.0


def test_only_what_can_still_count_is_remembered() -> None:
    witnesses = Witnesses()
    for seq in range(10_000):
        witnesses.on_failed(seq)
    assert len(witnesses._failed) <= CALLS + 1  # It has a bound.


# --- the stage ---


def on_trial(attempts: int, *, workers: int = 1, **options: Any) -> Fake:
    return staged(workers=workers, backoff=Backoff(attempts=attempts), trial_s=5.0, **options)


def call(fake: Fake, kind: Kind | None, *, words: str | None = None) -> int:
    """The next call comes to that; None: it is answered. Which row it was."""
    fake.receive(PermitsGranted(Epoch(0), 1, paced=True))
    ((worker, assign),) = assigned(fake)
    (seq,) = assign.seqs
    faults = [Fault(seq, kind, ConnectionError(str(seq)), words=words)] if kind is not None else []
    seqs, values = ([seq], ["r"]) if kind is None else ([], [])
    fake.receive(Answered(assign.id, worker, seqs, values, faults, [], True, 0.01))
    assert isinstance(seq, int)
    return seq


def test_a_row_alone_at_fault_has_as_many_attempts_as_were_said() -> None:
    fake = on_trial(1)
    fake.receive(Rows(range(100), list(range(100))))
    assert [call(fake, kind) for kind in (None, None, Kind.TRANSIENT)] == [0, 1, 2]
    for _ in range(CALLS - 1):
        call(fake, None)
    assert ends(fake) == {}
    fake.receive(PermitsGranted(Epoch(0), 1, paced=True))
    ((worker, assign),) = assigned(fake)
    fake.receive(Answered(assign.id, worker, assign.seqs, ["r"], [], [], True, 0.01))
    (end,) = ends(fake).values()
    assert (end.seq, end.attempts) == (2, 1)


def test_rows_that_fail_one_after_another_are_called_again_when_the_governor_closes_L40() -> None:
    fake = on_trial(1)
    fake.receive(Rows(range(20), list(range(20))))
    for _ in range(7):
        call(fake, Kind.TRANSIENT)
    fake.receive(protocol.CooldownBegan(Epoch(1), 9.0, Closure.OUTAGE))
    fake.receive(protocol.CooldownEnded(Epoch(1), probing=True))
    assert ends(fake) == {}
    fake.receive(PermitsGranted(Epoch(1), 1, paced=True))
    ((_, assign),) = assigned(fake)
    assert list(assign.seqs) == [0]
    assert assign.attempts in (None, {0: 1}), "it cost no attempt"


def test_the_last_row_of_all_has_nobody_to_compare_with_and_ends_at_once() -> None:
    fake = on_trial(2)
    fake.receive(Rows([0], ["a"]), protocol.EndOfRows(1))
    call(fake, Kind.TRANSIENT)
    fake.pass_time(1.0)
    call(fake, Kind.TRANSIENT)
    (end,) = ends(fake).values()
    assert end.attempts == 2


def test_a_row_of_a_quiet_source_waits_a_while_for_another_one() -> None:
    fake = on_trial(1)
    fake.receive(Rows([0], ["a"]))
    call(fake, Kind.TRANSIENT)
    fake.pass_time(4.9)
    assert ends(fake) == {}
    fake.pass_time(0.2)
    assert list(ends(fake)) == [0]


def test_nobody_waits_for_a_row_that_is_pending() -> None:
    fake = on_trial(1)
    fake.receive(Rows([0, 1], ["a", "b"]), protocol.EndOfRows(2))
    fake.receive(PermitsGranted(Epoch(0), 1, paced=True))
    ((worker, assign),) = assigned(fake)
    pending = Fault(0, Kind.PENDING, RuntimeError(), 3600.0, {"batch": 1})
    fake.receive(Answered(assign.id, worker, [], [], [pending], [], True, 0.01))
    call(fake, Kind.TRANSIENT)
    assert list(ends(fake)) == [1]


def test_a_row_on_trial_keeps_its_deadline() -> None:
    fake = on_trial(1, deadline_s=3.0)
    fake.receive(Rows([0, 1], ["a", "b"]))
    call(fake, Kind.TRANSIENT)
    fake.pass_time(3.0)
    assert list(ends(fake)) == [0, 1]
    fake.pass_time(100.0)
    fake.receive(protocol.EndOfRows(2))
    assert ends(fake) == {}


def test_a_row_that_is_refused_while_nobody_is_answered_is_not_given_up_L71() -> None:
    fake = staged(workers=1, backoff=Backoff(refusals=3), trial_s=5.0)
    fake.receive(Rows(range(5), list(range(5))))
    for epoch in range(20):
        fake.receive(PermitsGranted(Epoch(epoch), 1, paced=True))
        ((worker, assign),) = assigned(fake)
        fake.receive(refused(worker, assign))
        fake.receive(protocol.CooldownBegan(Epoch(epoch + 1), 1.0, Closure.REFUSED))
        fake.receive(protocol.CooldownEnded(Epoch(epoch + 1)))
    assert ends(fake) == {}


# --- an exhausted account ---


def test_a_row_that_is_turned_away_is_told_of_and_costs_no_attempt_L71() -> None:
    fake = on_trial(1)
    fake.receive(Rows(range(5), list(range(5))), PermitsGranted(Epoch(0), 1, paced=True))
    ((worker, assign),) = assigned(fake)
    fault = Fault(0, Kind.EXHAUSTED, OSError(), 3600.0, words="no credit")
    fake.receive(Answered(assign.id, worker, [], [], [fault], [], True, 0.01))
    assert fake.told_to(GOVERNOR, protocol.TurnedAway) == [protocol.TurnedAway(Epoch(0), 1, 3600.0, "no credit")]
    (ended,) = fake.told_to(GOVERNOR, protocol.CallsEnded)
    assert (ended.used, ended.answered, ended.failed) == (1, 0, ())
    assert ends(fake) == {}
    assert fake.actor.statistics().turned_away == 1


def test_others_ask_whether_the_account_is_still_exhausted_and_then_all_go_on_L71() -> None:
    fake = on_trial(1)
    fake.receive(Rows(range(5), list(range(5))))
    assert [call(fake, Kind.EXHAUSTED) for _ in range(3)] == [0, 1, 2]
    fake.receive(protocol.CooldownBegan(Epoch(1), 60.0, Closure.EXHAUSTED, None, "no credit"))
    fake.receive(protocol.CooldownEnded(Epoch(1), probing=True))
    fake.receive(PermitsGranted(Epoch(1), 1, paced=True))
    ((worker, assign),) = assigned(fake)
    assert list(assign.seqs) == [3]
    fake.receive(Answered(assign.id, worker, [3], ["r"], [], [], True, 0.01), protocol.Reopened(Epoch(1)))
    fake.told = []
    fake.receive(PermitsGranted(Epoch(1), 1, paced=True))
    ((_, assign),) = assigned(fake)
    assert list(assign.seqs) == [0]
    assert ends(fake) == {}


def test_a_row_that_alone_is_turned_away_while_others_are_answered_ends() -> None:
    fake = on_trial(5)
    fake.receive(Rows(range(100), list(range(100))))
    call(fake, None)
    assert call(fake, Kind.EXHAUSTED) == 1
    for _ in range(CALLS - 1):
        call(fake, None)
    fake.receive(PermitsGranted(Epoch(0), 1, paced=True))
    ((worker, assign),) = assigned(fake)
    fake.receive(Answered(assign.id, worker, assign.seqs, ["r"], [], [], True, 0.01))
    (end,) = ends(fake).values()
    assert (end.seq, end.attempts) == (1, 1)


def test_the_last_row_of_all_is_called_again_until_the_governor_closes_L71() -> None:
    fake = on_trial(1)
    fake.receive(Rows([0], ["a"]), protocol.EndOfRows(1))
    for _ in range(3):
        call(fake, Kind.EXHAUSTED)
    assert ends(fake) == {}


def test_an_account_that_is_given_up_fails_the_run_or_each_row_that_waits_L71() -> None:
    fake = on_trial(1, limit="limit 'llm'")
    fake.receive(Rows(range(3), list(range(3))))
    fake.receive(protocol.AccountGivenUp(7200.0, "no credit"))
    (failing,) = fake.take(protocol.Failing)
    assert str(failing.error) == (
        "limit 'llm': the other side has taken no call of this account for 2.0 h: no credit. Once it takes calls again, "
        "run it again; Limit(give_up_after=...) says how long to wait for that."
    )
    fake = on_trial(1, gives_up="rows")
    fake.receive(Rows(range(3), list(range(3))))
    call(fake, Kind.EXHAUSTED)
    fake.receive(protocol.CooldownBegan(Epoch(1), 60.0, Closure.EXHAUSTED), protocol.AccountGivenUp(30.0, "no"))
    assert fake.told_to(GOVERNOR, protocol.Failing) == []
    assert sorted(ends(fake)) == [0, 1, 2]
