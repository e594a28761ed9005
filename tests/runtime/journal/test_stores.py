"""What each store must do, whatever it is made of: the same tests for all of them (`places.py`)."""

from __future__ import annotations

import ast
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.runtime.journal.conftest import versioned
from tests.runtime.journal.places import PLACES, InFile, InMemory, Place

from headrace.actors import protocol
from headrace.actors.journaling.recovered import past_of
from headrace.actors.protocol import Budget, Ended, Fault, Kind, Lessons, Prior, Status
from headrace.actors.rows.identity import Bundle, span_of
from headrace.runtime import Pipeline, RunFailed, sinks
from headrace.runtime.errors import ConfigError, JournalError
from headrace.runtime.journal import stores
from headrace.runtime.journal.audit import examine, export, prune
from headrace.runtime.journal.explain import explain, runs
from headrace.runtime.journal.kept_run import KeptRun
from headrace.runtime.journal.mistakes import Damaged, StoreFailed
from headrace.runtime.journal.port import Bound, Change
from headrace.runtime.journal.records import HeldRecords, RunRow
from headrace.runtime.journal.requeue import Again, look, try_again
from headrace.runtime.journal.sqlite.schema import MARKS, STATEMENTS, VERSION, added_since
from headrace.runtime.journal.sqlite.store import SqliteStore
from headrace.runtime.journal.stores import StoreKind, hold, look_into
from headrace.runtime.journal.story_text import story_text
from headrace.runtime.journal.tables import TABLES, TALLIED
from headrace.runtime.journal.values.columns import Values
from headrace.scenarios.kept_disk import comparable

ROOM = Path(__file__).parents[3] / "runtime/journal"
RUN = RunRow(1, "key", "job", 0.0, "{}", None)


@pytest.fixture(params=PLACES, ids=[place.__name__ for place in PLACES])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    place: Place = request.param(tmp_path)
    yield place
    # Processes that were killed or lost their store are this one, which must leave nothing open.
    while held_by_now:
        held_by_now.pop().store.close()
    place.drop()


held_by_now: list[HeldRecords] = []


def opened(place: Place, begin: bool = True) -> KeptRun:
    """The run, in its next life."""
    held = hold(place.name)
    held_by_now.append(held)
    if held.run_named("job") is None:
        with held.store.transaction():
            held.save_run(RUN)
    kept = KeptRun(held, 1, {"ask": Values("ask"), "join": Values("join")})
    if begin:
        kept.past()
        kept.begin_life()
    return kept


# --- a run that is cut, and goes on ---


def commits() -> list[list[Any]]:
    """What happens to a dozen rows, commit by commit: something of each kind of entry."""
    answer = Values("ask").encode
    bundle = Bundle((4, 5), 0b11)
    error = ValueError("no\x00such \ud800 row")
    return [
        [protocol.ReadTo(4, [100]), protocol.Answers("ask", range(3), [answer(n) for n in range(3)], None, 1.0, 0.1)],
        [protocol.Faulted("ask", [Fault(3, Kind.TRANSIENT, error)], 1.0, 0.2)],
        [protocol.Settled(Status.DELIVERED, range(2), "sink", [2]), protocol.RowsSettled(Status.DELIVERED, [0, 1])],
        [protocol.Parked("ask", 6, Values("ask").encode({"job": 7}), 2.0, 3600.0), protocol.ReadTo(8, [200])],
        [protocol.Formed("batch", [bundle]), protocol.Answers("ask", [bundle], [answer(["a", "b"])], {bundle: 3})],
        [protocol.Ends("ask", [Ended(3, Status.QUARANTINED, error, 2, 3, "ask")], 2.0)],
        [protocol.Settled(Status.QUARANTINED, [3], "quarantine", [1]), protocol.RowsSettled(Status.QUARANTINED, [3])],
        [protocol.Answers("ask", [2], [answer("again")], {2: 2}), protocol.Metered("ask", {"tokens": 12.0})],
        [protocol.Decided("join", [(7, 0, 2)], [(0, 1)]), protocol.Cooled("ask", 1.0, 2.0, protocol.Closure.REFUSED)],
        [protocol.Noted("dedupe", 0, [7, (8, 0, 2)], [b"seven", b"eight"], 5)],
        [protocol.LimitLearned(Budget("ask"), Lessons("", {None: Prior(12.5)}), time.monotonic())],
        [protocol.RowsSettled(Status.DROPPED, [2]), protocol.ReadTo(12, [300], True)],
    ]


def model(entries: list[Any]) -> Any:
    """What is left by these entries."""

    def read(entry: Any) -> Any:
        decode = Values("ask").decode
        match entry:
            case protocol.Answers():
                return msgspec.structs.replace(entry, values=[decode(value) for value in entry.values])
            case protocol.Parked():
                return msgspec.structs.replace(entry, state=decode(entry.state))
            case protocol.Ends():
                # An error is left by its name and its message, in characters that can be written.
                ended = [msgspec.structs.replace(e, error=ValueError("no\x00such \\ud800 row")) for e in entry.ended]
                return msgspec.structs.replace(entry, ended=ended)
            case _:
                return entry

    settled = [(e.status, *span_of(e.seqs)) for e in entries if isinstance(e, protocol.RowsSettled)]
    batches = [(e.node, bundle) for e in entries if isinstance(e, protocol.Formed) for bundle in e.bundles]
    return past_of(settled, batches, list(map(read, entries)))  # type: ignore[arg-type]


@pytest.mark.parametrize("cut", range(len(commits()) + 1))
def test_what_was_committed_before_a_cut_is_left_to_the_next_life_and_nothing_else(place: Place, cut: int) -> None:
    """Also where the cut was in the middle of the next commit; and the run goes on as if there had been none."""
    told = commits()
    first = opened(place)
    for entries in told[:cut]:
        first.commit(entries)
    if cut < len(told):
        first.given = broken
        with pytest.raises(Cut):
            first.commit(told[cut])
    place.kill()
    second = opened(place)
    assert comparable(second.past()) == comparable(model([entry for entries in told[:cut] for entry in entries]))
    for entries in told[cut:]:
        second.commit(entries)
    second.close(True)
    third = opened(place)
    assert comparable(third.past()) == comparable(model([entry for entries in told for entry in entries]))
    third.close(True)
    with closing(look_into(place.name)) as records:
        records.check_tally(1)
        assert [life.state for life in records.lives_of(1)] == [None, "completed", "completed"]


class Cut(Exception):
    """A commit ends in the middle."""


def broken() -> Any:
    raise Cut


def test_a_trial_leaves_nothing_and_neither_does_what_is_left_by_an_error(place: Place) -> None:
    with closing(hold(place.name)) as held:
        with held.store.transaction(keep=False):
            held.put("name", (1, "trial"))
            assert list(held.read("name")) == [(1, "trial")]
        assert list(held.read("name")) == []
        with held.store.transaction():
            held.put("name", (1, "kept"))
        with pytest.raises(Cut), held.store.transaction():  # noqa: PT012
            held.put("name", (1, "changed"))
            held.put("name", (2, "new"))
            held.store.remove("settled", 1)
            raise Cut
        assert list(held.read("name")) == [(1, "kept")]


# --- one owner ---


def test_a_second_owner_is_refused_until_the_first_has_let_go(place: Place) -> None:
    first = opened(place)
    with pytest.raises(ConfigError, match="is running with this journal; wait for its end, or stop it"):
        hold(place.name)
    look_into(place.name).close()
    first.close(True)
    hold(place.name).close()


def test_an_owner_who_has_lost_the_store_commits_nothing_any_more(place: Place) -> None:
    stale = opened(place)
    stale.commit(commits()[0])
    place.lose_lock()
    owner = opened(place)
    for _ in range(2):
        with pytest.raises(JournalError, match="another process has gone on with this run"):
            stale.commit(commits()[2])
        owner.commit([protocol.Answers("ask", [9], [Values("ask").encode(9)])])
    with pytest.raises(JournalError, match="another process has gone on with this run"):
        stale.close(True)
    owner.close(True)
    with closing(look_into(place.name)) as records:
        records.check_tally(1)
        assert sorted(row for _, row, *_ in records.read("answer", 1)) == [0, 1, 2, 9]
        assert [life.state for life in records.lives_of(1)] == [None, "completed"]


def test_an_owner_whom_somebody_has_overtaken_since_it_looked_does_not_begin(place: Place) -> None:
    late = opened(place, begin=False)
    late.past()
    place.lose_lock()
    owner = opened(place)
    owner.commit(commits()[2])
    with pytest.raises(ConfigError, match="another process is running with this journal"):
        late.begin_life()
    owner.close(True)


def test_an_owner_does_not_write_over_what_a_command_has_changed(place: Place) -> None:
    owner = opened(place)
    for entries in commits():
        owner.commit(entries)
    place.lose_lock()
    with closing(hold(place.name)) as held:
        assert try_again(held, rows=[3]) == [3]
    with pytest.raises(JournalError, match="another process has changed this run while it went on"):
        owner.commit([protocol.ReadTo(12, [300], True)])
    place.lose_lock()
    with closing(look_into(place.name)) as records:
        records.check_tally(1)


def test_a_life_in_which_nothing_was_done_is_forgotten_L65(place: Place) -> None:
    opened(place).close(True)
    opened(place).withdraw()
    with closing(look_into(place.name)) as records:
        assert [life.state for life in records.lives_of(1)] == ["completed"]


# --- what people are told, and what they change ---


@versioned
def work(row: int) -> Any:
    if row % 5 == 3:
        raise KeyError(HOSTILE[row % len(HOSTILE)])
    return {"n": row, "text": HOSTILE[row % len(HOSTILE)], "many": [row] * (row % 4)}


HOSTILE: list[Any] = [
    "", "'; DROP TABLE answer; --", "\x00", "\x1b[31m", "ü𝄞", "a" * 70_000, -(1 << 63), (1 << 64) - 1, 1 << 80, float("inf"),
    5e-324, b"\x00\xff", None, True, "\\ \" % ? $1", "\u202e",
]  # fmt: skip


def run_job(name: str, function: Callable[[int], Any] = work, **options: Any) -> Any:
    pipeline = (
        Pipeline("job 'of' many; \" rows %s $1").source(range(40)).map(function, name='wörk "1"', retry=1, workers=1)
    )
    return pipeline.batch(4).unbatch().start(journal=name, **options).wait()


def told_of(name: str) -> list[Any]:
    """An export, without what is another one in each run."""

    def same(record: Any) -> Any:
        left = {key: value for key, value in record.items() if key not in ("at", "began", "ended", "took_s", "key")}
        return left if record["type"] != "written" else {**left, "of": None, "first": None, "last": None, "place": None}

    with closing(look_into(name)) as records:
        lines = list(export(records))
    assert examine(lines).rows == 40
    found = [same(json.loads(line)["record"]) for line in lines if b'"type":"settled"' not in line]
    return sorted(
        (one for one in found if one["type"] not in ("written", "learned", "end")), key=lambda one: json.dumps(one)
    )


def test_a_run_tells_the_same_of_itself_in_every_store(tmp_path: Path) -> None:
    places: list[Place] = [InFile(tmp_path), InMemory(tmp_path)]
    told = []
    for place in places:
        report = run_job(place.name)
        assert (report.delivered, report.quarantined) == (32, 8)
        told.append(told_of(place.name))
        place.drop()
    for one, other in pairwise(told):
        assert one == other


def test_a_row_is_explained_and_a_run_is_listed(place: Place) -> None:
    run_job(place.name)
    with closing(look_into(place.name)) as records:
        (line,) = runs(records)
        assert (line.lives, line.state, line.done, line.total) == (1, "completed", 40, 40)
        assert line.outcomes == {"delivered": 32, "quarantined": 8}
        for row in range(40):
            story = explain(records, row)
            assert story.outcome == ("quarantined" if row % 5 == 3 else "delivered")
            assert 'wörk "1"' in [event.where for event in story.events]
            story_text(story).encode()
        with pytest.raises(ConfigError, match="row 40 is not in the run"):
            explain(records, 40)
        with pytest.raises(ConfigError, match="has no run 'other'"):
            explain(records, 0, "other")


def test_a_run_that_is_done_is_not_done_again(place: Place) -> None:
    run_job(place.name)
    again = run_job(place.name)
    assert (again.calls, again.delivered, again.quarantined) == (0, 32, 8)


def test_rows_in_quarantine_are_tried_again_and_no_others(place: Place) -> None:
    run_job(place.name)
    called: list[int] = []

    @versioned
    def mended(row: int) -> int:
        called.append(row)
        return row

    with closing(look_into(place.name)) as records:
        assert look(records, 1, Again(frozenset({3, 8}))).rows == [3, 8]
    report = run_job(place.name, mended, again=Again(frozenset({3, 8})))
    assert (report.delivered, report.quarantined) == (34, 6)
    assert sorted(called) == [3, 8]
    with closing(hold(place.name, new=False)) as held:
        assert try_again(held, error="KeyError") == [13, 18, 23, 28, 33, 38]
    assert run_job(place.name, mended).delivered == 40
    with closing(look_into(place.name)) as records:
        assert examine(export(records)).outcomes == {"delivered": 40}


def test_answers_are_dropped_and_the_account_stays(place: Place) -> None:
    run_job(place.name)
    with closing(hold(place.name, new=False)) as held:
        assert prune(held, before=0.0) == 0
        n = prune(held, before=time.time() + 1.0, outcome="delivered")
        # What a batch ties to a row that may be needed again stays.
        assert 20 <= n <= 32
        assert prune(held, before=time.time() + 1.0) == 0 or n < 32
        held.check_tally(1)
    with closing(look_into(place.name)) as records:
        answers = [value for *_, value, whole in records.read("answer", 1)]
        assert sum(value is None for value in answers) >= n
        assert examine(export(records)).outcomes == {"delivered": 32, "quarantined": 8}
    assert run_job(place.name).calls == 0


def test_one_who_looks_sees_one_moment_while_a_run_goes_on(place: Place) -> None:
    kept = opened(place)
    kept.commit(commits()[0])
    with closing(look_into(place.name)) as records:
        before = list(records.read("answer", 1))
        kept.commit(commits()[7])
        assert list(records.read("answer", 1)) == before
        records.check_tally(1)
    kept.close(True)
    with closing(look_into(place.name)) as records:
        assert list(records.read("answer", 1)) != before


# --- records ---


def some_records(held: HeldRecords) -> list[Any]:
    """Of two runs, with paths that must be told apart, not in their order."""
    records: list[Any] = [
        (run, row, 1, path, row + 1, 0.5 * row, 0.0, b"v" if row % 3 else None, 1)
        for run in (2, 1)
        for row in (5, 0, 1 << 62, 3, 9)
        for path in (b"\x91\x00", b"", b"\xff", b"\x00")
    ]
    with held.store.transaction():
        held.store.write("answer", [held.sealed("answer", record) for record in records])
        held.store.write("cooldown", [held.sealed("cooldown", (1, n, 0.0, 1.0, "refused")) for n in (3, 1, 2)])
    return records


def test_records_come_in_the_order_of_their_key_or_in_which_they_were_written(place: Place) -> None:
    with closing(hold(place.name)) as held:
        records = some_records(held)
        assert list(held.read("answer")) == sorted(records, key=lambda record: record[:4])
        assert [node for _, node, *_ in held.read("cooldown", 1)] == [3, 1, 2]
        assert [record[1] for record in held.read("answer", 1, limit=5)] == [0, 0, 0, 0, 3]


@pytest.mark.parametrize("relation", ["=", "<", "<=", ">", ">="])
def test_records_within_bounds_are_those_and_no_others(place: Place, relation: Any) -> None:
    holds = {
        "=": int.__eq__, "<": int.__lt__, "<=": int.__le__, ">": int.__gt__, ">=": int.__ge__,
    }[relation]  # fmt: skip
    with closing(hold(place.name)) as held:
        records = sorted(some_records(held), key=lambda record: record[:4])
        for row in (0, 4, 5, 1 << 62):
            expected = [record for record in records if record[0] == 1 and holds(record[1], row)]
            assert list(held.read("answer", 1, Bound("row", relation, row))) == expected
            assert list(held.read_on("answer", 1, row)) == [r for r in records if r[0] == 1 and r[1] >= row]
            exact = Bound("path", "=", b"\xff")
            assert list(held.read("answer", 1, Bound("row", relation, row), exact)) == [
                record for record in expected if record[3] == b"\xff"
            ]


def test_what_was_changed_is_told_as_what_the_sums_are_then(place: Place) -> None:
    with closing(hold(place.name)) as held:
        store = held.store
        records = [record for record in some_records(held) if record[0] == 1]
        sums = [store.sums("answer", 1)]
        assert sums[0] == Change(20, sum(held.sealed("answer", record)[-1] for record in records))  # type: ignore[misc]
        of_row_5 = (Bound("row", "=", 5), Bound("node", "=", 1))
        # Some of these are new, some replace what is there, and one does so twice.
        renewed = [held.sealed("answer", (*r[:4], n, *r[5:])) for n, r in enumerate([*records[:3], records[0]])]
        fresh = [held.sealed("answer", (1, 7, 2, bytes([n]), *records[0][4:])) for n in range(3)]
        changes: tuple[Callable[[], Change], ...] = (
            lambda: store.write("answer", [*renewed, *fresh]),
            lambda: store.write("answer", fresh),
            lambda: store.remove("answer", 1, *of_row_5, Bound("path", "=", b"")),
            lambda: store.remove("answer", 1, *of_row_5),
            lambda: store.remove("answer", 1, Bound("row", "=", 4)),
            lambda: store.drop_values(1, 0, 9, 4.0, None, lambda record: 7)[1],
            lambda: store.drop_values(1, 0, 9, 4.0, None, lambda record: 8)[1],
            lambda: store.drop_values(1, 0, 1 << 62, 1e99, 2, lambda record: 9)[1],
        )
        for change in changes:
            with store.transaction():
                told = change()
            sums.append(store.sums("answer", 1))
            assert sums[-1] == Change(sums[-2].records + told.records, sums[-2].seals + told.seals)
        assert [each.records for each in sums] == [20, 23, 23, 22, 19, 19, 19, 19, 19]
        assert store.sums("answer", 2).records == 20
        with store.transaction():
            fault = held.sealed("fault", (1, 1, 1, b"", 0.0, 0.0, "k", "e", None, None))
            assert store.write("fault", [fault, fault]).records == store.sums("fault", 1).records == 2


# --- what is not as it was written ---


@pytest.mark.parametrize("how", ["changed", "gone", "another's", "replaced"])
@pytest.mark.parametrize("table", ["run", "progress", "life", "name", *TALLIED])
def test_what_is_not_as_it_was_written_is_told(place: Place, table: str, how: str) -> None:
    kept = opened(place)
    for entries in commits():
        kept.commit(entries)
    kept.given = lambda: [(0, b"\0\0\0\1")]
    kept.commit([protocol.ReadTo(12, [300], True)])
    kept.close(True)
    opened(place).close(True)
    with closing(look_into(place.name)) as records:
        records.check_tally(1)
        first: Any = next(records.reader.read(table))
    match how:
        case "gone":
            record = None
        case "changed":
            record = (*first[:-1], first[-1] ^ 1)
        case "another's":
            other = opened(InMemory(Path("other")))
            record = other._journal.sealed(table, first[:-1])
            other.close(True)
        case _:
            # It was written here, some time, and stands in the place of another one.
            record = _elsewhere(table, first)
    place.damage(table, record)
    with pytest.raises((ConfigError, Damaged), match=r"damaged|is not what was written|were written|is missing|has no"):
        look_at_all(place)


def _elsewhere(table: str, first: Any) -> Any:
    column = TABLES[table].columns[0]
    return (first[0] + 100, *first[1:]) if column in ("run", "id") else None


def look_at_all(place: Place) -> None:
    with closing(look_into(place.name)) as records:
        runs(records)
        list(export(records))
    opened(place).close(True)


# --- which store ---


def test_a_name_is_that_of_its_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hold("sqlite:run.db").close()
    hold("odd:name.db").close()
    assert sorted(path.name for path in tmp_path.glob("*.db")) == ["odd:name.db", "run.db"]
    assert stores.name_of("sqlite:run.db") == f"sqlite:{tmp_path}/run.db"
    assert stores.name_of("run.db") == f"{tmp_path}/run.db"
    assert stores.name_of("memory:a") == "memory:a"
    assert (stores.file_of("run.db"), stores.file_of("sqlite:run.db"), stores.file_of("memory:a")) == (
        "run.db",
    ) * 2 + (None,)
    with pytest.raises(
        ConfigError, match=r"^journal 'nosuch://...': no store is called 'nosuch'; there are memory, sqlite"
    ):
        hold("nosuch://me:secret@host/database")
    with pytest.raises(ConfigError, match="memory:nothing: no such journal in this process"):
        look_into("memory:nothing")
    with pytest.raises(ConfigError, match=r"sqlite:none.db: no such journal"):
        look_into("sqlite:none.db")


def test_a_store_of_somebody_else_is_registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe of CONTRIBUTING.md: what is asked of a journal goes by the store of its name."""
    monkeypatch.setattr(stores, "KINDS", dict(stores.KINDS))
    opens: list[str] = []

    def path_of(name: str) -> str:
        return str(tmp_path / f"{name.removeprefix('mine://')}.db")

    def open_(name: str, new: bool) -> SqliteStore:
        opens.append(name)
        return SqliteStore(path_of(name), name=shown(name), new=new)

    def shown(name: str) -> str:
        return name.replace("secret@", "")

    kind = StoreKind(
        open_, lambda name: SqliteStore(path_of(name), name=shown(name), new=False, write=False), shown=shown
    )
    stores.register("mine", kind)
    stores.register("mine", kind)
    with pytest.raises(ConfigError, match="are those of another store"):
        stores.register("mine", StoreKind(open_, kind.look))
    with pytest.raises(ConfigError, match="cannot begin the name of a journal"):
        stores.register("M:", kind)
    assert Pipeline("job").source([1, 2]).map(str).run(journal="mine://secret@a").delivered == 2
    assert Pipeline("job").source([1, 2]).map(str).run(journal="mine://secret@a").calls == 0
    assert opens == ["mine://secret@a", "mine://secret@a"]
    # What stands where people read it has no password.
    out = tmp_path / "out.jsonl"
    pipeline = Pipeline("other").source([3]).map(broken_row, retry=1, on_error="fail").sink(sinks.jsonl(out))
    with pytest.raises(RunFailed) as failed:
        pipeline.run(journal="mine://secret@b")
    assert "secret" not in repr(failed.value.report) + str(failed.value)
    assert [path for path in tmp_path.rglob("*") if b"secret" in path.read_bytes()] == []
    with pytest.raises(ConfigError, match="mine://b: the run 'other' in it was another work"):
        Pipeline("other").source([4]).map(broken_row).run(journal="mine://secret@b")
    with closing(look_into("mine://secret@a")) as records:
        assert explain(records, 1).outcome == "delivered"
        with pytest.raises(ConfigError, match=r"^mine://a: row 2 is not in the run"):
            explain(records, 2)


@versioned
def broken_row(row: int) -> int:
    raise ValueError(row)


def test_no_error_of_a_database_leaves_its_room(tmp_path: Path) -> None:
    for path in ROOM.rglob("*.py"):
        tree = ast.parse(path.read_text())
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        assert "sqlite3" not in names or path.parent.name == "sqlite", path
    store = SqliteStore(str(tmp_path / "run.db"))
    store.close()
    for act in (
        lambda: list(store.read("run")), lambda: list(store.read_on("answer", 1, 0)), lambda: store.sums("answer", 1),
        lambda: store.write("name", [(1, "a", 0)]), lambda: store.remove("life", 1), store.compact,
        lambda: store.transaction().__enter__(), lambda: list(store.beside("answer", 1, 0)),
        lambda: store.drop_values(1, 0, 1, 1.0, None, lambda record: 0),
    ):  # fmt: skip
        with pytest.raises(StoreFailed):
            act()


def test_a_file_of_this_version_has_the_tables_that_it_always_had() -> None:
    """Journals are opened only where their tables are as they were made: to change one is to make another version."""
    made = {version: sorted(STATEMENTS - added_since(version)) for version in (3, VERSION)}
    told = {version: blake2b("\n".join(each).encode(), digest_size=8).hexdigest() for version, each in made.items()}
    assert told == {3: "e1f89480fec7ca88", 4: "ee3ac5b18fc10736"}


def test_the_tables_of_a_file_are_those_of_the_port() -> None:
    assert MARKS.keys() - {"about"} == TABLES.keys()
    for statement in STATEMENTS:
        table, _, rest = statement.removeprefix("CREATE TABLE ").partition(" (")
        if table in TABLES:
            columns, _, key = rest.partition(", PRIMARY KEY (")
            assert [column.split()[0] for column in columns.split(",")] == [*TABLES[table].columns, "seal"]
            said = tuple(key.partition(")")[0].split(", ")) if key else ()
            assert said == (TABLES[table].key if len(TABLES[table].key) > 1 else ())
