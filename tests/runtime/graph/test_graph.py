"""Graphs: what each kind of node does on threads, and what cannot be is said when it is written down."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from headrace.actors.protocol import Status
from headrace.runtime import ConfigError, Flow, Pipeline, RunFailed, TransientError
from headrace.runtime.errors import NoSuchRoute, NotAligned, PartsMissing
from headrace.runtime.graph.drawing import dot, line, mermaid, svg, tree


def ident(flow: Any) -> Any:
    return flow


def same(row: Any) -> Any:
    return row


def collected(pipeline: Flow[Any]) -> list[Any]:
    got: list[Any] = []
    report = pipeline.sink(got.append).run()
    assert all(node.traffic.adds_up for node in report.nodes)
    return got


# --- each kind of node ----------------------------------------------------------------------------------------------------


def test_a_filter_keeps_what_its_function_says_yes_to_in_order() -> None:
    report = Pipeline().source(range(1000)).filter(lambda x: x % 3, workers=8).run()
    assert (report.delivered, report.dropped) == (666, 334)
    assert collected(Pipeline().source(range(1000)).filter(lambda x: x % 3)) == [x for x in range(1000) if x % 3]


def test_a_flat_map_gives_any_number_of_rows_for_one() -> None:
    def letters(word: str) -> Iterator[str]:
        yield from word

    assert collected(Pipeline().source(["ab", "", "cde", "f"]).flat_map(letters)) == list("abcdef")
    report = Pipeline().source(["ab", "", "cde", "f"]).flat_map(letters).run()
    assert (report.rows, report.delivered, report.dropped) == (4, 3, 1)


def test_a_flat_map_may_be_a_coroutine_or_an_asynchronous_generator() -> None:
    async def twice(x: int) -> list[int]:
        await asyncio.sleep(0)
        return [x, x]

    async def thrice(x: int) -> Any:
        for _ in range(3):
            await asyncio.sleep(0)
            yield x

    assert collected(Pipeline().source(range(50)).flat_map(twice)) == [x for x in range(50) for _ in range(2)]
    assert collected(Pipeline().source(range(50)).flat_map(thrice)) == [x for x in range(50) for _ in range(3)]


def test_what_is_no_iterable_of_rows_is_the_row_s_error() -> None:
    bad: list[Any] = []
    Pipeline().source(["ab"]).flat_map(lambda word: word).quarantine(bad.append).run()
    assert "str where an iterable of rows was expected" in bad[0]["message"]


def test_a_tap_lets_the_row_go_on_whatever_it_answers() -> None:
    seen: list[int] = []
    assert collected(Pipeline().source(range(100)).tap(lambda x: seen.append(-x))) == list(range(100))
    assert sorted(seen) == sorted(-x for x in range(100))


def test_a_route_sends_rows_to_sinks_and_back_to_the_way_on() -> None:
    review: list[int] = []
    pipeline = Pipeline().source(range(300)).route(
        lambda x: ("review", "look", None)[x % 3],
        review=lambda flow: flow.sink(review.append),
        look=lambda flow: flow.map(lambda x: -x),
    )  # fmt: skip
    assert collected(pipeline) == [-x if x % 3 == 1 else x for x in range(300) if x % 3]
    assert review == list(range(0, 300, 3))


def test_a_route_may_say_yes_and_no_or_a_member_of_an_enum() -> None:
    got: list[Any] = []
    Pipeline().source([1, 2]).route(
        lambda x: x > 1, {"true": lambda flow: flow.sink(got.append), "false": lambda flow: flow.sink(lambda x: None)}
    ).run()
    assert got == [2]
    got.clear()
    Pipeline().source([1]).route(lambda x: Status.DROPPED, dropped=lambda flow: flow.sink(got.append)).run()
    assert got == [1]


def test_an_answer_that_is_neither_yes_nor_no_is_the_row_s_error() -> None:
    class Neither:
        def __bool__(self) -> bool:
            raise ValueError("more than one element")

    bad: list[Any] = []
    rows = [True, Neither(), False, Neither(), True]
    report = Pipeline().source(range(5)).filter(lambda x: rows[x]).quarantine(bad.append).run()
    assert (report.delivered, report.dropped, report.quarantined) == (2, 1, 2)
    assert {b["message"] for b in bad} == {"more than one element"}


def test_what_cannot_be_a_name_leads_nobody_else_astray() -> None:
    bad: list[Any] = []
    got: list[Any] = []
    said: list[Any] = [None, ["a"], "a", None]
    pipeline = Pipeline().source(range(4)).route(lambda x: said[x], a=lambda f: f.sink(got.append))
    report = pipeline.quarantine(bad.append).run()
    assert (report.delivered, report.quarantined, got) == (3, 1, [2])
    assert "is named \"['a']\"" in bad[0]["message"]


@pytest.mark.parametrize("said", ["elsewhere", ["a", "list"], 3])
def test_where_no_branch_is_the_row_is_quarantined_and_told_which_there_are(said: Any) -> None:
    bad: list[Any] = []
    report = Pipeline().source(range(3)).route(lambda x: said, review=ident, name="triage").quarantine(bad.append).run()
    assert report.quarantined == 3
    assert bad[0]["error"] == NoSuchRoute.__name__
    assert "there are 'review'; None goes on" in bad[0]["message"]


def test_a_fork_and_a_join_bring_the_answers_of_all_branches_together() -> None:
    async def slow(x: int) -> int:
        await asyncio.sleep(0.001 * (x % 7))
        return x * 2

    pipeline = Pipeline().source(range(200)).fork(
        a=lambda flow: flow.map(lambda x: x + 1), b=lambda flow: flow.map(slow, workers=50), row=ident
    ).join(merge=lambda row, parts: (row, parts["a"], parts["b"], parts["row"]))  # fmt: skip
    assert collected(pipeline) == [(x, x + 1, x * 2, x) for x in range(200)]


def test_branches_that_change_their_row_do_not_see_each_other_s_changes_L22() -> None:
    def add(key: str) -> Callable[[dict[str, int]], dict[str, int]]:
        def change(row: dict[str, int]) -> dict[str, int]:
            assert set(row) == {"n"}
            row[key] = row["n"]
            return row

        return change

    rows = [{"n": n} for n in range(50)]
    pipeline = Pipeline().source(rows).fork(a=lambda f: f.map(add("a")), b=lambda f: f.map(add("b"))).join()
    assert collected(pipeline) == [{"a": {"n": n, "a": n}, "b": {"n": n, "b": n}} for n in range(50)]


def test_a_join_that_requires_all_ends_a_row_that_lacks_a_part_and_says_why() -> None:
    def odd(x: int) -> int:
        if x % 2:
            raise ValueError(f"{x} is odd")
        return x

    bad: list[Any] = []
    pipeline = Pipeline().source(range(10)).fork(odd=lambda f: f.map(odd), row=ident).join(name="both")
    report = pipeline.quarantine(bad.append).run()
    assert (report.delivered, report.quarantined) == (5, 5)
    ends = [b for b in bad if b["stage"] == "both"]
    assert sorted(b["seq"] for b in ends) == [1, 3, 5, 7, 9]
    assert all(b["error"] == PartsMissing.__name__ for b in ends)
    assert any("missing: odd (ValueError: 1 is odd)" in b["message"] for b in ends)
    assert sorted(b["branch"] for b in bad if b["stage"] == "odd") == ["0"] * 5


def test_a_join_that_can_do_without_goes_on_and_the_row_is_delivered() -> None:
    def fails(x: int) -> int:
        raise ValueError(x)

    def told(row: int, parts: Any) -> Any:
        return row, dict(parts), {name: str(error) for name, error in parts.missing.items()}

    pipeline = Pipeline().source(range(3)).fork(a=lambda f: f.map(fails), b=ident).join(require=1, merge=told)
    assert collected(pipeline) == [(x, {"b": x}, {"a": str(x)}) for x in range(3)]
    assert pipeline.run().delivered == 3


def test_the_merge_function_s_own_error_is_the_row_s() -> None:
    def merge(row: int, parts: Any) -> int:
        raise KeyError("no such part")

    bad: list[Any] = []
    report = Pipeline().source([7]).fork(a=ident, b=ident).join(merge=merge).quarantine(bad.append).run()
    assert report.quarantined == 1
    assert (bad[0]["seq"], bad[0]["stage"], bad[0]["error"]) == (7 - 7, "join.merge", "KeyError")


def test_what_comes_late_goes_where_the_user_said() -> None:
    hold = threading.Event()
    late: list[int] = []

    def slow(x: int) -> int:
        hold.wait(10.0)
        return -x

    def last(row: int, parts: Any) -> Any:
        if row == 2:
            hold.set()
        return row, dict(parts)

    pipeline = Pipeline().source(range(3)).fork(fast=ident, slow=lambda f: f.map(slow)).join(
        require="best", within=0.05, late=lambda f: f.sink(late.append), merge=last
    )  # fmt: skip
    got: list[Any] = []
    report = pipeline.sink(got.append).run()
    assert got == [(x, {"fast": x}) for x in range(3)]
    assert late == [0, -1, -2]
    assert next(node.late for node in report.nodes if node.name == "join") == 3


def test_batches_by_count_by_bytes_by_key_and_what_is_left_at_the_end() -> None:
    assert collected(Pipeline().source(range(25)).batch(10)) == [
        list(range(10)),
        list(range(10, 20)),
        list(range(20, 25)),
    ]
    by_key = collected(Pipeline().source(range(9)).batch(2, key=lambda x: x % 2))
    assert by_key == [[0, 2], [1, 3], [4, 6], [5, 7], [8]]
    assert collected(Pipeline().source(["aaa", "bb", "cccc", "d"]).batch(max_bytes=5)) == [["aaa", "bb"], ["cccc", "d"]]


def test_a_quiet_source_still_flushes_L39() -> None:
    came, silence = threading.Event(), threading.Event()

    def rows() -> Iterator[int]:
        yield from range(3)
        silence.wait(10.0)
        yield 3

    got: list[Any] = []

    def keep(rows_: Any) -> None:
        got.append(rows_)
        came.set()

    with Pipeline().source(rows()).batch(100, within=0.05).sink(keep).start() as run:
        assert came.wait(10.0), "the batch waits for another row"
        assert got == [[0, 1, 2]]
        silence.set()
        assert run.wait(10.0).delivered == 4


def test_unbatch_puts_rows_back_to_their_own_places() -> None:
    pipeline = Pipeline().source(range(100)).map(same, workers=8).batch(7, key=lambda x: x % 3).map(
        lambda rows: [-x for x in rows]
    ).unbatch()  # fmt: skip
    assert collected(pipeline) == [-x for x in range(100)]


@pytest.mark.parametrize(("made", "told"), [([1], "1 values for the 5 rows"), ("word", "str where a list of 5")])
def test_a_batch_that_cannot_be_taken_apart_is_quarantined_with_its_rows(made: Any, told: str) -> None:
    bad: list[Any] = []
    report = Pipeline().source(range(5)).batch(5).map(lambda rows: made).unbatch().quarantine(bad.append).run()
    assert report.quarantined == 5
    assert bad[0]["error"] == NotAligned.__name__
    assert told in bad[0]["message"]
    assert bad[0]["seq"] == [0, 1, 2, 3, 4]


def test_a_batch_whose_call_fails_is_tried_again_whole() -> None:
    tries: Counter[int] = Counter()

    def flaky(rows: list[int]) -> list[int]:
        tries[rows[0]] += 1
        if tries[rows[0]] == 1:
            raise TransientError("again")
        return rows

    assert collected(Pipeline().source(range(30)).batch(10).map(flaky, retry=3).unbatch()) == list(range(30))


def test_any_number_of_sinks_gets_the_same_rows() -> None:
    sinks: list[list[int]] = [[], [], []]
    flow = Pipeline().source(range(50))
    for sink in sinks:
        flow = flow.sink(sink.append)
    report = flow.run()
    assert sinks == [list(range(50))] * 3
    assert report.delivered == 50


def test_a_sink_may_take_rows_as_they_come() -> None:
    first = threading.Event()
    got: list[int] = []

    def wait(x: int) -> int:
        if x == 0:
            first.wait(10.0)
        return x

    def keep(x: int) -> None:
        got.append(x)
        if len(got) == 9:
            first.set()

    Pipeline().source(range(10)).map(wait, workers=10).sink(keep, ordered=False).run()
    assert sorted(got) == list(range(10))
    assert got[-1] == 0


def test_a_sink_that_fails_lets_the_others_finish_where_that_is_its_policy_L19() -> None:
    kept: list[int] = []

    def broken(x: int) -> None:
        if x == 20:
            raise OSError("no space left")

    def rows() -> Iterator[int]:
        for x in range(100_000):
            time.sleep(0.0005)
            yield x

    pipeline = Pipeline(window=64).source(rows()).sink(kept.append).sink(broken, on_error="drain")
    with pytest.raises(RunFailed, match="no space left") as failed:
        pipeline.run()
    report = failed.value.report
    assert kept == list(range(report.rows))
    assert report.rows == report.delivered + report.interrupted < 100_000
    assert report.delivered <= 20


def test_a_stream_has_the_outcomes_of_what_comes_to_its_end() -> None:
    def odd(x: int) -> str | None:
        if x == 4:
            raise ValueError("four")
        return "odd" if x % 2 else None

    outcomes = list(
        Pipeline().source(range(6)).route(odd, odd=lambda f: f.sink(same)).flat_map(lambda x: [x, x]).stream()
    )
    assert [(o.seq, o.branch, o.status.value) for o in outcomes] == [
        (0, (0,), "delivered"),
        (0, (1,), "delivered"),
        (2, (0,), "delivered"),
        (2, (1,), "delivered"),
        (4, (), "quarantined"),
    ]


def test_a_graph_that_is_no_nested_branches_is_told_by_names() -> None:
    review: list[int] = []
    pipeline = (
        Pipeline().source(range(20))
        .route(lambda x: ("review", "look", None)[x % 3], ["review", "look"], name="triage")
        .after("triage.look").map(lambda x: -x, name="look")
        .after("triage.review").sink(review.append)
        .after("triage", "look").map(same)
    )  # fmt: skip
    assert collected(pipeline) == [-x if x % 3 == 1 else x for x in range(20) if x % 3]
    assert review == list(range(0, 20, 3))


def test_a_run_whose_every_row_was_bad_ends_properly_and_says_so_L25() -> None:
    class Row(msgspec.Struct):
        n: int

    report = Pipeline().source([{"n": "x"}] * 20, rows=Row).batch(5).map(same).run()
    assert (report.state.value, report.rows, report.quarantined) == ("completed", 20, 20)
    assert "all 20 rows are in quarantine" in str(report)


# --- what cannot be -------------------------------------------------------------------------------------------------------


def start() -> Any:
    return Pipeline().source(range(3))


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (lambda: start().fork(["a", "b"], name="f").after("f.a").sink(same), "branch 'b' of fork 'f' leads nowhere"),
        (lambda: start().fork(["a"], name="f").after("f.c").sink(same), "fork 'f' has no branch 'c'|leads nowhere"),
        (lambda: start().route(same, ["a"], name="r").sink(same), "branch 'a' of route 'r' leads nowhere"),
        (
            lambda: start().fork(["a"], name="f").after("f.a").join(fork="f", name="j", late=True).sink(same),
            "'j' has a way for late parts; let a sink stand after 'j.late'",
        ),
        (lambda: start().map(same, name="a").after("source").map(same, name="b"), "both stand after 'source'"),
        (lambda: start().map(same, name="x").map(same, name="x"), "two nodes are named 'x'"),
        (lambda: start().after("nowhere").sink(same), "no node before it has this name"),
        (lambda: start().map(same, name="score").after("scor").sink(same), "did you mean 'score'"),
        (lambda: start().sink(print).map(same, name="m"), "'m' stands after a sink"),
        (lambda: start().join(), "no fork stands right before it"),
        (lambda: start().fork(a=ident).map(same).join(), "no fork stands right before it"),
        (lambda: start().fork(), "without branches"),
        (lambda: start().route(same), "without branches"),
        (lambda: start().fork(a=lambda flow: None), "must return the flow"),
        (lambda: start().fork(a=3), "a function of a flow is expected"),
        (lambda: start().unbatch(), "are no batches"),
        (lambda: start().batch(2).flat_map(same).unbatch(), "are no batches"),
        (lambda: start().fork(a=lambda f: f.batch(2), b=ident).join(), "what 'batch' makes comes there.*an unbatch"),
        (lambda: start().fork(a=lambda f: f.flat_map(same), b=ident).join(), "return one list, by map"),
        (lambda: start().fork(a=ident, b=ident).join(require=3), "require=3, and 2 branches"),
        (lambda: start().fork(a=ident, b=ident).join(require="most"), "'all', 'any', 'best', or a number"),
        (lambda: start().fork(a=ident, b=ident).join(within=0), "seconds greater than 0"),
        (lambda: start().fork(a=ident, b=ident).join(workers=3), "workers= is for the calls of merge="),
        (lambda: start().fork(a=ident).join(late=ident), "late= is a branch that ends in a sink"),
        (lambda: start().batch(), "say how many rows"),
        (lambda: start().batch(0), "count=0: greater than 0"),
        (lambda: start().batch(5, size=len), "size= is for max_bytes="),
        (lambda: Pipeline(window=10).source(range(3)).batch(50), "gathers 50 rows, and window=10"),
        (lambda: start().sink(same, on_error="ignore"), "'abort' or 'drain'"),
        (lambda: start().filter(3), "is not callable"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_when_it_is_written_and_names_the_node(build: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        build().plan()


def test_the_same_connector_is_no_two_sinks(tmp_path: Any) -> None:
    from headrace.runtime import sinks

    out = sinks.jsonl(tmp_path / "out.jsonl")
    with pytest.raises(ConfigError, match="would write over each other"):
        start().sink(out).sink(out)


# --- what it looks like ---------------------------------------------------------------------------------------------------


def drawn() -> Any:
    return (
        Pipeline("tenders").source(range(3))
        .map(same, name="score", workers=32, limit="500/min")
        .route(same, name="triage", review=lambda f: f.map(same, name="look").sink(print))
        .fork(summary=lambda f: f.map(same, name="a"), second=lambda f: f.map(same, name="b"))
        .join(require=1, within=30.0).batch(100, within=5.0).sink(id)
    ).plan()  # fmt: skip


def test_a_tree_shows_branches_and_where_they_meet() -> None:
    assert tree(drawn()).splitlines() == [
        "tenders",
        "score (32, 500/min)",
        "route triage (16)",
        "└─ review: look (16)",
        "   print",
        "fork",
        "├─ summary: a (16)",
        "└─ second: b (16)",
        "join (1, within 30 s)",
        "batch (100 rows, within 5 s)",
        "id",
    ]
    assert line(drawn()) is None
    assert line(Pipeline().source(range(3)).map(same, workers=2).sink(print).plan()) == "source → same (2) → print"


def test_it_is_drawn_for_mermaid_and_for_graphviz() -> None:
    told = mermaid(drawn())
    assert told.startswith("flowchart TD")
    assert told.count("-->") == len(drawn().edges)
    assert '-->|"review"|' in told
    assert dot(drawn()).count("->") == len(drawn().edges)
    picture = svg(drawn())
    assert picture.lstrip().startswith("<?xml")
    assert "500/min" in picture
