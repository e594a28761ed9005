"""The join, message by message."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from headrace.actors import protocol
from headrace.actors.edges.operators import ONWARD
from headrace.actors.edges.outputs import Outputs, Port
from headrace.actors.join import Join
from headrace.actors.joins.terms import LATE, JoinTerms, Merging, PartsMissing
from headrace.actors.protocol import Ended, Forked, Gaps, Outcomes, Rows, Settled, Status
from headrace.actors.rows.identity import Bundle, Column, merged, part
from tests.actors.fake import Fake, Name

NEXT, LATE_SINK, KEEPER, QUARANTINE, LEDGER, CONDUCTOR, JOURNAL = map(
    Name, ("next", "late", "keeper", "quarantine", "ledger", "conductor", "journal")
)


def joined(branches: int = 2, late: bool = False, **options: Any) -> Fake:
    terms = JoinTerms("join", {i: "abc"[i] for i in range(branches)}, branches, **options)
    outputs = Outputs("join", {ONWARD: Port(NEXT)}, behind=(KEEPER,), quarantine=QUARANTINE, ledger=LEDGER)
    late_outputs = Outputs("join", {LATE: Port(LATE_SINK)} if late else {}, ledger=LEDGER)
    return Fake(Join(terms, outputs, late_outputs, CONDUCTOR, branches + 1), "join")


def went(fake: Fake) -> list[tuple[Any, dict[str, Any]]]:
    told = [pair for rows in fake.take(Rows) for pair in zip(rows.seqs, rows.values, strict=True)]
    return [(seq, dict(value.parts)) for seq, value in told]


def test_a_row_goes_on_under_its_own_name_when_all_parts_have_come() -> None:
    fake = joined()
    fake.receive(Forked(range(3), ["r0", "r1", "r2"]), Rows(Column(range(3), 0, -2), ["a0", "a1", "a2"]))
    assert went(fake) == []
    fake.receive(Rows([part(1, 1, 2)], ["b1"]))
    (rows,) = fake.take(Rows)
    assert (list(rows.seqs), rows.values) == ([1], [Merging("r1", {"a": "a1", "b": "b1"})])  # type: ignore[arg-type]
    fake.receive(Rows(Column([0, 2], 1, -2), ["b0", "b2"]))
    assert went(fake) == [(0, {"a": "a0", "b": "b0"}), (2, {"a": "a2", "b": "b2"})]
    assert fake.take(Settled) == [], "nothing is settled before the row is"


def test_parts_that_come_before_the_fork_has_told_of_them_wait_for_its_word() -> None:
    fake = joined()
    fake.receive(Rows(Column(range(2), 0, -2), ["a0", "a1"]), Rows(Column(range(2), 1, -2), ["b0", "b1"]))
    assert went(fake) == []
    fake.receive(Forked(range(2), ["r0", "r1"]))
    assert [seq for seq, _ in went(fake)] == [0, 1]


def test_what_is_not_there_is_told_with_its_error() -> None:
    fake = joined(require=1)
    error = ValueError("no")
    fake.receive(Forked([0], ["r"]), Outcomes([Ended(part(0, 0, 2), Status.QUARANTINED, error, 1, None, "x")]))
    assert went(fake) == []
    fake.receive(Rows([part(0, 1, 2)], ["b"]))
    ((_, rows),) = [(whom, m) for whom, m in fake.told if isinstance(m, Rows)]
    assert list(rows.seqs) == [merged(0, 2)]
    assert rows.values[0].parts.missing == {"a": error}
    assert [(s.status, list(s.seqs)) for s in fake.take(Settled)] == [(Status.MERGED, [part(0, 1, 2)])]


def test_a_row_that_cannot_have_what_it_needs_ends_at_once() -> None:
    fake = joined(3, require=2)
    fake.receive(Forked([0], ["r"]), Gaps([part(0, 0, 3)]))
    assert fake.take(Outcomes) == []
    fake.receive(Gaps([part(0, 2, 3)]))
    told = [(whom, m) for whom, m in fake.told if isinstance(m, Outcomes)]
    assert [whom for whom, _ in told] == [KEEPER, QUARANTINE]
    (ended,) = told[0][1].ended
    assert (ended.seq, ended.status, ended.value) == (merged(0, 3), Status.QUARANTINED, "r")
    assert isinstance(ended.error, PartsMissing)
    assert "0 of 3 parts came, 2 are required; missing: a (not here), b (not here), c (not here)" in str(ended.error)


def test_the_deadline_waits_for_no_other_row_L39() -> None:
    fake = joined(require="best", within_s=2.0)
    fake.receive(Forked([0], ["r"]), Rows([part(0, 0, 2)], ["a"]))
    fake.pass_time(1.9)
    assert went(fake) == []
    fake.pass_time(0.2)
    assert went(fake) == [(merged(0, 2), {"a": "a"})]


@pytest.mark.parametrize("late", [True, False])
def test_what_comes_after_the_word_is_late_and_counted(late: bool) -> None:
    fake = joined(require="any", late=late)
    fake.receive(Forked([0], ["r"]), Rows([part(0, 1, 2)], ["b"]))
    assert went(fake) == [(merged(0, 2), {"b": "b"})]
    fake.receive(Rows(Column([0], 0, -2), ["a"]))
    told = fake.told
    if late:
        assert [(whom, list(m.seqs)) for whom, m in told if isinstance(m, Rows)] == [(LATE_SINK, [part(0, 0, 2)])]
    else:
        assert [(m.status, list(m.seqs)) for _, m in told if isinstance(m, Settled)] == [
            (Status.DROPPED, [part(0, 0, 2)])
        ]
    assert fake.actor.statistics().late == 1


def test_a_batch_that_ended_in_a_branch_is_heard_of_part_by_part() -> None:
    fake = joined()
    gone = Bundle((part(0, 0, 2), part(1, 0, 2)))
    fake.receive(Forked(range(2), ["r0", "r1"]), Outcomes([Ended(gone, Status.QUARANTINED, None, 1, None, "x")]))
    fake.receive(Rows(Column(range(2), 1, -2), ["b0", "b1"]))
    ended = [e.seq for whom, m in fake.told if isinstance(m, Outcomes) and whom == QUARANTINE for e in m.ended]
    assert ended == [merged(0, 2), merged(1, 2)]


def test_it_ends_when_every_part_has_been_heard_of_and_not_before() -> None:
    fake = joined(require="any")
    fake.receive(Forked([0], ["r"]), Rows([part(0, 0, 2)], ["a"]))
    fake.receive(*[protocol.EndOfRows(1)] * 3)
    assert fake.take(protocol.Drained) == []
    fake.receive(Gaps([part(0, 1, 2)]))
    assert len(fake.take(protocol.Drained)) == 1


@pytest.mark.parametrize("again", [Rows([part(0, 0, 2)], ["a"]), Gaps([part(0, 0, 2)])])
def test_a_part_that_is_heard_of_twice_is_loud(again: Any) -> None:
    fake = joined()
    fake.receive(Forked([0], ["r"]), Rows([part(0, 0, 2)], ["a"]))
    with pytest.raises(AssertionError):
        fake.receive(again)


def test_attempts_in_branches_add_up() -> None:
    fake = joined()
    fake.receive(Forked([0], ["r"]), Rows([part(0, 0, 2)], ["a"], {part(0, 0, 2): 3}))
    fake.receive(Rows([part(0, 1, 2)], ["b"], {part(0, 1, 2): 2}))
    (rows,) = fake.take(Rows)
    assert rows.attempts == {0: 4}


def _cut(seq: Any) -> Outcomes:
    return Outcomes([Ended(seq, Status.INTERRUPTED, None, 1, None, "batch")])


@pytest.mark.parametrize("words", [{}, {0: (0,)}])
def test_a_part_that_was_interrupted_interrupts_the_row_which_has_no_word_in_this_life(words: Any) -> None:
    """Whether its word was said in an earlier life, with that part, or not yet."""
    terms = JoinTerms("join", {0: "a", 1: "b"}, 2, require="best")
    outputs, late = (
        Outputs("join", {ONWARD: Port(NEXT)}, behind=(KEEPER,), ledger=LEDGER),
        Outputs("join", {}, ledger=LEDGER),
    )
    fake = Fake(Join(terms, outputs, late, CONDUCTOR, 3, Name("journal"), words), "join")
    fake.receive(Forked([0], ["r"]), _cut(part(0, 0, 2)))
    assert fake.take(Outcomes) == [], "the other part is not heard of yet"
    fake.receive(Rows([part(0, 1, 2)], ["b"]))
    settled = [m for whom, m in fake.told if isinstance(m, Settled)]
    assert [(m.status, list(m.seqs)) for m in settled] == [
        (Status.INTERRUPTED, [part(0, 1, 2)]),
        (Status.INTERRUPTED, [merged(0, 2)]),
    ]
    assert not [m for _, m in fake.told if isinstance(m, Rows | protocol.Decided)]
    ended = [end for m in fake.told_to(KEEPER, Outcomes) for end in m.ended]
    assert [(end.seq, end.value, end.attempts) for end in ended] == [(merged(0, 2), "r", 1)]
    assert fake.actor.statistics().traffic.adds_up
    fake.receive(*[protocol.EndOfRows(1)] * 3)
    assert fake.take(protocol.Drained)


def resumed(words: Any, require: Any = "best", within_s: float | None = None, branches: int = 2) -> Fake:
    """A join that said these words in an earlier life of the run."""
    terms = JoinTerms("join", {i: "abc"[i] for i in range(branches)}, branches, require=require, within_s=within_s)
    outputs, late = (
        Outputs("join", {ONWARD: Port(NEXT)}, behind=(KEEPER,), ledger=LEDGER),
        Outputs("join", {}, ledger=LEDGER),
    )
    return Fake(Join(terms, outputs, late, CONDUCTOR, branches + 1, JOURNAL, words), "join")


def decided(fake: Fake) -> list[tuple[Any, tuple[int, ...]]]:
    """The words that the journal was told since; the rest is forgotten."""
    return [pair for m in fake.take(protocol.Decided) for pair in zip(m.seqs, m.parts, strict=True)]


def test_a_retried_row_s_join_says_its_word_anew() -> None:
    """A part with which the word was said came in that life, and ends in this one, in which it was tried again."""
    fake = resumed({0: (0, 1)})
    fake.receive(Forked([0], ["r"]), Rows([part(0, 1, 2)], ["b"]))
    assert fake.told == [], "the word was said with the other part, which may come"
    fake.receive(Outcomes([Ended(part(0, 0, 2), Status.QUARANTINED, ValueError("no"), 1, None, "x")]))
    assert [m.values[0].parts for _, m in fake.told if isinstance(m, Rows)] == [{"b": "b"}]
    assert decided(fake) == [(0, (1,))], "and it is told anew"


def test_the_word_of_an_earlier_life_is_said_again_with_the_same_parts_and_is_not_told_twice() -> None:
    fake = resumed({0: (1,)}, require="any")
    fake.receive(Forked([0, 1], ["r", "s"]), Rows([part(0, 0, 2), part(1, 0, 2)], ["a", "x"]))
    assert [(list(m.seqs), [dict(v.parts) for v in m.values]) for _, m in fake.told if isinstance(m, Rows)] == [
        ([merged(1, 2)], [{"a": "x"}])
    ]
    assert decided(fake) == [(1, (0,))]
    fake.receive(Rows([part(0, 1, 2)], ["b"]))
    assert [(m.status, list(m.seqs)) for _, m in fake.told if isinstance(m, Settled)] == [
        (Status.MERGED, [part(0, 1, 2)]),
        (Status.DROPPED, [part(0, 0, 2)]),
    ], "the other part came after the word, in that life"
    assert went(fake) == [(merged(0, 2), {"b": "b"})]
    assert decided(fake) == []


def test_the_deadline_of_this_life_says_no_word_that_was_said_in_an_earlier_one() -> None:
    fake = resumed({0: (0,)}, within_s=1.0)
    fake.receive(Forked([0, 1], ["r", "s"]))
    fake.pass_time(1.0)
    assert [list(m.seqs) for _, m in fake.told if isinstance(m, Rows)] == [[merged(1, 2)]]
    fake.told = []
    fake.receive(Rows([part(0, 0, 2)], ["a"]))
    assert went(fake) == [(merged(0, 2), {"a": "a"})]


def test_every_row_s_deadline_is_watched_and_not_only_the_first_one_s_L39() -> None:
    fake = joined(require="best", within_s=1.0)
    for row in range(4):
        fake.receive(Forked([row], [f"r{row}"]), Rows([part(row, 0, 2)], [f"a{row}"]))
        fake.pass_time(0.25)
    gone = []
    for _ in range(4):
        gone.append([seq for seq, _ in went(fake)])
        fake.pass_time(0.25)
    assert gone == [[merged(row, 2)] for row in range(4)]
    fake.pass_time(1.0)
    fake.receive(Forked([4], ["r4"]))
    fake.pass_time(1.0)
    assert went(fake) == [(merged(4, 2), {})], "after a pause as before it"


def test_the_deadline_says_nothing_on_a_row_that_has_had_its_word() -> None:
    fake = joined(require="best", within_s=1.0)
    fake.receive(Forked([0, 1], ["r", "s"]), Rows(Column([0], 0, -2), ["a"]), Rows(Column([0], 1, -2), ["b"]))
    assert went(fake) == [(0, {"a": "a", "b": "b"})]
    fake.pass_time(5.0)
    assert went(fake) == [(merged(1, 2), {})]


def test_a_word_that_needs_so_many_parts_waits_for_the_others_that_may_come() -> None:
    fake = joined(3, require=2)
    fake.receive(Forked([0], ["r"]), Rows([part(0, 0, 3)], ["a"]), Rows([part(0, 1, 3)], ["b"]))
    assert went(fake) == []
    fake.receive(Gaps([part(0, 2, 3)]))
    assert went(fake) == [(merged(0, 3), {"a": "a", "b": "b"})]


def test_at_the_deadline_what_is_required_is_enough_and_less_is_not() -> None:
    fake = joined(3, require=2, within_s=1.0)
    fake.receive(Forked([0, 1], ["r", "s"]), Rows([part(0, 0, 3), part(0, 1, 3), part(1, 0, 3)], ["a", "b", "x"]))
    fake.pass_time(1.0)
    assert [(list(m.seqs), m.values[0].row) for whom, m in fake.told if whom == NEXT] == [([merged(0, 3)], "r")]
    assert [end.seq for m in fake.take(Outcomes) for end in m.ended][:1] == [merged(1, 3)]


@pytest.mark.parametrize("on_missing", ["quarantine", "drop", "fail"])
def test_what_becomes_of_a_row_that_lacks_parts_is_what_was_said(on_missing: Any) -> None:
    fake = joined(on_missing=on_missing)
    error = ValueError("no")
    fake.receive(Forked([0], ["r"]), Outcomes([Ended(part(0, 0, 2), Status.QUARANTINED, error, 1, None, "x")]))
    failing = [m.error for whom, m in fake.told if whom == CONDUCTOR]
    (ended,) = [m.ended[0] for whom, m in fake.told if whom == KEEPER]
    assert ended.status is {"quarantine": Status.QUARANTINED, "drop": Status.DROPPED, "fail": Status.FAILED}[on_missing]
    assert failing == ([ended.error] if on_missing == "fail" else [])
    assert ended.error is not None
    assert ended.error.__cause__ is error
    assert "missing: a (ValueError: no), b (not here)" in str(ended.error)


def test_parts_of_which_only_some_branches_meet_are_settled_apart() -> None:
    terms = JoinTerms("join", {0: "a", 2: "c"}, 3)
    outputs, late = Outputs("join", {ONWARD: Port(NEXT)}, ledger=LEDGER), Outputs("join", {}, ledger=LEDGER)
    fake = Fake(Join(terms, outputs, late, CONDUCTOR, 3), "join")
    fake.receive(Forked([0, 1], ["r", "s"]))
    fake.receive(Rows(Column(range(2), 0, -3), ["a0", "a1"]), Rows(Column(range(2), 2, -3), ["c0", "c1"]))
    assert [(m.status, list(m.seqs)) for _, m in fake.told if isinstance(m, Settled)] == [
        (Status.MERGED, [part(0, 0, 3), part(0, 2, 3), part(1, 0, 3), part(1, 2, 3)])
    ]
    assert went(fake) == [(merged(0, 3), {"a": "a0", "c": "c0"}), (merged(1, 3), {"a": "a1", "c": "c1"})]


def test_where_nobody_merges_the_parts_are_the_row() -> None:
    fake = joined(bare=True)
    fake.receive(Forked([0, 1], ["r", "s"]), Rows(Column([0], 0, -2), ["a"]), Rows(Column([0], 1, -2), ["b"]))
    (rows,) = fake.take(Rows)
    assert rows.values == [{"a": "a", "b": "b"}]
    fake.receive(Gaps([part(1, 0, 2)]))
    assert fake.take(Rows) == []


def test_whoever_waits_for_late_parts_by_name_hears_of_those_that_came_in_time() -> None:
    waits = Name("waits")
    terms = JoinTerms("join", {0: "a", 1: "b"}, 2, require="any")
    late = Outputs("join", {LATE: Port(LATE_SINK)}, behind=(waits,), ledger=LEDGER)
    fake = Fake(Join(terms, Outputs("join", {ONWARD: Port(NEXT)}, ledger=LEDGER), late, CONDUCTOR, 3), "join")
    fake.receive(Forked([0], ["r"]), Rows([part(0, 1, 2)], ["b"]))
    assert [list(m.seqs) for m in fake.take_for(waits)] == [[part(0, 1, 2)]]


def test_in_one_message_some_rows_may_be_ready_and_others_not() -> None:
    fake = joined()
    fake.receive(Forked(range(3), ["r", "s", "t"]), Rows([part(2, 0, 2)], ["a2"], {part(2, 0, 2): 3}))
    fake.receive(Rows([part(0, 0, 2)], ["a0"]), Rows([part(0, 1, 2), part(1, 0, 2)], ["b0", "a1"]))
    assert went(fake) == [(0, {"a": "a0", "b": "b0"})]


@pytest.mark.parametrize("order", list(itertools.permutations(range(6))))
def test_a_row_goes_on_with_its_last_part_in_whatever_order_parts_of_several_rows_come(order: tuple[int, ...]) -> None:
    fake = joined(3)
    fake.receive(Forked(range(4), ["r"] * 4))
    halves, missing = [range(2), range(2, 4)], {0: 3, 1: 3}
    for at in order:
        half, branch = divmod(at, 3)
        fake.receive(Rows(Column(halves[half], branch, -3), ["x", "y"]))
        missing[half] -= 1
        assert [seq for seq, _ in went(fake)] == ([] if missing[half] else list(halves[half]))


def test_what_a_join_counts_adds_up_at_any_time() -> None:
    fake = joined(require="any", late=True)
    fake.receive(Forked(range(3), ["r", "s", "t"]), Rows(Column(range(2), 0, -2), ["a0", "a1"]))
    traffic = fake.actor.statistics().traffic
    assert (traffic.came, traffic.made, traffic.merged, traffic.went, traffic.here) == (2, 2, 2, 2, 0)
    fake.receive(Rows(Column(range(2), 1, -2), ["b0", "b1"]), Gaps([part(2, 0, 2)]), Gaps([part(2, 1, 2)]))
    traffic = fake.actor.statistics().traffic
    assert (traffic.came, traffic.went, traffic.quarantined) == (4, 4, 1)
    assert traffic.ways == {ONWARD: 2, LATE: 2}
    assert traffic.adds_up
    dropping = joined(require="any")
    dropping.receive(Forked([0], ["r"]), Rows([part(0, 0, 2)], ["a"]), Rows([part(0, 1, 2)], ["b"]))
    traffic = dropping.actor.statistics().traffic
    assert (traffic.merged, traffic.dropped, traffic.adds_up) == (1, 1, True)
    waiting = joined()
    waiting.receive(Forked([0], ["r"]), Rows([part(0, 0, 2)], ["a"]))
    traffic = waiting.actor.statistics().traffic
    assert (traffic.here, traffic.adds_up) == (1, True)


def test_attempts_of_a_row_that_goes_on_without_some_parts_are_told_too() -> None:
    fake = joined(require="any")
    fake.receive(Forked(range(2), ["r", "s"]), Rows([part(0, 0, 2)], ["a"], {part(0, 0, 2): 3}))
    fake.receive(Rows([part(1, 0, 2)], ["b"], {part(1, 0, 2): 2}))
    assert [rows.attempts for rows in fake.take(Rows)] == [{merged(0, 2): 3}, {merged(1, 2): 2}]


def test_an_aborted_join_says_no_word() -> None:
    fake = joined(require="best", within_s=1.0)
    fake.receive(Forked([0], ["r"]), Rows([part(0, 0, 2)], ["a"]), protocol.Abort("enough"))
    assert [(whom, type(m)) for whom, m in fake.told] == [(CONDUCTOR, protocol.Drained)]
    fake.told = []
    fake.pass_time(5.0)
    fake.receive(Rows([part(0, 1, 2)], ["b"]))
    assert fake.told == []


def test_a_word_of_an_earlier_life_needs_no_part_that_came_after_it() -> None:
    terms = JoinTerms("join", {0: "a", 1: "b"}, 2, require="best")
    outputs, late = (
        Outputs("join", {ONWARD: Port(NEXT)}, behind=(KEEPER,), ledger=LEDGER),
        Outputs("join", {}, ledger=LEDGER),
    )
    fake = Fake(Join(terms, outputs, late, CONDUCTOR, 3, Name("journal"), {0: (1,)}), "join")
    fake.receive(Forked([0], ["r"]), _cut(part(0, 0, 2)), Rows([part(0, 1, 2)], ["b"]))
    assert went(fake) == [(merged(0, 2), {"b": "b"})]


@pytest.mark.parametrize(
    ("require", "within_s", "told"),
    [("all", None, []), ("all", 5.0, [(0, (0, 1))]), ("any", None, [(0, (0,))]), (1, None, [(0, (0, 1))])],
)
def test_the_journal_is_told_a_word_that_does_not_follow_from_the_rows_alone(
    require: Any, within_s: float | None, told: list[Any]
) -> None:
    fake = resumed({}, require=require, within_s=within_s)
    fake.receive(Forked([0], ["r"]), Rows([part(0, 0, 2)], ["a"]), Rows([part(0, 1, 2)], ["b"]))
    assert decided(fake) == told
