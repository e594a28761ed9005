"""A dedupe: what goes on, what is told of what does not, and what comes back from an earlier life."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.actors import protocol
from headrace.actors.dedupe import Dedupe, DedupeTerms, Duplicate
from headrace.actors.edges.outputs import Outputs, Port
from headrace.actors.journaling.recovered import Notes, past_of
from headrace.actors.protocol import Ended, Rows, Status
from tests.actors.fake import Fake, Name

NEXT, CONDUCTOR, JOURNAL, KEEPER, QUARANTINE = map(Name, ("next", "conductor", "journal", "keeper", "quarantine"))


def started(
    within: int = 10, key: Any = lambda row: row, notes: Notes | None = None, ended: Any = None, journal: bool = True
) -> Fake:
    at = JOURNAL if journal else None
    outputs = Outputs("dedupe", {"": Port(NEXT)}, behind=(KEEPER,), ledger=JOURNAL, quarantine=QUARANTINE, journal=at)
    fake = Fake(Dedupe(DedupeTerms("dedupe", key, within), outputs, CONDUCTOR, at, notes, ended))
    fake.receive(protocol.Start())
    return fake


def went(fake: Fake) -> list[Any]:
    return [seq for rows in fake.told_to(NEXT, Rows) for seq in rows.seqs]


def settled(fake: Fake, status: Status) -> list[Any]:
    return [seq for told in fake.told_to(JOURNAL, protocol.Settled) if told.status is status for seq in told.seqs]


def reasons(fake: Fake) -> dict[Any, str]:
    return {end.seq: str(end.error) for told in fake.told_to(JOURNAL, protocol.Ends) for end in told.ended}


def notes_of(fake: Fake) -> Notes:
    """What the next life gets, where no row is done."""
    return past_of([], [], fake.told_to(JOURNAL, protocol.Noted)).noted["dedupe"]


def test_the_first_goes_on_and_the_others_are_dropped_with_the_reason() -> None:
    fake = started()
    fake.receive(Rows(range(5), ["a", "b", "a", "c", "b"], {0: 2, 2: 3}))
    assert fake.told_to(NEXT, Rows) == [Rows([0, 1, 3], ["a", "b", "c"], {0: 2})]
    assert settled(fake, Status.DROPPED) == [2, 4]
    assert reasons(fake) == {2: "duplicate of row 0", 4: "duplicate of row 1"}
    assert [list(gaps.seqs) for gaps in fake.told_to(KEEPER, protocol.Gaps)] == [[2, 4]]


def test_rows_without_duplicates_go_on_as_they_came() -> None:
    fake = started()
    rows = Rows(range(3), ["a", "b", "c"])
    fake.receive(rows)
    assert fake.told_to(NEXT, Rows)[0].seqs is rows.seqs


def test_a_key_that_is_none_is_the_fault_of_its_row() -> None:
    fake = started()
    fake.receive(Rows(range(4), ["a", ["a"], float("nan"), "a"]))
    assert went(fake) == [0]
    bad = [end for told in fake.told_to(QUARANTINE, protocol.Outcomes) for end in told.ended]
    assert [(end.seq, end.status, type(end.error).__name__) for end in bad] == [
        (1, Status.QUARANTINED, "BadAnswer"),
        (2, Status.QUARANTINED, "BadAnswer"),
    ]
    assert settled(fake, Status.DROPPED) == [3]


def test_the_journal_hears_of_a_row_before_anybody_else() -> None:
    fake = started()
    fake.receive(Rows(range(3), ["a", "a", "b"]))
    assert isinstance(fake.told[0][1], protocol.Noted)
    (noted,) = fake.told_to(JOURNAL, protocol.Noted)
    assert (noted.turn, list(noted.seqs), noted.reach) == (0, [0, 1, 2], 10)


def test_without_a_journal_nothing_is_noted() -> None:
    fake = started(journal=False)
    fake.receive(Rows(range(2), ["a", "a"]))
    assert fake.take(protocol.Noted) == []


def test_a_row_that_comes_again_gets_the_same_word_and_takes_no_place() -> None:
    first = started(within=2)
    first.receive(Rows(range(5), ["a", "b", "a", "c", "d"]))
    fake = started(within=2, notes=notes_of(first))
    # Its key is never asked for: it may be another one by now.
    fake.receive(Rows([0, 2], ["x", "x"]))
    assert went(fake) == [0]
    assert reasons(fake) == {2: "duplicate of row 0"}
    assert fake.told_to(JOURNAL, protocol.Noted) == []
    fake.receive(Rows([5, 6], ["c", "a"]))
    assert went(fake) == [0, 6]
    assert fake.told_to(JOURNAL, protocol.Noted)[0].turn == 5


def test_a_row_that_ended_here_ends_here_again() -> None:
    ended = {
        1: Ended(1, Status.QUARANTINED, ValueError("no key"), 1, None, "dedupe"),
        2: Ended(2, Status.DROPPED, Duplicate("0"), 1, None, "dedupe"),
    }
    fake = started(ended=ended)
    fake.receive(Rows(range(4), ["a", "b", "c", "d"]))
    assert went(fake) == [0, 3]
    assert reasons(fake) == {1: "no key", 2: "duplicate of row 0"}
    assert fake.told_to(QUARANTINE, protocol.Outcomes)[0].ended[0].value == "b"


def test_rows_out_of_turn_are_interrupted_and_not_compared() -> None:
    fake = started()
    fake.receive(Rows([0], ["a"]), protocol.OutOfTurn([2, 3]), protocol.EndOfRows(4))
    assert settled(fake, Status.INTERRUPTED) == [2, 3]
    assert [list(noted.seqs) for noted in fake.told_to(JOURNAL, protocol.Noted)] == [[0]]
    assert fake.told_to(CONDUCTOR, protocol.Drained)


def test_it_passes_on_the_end_and_adds_up() -> None:
    fake = started()
    fake.receive(Rows(range(4), ["a", "a", ["a"], "b"]), protocol.EndOfRows(4))
    assert fake.told_to(NEXT, protocol.EndOfRows) == [protocol.EndOfRows(4)]
    traffic = fake.actor.statistics().traffic
    assert traffic.adds_up
    assert (traffic.came, traffic.went, traffic.dropped, traffic.quarantined) == (4, 2, 1, 1)


def test_nothing_is_told_after_an_abort() -> None:
    fake = started()
    fake.receive(protocol.Abort("no more"), Rows([0], ["a"]))
    assert went(fake) == []


def test_an_answer_that_is_to_be_awaited_is_no_key() -> None:
    async def key(row: str) -> str:
        return row

    fake = started(key=key)
    fake.receive(Rows([0], ["a"]))
    assert "await" in reasons(fake)[0]


def test_a_duplicate_can_be_pickled() -> None:
    import pickle

    assert pickle.loads(pickle.dumps(Duplicate("7"))).of == "7"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), RecursionError()])
def test_whatever_key_raises_is_the_fault_of_its_row(error: BaseException) -> None:
    def key(row: str) -> str:
        raise error

    fake = started(key=key)
    fake.receive(Rows([0], ["a"]))
    assert fake.told_to(QUARANTINE, protocol.Outcomes)[0].ended[0].error is error
