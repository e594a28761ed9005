"""Each kind of node is one entry; what an entry may not forget; and a kind whose state a journal cannot keep."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest

from headrace.actors.actor import Actor
from headrace.actors.edges.operators import Unbatch
from headrace.actors.relay import Relay
from headrace.runtime import ConfigError, Pipeline
from headrace.runtime.files.options import NodeOptions
from headrace.runtime.files.pipeline_file import read
from headrace.runtime.graph.drawing import dot, line, mermaid, tree
from headrace.runtime.graph.nodes.kinds import IN_FILES, KINDS
from headrace.runtime.graph.nodes.node import FileKeys, Moves, NodePlan, Picture, Shape, State, Wiring
from headrace.runtime.pipeline.flow import Flow


@pytest.mark.parametrize("kind", KINDS)
def test_an_entry_says_everything(kind: str) -> None:
    left = [name for name, member in inspect.getmembers(KINDS[kind]) if getattr(member, "__isabstractmethod__", False)]
    assert left == []


@pytest.mark.parametrize("kind", IN_FILES)
def test_what_files_say_of_a_kind_is_what_its_method_takes(kind: str) -> None:
    keys, takes = IN_FILES[kind], inspect.signature(getattr(Flow, kind)).parameters
    assert set(keys.keys) <= set(NodeOptions.__struct_fields__)
    told = {*keys.keys, "name", *([keys.function] if keys.function is not None else [])}
    open_ = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in takes.values())
    assert told <= set(takes) or (open_ and told - {"name"} <= set(takes))


class Counting(NodePlan, frozen=True):
    """A kind that counts rows, and keeps the count where the process ends with it."""

    kind: ClassVar[str] = "counting"

    @classmethod
    def in_files(cls) -> FileKeys | None:
        return None

    def check_ports(self, ports: Collection[str]) -> None:
        self.check_no_branches(ports)

    def shape_after(self, shape: Shape, port: str) -> Shape:
        return shape

    @property
    def moves(self) -> Moves:
        return "stage"

    @property
    def in_order(self) -> bool:
        return False

    def check_takes(self, came: object) -> None:
        """It takes whatever comes."""

    def gives(self, came: object, port: str) -> object:
        return came

    @property
    def label(self) -> str:
        return self.called("counting")

    @property
    def picture(self) -> Picture:
        return Picture(("(", ")"), "ellipse")

    def said(self) -> dict[str, object]:
        return {}

    def functions(self) -> Mapping[str, Callable[..., object] | None]:
        return {}

    @property
    def state(self) -> State:
        return "lost"

    @property
    def never_waits(self) -> bool:
        return True

    def actor(self, wiring: Wiring) -> Actor:
        operator = Unbatch()
        operator.leave = lambda outputs, seqs, answers, rows, attempts: outputs.send("", seqs, rows, attempts)  # type: ignore[method-assign]
        return Relay(wiring.outputs(self.name), operator, wiring.conductor, wiring.inputs(self.name))


def test_a_kind_that_nobody_has_heard_of_runs_and_is_drawn() -> None:
    out: list[int] = []
    flow = Pipeline("toy").source(range(5))._stands(Counting("count")).sink(out.append)
    assert "counting count" in tree(flow.plan())
    assert '("counting count")' in mermaid(flow.plan())
    assert "ellipse" in dot(flow.plan())
    assert flow.run().delivered == 5
    assert out == list(range(5))


def test_state_that_would_be_lost_is_refused_where_there_is_a_journal(tmp_path: Path) -> None:
    flow = Pipeline("toy").source(range(5))._stands(Counting("count")).sink(print)
    with pytest.raises(ConfigError, match="'count' is a counting, which knows rows that came before") as told:
        flow.run(journal=tmp_path / "run.db")
    assert "run it without a journal" in str(told.value)
    assert not (tmp_path / "run.db").exists()


# --- dedupe, in a graph and in files ---


def test_a_dedupe_is_drawn() -> None:
    plan = Pipeline("p").source([1]).dedupe(key=str, within=1000, name="once").sink(print).plan()
    assert line(plan) == "source → dedupe once (within 1,000 rows) → print"
    assert 'n1[/"dedupe once (within 1,000 rows)"\\]' in mermaid(plan)
    assert "shape=invtrapezium" in dot(plan)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"key": str, "within": 0}, r"dedupe: within=0: greater than 0: a whole number of rows to remember"),
        ({"key": str, "within": "x"}, r"dedupe: within='x'"),
        ({"key": str, "within": True}, r"dedupe: within=True"),
        ({"key": str, "within": 2.5}, r"dedupe: within=2.5"),
        ({"key": str, "within": 10**9}, r"at most 10,000,000"),
        ({"key": str, "within": float("nan")}, r"dedupe: within=nan"),
        ({"key": str, "within": None}, r"dedupe: within=None"),
        ({"key": 5, "within": 5}, r"dedupe: key=: int is not callable; give a function of a row, or text"),
        ({"key": None, "within": 5}, r"dedupe: key=: NoneType is not callable"),
        ({"key": str, "within": 5, "name": "a\nb"}, r"dedupe"),
    ],
)
def test_what_a_dedupe_cannot_be_is_told(options: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Pipeline("p").source([1]).dedupe(**options)  # type: ignore[arg-type]


def test_a_key_that_is_async_is_told() -> None:
    async def key(row: int) -> int:
        return row

    with pytest.raises(ConfigError, match="dedupe: key=: an async function, whose answer nobody awaits here"):
        Pipeline("p").source([1]).dedupe(key=key, within=5)  # type: ignore[arg-type]


def test_its_options_are_needed() -> None:
    with pytest.raises(TypeError, match="within"):
        Pipeline("p").source([1]).dedupe(key=str)  # type: ignore[call-arg]
    assert "so that of rows with one key the first goes on" in (Flow.dedupe.__doc__ or "")


def test_an_expression_is_held_to_the_contract() -> None:
    class Row(msgspec.Struct):
        mail: str

    rows = [{"mail": "a"}, {"mail": "a"}]
    out: list[Row] = []
    Pipeline("p").source(rows, rows=Row).dedupe(key="mail", within=5).sink(out.append).run()
    assert out == [Row("a")]
    with pytest.raises(ConfigError, match="'dedupe'"):
        Pipeline("p").source(rows, rows=Row).dedupe(key="male", within=5).sink(print).plan()


JOB = """
[source]
type = "csv"
path = "{folder}/in.csv"
[[stage]]
kind = "dedupe"
{said}
[sink]
type = "jsonl"
path = "{folder}/out.jsonl"
"""


def job(folder: Path, said: str) -> Path:
    (folder / "in.csv").write_text("mail\na\nb\na\n")
    path = folder / "job.toml"
    path.write_text(JOB.format(folder=folder, said=said))
    return path


def test_a_dedupe_in_a_file(tmp_path: Path) -> None:
    report = read(job(tmp_path, 'by = "mail"\nwithin = 100')).pipeline.run()
    assert (report.delivered, report.dropped) == (2, 1)
    assert (tmp_path / "out.jsonl").read_text() == '{"mail":"a"}\n{"mail":"b"}\n'


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("within = 100", r"stage\[0\].call: is missing, or by=, an expression"),
        ('by = "mail"', r"dedupe: within=None"),
        ('by = "mail"\nwithin = 2.5', r"dedupe: within=2.5"),
        ('by = "mail"\nwithin = 0', r"stage\[0\].within"),
        (
            'by = "mail"\nwithin = 5\nworkers = 3',
            r"stage\[0\].workers: says nothing of a dedupe; known are call, by, w",
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_key(tmp_path: Path, said: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        read(job(tmp_path, said))


def test_duplicates_behind_a_route_and_in_a_fork_are_those_of_their_branch() -> None:
    odd: list[int] = []
    out: list[object] = []
    rows = [1, 2, 1, 2, 3, 4, 3, 1]
    report = (
        Pipeline("p")
        .source(rows)
        .route(lambda row: "odd" if row % 2 else None, odd=lambda f: f.dedupe(key=str, within=10).sink(odd.append))
        .fork(a=lambda f: f.dedupe(key=str, within=10), b=lambda f: f.map(str))
        .join(merge=lambda row, parts: (row, sorted(parts)), require="best")
        .sink(out.append)
        .run()
    )
    assert odd == [1, 3]
    assert out == [(2, ["a", "b"]), (2, ["b"]), (4, ["a", "b"])]
    assert report.delivered + report.dropped == len(rows)


def test_batches_and_pieces_are_rows_of_their_own() -> None:
    out: list[object] = []
    flow = Pipeline("p").source(["aab", "bc"]).flat_map(list).dedupe(key=str, within=10)
    flow.batch(2).dedupe(key=len, within=10, name="sizes").sink(out.append).run()
    assert out == [["a", "b"], ["c"]]
