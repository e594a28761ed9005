"""Contracts of rows, and expressions that are checked against them."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict, cast

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.runtime import ConfigError, Flow, Pipeline, sources
from headrace.runtime.errors import BadInput
from headrace.runtime.rows.contracts import Contract
from headrace.runtime.rows.expressions import Expression


class Tender(msgspec.Struct):
    name: str
    risk: float
    lots: int | None = None


@dataclasses.dataclass
class Lot:
    number: int


class Place(TypedDict):
    city: str
    size: int


@pytest.fixture
def tenders(tmp_path: Path) -> Path:
    path = tmp_path / "tenders.csv"
    path.write_text("name,risk,lots\nA,0.9,12\nB,0.2,\nC,high,3\nD,0.95,x\n")
    return path


def held(pipeline: Flow[Any]) -> tuple[list[Any], list[Any]]:
    good: list[Any] = []
    bad: list[Any] = []
    pipeline.sink(good.append).quarantine(bad.append).run()
    return good, sorted(bad, key=lambda b: b["seq"])


def test_rows_are_converted_at_the_source_and_what_does_not_fit_is_told_with_field_and_line(tenders: Path) -> None:
    good, bad = held(Pipeline().source(sources.csv(tenders), rows=Tender))
    assert good == [Tender("A", 0.9, 12), Tender("B", 0.2, None)]
    assert [(b["seq"], b["message"].partition(": ")[2]) for b in bad] == [
        (2, "not a Tender: field 'risk': expected float, got str"),
        (3, "not a Tender: field 'lots': expected int | null, got str"),
    ]
    assert bad[0]["message"].startswith(f"{tenders}:4: ")
    assert bad[0]["row"] == {"name": "C", "risk": "high", "lots": "3"}


def test_a_contract_may_be_a_dataclass_or_a_typed_dict_and_rows_of_any_iterable() -> None:
    good, bad = held(Pipeline().source([{"number": "1"}, {"nummer": 2}, {"number": 3}], rows=Lot))
    assert good == [Lot(1), Lot(3)]
    assert bad[0]["message"] == "row 1: not a Lot: object missing required field number"
    good, _ = held(Pipeline().source([{"city": "Lund", "size": "9", "more": 1}], rows=Place))
    assert good == [{"city": "Lund", "size": 9, "more": 1}], "what the contract does not speak of stays"


def test_a_contract_holds_for_asynchronous_sources_and_connectors() -> None:
    async def rows() -> Any:
        for n in ("1", "x", "3"):
            yield {"number": n}

    good, bad = held(Pipeline().source(rows(), rows=Lot))
    assert (good, len(bad)) == ([Lot(1), Lot(3)], 1)


def test_a_contract_is_inferred_from_the_first_rows_and_then_held_to(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    lines = [f"{n},{n / 2},{'yes' if n % 2 else ''},0{n},{'true' if n else 'false'}" for n in range(150)]
    path.write_text("\n".join(["n,half,word,code,on", *lines, "x,1.0,no,1,true", "7,1,no,1,true"]) + "\n")
    good, bad = held(Pipeline().source(sources.csv(path), rows="infer"))
    assert good[0] == {"n": 0, "half": 0.0, "word": "", "code": "00", "on": False}
    assert good[-1] == {"n": 7, "half": 1.0, "word": "no", "code": "1", "on": True}
    assert [b["message"].partition(": ")[2] for b in bad] == ["not a Row: field 'n': expected int, got str"]


@pytest.mark.parametrize(
    "text",
    ["1.10", "11e10", "007", "+46", "1_000", "1e5", "NaN", "inf", "-0", "1.", ".5", "TRUE", "True", "٣", " 1", "0x1"],
)
def test_text_that_would_be_written_back_otherwise_stays_text_L89(text: str) -> None:
    good, bad = held(Pipeline().source([{"a": text}] * 3, rows="infer"))
    assert (good, bad) == ([{"a": text}] * 3, [])


def test_a_later_text_that_would_be_written_back_otherwise_is_no_other_value_L89(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    sample = [f"{n},{n}.5,{'true' if n else 'false'}" for n in range(100)]
    path.write_text("\n".join(["n,half,on", *sample, "007,1.5,true", "7,1.10,true", "7,1.5,TRUE", "7,2,true"]) + "\n")
    good, bad = held(Pipeline().source(sources.csv(path), rows="infer"))
    assert [repr(row) for row in good[100:]] == ["{'n': 7, 'half': 2, 'on': True}"]
    assert [(b["row"]["n"], b["row"]["half"], b["row"]["on"]) for b in bad] == [
        ("007", "1.5", "true"),
        ("7", "1.10", "true"),
        ("7", "1.5", "TRUE"),
    ]
    assert "field 'n': '007' would be written back in another way" in bad[0]["message"]
    assert bad[0]["message"].startswith(f"{path}:102: ")


def test_columns_that_are_empty_at_times_may_be_none() -> None:
    rows = [{"a": "1", "b": ""}, {"a": "", "b": "2.5"}, {"a": "3"}]
    good, bad = held(Pipeline().source(rows, rows="infer"))
    assert good == [{"a": 1, "b": None}, {"a": None, "b": 2.5}, {"a": 3}]
    assert bad == []


@example([{"a": "0", "b": "0.0", "c": text} for text in ("", "+0")])
@example([{"a": "0", "b": "0.0", "c": text} for text in ("", ".5", "+1e5", "-.5")])
@given(
    st.lists(
        st.fixed_dictionaries({"a": st.integers().map(str), "b": st.floats(allow_nan=False).map(repr), "c": st.text()})
    )
)
def test_the_rows_that_a_contract_is_inferred_from_fit_it(rows: list[dict[str, str]]) -> None:
    contract = Contract.infer(rows)
    if contract is None:
        assert not rows
        return
    for row in rows:
        converted = contract.convert(row)
        assert converted["a"] == int(row["a"])
        assert isinstance(converted["b"], float | int | str)


def test_rows_that_are_no_records_have_no_contract_to_infer() -> None:
    good, _ = held(Pipeline().source([1, 2], rows="infer"))
    assert good == [1, 2]


def test_a_nested_field_is_named_by_its_path() -> None:
    class Outer(msgspec.Struct):
        lots: list[Tender]

    with pytest.raises(BadInput, match=r"field 'lots\[0\].risk': expected float, got str"):
        Contract(Outer).convert({"lots": [{"name": "A", "risk": "x"}]})


# --- expressions ----------------------------------------------------------------------------------------------------------


def test_expressions_route_filter_and_batch(tenders: Path) -> None:
    review: list[Any] = []
    pipeline = Pipeline().source(sources.csv(tenders), rows=Tender).route(
        'risk > 0.8 ? "review" : ""', review=lambda flow: flow.sink(review.append)
    )  # fmt: skip
    assert held(pipeline)[0] == [Tender("B", 0.2, None)]
    assert review == [Tender("A", 0.9, 12)]
    rows = [{"n": n, "kind": "ab"[n % 2]} for n in range(6)]
    assert held(Pipeline().source(rows).filter("n > 2").batch(2, key="kind"))[0] == [
        [rows[3], rows[5]],
        [rows[4]],
    ]


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (lambda p: p.filter("rsik > 0.8"), "rows have no field 'rsik'; did you mean 'risk'?"),
        (lambda p: p.filter("volume > 0.8"), "they have name, risk, lots"),
        (lambda p: p.filter("risk > 'a'"), "no matching overload"),
        (lambda p: p.filter("risk"), "gives double, where bool is expected"),
        (lambda p: p.route("risk", a=lambda f: f), "gives double, where string or bool"),
        (lambda p: p.filter("risk >"), "Syntax error"),
        (lambda p: p.batch(3, key="nme"), "did you mean 'name'"),
        (lambda p: p.filter("name.startsWith('A')").filter("rsik > 0.1"), "did you mean 'risk'"),
        (lambda p: p.fork(a=lambda f: f.filter("rsik > 0.1"), b=lambda f: f).join(), "did you mean 'risk'"),
    ],
)  # fmt: skip
def test_what_an_expression_cannot_say_is_told_before_anything_runs(build: Callable[..., Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told.replace("?", r"\?")):
        build(Pipeline().source([], rows=Tender)).plan()


def test_the_columns_of_a_file_without_a_contract_are_text(tenders: Path) -> None:
    with pytest.raises(ConfigError, match=r"'_>_' applied to '\(string, double\)'"):
        Pipeline().source(sources.csv(tenders)).filter("risk > 0.8").plan()
    assert len(held(Pipeline().source(sources.csv(tenders)).filter("name == 'A'"))[0]) == 1


def test_a_pipe_is_not_looked_into_beforehand(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text("a,b\n1,2\n"), daemon=True)
    pipeline = Pipeline().source(sources.csv(pipe)).filter("a == '1'")
    pipeline.plan()
    writer.start()
    assert held(pipeline)[0] == [{"a": "1", "b": "2"}]
    writer.join(5.0)


def test_where_nobody_knows_the_fields_the_row_is_told_what_it_lacks() -> None:
    good, bad = held(Pipeline().source([{"a": 1}, {"b": 2}]).filter("a > 0"))
    assert good == [{"a": 1}]
    assert bad[0]["message"] == "a > 0: the row has no field 'a'"


def test_an_expression_reaches_nothing_but_the_row() -> None:
    for text in ("__import__('os').system('true')", "open('/etc/passwd')", "row.__class__", "(1).__class__"):
        with pytest.raises((ConfigError, ValueError)):
            Expression(text)({"row": "x"})


def test_without_the_extra_one_line_names_it() -> None:
    script = (
        "import sys; sys.modules['cel_expr_python'] = None\n"
        "from headrace.runtime import Pipeline, ConfigError\n"
        "try: Pipeline().source([]).filter('a > 1')\n"
        "except ConfigError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (
        done.stdout.strip()
        == "the expression 'a > 1' needs the extra 'expressions': pip install 'headrace[expressions]'"
    )


# --- what a stage can take ------------------------------------------------------------------------------------------------


class Scored(msgspec.Struct):
    score: float


def score(tender: Tender) -> Scored:
    return Scored(tender.risk)


def rename(tender: Tender) -> Tender:
    return tender


def pieces(tender: Tender) -> list[Scored]:
    return [Scored(tender.risk)]


class Strategy:
    async def __call__(self, tender: Tender) -> Scored:
        return Scored(1.0)


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (lambda p: p.map(score).map(rename), "'rename' cannot take what comes to it: it takes Tender, and rows are Scored"),
        (lambda p: p.flat_map(pieces).filter(rename), "it takes Tender, and rows are Scored"),
        (lambda p: p.map(Strategy()).map(rename), "rows are Scored"),
        (lambda p: p.batch(3).map(rename), "it takes Tender, and rows are list"),
        (lambda p: p.map(score).filter("risk > 1.0"), "rows have no field 'risk'; they have score"),
    ],
)  # fmt: skip
def test_a_contract_that_a_stage_cannot_take_is_told_by_name(build: Callable[..., Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        build(Pipeline().source([], rows=Tender)).plan()


def test_where_annotations_say_nothing_nothing_is_complained_of() -> None:
    Pipeline().source([], rows=cast(Any, Tender)).map(rename).map(score).map(lambda s: cast(Any, s)).map(rename).plan()
    Pipeline().source([], rows=Place).map(dict).plan()
    Pipeline().source([], rows=Tender).batch(3).unbatch().map(rename).plan()
    Pipeline().source([]).map(score).filter("score > 0.1").plan()
