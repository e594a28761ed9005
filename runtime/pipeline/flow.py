"""How a graph is written down: rows flow from one node to the next, part ways and meet again.

A `Flow` is the place where the next node will stand: one way, or several that have come together there. It is a value: each
method gives another flow, which has one node more, and leaves the one that it was called on as it was, so that
`a = base.map(f); b = base.map(g)` are two pipelines.

A flow knows the type of the rows there, `Flow[T]`, as far as functions are annotated: mypy and pyright say at the line which
function does not fit.

This file is long: each method has its overloads for type checkers, and its text for whoever uses it.
"""

from __future__ import annotations

import difflib
from collections.abc import AsyncIterable, Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Generic, Literal, Never, TypeVar, Unpack, overload

from headrace.actors.awaitables import discard, is_awaitable
from headrace.actors.joins.terms import LATE, Parts, Require

from ..calls.answers import Kind
from ..connectors.check import as_sink
from ..connectors.port import SinkConnector
from ..errors import ConfigError
from ..graph.nodes.batch import BatchPlan
from ..graph.nodes.calls import StagePlan
from ..graph.nodes.dedupe import DedupePlan
from ..graph.nodes.fork import ForkPlan
from ..graph.nodes.join import JoinPlan
from ..graph.nodes.node import NodePlan
from ..graph.nodes.sink import SinkPlan
from ..graph.nodes.unbatch import UnbatchPlan
from ..graph.plan import SOURCE, Edge
from ..names import check_name, connector_name, function_name
from .call_options import CallOptions, as_function, stage_plan
from .draft import Draft, End, second_way
from .runnable import Runnable

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
U = TypeVar("U")
V = TypeVar("V")


class Flow(Runnable[T_co], Generic[T_co]):
    """Where the next node of a pipeline will stand, and the whole pipeline up to there.

    It is a value: every method gives a new flow, and leaves the one that it was called on as it was. `T_co` is the type of
    the rows there, which type checkers know as far as functions are annotated.

    Raises:
        ConfigError: By every method, for what cannot be.
        TypeError: By every method, for an option that there is not.

    Examples:
        >>> cities = Pipeline().source(["Lund", "Oslo"])
        >>> loud, long = cities.map(str.upper), cities.map(len)
        >>> [outcome.value for outcome in loud.stream()], [outcome.value for outcome in long.stream()]
        (['LUND', 'OSLO'], [4, 4])
    """

    def __init__(
        self,
        draft: Draft,
        ends: tuple[End, ...],
        *,
        inside: bool = False,
        sink_name: str = "sink",
        forked: str | None = None,
        sunk: tuple[End, ...] = (),
    ) -> None:
        """For `Pipeline`, and for the methods here. `inside`: it is a branch that is being built. `sink_name`: of a sink
        that has none of its own. `forked`: the fork that has just been made, as long as nothing has come after it. `sunk`:
        where the last sink stands, as long as nothing but sinks has come after it."""
        super().__init__(draft, ends, inside=inside)
        self._sink_name = sink_name
        self._forked = forked
        self._sunk = sunk

    def after(self, *names: str) -> Flow[Any]:
        """Say after which nodes the next one stands, wherever they are.

        So graphs can be written down whose branches are not nested.

        Args:
            names: Names of nodes, such as "score", or branches of a fork or route, such as "triage.review".

        Raises:
            ConfigError: No node before it has such a name.

        Examples:
            >>> flow = Pipeline().source([5, 50]).route(lambda n: "large" if n > 9 else None, ["large"], name="size")
            >>> flow = flow.after("size.large").map(hex, name="look").after("size", "look").sink(print)
            >>> report = flow.run()
            5
            0x32
        """
        ends = tuple(self._end(name) for name in names)
        branch = ends[0][1] if len(names) == 1 else ""
        return self._next(self._draft, ends, "after", sink_name=branch or "sink")

    def _end(self, name: str) -> End:
        known = self.nodes | {SOURCE}
        if name in known:
            return name, ""
        node, _, port = name.rpartition(".")
        if node in known:
            return node, port
        near = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"after {name!r}: no node before it has this name{hint}")

    # --- nodes that call a function ---

    @overload
    def map(self, function: Callable[[T_co], Awaitable[U]], **options: Unpack[CallOptions]) -> Flow[U]: ...

    @overload
    def map(self, function: Callable[[T_co], U], **options: Unpack[CallOptions]) -> Flow[U]: ...

    def map(self, function: Callable[[T_co], Any], **options: Unpack[CallOptions]) -> Flow[Any]:
        """Add a stage that calls a function with each row; its result is the row from there on.

        A function runs on a thread, a coroutine function on an event loop. What a plain function gives as a coroutine (a
        lambda around one, a method of a client) is awaited on that loop, and its thread waits for it, so a coroutine
        function itself is the better thing to give.

        Args:
            function: A function of a row.
            options: Those of `CallOptions`: `workers`, `limit`, `retry`, `timeout` and others.

        Examples:
            >>> stage = Pipeline().source(["Lund"]).map(str.upper, workers=32, limit="200/s", retry=5, timeout=10.0)
            >>> report = stage.sink(print).run()
            LUND
        """
        return self._call("map", function, options)

    @overload
    def flat_map(self, function: Callable[[T_co], AsyncIterable[U]], **options: Unpack[CallOptions]) -> Flow[U]: ...

    @overload
    def flat_map(
        self, function: Callable[[T_co], Awaitable[Iterable[U]]], **options: Unpack[CallOptions]
    ) -> Flow[U]: ...

    @overload
    def flat_map(self, function: Callable[[T_co], Iterable[U]], **options: Unpack[CallOptions]) -> Flow[U]: ...

    def flat_map(self, function: Callable[[T_co], Any], **options: Unpack[CallOptions]) -> Flow[Any]:
        """Add a stage that calls a function which gives any number of rows for one.

        They keep the place of their row, and among themselves their order. A row of which none come is dropped.

        Args:
            function: A function of a row that gives a list, an iterable or a generator, also an asynchronous one.
            options: Those of `CallOptions`.

        Examples:
            >>> report = Pipeline().source(["Lund Oslo", "Bergen"]).flat_map(str.split).sink(print).run()
            Lund
            Oslo
            Bergen
        """
        return self._call("flat_map", function, options)

    def filter(self, function: Callable[[T_co], Any] | str, **options: Unpack[CallOptions]) -> Flow[T_co]:
        """Let rows go on of which a function says yes; the others are dropped.

        Args:
            function: A function of a row, or an expression such as `"risk > 0.8"`.
            options: Those of `CallOptions`.

        Examples:
            >>> report = Pipeline().source([1, 2, 3]).filter(lambda n: n % 2).sink(print).run()
            1
            3
        """
        return self._call("filter", as_function(function, "filter"), options)

    def tap(self, function: Callable[[T_co], object], **options: Unpack[CallOptions]) -> Flow[T_co]:
        """Call a function with each row for what it does; the row goes on as it is.

        Args:
            function: A function of a row.
            options: Those of `CallOptions`.

        Examples:
            >>> report = Pipeline().source(["Lund"]).tap(lambda row: None).sink(print).run()
            Lund
        """
        return self._call("tap", function, options)

    def where(self, function: Callable[[Any], Any] | str) -> Flow[T_co]:
        """Let in only rows of which a function says yes: a filter before everything else, whenever it is added.

        Args:
            function: A function of a row as it comes from the source, or an expression.

        Examples:
            >>> report = Pipeline().source(["Lund", "Oslo"]).map(str.upper).where(lambda row: row < "M").sink(print).run()
            LUND
        """
        name = self._draft.unused("where")
        first = tuple(edge for edge in self._draft.edges if edge.before == SOURCE)
        bare = self._draft.with_(edges=tuple(edge for edge in self._draft.edges if edge.before != SOURCE))
        filtered = Flow[Any](bare, ((SOURCE, ""),)).filter(function, name=name)._draft
        draft = filtered.with_(edges=filtered.edges + tuple(Edge(name, edge.port, edge.after) for edge in first))
        moved = {(SOURCE, ""): (name, "")}
        ends = tuple(moved.get(end, end) for end in self._ends)
        sunk = tuple(moved.get(end, end) for end in self._sunk)
        return self._next(draft, ends, "where", forked=self._forked, sunk=sunk)

    @overload
    def route(
        self,
        function: Callable[[T_co], object] | str,
        branches: None = None,
        *,
        name: str | None = None,
        options: CallOptions | None = None,
        **more: Callable[[Flow[T_co]], Flow[U]],
    ) -> Flow[T_co | U]: ...

    @overload
    def route(
        self,
        function: Callable[[T_co], object] | str,
        branches: Mapping[str, Branch] | Sequence[str],
        *,
        name: str | None = None,
        options: CallOptions | None = None,
        **more: Branch,
    ) -> Flow[Any]: ...

    def route(
        self,
        function: Callable[[T_co], object] | str,
        branches: Mapping[str, Branch] | Sequence[str] | None = None,
        *,
        name: str | None = None,
        options: CallOptions | None = None,
        **more: Branch,
    ) -> Flow[Any]:
        """Send each row the way that a function names: one of the branches, or the way on.

        A branch that does not end in a sink comes back to the way on. Yes and no count as "true" and "false". A row that is
        sent where no branch is goes to quarantine.

        Args:
            function: A function of a row, or an expression, that gives the name of a branch, or None (in an expression, "")
                for the way on.
            branches: Branches whose names are no identifiers, as a mapping; or names alone, whose ways are told by `after`.
            name: Of the node; by default that of the function.
            options: Those of `CallOptions`, as one dict, since names that follow are branches.
            more: Branches by name, each a function of a flow that gives the flow with the nodes of the branch.

        Examples:
            >>> numbers = Pipeline().source([5, 50])
            >>> routed = numbers.route(lambda n: "large" if n > 9 else None, large=lambda flow: flow.map(hex))
            >>> report = routed.sink(print).run()
            5
            0x32
        """
        named = _branches("route", branches, more)
        told: CallOptions = {"name": name, **(options or {})}
        node = self._calling("route", as_function(function, "route"), told, tuple(named))
        draft, ends = self._added(node), [(node.name, "")]
        for branch, build in named.items():
            if build is not None:
                draft, came = _built(draft, node.name, branch, build)
                ends += came
        return self._next(draft, tuple(ends), "route")

    # --- nodes that part and bring together ---

    def fork(
        self,
        branches: Mapping[str, Branch] | Sequence[str] | None = None,
        *,
        name: str | None = None,
        **more: Callable[[Flow[T_co]], Flow[U]],
    ) -> Forked[T_co, U]:
        """Send each row along every branch at once; `join` brings the parts together again.

        Each branch gets a shallow copy of a dict, list or set, and any other row as it is. Without a `join`, what the
        branches give goes on as rows of their own. A branch that ends in a sink takes no part in a join.

        Args:
            branches: Branches whose names are no identifiers, as a mapping; or names alone, whose ways are told by `after`.
            name: Of the node; by default "fork".
            more: Branches by name, each a function of a flow that gives the flow with the nodes of the branch.

        Examples:
            >>> cities = Pipeline().source(["Lund"])
            >>> forked = cities.fork(loud=lambda flow: flow.map(str.upper), long=lambda flow: flow.map(len))
            >>> report = forked.join(merge=lambda city, parts: (city, parts["loud"], parts["long"])).sink(print).run()
            ('Lund', 'LUND', 4)
        """
        named = _branches("fork", branches, more)
        plan = ForkPlan(self._named(name, "fork"), tuple(named))
        draft, ends = self._added(plan), list[End]()
        for branch, build in named.items():
            if build is not None:
                draft, came = _built(draft, plan.name, branch, build)
                ends += came
        return self._gives(
            Forked(draft, tuple(ends), inside=self._inside, sink_name=self._sink_name, forked=plan.name), "fork"
        )

    def join(
        self,
        *,
        require: Require = "all",
        within: float | None = None,
        merge: Callable[[Any, Any], Any] | None = None,
        on_missing: Literal["quarantine", "drop", "fail"] = "quarantine",
        late: Branch | bool | None = None,
        fork: str | None = None,
        **options: Unpack[CallOptions],
    ) -> Flow[Any]:
        """Bring together what the branches of a `fork` made of a row.

        Args:
            require: How many parts a row needs: "all"; "any", the first that comes; a number, at least so many of those
                that come; "best", whatever comes.
            within: Seconds from the fork on, after which the row goes on with what is there.
            merge: A function of the row before the fork and of a dict of the parts by branch, whose `missing` says which
                are not there, and why. It gives the row from here on. Without it, the row is that dict.
            on_missing: What becomes of a row that lacks parts.
            late: A branch for parts that come afterwards, which ends in a sink. Without it they are dropped, and counted.
                True says that its way is told by `after("NAME.late")`.
            fork: The name of the fork, where it does not stand right before.
            options: Those of `CallOptions` for the calls of `merge`; `name` is that of the join.

        Examples:
            >>> cities = Pipeline().source(["Lund"])
            >>> forked = cities.fork(loud=lambda flow: flow.map(str.upper), long=lambda flow: flow.map(len))
            >>> report = forked.join(require="any", within=30.0).map(dict).sink(lambda parts: None).run()
            >>> report.delivered
            1
        """
        fork = fork or self._forked
        if fork is None:
            raise ConfigError("join: no fork stands right before it")
        name = options.pop("name", None)
        if merge is None and options:
            raise ConfigError(f"join: {next(iter(options))}= is for the calls of merge=, which is missing")
        named = self._named(name, "join")
        plan = JoinPlan.of(named, fork, require, within, on_missing, bare=merge is None, late=bool(late))
        draft = self._added(plan)
        if callable(late):
            draft, ends = _built(draft, plan.name, LATE, late)
            if ends:
                raise ConfigError("join: late= is a branch that ends in a sink")
        joined = self._next(draft, ((plan.name, ""),), "join")
        if merge is None:
            return joined
        options["name"] = draft.unused(f"{plan.name}.merge")
        return joined._call("merge", merge, options)

    def batch(
        self,
        count: int | None = None,
        *,
        within: float | None = None,
        max_bytes: int | None = None,
        key: Callable[[T_co], Hashable] | str | None = None,
        size: Callable[[T_co], int] | None = None,
        name: str | None = None,
    ) -> Flow[list[T_co]]:
        """Gather rows into lists; whichever bound is reached first. What is left at the end goes on.

        A batch stands at the place of its first row. A row for which `key` or `size` raises goes to quarantine.

        Args:
            count: So many rows.
            within: What has come so many seconds after the first.
            max_bytes: So many bytes.
            key: Of a row, a plain function or an expression; each key has batches of its own.
            size: Of a row in bytes, a plain function; by default, of its JSON.
            name: Of the node; by default "batch".

        Examples:
            >>> report = Pipeline().source(range(5)).batch(2).sink(print).run()
            [0, 1]
            [2, 3]
            [4]
        """
        if count is None and within is None and max_bytes is None:
            raise ConfigError("batch: say how many rows, within= how many seconds, or max_bytes=")
        by = as_function(key, "key") if key is not None else None
        return self._stands(BatchPlan.of(self._named(name, "batch"), count, within, max_bytes, by, size))

    def unbatch(self: Flow[Iterable[U]], *, name: str | None = None) -> Flow[U]:
        """Let the rows of a batch go on by themselves, at their own places.

        The row that comes is a list with one value for each row of the batch.

        Args:
            name: Of the node; by default "unbatch".

        Examples:
            >>> batches = Pipeline().source(range(4)).batch(2)
            >>> report = batches.map(lambda rows: [n * n for n in rows]).unbatch().sink(print).run()
            0
            1
            4
            9
        """
        return self._stands(UnbatchPlan(self._named(name, "unbatch")))

    def dedupe(self, key: Callable[[T_co], Hashable] | str, within: int, *, name: str | None = None) -> Flow[T_co]:
        """Drops each row whose key one of the last rows has had, so that of rows with one key the first goes on.

        Rows are looked at in the order of the source, so it is always the same ones that go on, whatever the order in which
        calls before it end. Over several lives of a run, with a journal, no duplicate gets through and no first one is lost.
        A duplicate is dropped with the reason `duplicate of row 7`, which `headrace explain` shows.

        Args:
            key: Of a row: a function that is not `async`, or an expression, such as the name of a field. Keys are text,
                numbers, None, dates, or tuples, frozensets, enums and frozen dataclasses of these. A row whose key is
                anything else (a list, NaN) goes to quarantine.
            within: How many rows are remembered, duplicates among them, and so the most memory that this takes.
            name: Of the node; by default "dedupe".

        Raises:
            ConfigError: An option cannot be.

        Examples:
            >>> rows = ["ann@x", "bob@x", "Ann@x", "ann@x"]
            >>> report = Pipeline().source(rows).dedupe(key=str.lower, within=1_000).sink(print).run()
            ann@x
            bob@x
            >>> report.dropped
            2
        """
        return self._stands(DedupePlan.of(self._named(name, "dedupe"), as_function(key, "key"), within))

    # --- where rows leave ---

    def sink(
        self,
        sink: SinkConnector | Callable[[T_co], object],
        *,
        name: str | None = None,
        ordered: bool | None = None,
        on_error: Literal["abort", "drain"] = "abort",
    ) -> Flow[Never]:
        """Say where rows leave. Another sink right after it gets the same rows.

        Args:
            sink: A connector out of `sinks` or of your own (`SinkConnector`), or a function, `async` or not, that gets one
                row's value a call.
            name: Of the node; by default "sink", or the name of its branch.
            ordered: Whether rows come in the order of the source; by default as the pipeline says.
            on_error: What a failed write does to the rest of the run: "abort" ends it, "drain" lets it finish what is under
                way. The run has failed either way.

        Examples:
            >>> seen = []
            >>> report = Pipeline().source(["Lund"]).sink(print).sink(seen.append).run()
            Lund
            >>> seen
            ['Lund']
        """
        if on_error not in ("abort", "drain"):
            raise ConfigError(f"sink: on_error={on_error!r}: 'abort' or 'drain'")
        if not self._ends and not self._sunk:
            raise ConfigError("nothing leads to this sink")
        connector = as_sink(sink)
        if any(isinstance(node, SinkPlan) and node.connector is connector for node in self._draft.nodes):
            raise ConfigError(f"sink: {connector_name(connector)} is a sink already; two would write over each other")
        in_order = self._draft.ordered if ordered is None else ordered
        draft, ends, sunk = self._draft, self._ends, self._ends
        if not ends:
            draft, way, sunk = second_way(draft, self._sunk)
            ends = (way,)
        if name is None:
            name = draft.unused(self._sink_name)
        draft = draft.add(SinkPlan(name, connector, in_order, on_error), ends)
        return self._next(draft, (), "sink", sunk=sunk)

    def quarantine(self, sink: SinkConnector | Callable[[Any], object]) -> Flow[T_co]:
        """Say where rows go that could not be delivered, as dicts: seq, branch, stage, error, message, attempts, row.

        Args:
            sink: A connector or a function, as of `sink`.

        Examples:
            >>> numbers = Pipeline().source(["12", "twelve"]).map(int).sink(lambda row: None)
            >>> report = numbers.quarantine(lambda record: print(record["seq"], record["error"])).run()
            1 ValueError
        """
        if self._draft.quarantine is not None:
            raise ConfigError(f"pipeline {self.name!r} has a quarantine already")
        draft = self._draft.with_(quarantine=as_sink(sink))
        return self._next(draft, self._ends, "quarantine", forked=self._forked, sunk=self._sunk)

    # --- how it is done ---

    def _call(self, kind: Kind, function: Callable[..., Any], options: CallOptions) -> Flow[Any]:
        return self._stands(self._calling(kind, function, options))

    def _calling(
        self, kind: Kind, function: Callable[..., Any], options: CallOptions, branches: tuple[str, ...] = ()
    ) -> StagePlan:
        name = options.get("name")
        if name is None:
            name = self._draft.unused(function_name(function) if callable(function) else kind)
        return stage_plan(kind, function, name, options, branches)

    def _named(self, name: str | None, base: str) -> str:
        return self._draft.unused(base) if name is None else name

    def _stands(self, node: NodePlan) -> Flow[Any]:
        return self._next(self._added(node), ((node.name, ""),), node.kind)

    def _added(self, node: NodePlan) -> Draft:
        if not self._ends:
            raise ConfigError(
                f"{node.name!r} stands after a sink, from which nothing goes on; let the sink be a branch of a fork"
            )
        return self._draft.add(node, self._ends)

    def _next(
        self,
        draft: Draft,
        ends: tuple[End, ...],
        how: str,
        *,
        sink_name: str | None = None,
        forked: str | None = None,
        sunk: tuple[End, ...] = (),
    ) -> Flow[Any]:
        """Another flow. `how`: the method that gives it."""
        named = self._sink_name if sink_name is None else sink_name
        return self._gives(Flow[Any](draft, ends, inside=self._inside, sink_name=named, forked=forked, sunk=sunk), how)


class Forked(Flow[U], Generic[T, U]):
    """Right after a `fork`: `T` is the type of the rows before it, `U` of what its branches give."""

    @overload  # type: ignore[override]
    def join(
        self,
        *,
        merge: Callable[[T, Parts[U]], Awaitable[V]],
        require: Require = "all",
        within: float | None = None,
        on_missing: Literal["quarantine", "drop", "fail"] = "quarantine",
        late: Branch | bool | None = None,
        fork: str | None = None,
        **options: Unpack[CallOptions],
    ) -> Flow[V]: ...

    @overload
    def join(
        self,
        *,
        merge: Callable[[T, Parts[U]], V],
        require: Require = "all",
        within: float | None = None,
        on_missing: Literal["quarantine", "drop", "fail"] = "quarantine",
        late: Branch | bool | None = None,
        fork: str | None = None,
        **options: Unpack[CallOptions],
    ) -> Flow[V]: ...

    @overload
    def join(
        self,
        *,
        merge: None = None,
        require: Require = "all",
        within: float | None = None,
        on_missing: Literal["quarantine", "drop", "fail"] = "quarantine",
        late: Branch | bool | None = None,
        fork: str | None = None,
        name: str | None = None,
    ) -> Flow[Parts[U]]: ...

    def join(self, **options: Any) -> Flow[Any]:
        """As `Flow.join`, with the types of what was forked."""
        return super().join(**options)


Branch = Callable[[Flow[Any]], Flow[Any]]
"""Builds a branch: is given its flow, and returns the flow that has the nodes of the branch."""


def _built(draft: Draft, at: str, branch: str, build: Branch) -> tuple[Draft, tuple[End, ...]]:
    """The draft with a branch, and where that leads to."""
    flow = Flow[Any](draft, ((at, branch),), inside=True, sink_name=branch)
    built: Any = build(flow)
    if not isinstance(built, Flow) or not built._draft.goes_on_from(draft):
        if is_awaitable(built):
            discard(built)
        raise ConfigError(
            f"branch {branch!r} of {at!r}: the function must return the flow that it was given, with what it adds to it"
        )
    built._check_nothing_dropped()
    return built._draft, built._ends


def _branches(
    kind: str, branches: Mapping[str, Branch] | Sequence[str] | None, more: Mapping[str, Branch]
) -> dict[str, Branch | None]:
    """What builds each branch; None where that is told by `after`."""
    told: Mapping[str, Branch | None] = branches if isinstance(branches, Mapping) else dict.fromkeys(branches or ())
    named = {**told, **more}
    if not named:
        raise ConfigError(f"{kind}: without branches; name each, {kind}(..., review=lambda flow: flow.sink(...))")
    for name, build in named.items():
        if build is not None and not callable(build):
            raise ConfigError(f"{kind}: branch {name!r} is a {type(build).__name__}; a function of a flow is expected")
        check_name(f"{kind}: branch", name)
    return named
