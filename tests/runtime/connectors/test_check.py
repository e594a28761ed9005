"""Connectors of people's own: what they need is checked when they are handed over, and what goes wrong is told as theirs."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.runtime import (
    ConfigError,
    DurableSink,
    InterruptibleSource,
    Pipeline,
    PlacedSource,
    ReadResult,
    RunFailed,
    SinkConnector,
    SourceConnector,
    sinks,
    sources,
)

HANGS_S = 30.0


class Reads:
    """As little as a source needs: not even a name."""

    def open(self) -> None:
        self.left = [1, 2, 3]

    def read(self, n: int) -> tuple[list[Any], bool, int]:
        rows, self.left = self.left[:n], self.left[n:]
        return rows, not self.left, 0

    def close(self) -> None:
        return


class Writes:
    """As little as a sink needs."""

    def __init__(self) -> None:
        self.rows: list[Any] = []

    def open(self) -> None:
        return

    def write(self, items: list[Any]) -> None:
        self.rows += items

    def close(self, complete: bool) -> None:
        return


def _without(cls: type, *names: str, **more: Any) -> Any:
    members = {name: value for name, value in vars(cls).items() if not name.startswith("__") or name == "__init__"}
    for name in names:
        del members[name]
    return type(cls.__name__, (), {**members, **more})()


def test_a_connector_needs_no_base_class_and_no_name() -> None:
    sink = Writes()
    report = Pipeline().source(Reads()).sink(sink).start().wait(HANGS_S)  # type: ignore[call-overload]
    assert (report.delivered, sink.rows) == (3, [1, 2, 3])


class Inherits(SourceConnector):
    def read(self, n: int) -> ReadResult:
        return ReadResult([1, 2, 3], ended=True)


class Keeps(SinkConnector):
    def __init__(self) -> None:
        self.rows: list[Any] = []

    def write(self, items: list[Any]) -> None:
        self.rows += items


def test_what_a_connector_inherits_need_not_be_written() -> None:
    sink = Keeps()
    report = Pipeline().source(Inherits()).sink(sink).start().wait(HANGS_S)
    assert (report.delivered, sink.rows) == (3, [1, 2, 3])


@pytest.mark.parametrize("missing", ["open", "close"])
def test_a_source_that_lacks_something_is_told_so(missing: str) -> None:
    with pytest.raises(ConfigError) as error:
        Pipeline().source(_without(Reads, missing))
    assert str(error.value) == (
        f"source: connector 'Reads' has no {missing}(); a source needs open(), read(n), close()"
    )


@pytest.mark.parametrize("missing", ["open", "write", "close"])
@pytest.mark.parametrize("place", ["sink", "quarantine"])
def test_a_sink_that_lacks_something_is_told_so(missing: str, place: str) -> None:
    pipeline: Any = Pipeline().source([1])
    with pytest.raises(ConfigError, match="connector 'Writes' has no ") as error:
        getattr(pipeline, place)(_without(Writes, missing))
    assert f" has no {missing}(" in str(error.value)
    assert "; a sink needs open(), write(items), close(complete)" in str(error.value)


@pytest.mark.parametrize(
    ("cls", "member", "function", "told"),
    [
        (Reads, "read", lambda self: None, r"read\(\) cannot be called as read\(n\)"),
        (Reads, "open", lambda self, mode: None, r"open\(mode\) cannot be called as open\(\)"),
        (Reads, "interrupt", lambda self, why: None, r"interrupt\(why\) cannot be called as interrupt\(\)"),
        (Writes, "write", lambda self: None, r"write\(\) cannot be called as write\(items\)"),
        (Writes, "close", lambda self: None, r"close\(\) cannot be called as close\(complete\)"),
        (Writes, "close", 7, "its 'close' is a int, and no method"),
        (Writes, "close", property(lambda self: 1 / 0), "asking for its 'close' raised ZeroDivisionError"),
    ],
)
def test_a_method_that_cannot_be_called_is_told(cls: type, member: str, function: Any, told: str) -> None:
    connector = _without(cls, **{member: function})
    with pytest.raises(ConfigError, match=told):
        Pipeline().source(connector) if cls is Reads else Pipeline().source([1]).sink(connector)


@pytest.mark.parametrize(
    ("cls", "declared", "needed"), [(Reads, "placed", "tell(), which placed = True"), (Writes, "durable", "tell()")]
)
def test_what_a_connector_declares_it_must_have(cls: type, declared: str, needed: str) -> None:
    connector = _without(cls, **{declared: True})
    with pytest.raises(ConfigError) as error:
        Pipeline().source(connector) if cls is Reads else Pipeline().source([1]).sink(connector)
    assert f"has no {needed}" in str(error.value)


def test_a_class_is_no_connector() -> None:
    with pytest.raises(
        ConfigError, match=r"source: Reads is a class, not rows: give an object of it, such as Reads\(...\)"
    ):
        Pipeline().source(Reads)  # type: ignore[call-overload]
    with pytest.raises(ConfigError, match=r"sink: the class Writes where an instance is expected; give Writes\(...\)"):
        Pipeline().source([1]).sink(Writes)  # type: ignore[arg-type]


def test_what_is_no_source_is_told() -> None:
    """What looks like one has tests in `connectors/test_given.py`."""
    with pytest.raises(ConfigError, match="int is no connector, iterable or async iterable"):
        Pipeline().source(7)  # type: ignore[call-overload]


@pytest.mark.parametrize("given", ["out.jsonl", Path("out.jsonl"), 7, None])
def test_what_is_no_sink_is_told(given: Any) -> None:
    with pytest.raises(ConfigError, match="is neither a connector nor callable"):
        Pipeline().source([1]).sink(given)


def test_a_file_that_is_open_gives_its_lines_and_takes_none() -> None:
    got: list[str] = []
    Pipeline().source(io.StringIO("a\nb\n")).sink(got.append).start().wait(HANGS_S)
    assert got == ["a\n", "b\n"]
    with pytest.raises(ConfigError, match=r"connector 'StringIO' has no open\(\)"):
        Pipeline().source([1]).sink(io.StringIO())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda n: None, "gave a NoneType"),
        (lambda n: [1, 2], "gave a list"),
        (lambda n: ([1], True), "gave a tuple of 2"),
        (lambda n: ("abc", True, 0), "gave a str for values, which is no list"),
        (lambda n: ([1], True, "0"), "gave a str for bad, which is no number of rows"),
        (lambda n: ([1], True, -1), "gave a int for bad"),
        (lambda n: ([0] * (n + 1), True, 0), "rows, where"),
    ],
)
def test_an_answer_that_is_none_is_the_connectors_fault(answer: Callable[[int], Any], told: str) -> None:
    source = _without(Reads, read=lambda self, n: answer(n))
    with pytest.raises(RunFailed, match=told) as failed:
        Pipeline().source(source).sink(lambda row: None).start().wait(HANGS_S)
    assert "read() of the source 'Reads' gave " in str(failed.value)
    assert "a ReadResult(values, ended, bad) is expected" in str(failed.value)


def test_headraces_own_connectors_are_what_they_declare(tmp_path: Path) -> None:
    assert isinstance(sinks.jsonl(tmp_path / "a"), DurableSink)
    assert isinstance(sources.jsonl(tmp_path / "a"), PlacedSource)
    assert isinstance(sources.jsonl(tmp_path / "a"), InterruptibleSource)
    assert ReadResult([1], True) == ([1], True, 0)


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\x00b", "\x1b[2J", "\u202e", "x" * 10_000, 7, "\udce4"])
def test_names_are_one_line_that_can_be_seen(name: Any) -> None:
    branch: dict[Any, Any] = {name: lambda flow: flow}
    for build in (
        lambda: Pipeline(name),
        lambda: Pipeline().source([1]).map(str, name=name),
        lambda: Pipeline().source([1]).batch(2, name=name),
        lambda: Pipeline().source([1]).sink(print, name=name),
        lambda: Pipeline().source([1]).fork(branch),
        lambda: Pipeline().source([1]).route(str, branch),
    ):
        with pytest.raises(ConfigError, match="name"):
            build()


def test_names_with_dots_and_other_scripts_are_names() -> None:
    got: list[Any] = []
    flow = Pipeline("a.b — ügy 仕事").source([1]).map(str, name="v1.2/ask me").sink(got.append, name="sink no. 1")
    assert flow.start().wait(HANGS_S).name == "a.b — ügy 仕事"
    assert got == ["1"]


def test_functions_with_names_that_are_none_are_called_by_their_class() -> None:
    class Odd:
        __name__ = "\x1b[2J\n"

        def __call__(self, row: int) -> int:
            return row

    report = Pipeline().source([1]).map(Odd()).sink(lambda row: None).start().wait(HANGS_S)
    assert [stage.calls.name for stage in report.stages] == ["Odd"]


def test_the_name_of_the_source_is_taken() -> None:
    with pytest.raises(ConfigError, match="'source' is the name of what the rows come from"):
        Pipeline().source([1]).map(str, name="source")


class _Yields:
    """A source and a sink, one of whose methods is a generator function."""

    def __init__(self, member: str, make: Any) -> None:
        for name in ("open", "read", "write", "close"):
            setattr(self, name, make if name == member else lambda *given: ([], True, 0))


def _gives(*given: Any) -> Any:
    yield given


async def _gives_async(*given: Any) -> Any:
    yield given


@pytest.mark.parametrize("make", [_gives, _gives_async])
@pytest.mark.parametrize(
    ("role", "member"), [("sink", "write"), ("sink", "close"), ("source", "read"), ("source", "open")]
)
def test_a_method_that_is_a_generator_function_would_do_nothing_and_is_told_L68(
    role: str, member: str, make: Any
) -> None:
    given: Any = _Yields(member, make)
    pipeline = Pipeline().source([1]) if role == "sink" else Pipeline()
    with pytest.raises(ConfigError, match=f"its '{member}' is a generator function, of which a call runs nothing"):
        getattr(pipeline, role)(given)


class Asked(Reads):
    """A source that raises when it is asked for one thing."""

    name = "mine"
    what: str


def _boom(self: Any, *args: Any) -> Any:
    raise ValueError("it is broken")


@pytest.mark.parametrize("method", ["fields", "fingerprint", "files"])
def test_what_a_source_raises_when_it_is_asked_is_told_as_its_own(method: str, tmp_path: Path) -> None:
    source = type("Asked", (Asked,), {method: _boom})()
    with pytest.raises(
        ConfigError, match=rf"source: connector 'mine': its {method}\(\) raised ValueError: it is broken"
    ):
        Pipeline().source(source).map(abs).run(journal=tmp_path / "run.db")
    with pytest.raises(ConfigError, match=rf"its {method}\(\) raised TypeError: it is a int, and no method"):
        Pipeline().source(type("Asked", (Asked,), {method: 3})()).map(abs).run(journal=tmp_path / "run.db")


class Takes:
    name = "mine"

    def open(self) -> None:
        self.got: list[Any] = []

    def write(self, items: list[Any]) -> None:
        self.got += items

    def close(self, complete: bool) -> None:
        return


@pytest.mark.parametrize("method", ["claim", "files"])
def test_what_a_sink_raises_when_it_is_asked_is_told_as_its_own(method: str) -> None:
    sink = type("Takes", (Takes,), {method: _boom})()
    with pytest.raises(ConfigError, match=rf"sink: connector 'mine': its {method}\(\) raised ValueError: it is broken"):
        Pipeline().source([1, 2]).map(abs).sink(sink).run()


def test_a_sink_that_cannot_say_what_it_has_written_has_written_it() -> None:
    sink = type("Takes", (Takes,), {"written": _boom})()
    report = Pipeline().source([1, 2]).map(abs).sink(sink).run()
    assert (report.state, report.files, sink.got) == ("completed", (), [1, 2])
