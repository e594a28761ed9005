"""How a graph is written down: rows flow from one node to the next, part ways and meet again.

A `Flow` is the place where the next node will stand: one way or several that have come together there. Its methods add
a node, move on, and return it. A branch is a function that is given a flow of its own.
"""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Any, Literal, Self

import msgspec

from headrace.actors.join import LATE, Require

from .calls.answers import Kind, check_answers_at_once, check_function
from .connectors.check import as_sink
from .connectors.port import SinkConnector
from .draft import Draft, End
from .errors import ConfigError
from .limits import Limit, Retry, as_limit, as_retry, check_on_unknown, checked_times
from .names import check_name, connector_name, function_name
from .plan import SOURCE, BatchPlan, Edge, ForkPlan, JoinPlan, Node, SinkPlan, StagePlan, UnbatchPlan
from .quantities import BYTES, PARTS, ROWS, SECONDS, option, optional
from .quantities import WORKERS as WORKER_COUNT

WORKERS = 16
"""Calls in flight of a node that does not say."""


class Flow:
    """See the module."""

    def __init__(self, draft: Draft, ends: list[End], ordered: bool, branch: str = "sink") -> None:
        self._draft = draft
        self._branch = branch
        self._ends = ends
        self._ordered = ordered
        self._forked: str | None = None
        """The fork that has just been made, as long as nothing has come after it."""
        self._sunk: list[End] = []
        """Where the last sink stands, as long as nothing but sinks has come after it."""

    def after(self, *names: str) -> Self:
        """What is added next stands after these nodes, wherever they are: `"score"`, or a branch of a fork or route, as
        `"triage.review"`. So graphs can be written down that are no nested branches.

            .route(triage, ["review"], name="triage")
            .after("triage.review").map(look_at).after("triage", "look_at").sink(save)
        """
        self._ends = [self._end(name) for name in names]
        self._branch = self._ends[0][1] if len(names) == 1 and self._ends[0][1] else "sink"
        self._forked = None
        self._sunk = []
        return self

    def _end(self, name: str) -> End:
        known = self._draft.named() | {SOURCE}
        if name in known:
            return name, ""
        node, _, port = name.rpartition(".")
        if node in known:
            return node, port
        near = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"after {name!r}: no node before it has this name{hint}")

    @property
    def nodes(self) -> set[str]:
        """The names of all nodes so far."""
        return self._draft.named()

    # --- nodes that call a function ---

    def map(
        self,
        function: Callable[[Any], Any],
        *,
        name: str | None = None,
        workers: int = WORKERS,
        limit: Limit | str | None = None,
        retry: Retry | int | None = None,
        timeout: float | None = None,
        deadline: float | None = None,
        on_error: Literal["quarantine", "fail", "drop"] = "quarantine",
        on_unknown: Literal["retry", "quarantine"] = "retry",
        version: str | int | None = None,
    ) -> Self:
        """A stage that calls `function` with each row; its result is the row from there on.

        `workers`: calls in flight at most; threads for a function, places on one event loop for a coroutine function. What
        a plain function gives as a coroutine (a lambda around one, a method of a client) is awaited on that loop, and its
        thread waits for it, so a coroutine function itself is the better thing to give.
        `timeout`: seconds for one attempt, waits not included. `deadline`: seconds for a row in this stage, all waits
        included. `on_error`: what becomes of a row whose attempts are used up. `on_unknown`: of one whose call may or may
        not have happened. `version`: what `function` is to a journal, in place of its code and of what it uses: under the
        same version a run goes on whatever was edited, under another one it does not.

        Raises `ConfigError`, as all methods here do.
        """
        return self._call(
            "map", function, name, workers, limit, retry, timeout, deadline, on_error, on_unknown, version
        )

    def flat_map(self, function: Callable[[Any], Any], *, name: str | None = None, **options: Any) -> Self:
        """As `map`, for a function that gives any number of rows for one: a list, an iterable, a generator, also an
        asynchronous one.

        They keep the place of their row, and among themselves their order. A row of which none come is dropped. Options as
        of `map`.
        """
        return self._call("flat_map", function, name, **options)

    def filter(self, function: Callable[[Any], Any] | str, *, name: str | None = None, **options: Any) -> Self:
        """Rows of which `function`, or an expression such as `"risk > 0.8"`, says yes go on as they are; the others are
        dropped. Options as of `map`."""
        return self._call("filter", as_function(function, "filter"), name, **options)

    def tap(self, function: Callable[[Any], object], *, name: str | None = None, **options: Any) -> Self:
        """Calls `function` with each row for what it does; the row goes on as it is. Options as of `map`."""
        return self._call("tap", function, name, **options)

    def route(
        self,
        function: Callable[[Any], str | Awaitable[str | None] | None] | str,
        branches: Mapping[str, Branch] | Sequence[str] | None = None,
        *,
        name: str | None = None,
        options: Mapping[str, Any] | None = None,
        **more: Branch,
    ) -> Self:
        """Sends each row the way that `function`, or an expression, names: one of the branches, or None, the way on (in
        an expression, "").

            .route(lambda row: "review" if row.risk > 0.8 else None, review=lambda flow: flow.sink(save))

        A branch that does not end in a sink comes back to the way on. Yes and no count as "true" and "false". A row
        that is sent where no branch is goes to quarantine. `branches`: those whose names are no identifiers; or names
        alone, whose ways are told by `after`. `options`: as of `map`.
        """
        named = _branches("route", branches, more)
        says = as_function(function, "route")
        at = self._call("route", says, name, branches=tuple(named), **dict(options or {}))._ends[0][0]
        for branch, build in named.items():
            if build is not None:
                self._ends += self._built(at, branch, build)
        return self

    # --- nodes that part and bring together ---

    def fork(
        self, branches: Mapping[str, Branch] | Sequence[str] | None = None, *, name: str | None = None, **more: Branch
    ) -> Self:
        """Sends each row along every branch at once; `join` brings the parts together again.

            .fork(summary=lambda flow: flow.map(ask_a), second=lambda flow: flow.map(ask_b))
            .join(require=1, within=30.0, merge=both)

        Each branch gets a shallow copy of a dict, list or set, and any other row as it is. Without a `join`, what the
        branches give goes on as rows of their own. A branch that ends in a sink takes no part in a join. `branches`: as
        of `route`.
        """
        named = _branches("fork", branches, more)
        plan = ForkPlan(self._named(name, "fork"), tuple(named))
        self._add(plan)
        self._ends = [
            end for branch, build in named.items() if build is not None for end in self._built(plan.name, branch, build)
        ]
        self._forked = plan.name
        return self

    def join(
        self,
        *,
        require: Require = "all",
        within: float | None = None,
        merge: Callable[[Any, Any], Any] | None = None,
        on_missing: Literal["quarantine", "drop", "fail"] = "quarantine",
        late: Branch | bool | None = None,
        fork: str | None = None,
        name: str | None = None,
        **options: Any,
    ) -> Self:
        """Brings together what the branches of the `fork` before it made of a row; of the one of that name, after `after`.

        `require`: "all" parts; "any", the first that comes; a number, at least so many of those that come; "best",
        whatever comes. `within`: seconds from the fork on, after which it goes on with what is there. `on_missing`:
        what becomes of a row that lacks parts. `late`: a branch for parts that come afterwards, which ends in a sink;
        without it they are dropped, and counted; True: its way is told by `after("NAME.late")`. `merge(row, parts)`
        gives the row from here on, of the row before the fork and a dict of the parts by branch, whose `missing` says
        which are not there, and why; without it, the row is that dict. Further options are those of `map`, for the
        calls of `merge`.
        """
        fork = fork or self._forked
        if fork is None:
            raise ConfigError("join: no fork stands right before it")
        within = optional("join", "within", within, SECONDS)
        if not (isinstance(require, str) and require in ("all", "any", "best")):
            require = option("join", "require", require, PARTS)
        if on_missing not in ("quarantine", "drop", "fail"):
            raise ConfigError(f"join: on_missing={on_missing!r}: 'quarantine', 'drop' or 'fail'")
        if merge is None and options:
            raise ConfigError(f"join: {next(iter(options))}= is for the calls of merge=, which is missing")
        plan = JoinPlan(self._named(name, "join"), fork, require, within, on_missing, merge is None, late=bool(late))
        self._add(plan)
        if callable(late) and self._built(plan.name, LATE, late):
            raise ConfigError("join: late= is a branch that ends in a sink")
        if merge is not None:
            self._call("merge", merge, self._draft.unused(f"{plan.name}.merge"), **options)
        return self

    def batch(
        self,
        count: int | None = None,
        *,
        within: float | None = None,
        max_bytes: int | None = None,
        key: Callable[[Any], Hashable] | str | None = None,
        size: Callable[[Any], int] | None = None,
        name: str | None = None,
    ) -> Self:
        """Gathers rows into lists: of `count` rows, of `max_bytes`, or of what has come `within` so many seconds after the
        first; whichever comes first. What is left at the end goes on.

        `key`: of a row, a function or an expression; each has batches of its own. `size`: of a row in bytes; by
        default, of its JSON. Neither is `async`: they must answer at once, and a row for which they raise goes to
        quarantine. A batch stands at the place of its first row.
        """
        if count is None and within is None and max_bytes is None:
            raise ConfigError("batch: say how many rows, within= how many seconds, or max_bytes=")
        count = optional("batch", "count", count, ROWS)
        within = optional("batch", "within", within, SECONDS)
        max_bytes = optional("batch", "max_bytes", max_bytes, BYTES)
        if size is not None and max_bytes is None:
            raise ConfigError("batch: size= is for max_bytes=, which is missing")
        measure = size or (json_size if max_bytes is not None else None)
        by = as_function(key, "key") if key is not None else None
        check_answers_at_once("batch", "key=", by)
        check_answers_at_once("batch", "size=", measure)
        self._add(BatchPlan(self._named(name, "batch"), count, max_bytes, within, by, measure))
        return self

    def unbatch(self, *, name: str | None = None) -> Self:
        """The rows of a batch go on by themselves, at their own places: a list with one value for each of them."""
        self._add(UnbatchPlan(self._named(name, "unbatch")))
        return self

    def sink(
        self,
        sink: SinkConnector | Callable[[Any], object],
        *,
        name: str | None = None,
        ordered: bool | None = None,
        on_error: Literal["abort", "drain"] = "abort",
    ) -> Self:
        """Where rows leave: a connector out of `sinks` or of your own (`SinkConnector`), or a function, `async` or not, that
        gets one row's value a call. Another sink right after it gets the same rows.

        `ordered`: in the order of the source; by default as the pipeline says. `on_error`: what a failed write does to the
        rest of the run: aborts it, or lets it finish what is under way (`drain`). The run has failed either way.
        """
        if on_error not in ("abort", "drain"):
            raise ConfigError(f"sink: on_error={on_error!r}: 'abort' or 'drain'")
        if not self._ends and not self._sunk:
            raise ConfigError("nothing leads to this sink")
        connector = as_sink(sink)
        if any(isinstance(node, SinkPlan) and node.connector is connector for node in self._draft.nodes):
            raise ConfigError(f"sink: {connector_name(connector)} is a sink already; two would write over each other")
        if not self._ends:
            self._ends = [self._second_way()]
        else:
            self._sunk = list(self._ends)
        in_order = self._ordered if ordered is None else ordered
        base = self._named(name, self._branch)
        sunk = self._sunk
        self._add(SinkPlan(base, connector, in_order, on_error))
        self._ends, self._sunk = [], sunk
        return self

    def _second_way(self) -> End:
        """One more way from where the last sink stands: the first time, by a fork put in front of it."""
        draft = self._draft
        first, port = self._sunk[0]
        fork = next((node for node in draft.nodes if isinstance(node, ForkPlan) and node.name == first), None)
        # Whoever writes a fork down lets things stand after its branches.
        if fork is None or port:
            sink = next(edge.after for edge in draft.edges if (edge.before, edge.port) == self._sunk[0])
            draft.edges = [edge for edge in draft.edges if edge.after != sink]
            fork = ForkPlan(draft.unused("sinks"), (sink,))
            draft.add(fork, self._sunk)
            draft.edges.append(Edge(fork.name, sink, sink))
            self._sunk = [(fork.name, "")]
        way = str(len(fork.branches) + 1)
        draft.nodes[draft.nodes.index(fork)] = msgspec.structs.replace(fork, branches=(*fork.branches, way))
        return fork.name, way

    # --- how it is done ---

    def _call(
        self,
        kind: Kind,
        function: Callable[..., Any],
        name: str | None = None,
        workers: int = WORKERS,
        limit: Limit | str | None = None,
        retry: Retry | int | None = None,
        timeout: float | None = None,
        deadline: float | None = None,
        on_error: Literal["quarantine", "fail", "drop"] = "quarantine",
        on_unknown: Literal["retry", "quarantine"] = "retry",
        version: str | int | None = None,
        branches: tuple[str, ...] = (),
    ) -> Self:
        if not callable(function):
            raise ConfigError(f"{kind}: {type(function).__name__} is not callable; give a function of a row")
        workers = option(kind, "workers", workers, WORKER_COUNT)
        timeout, deadline = checked_times(kind, timeout, deadline)
        check_on_unknown(kind, on_unknown)
        if on_error not in ("quarantine", "fail", "drop"):
            raise ConfigError(f"{kind}: on_error={on_error!r}: 'quarantine', 'fail' or 'drop'")
        if isinstance(version, bool) or not isinstance(version, str | int | None):
            raise ConfigError(f"{kind}: version= is text or a whole number, not {type(version).__name__}")
        name = self._draft.unused(function_name(function)) if name is None else name
        policy = as_retry(retry) or Retry()
        check_function(kind, function)
        limited = as_limit(limit)
        for what, asked in (("limit=Limit(key=...)", limited.key), ("limit=Limit(cost=...)", limited.cost)):
            check_answers_at_once(kind, what, asked)
        check_answers_at_once(kind, "retry=Retry(classify=...)", policy.classify)
        self._add(
            StagePlan(
                name,
                function,
                workers,
                limited,
                policy,
                timeout,
                deadline,
                on_error,
                on_unknown,
                kind,
                branches,
                None if version is None else str(version),
            )
        )
        return self

    def _named(self, name: str | None, base: str) -> str:
        return self._draft.unused(base) if name is None else name

    def _add(self, node: Node) -> None:
        if not self._ends:
            raise ConfigError(
                f"{node.name!r} stands after a sink, from which nothing goes on; let the sink be a branch of a fork"
            )
        self._draft.add(node, self._ends)
        self._ends = [(node.name, "")]
        self._forked = None
        self._sunk = []

    def _built(self, at: str, branch: str, build: Branch) -> list[End]:
        """Where a branch leads to."""
        flow = Flow(self._draft, [(at, branch)], self._ordered, branch)
        built = build(flow)
        if built is not flow:
            raise ConfigError(f"branch {branch!r} of {at!r}: the function must return the flow that it was given")
        return flow._ends


Branch = Callable[[Flow], Flow]
"""Builds a branch: is given its flow, adds nodes to it, returns it."""


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


def as_function(function: Callable[[Any], Any] | str, name: str) -> Callable[[Any], Any]:
    """A function as it is; text as an expression of that name. Raises `ConfigError`."""
    if not isinstance(function, str):
        return function
    from .expressions import Expression

    return Expression(function, name)


def json_size(row: Any) -> int:
    """Bytes of a row, as JSON; of bytes and text, as they are."""
    if isinstance(row, bytes):
        return len(row)
    return len(row.encode()) if isinstance(row, str) else len(msgspec.json.encode(row, enc_hook=str))
