"""How rows leave a node: along edges, or by ending there; and what an answer means."""

from __future__ import annotations

import enum
from typing import Any

import pytest
from tests.actors.fake import Fake, Name

from headrace.actors import protocol
from headrace.actors.edges.operators import (
    ONWARD,
    Filter,
    Fork,
    Map,
    NoSuchRoute,
    NotAligned,
    Split,
    Switch,
    Tap,
    Unbatch,
    branch_of_answer,
)
from headrace.actors.edges.outputs import UNLIMITED, Outputs, Port
from headrace.actors.protocol import Ended, EndOfRows, Gaps, Outcomes, Rows, RowsEnded, Settled, Status
from headrace.actors.relay import Relay
from headrace.actors.rows.identity import Bundle, Column, children, part

MAIN, SIDE, KEEPER, OTHER_KEEPER, QUARANTINE, LEDGER, JOURNAL, OBSERVERS, ALSO, CONDUCTOR, BEFORE, JOIN = map(
    Name,
    (
        "main",
        "side",
        "keeper",
        "other_keeper",
        "quarantine",
        "ledger",
        "journal",
        "observers",
        "also",
        "conductor",
        "before",
        "join",
    ),
)


def ended(seq: Any, status: Status = Status.QUARANTINED) -> Ended:
    return Ended(seq, status, None, 1, "value", "node")


class _Host(Relay):
    def __init__(self) -> None:
        """It stands for any node."""

    def start(self, context: Any) -> None:
        """It does nothing of itself."""


def outputs(ports: dict[str, Port] | None = None, **options: Any) -> tuple[Outputs, Fake]:
    made = Outputs("node", ports or {ONWARD: Port(MAIN)}, **{"ledger": LEDGER, **options})
    fake = Fake(_Host(), "node")
    made.start(fake)
    return made, fake


# --- along an edge ----------------------------------------------------------------------------------------------------


def test_rows_go_along_their_edge_and_who_waits_behind_the_others_is_told_L42() -> None:
    out, fake = outputs({ONWARD: Port(MAIN, missed=(KEEPER,)), "b": Port(SIDE, missed=(OTHER_KEEPER,))})
    out.send("b", [1, 2], ["x", "y"], {2: 3})
    assert fake.told == [(OTHER_KEEPER, Gaps([1, 2])), (SIDE, Rows([1, 2], ["x", "y"], {2: 3}))]
    assert (out.went, out.ports) == (2, [ONWARD, "b"])
    assert out.has("b")
    assert not out.has("c")


def test_rows_that_part_are_told_as_gaps_first_and_each_edge_hears_of_its_own_attempts() -> None:
    out, fake = outputs({"a": Port(MAIN, missed=(KEEPER,)), "b": Port(SIDE, missed=(OTHER_KEEPER,))})
    out.send_apart([0, 1, 2], [("a", [0, 2], ["x", "z"]), ("b", [1], ["y"])], {0: 2, 1: 3})
    assert fake.told == [
        (KEEPER, Gaps([0, 2])),
        (OTHER_KEEPER, Gaps([1])),
        (MAIN, Rows([0, 2], ["x", "z"], {0: 2})),
        (SIDE, Rows([1], ["y"], {1: 3})),
    ]


def test_a_reorder_buffer_next_door_hears_of_a_whole_span_with_the_rows_that_it_gets() -> None:
    a = Port(MAIN, missed=(SIDE,), reorders=True)
    b = Port(SIDE, missed=(MAIN,), reorders=True)
    out, fake = outputs({"a": a, "b": b})
    out.send_apart(range(4), [("a", [0, 2], ["w", "y"]), ("b", [1, 3], ["x", "z"])])
    assert fake.told == [
        (MAIN, Rows([0, 2], ["w", "y"], None, range(4))),
        (SIDE, Rows([1, 3], ["x", "z"], None, range(4))),
    ]
    fake.told = []
    out.send_apart(range(4, 6), [("a", [4], ["w"])])
    assert fake.told == [(MAIN, Rows([4], ["w"], None, range(4, 6))), (SIDE, Gaps(range(4, 6)))]
    fake.told = []
    out.send_apart([6, 8], [("a", [6], ["w"]), ("b", [8], ["x"])])
    assert (SIDE, Gaps([6])) in fake.told, "these are no span"


def test_a_reorder_buffer_that_rows_come_to_by_two_edges_hears_of_no_span_with_the_rows_of_one_of_them() -> None:
    """Those of the other edge would be taken for gone."""
    both = {name: Port(MAIN, missed=(SIDE,), reorders=True) for name in ("a", "b")}
    out, fake = outputs({**both, "c": Port(SIDE, missed=(MAIN,), reorders=True)})
    out.send_apart(range(3), [("a", [0], ["x"]), ("b", [1], ["y"]), ("c", [2], ["z"])])
    assert fake.told_to(MAIN, Gaps) == [Gaps([2])]
    assert fake.told_to(MAIN, Rows) == [Rows([0], ["x"]), Rows([1], ["y"])]
    assert fake.told_to(SIDE, Rows) == [Rows([2], ["z"], None, range(3))]


def test_how_many_rows_may_go_is_what_the_target_with_the_least_room_can_take() -> None:
    out, _ = outputs()
    assert out.room == UNLIMITED
    out, _ = outputs({"a": Port(MAIN, paced=True), "b": Port(SIDE, paced=True), "c": Port(KEEPER)})
    assert out.room == 0
    out.welcome(MAIN, 5)
    assert out.room == 0
    out.welcome(SIDE, 3)
    out.welcome(KEEPER, 100)
    assert out.room == 3
    out.send("a", [0, 1], ["x", "y"])
    assert out.room == 3
    out.send("a", [2], ["z"])
    assert out.room == 2
    out.send("c", [3, 4, 5], [0, 0, 0])
    assert out.room == 2
    out, _ = outputs({ONWARD: Port(MAIN, paced=True)})
    out.welcome(MAIN, 5)
    out.send(ONWARD, [0, 1], ["x", "y"])
    assert out.room == 3
    out.welcome(MAIN, 2)
    assert out.room == 5


def test_the_end_goes_along_every_edge_and_to_those_who_are_told_besides() -> None:
    out, fake = outputs({"a": Port(MAIN), "b": Port(SIDE)}, also=(ALSO,))
    out.finish(7)
    assert fake.told == [(ref, EndOfRows(7)) for ref in (MAIN, SIDE, ALSO)]


# --- rows that end ----------------------------------------------------------------------------------------------------


def test_who_waits_for_a_row_hears_that_it_has_ended_and_each_outcome_goes_where_it_is_counted() -> None:
    out, fake = outputs(behind=(KEEPER,), quarantine=QUARANTINE, observers=OBSERVERS, journal=JOURNAL)
    fake.pass_time(4.0)
    all_of = [ended(0), ended(1, Status.DROPPED), ended(2, Status.FAILED), ended(3), ended(4, Status.DROPPED)]
    out.end(all_of)
    assert fake.told == [
        (JOURNAL, protocol.Ends("node", all_of, 4.0)),
        (KEEPER, Outcomes(all_of)),
        (OBSERVERS, RowsEnded(all_of)),
        (QUARANTINE, Outcomes([all_of[0], all_of[3]])),
        (LEDGER, Settled(Status.DROPPED, [1, 4])),
        (LEDGER, Settled(Status.FAILED, [2])),
    ]
    traffic = out.traffic(5, 0)
    assert (traffic.quarantined, traffic.dropped, traffic.failed, traffic.adds_up) == (2, 2, 1, True)


def test_what_ends_in_one_turn_is_told_of_in_one_message_to_each() -> None:
    out, fake = outputs(quarantine=QUARANTINE, behind=(KEEPER,))
    out.gather()
    out.end([ended(1)])
    out.end([ended(2), ended(3, Status.DROPPED)])
    assert fake.told == []
    out.tell_gathered()
    all_three = Outcomes([ended(1), ended(2), ended(3, Status.DROPPED)])
    bad = Outcomes([ended(1), ended(2)])
    assert fake.told == [(KEEPER, all_three), (QUARANTINE, bad), (LEDGER, Settled(Status.DROPPED, [3]))]
    out.tell_gathered()
    out.end([ended(4)])
    assert len(fake.told) == 5


def test_a_quarantine_hears_of_bad_rows_alone() -> None:
    out, fake = outputs(quarantine=QUARANTINE)
    out.end([ended(0, Status.DROPPED)])
    assert fake.told == [(LEDGER, Settled(Status.DROPPED, [0]))]


def test_without_a_quarantine_what_is_bad_is_counted_at_once() -> None:
    out, fake = outputs()
    out.end([ended(0)])
    assert fake.told == [(LEDGER, Settled(Status.QUARANTINED, [0]))]


def test_where_one_takes_every_outcome_nobody_else_settles_it() -> None:
    out, fake = outputs(behind=(KEEPER,), taker=KEEPER, quarantine=QUARANTINE)
    out.end([ended(0)])
    assert fake.told == [(KEEPER, Outcomes([ended(0)]))]
    fake.told = []
    out.drop([1], ["x"])
    assert fake.told == [(KEEPER, Outcomes([Ended(1, Status.DROPPED, None, 1, "x", "node")]))]


def test_a_taker_that_is_not_behind_a_node_takes_nothing_of_it() -> None:
    out, fake = outputs(behind=(OTHER_KEEPER,), taker=KEEPER)
    out.drop([1], ["x"])
    assert fake.told == [(OTHER_KEEPER, Gaps([1])), (LEDGER, Settled(Status.DROPPED, [1]))]


def test_what_is_dropped_is_a_gap_for_all_behind() -> None:
    out, fake = outputs(behind=(KEEPER, OTHER_KEEPER))
    out.drop([3, 4], ["x", "y"])
    assert fake.told == [
        (KEEPER, Gaps([3, 4])),
        (OTHER_KEEPER, Gaps([3, 4])),
        (LEDGER, Settled(Status.DROPPED, [3, 4])),
    ]
    assert out.traffic(2, 0).dropped == 2


def test_of_what_lives_on_in_others_only_the_number_is_kept() -> None:
    out, fake = outputs()
    out.live_on(Status.SPLIT, 2)
    out.live_on(Status.SPLIT, 3)
    assert fake.told == []
    assert out.traffic(5, 0) == protocol.Traffic(came=5, split=5, ways={ONWARD: 0})


# --- what an answer means ----------------------------------------------------------------------------------------------


def sent(fake: Fake) -> dict[str, tuple[list[Any], list[Any], Any]]:
    """What went to whom."""
    return {whom.name: (list(m.seqs), m.values, m.attempts) for whom, m in fake.told if isinstance(m, Rows)}


def test_a_map_s_answer_is_the_row_and_a_tap_s_is_not() -> None:
    out, fake = outputs()
    Map().leave(out, range(2), ["A", "B"], ["a", "b"], {1: 2})
    assert sent(fake) == {"main": ([0, 1], ["A", "B"], {1: 2})}
    fake.told = []
    Tap().leave(out, range(2), ["A", "B"], ["a", "b"], {1: 2})
    assert sent(fake) == {"main": ([0, 1], ["a", "b"], {1: 2})}


def test_a_filter_lets_rows_go_on_as_they_were_and_drops_those_that_it_says_no_to() -> None:
    out, fake = outputs(behind=(KEEPER,))
    Filter().leave(out, range(4), [1, 0, "yes", None], ["a", "b", "c", "d"], {2: 2, 3: 5})
    assert sent(fake) == {"main": ([0, 2], ["a", "c"], {2: 2})}
    assert (KEEPER, Gaps([1, 3])) in fake.told
    assert (LEDGER, Settled(Status.DROPPED, [1, 3])) in fake.told
    fake.told = []
    Filter().leave(out, range(4, 6), [True, True], ["a", "b"], None)
    assert sent(fake) == {"main": ([4, 5], ["a", "b"], None)}
    fake.told = []
    Filter().leave(out, range(6, 8), [False, False], ["a", "b"], None)
    assert sent(fake) == {}
    assert (LEDGER, Settled(Status.DROPPED, [6, 7])) in fake.told


class Neither:
    def __bool__(self) -> bool:
        raise ValueError("neither yes nor no")


def test_an_answer_that_is_neither_yes_nor_no_is_its_row_s_error_alone() -> None:
    out, fake = outputs(quarantine=QUARANTINE)
    Filter().leave(out, range(3), [True, Neither(), False], ["a", "b", "c"], {1: 4})
    assert sent(fake) == {"main": ([0], ["a"], None)}
    ((bad,),) = [m.ended for m in fake.told_to(QUARANTINE, Outcomes)]
    assert (bad.seq, bad.attempts, bad.value, str(bad.error)) == (1, 4, "b", "neither yes nor no")
    assert (LEDGER, Settled(Status.DROPPED, [2])) in fake.told


class Color(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("said", "branch"), [(None, ""), (True, "true"), (False, "false"), ("a", "a"), (Color.RED, "red"), (7, "7")]
)
def test_a_branch_is_named_by_a_name_a_member_yes_or_no(said: Any, branch: str) -> None:
    assert branch_of_answer(said) == branch


def test_a_route_sends_each_row_where_its_answer_says() -> None:
    out, fake = outputs({ONWARD: Port(MAIN), "a": Port(SIDE), "red": Port(KEEPER)})
    Switch().leave(out, range(4), ["a", None, Color.RED, "a"], ["w", "x", "y", "z"], {0: 2})
    assert sent(fake) == {
        "side": ([0, 3], ["w", "z"], {0: 2}),
        "main": ([1], ["x"], None),
        "keeper": ([2], ["y"], None),
    }
    fake.told = []
    Switch().leave(out, range(4, 6), ["a", "a"], ["w", "x"], None)
    assert sent(fake) == {"side": ([4, 5], ["w", "x"], None)}


@pytest.mark.parametrize(
    ("answers", "went"),
    [
        ([True, "true", False, "false"], {"true": [0, 1], "false": [2, 3]}),
        ([Color.RED, "red", "true", True], {"red": [0, 1], "true": [2, 3]}),
        ([1, True, "1", "true"], {"1": [0, 2], "true": [1, 3]}),
        (["", None, "", "true"], {"": [0, 1, 2], "true": [3]}),
        ([None, "", Color.RED, None], {"": [0, 1, 3], "red": [2]}),
    ],
)
def test_answers_that_name_the_same_branch_go_together_whatever_their_type(
    answers: list[Any], went: dict[str, list[int]]
) -> None:
    """Each branch hears of a span of rows once: a reorder buffer takes the others of the span for gone."""
    refs = {name: Name(f"buffer {name}") for name in ("true", "false", "red", "1", "")}
    ports = {
        name: Port(ref, missed=tuple(other for other in refs.values() if other is not ref), reorders=True)
        for name, ref in refs.items()
    }
    out, fake = outputs(ports)
    Switch().leave(out, range(4), answers, ["w", "x", "y", "z"], None)
    rows = [(whom, list(m.seqs), m.span) for whom, m in fake.told if isinstance(m, Rows)]
    assert sorted(rows, key=str) == sorted([(refs[name], seqs, range(4)) for name, seqs in went.items()], key=str)


@pytest.mark.parametrize("onward", [True, False])
def test_a_branch_that_is_not_there_is_the_row_s_error_and_says_which_there_are(onward: bool) -> None:
    ports = {"a": Port(MAIN), "b": Port(SIDE)} | ({ONWARD: Port(KEEPER)} if onward else {})
    out, fake = outputs(ports, quarantine=QUARANTINE)
    Switch().leave(out, range(3), ["a", "c", "a"], ["x", "y", "z"], {1: 3})
    assert sent(fake) == {"main": ([0, 2], ["x", "z"], None)}
    ((bad,),) = [m.ended for m in fake.told_to(QUARANTINE, Outcomes)]
    assert (bad.seq, bad.value, bad.attempts, type(bad.error)) == (1, "y", 3, NoSuchRoute)
    also = "; None goes on" if onward else ""
    assert str(bad.error) == f"no branch of 'node' is named 'c'; there are 'a', 'b'{also}"


def test_a_row_without_a_way_onward_is_told_so() -> None:
    out, fake = outputs({"a": Port(MAIN)}, quarantine=QUARANTINE)
    Switch().leave(out, range(1), [None], ["x"], None)
    assert len(fake.told_to(QUARANTINE, Outcomes)) == 1


def test_answers_that_cannot_be_compared_are_branches_that_are_not_there() -> None:
    out, fake = outputs({"a": Port(MAIN), ONWARD: Port(SIDE)}, quarantine=QUARANTINE)
    Switch().leave(out, range(3), [["a"], "a", None], ["x", "y", "z"], None)
    assert sent(fake) == {"main": ([1], ["y"], None), "side": ([2], ["z"], None)}
    assert [end.seq for m in fake.told_to(QUARANTINE, Outcomes) for end in m.ended] == [0]


def test_each_item_of_a_flat_map_s_answer_is_a_row_and_a_single_one_is_the_same_row_still() -> None:
    out, fake = outputs(behind=(KEEPER,))
    split = Split()
    split.leave(out, [4, 5, 6], [["a", "b"], [], ["c"]], ["x", "y", "z"], {4: 2, 6: 3})
    kids = children(4, 2)
    assert sent(fake) == {"main": ([*kids, 6], ["a", "b", "c"], {kids[0]: 2, kids[1]: 2, 6: 3})}
    assert (LEDGER, Settled(Status.DROPPED, [5])) in fake.told
    assert split.made == 2
    assert out.traffic(3, 0, split.made).adds_up
    fake.told = []
    split.leave(out, [7], [[]], ["x"], None)
    assert sent(fake) == {}


class Answers(list[Any]):
    """A list that is more, as some clients give."""


def test_the_rows_of_a_batch_go_on_under_their_own_names_where_each_has_a_value() -> None:
    out, fake = outputs(behind=(KEEPER,), quarantine=QUARANTINE)
    unbundle = Unbatch()
    batches = [Bundle((0, 2)), Bundle((1, 3)), Bundle((4, 5)), Bundle((6,))]
    unbundle.leave(out, batches, [Answers(["a", "c"]), ["b"], "ef", ("g",)], batches, {batches[1]: 2})
    assert sent(fake) == {"main": ([0, 2, 6], ["a", "c", "g"], None)}
    bad = [end for m in fake.told_to(QUARANTINE, Outcomes) for end in m.ended]
    assert [(end.seq, end.attempts, type(end.error)) for end in bad] == [
        (batches[1], 2, NotAligned),
        (batches[2], 1, NotAligned),
    ]
    assert str(bad[0].error) == "node: 1 values for the 2 rows of the batch; return one for each row"
    assert str(bad[1].error) == "node: str where a list of 2 values was expected, one for each row"
    fake.told = []
    unbundle.leave(out, [Bundle((7, 8))], [["h", "i"]], [["h", "i"]], None)
    assert fake.told == [(MAIN, Rows(range(7, 9), ["h", "i"], None))], "where none is bad, nobody hears of any"
    traffic = out.traffic(5, 0, unbundle.made)
    assert (traffic.split, traffic.made, traffic.went, traffic.adds_up) == (3, 5, 5, True)


def forked(join: bool) -> tuple[Fork, Outputs, Fake]:
    out, fake = outputs({"a": Port(MAIN), "b": Port(SIDE)})
    fork = Fork(["a", "b"], JOIN if join else None)
    fork.start(fake)
    return fork, out, fake


@pytest.mark.parametrize("join", [True, False])
def test_each_branch_of_a_fork_gets_a_part_and_their_join_is_told_first(join: bool) -> None:
    fork, out, fake = forked(join)
    fork.leave(out, [3, 5], ["x", "y"], ["x", "y"], {5: 2})
    own = (lambda seq, i: part(seq, i, 2)) if join else (lambda seq, i: children(seq, 2)[i])
    assert [type(m) for _, m in fake.told] == [protocol.Forked, Rows, Rows][not join :]
    assert sent(fake) == {
        "main": ([own(3, 0), own(5, 0)], ["x", "y"], {own(5, 0): 2}),
        "side": ([own(3, 1), own(5, 1)], ["x", "y"], {own(5, 1): 2}),
    }
    assert out.traffic(2, 0, fork.made).adds_up


@pytest.mark.parametrize("row", [{"k": 1}, [1], {1}])
def test_each_branch_has_a_copy_of_its_own_of_what_people_change_in_place(row: Any) -> None:
    fork, out, fake = forked(False)
    fork.leave(out, [0], [row], [row], None)
    (one,), (other,) = (m.values for _, m in fake.told if isinstance(m, Rows))
    assert one == other == row
    assert one is not other
    assert row is not one
    assert row is not other


def test_a_relay_asks_for_no_more_than_each_of_its_branches_has_room_for() -> None:
    out = Outputs("fork", {"a": Port(MAIN, paced=True), "b": Port(SIDE, paced=True)})
    fake = Fake(Relay(out, Fork(["a", "b"], None), CONDUCTOR, inputs=2, before=BEFORE), "fork")
    fake.receive(protocol.Start(), protocol.Credit(5, MAIN))
    assert fake.told == []
    fake.receive(protocol.Credit(3, SIDE))
    assert fake.told == [(BEFORE, protocol.Credit(3, fake.me))]
    fake.told = []
    fake.receive(protocol.Credit(1, MAIN), protocol.Credit(2, SIDE))
    assert fake.told_to(BEFORE, protocol.Credit) == [protocol.Credit(2, fake.me)]
    fake.told = []
    fake.receive(Rows(range(2), ["x", "y"]), protocol.Credit(4, SIDE))
    assert fake.told_to(BEFORE, protocol.Credit) == [protocol.Credit(1, fake.me)]
    traffic = fake.actor.statistics().traffic
    assert (traffic.came, traffic.made, traffic.split, traffic.went, traffic.adds_up) == (2, 4, 2, 4, True)
    fake.told = []
    fake.receive(EndOfRows(2))
    assert fake.told == []
    fake.receive(EndOfRows(2))
    assert fake.told == [(MAIN, EndOfRows(2)), (SIDE, EndOfRows(2)), (CONDUCTOR, protocol.Drained(fake.me))]
    fake.told = []
    fake.receive(Rows([2], ["z"]), protocol.Abort("late"))
    assert fake.told == [], "it is over"


def test_an_aborted_relay_lets_nothing_go() -> None:
    out = Outputs("fork", {"a": Port(MAIN)})
    fake = Fake(Relay(out, Fork(["a"], None), CONDUCTOR), "fork")
    fake.receive(protocol.Start(), protocol.Abort("enough"), Rows([0], ["x"]))
    assert fake.told == [(CONDUCTOR, protocol.Drained(fake.me))]


def test_the_parts_of_a_column_have_the_same_names_as_those_of_its_rows() -> None:
    column = Column([3, (4, 0, 2)], 1, -2)
    assert list(column) == [part(3, 1, 2), part((4, 0, 2), 1, 2)] == [column[0], column[1]]
    assert list(column[1:]) == [part((4, 0, 2), 1, 2)]
    assert list(Column(range(2), 0, 3)) == [children(0, 3)[0], children(1, 3)[0]]
