"""Nodes that call a function of a row: `map` and its like. They differ in what an answer means."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar, Literal

import msgspec

from headrace.actors.actor import Actor
from headrace.actors.edges.operators import Filter, Map, Operator, Split, Switch, Tap, branch_of_answer
from headrace.actors.stage import Stage
from headrace.actors.stages.terms import TRIAL_S, StageTerms

from ...calls.answers import Kind, answering, on_a_loop
from ...calls.making import CallMaker, CallTerms, calls_in_processes, calls_in_threads, calls_on_a_loop
from ...calls.place import Place
from ...errors import GraphError
from ...limits import Limit, Retry
from ...rows.contracts import complaint, item_of, signature_of
from ...rows.expressions import Expression
from .node import FileKeys, Moves, NodePlan, Picture, Shape, State, Wiring
from .types import Batched, check_expression, record


class StagePlan(NodePlan, frozen=True):
    """A node that calls a function."""

    function: Callable[..., object]
    workers: int
    limit: Limit
    retry: Retry
    timeout: float | None
    deadline: float | None
    on_error: Literal["quarantine", "fail", "drop"]
    on_unknown: Literal["retry", "quarantine"]
    branches: tuple[str, ...] = ()
    """Of a route."""
    version: str | None = None
    """What its function is to a journal, where the user says so."""
    on: Place = "threads"
    """Where a plain function is called."""
    memory: int | None = None
    """Bytes that each of its processes may take."""

    kind: ClassVar[Kind]
    wanted: ClassVar[tuple[str, ...]] = ()
    """What an expression in the place of its function must give; of any type where that is empty."""

    # --- what an answer means ---

    @abstractmethod
    def operator(self) -> Operator:
        """Which way a row goes by the answer."""

    @abstractmethod
    def keeps(self) -> tuple[object, Callable[[object], object] | None]:
        """What a journal keeps of an answer: the annotated type, for classes that cannot be found by a name; and what makes
        of it all that matters, where that is not all of it."""

    # --- the same for all of them ---

    @classmethod
    def in_files(cls) -> FileKeys | None:
        return FileKeys((), "function", calls="inline")

    @property
    def concurrent(self) -> bool:
        """Its function is a coroutine function, so its calls run on the loop."""
        return on_a_loop(self.kind, self.function)

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
        if isinstance(self.function, Expression):
            check_expression(self.name, self.function, came, self.wanted)
            return
        why = complaint(list if isinstance(came, Batched) else came, signature_of(self.function).takes)
        if why is not None:
            raise GraphError(
                self.name,
                f"{self.name!r} cannot take what comes to it: {why}; let a map before it make the one of the other",
            )

    def gives(self, came: object, port: str) -> object:
        return came

    @property
    def label(self) -> str:
        limit = f", {', '.join(self.limit.rates)}" if self.limit.rates else ""
        return f"{self._what()}{self.name} ({self.workers}{' on a loop' if self.concurrent else ''}{limit})"

    def _what(self) -> str:
        return f"{self.kind} "

    @property
    def picture(self) -> Picture:
        return Picture(("[", "]"), "box")

    def said(self) -> dict[str, object]:
        return {"branches": list(self.branches)}

    def functions(self) -> Mapping[str, Callable[..., object] | None]:
        return {
            "function": self.function,
            "cost": self.limit.cost,
            "key": self.limit.key,
            "classify": self.retry.classify,
        }

    @property
    def state(self) -> State:
        return "none"

    @property
    def never_waits(self) -> bool:
        return False

    @property
    def terms(self) -> StageTerms:
        """What its actor must know."""
        return StageTerms(
            name=self.name,
            workers=self.workers,
            timeout_s=self.timeout,
            deadline_s=self.deadline,
            backoff=self.retry.backoff,
            on_error=self.on_error,
            on_unknown=self.on_unknown,
            key=self.limit.key,
            weigh=self.limit.cost,
            weight_max=self.limit.terms.weight_max,
            hint_max_s=self.limit.terms.hint_max_s,
            trial_s=TRIAL_S,
            limit=self.limit.called(self.name),
        )

    def actor(self, wiring: Wiring) -> Actor:
        name, terms = self.name, self.terms
        calls = self._calls(wiring)
        key, weigh = wiring.apart(terms.key), wiring.apart(terms.weigh)
        terms = msgspec.structs.replace(terms, dispatch=calls.dispatch, key=key, weigh=weigh)
        stage = Stage(
            terms,
            wiring.governor(name),
            wiring.outputs(name),
            wiring.conductor,
            lambda ref: wiring.heard(calls.worker(ref), "worker", name),
            self.operator(),
            wiring.inputs(name),
            wiring.before(name),
            wiring.record(name),
            suspends=wiring.suspends,
        )
        return wiring.heard(stage, "stage", name)

    def _calls(self, wiring: Wiring) -> CallMaker:
        around, pool = wiring.around, wiring.processes(self.name)
        if pool is not None:
            return calls_in_processes(pool, self.timeout)
        terms = CallTerms(
            answering(self.kind, self.function),
            f"{around.id}:{self.name}",
            around.loop,
            self.timeout,
            self.retry.classify,
            around.context,
            reader=self.limit.headers,
            monotonic=around.monotonic,
        )
        return calls_on_a_loop(terms, self.workers) if self.concurrent else calls_in_threads(terms)


class MapPlan(StagePlan, frozen=True):
    """The answer is the row from there on."""

    kind: ClassVar[Kind] = "map"

    def operator(self) -> Operator:
        return Map()

    def keeps(self) -> tuple[object, Callable[[object], object] | None]:
        return signature_of(self.function).gives, None

    def gives(self, came: object, port: str) -> object:
        return record(signature_of(self.function).gives)

    def _what(self) -> str:
        return ""


class MergePlan(MapPlan, frozen=True):
    """The same for the parts of a row that a join has brought together."""

    kind: ClassVar[Kind] = "merge"

    @classmethod
    def in_files(cls) -> FileKeys | None:
        return None

    def check_takes(self, came: object) -> None:
        """What a join gives, each function may take otherwise."""


class FlatMapPlan(StagePlan, frozen=True):
    """Each item of the answer is a row from there on."""

    kind: ClassVar[Kind] = "flat_map"

    def operator(self) -> Operator:
        return Split()

    def keeps(self) -> tuple[object, Callable[[object], object] | None]:
        item = item_of(signature_of(self.function).gives)
        return (list[item] if item is not None else None), None  # type: ignore[valid-type]

    def shape_after(self, shape: Shape, port: str) -> Shape:
        return (*shape, f"flat_map {self.name}")

    @property
    def moves(self) -> Moves:
        return "flat_map"

    def gives(self, came: object, port: str) -> object:
        return record(item_of(signature_of(self.function).gives))

    @classmethod
    def meaning(cls, said: Any) -> tuple[str, dict[str, object]]:
        return ("split", {"into": len(said)}) if said else ("dropped", {"into": 0})


class FilterPlan(StagePlan, frozen=True):
    """Rows of which the answer is no are dropped."""

    kind: ClassVar[Kind] = "filter"
    wanted: ClassVar[tuple[str, ...]] = ("BOOL",)

    @classmethod
    def in_files(cls) -> FileKeys | None:
        return FileKeys((), "function", expression=True, calls="inline")

    def operator(self) -> Operator:
        return Filter()

    def keeps(self) -> tuple[object, Callable[[object], object] | None]:
        return None, bool

    @classmethod
    def meaning(cls, said: object) -> tuple[str, dict[str, object]]:
        return ("kept", {}) if said else ("dropped", {})


class TapPlan(StagePlan, frozen=True):
    """The row goes on as it is, whatever the answer."""

    kind: ClassVar[Kind] = "tap"

    def operator(self) -> Operator:
        return Tap()

    def keeps(self) -> tuple[object, Callable[[object], object] | None]:
        return None, _nothing


class RoutePlan(StagePlan, frozen=True):
    """The answer names the branch."""

    kind: ClassVar[Kind] = "route"
    wanted: ClassVar[tuple[str, ...]] = ("STRING", "BOOL", "NULL")

    @classmethod
    def in_files(cls) -> FileKeys | None:
        return FileKeys(("branches",), "function", expression=True, calls="options")

    def operator(self) -> Operator:
        return Switch()

    def keeps(self) -> tuple[object, Callable[[object], object] | None]:
        return None, _way

    def check_ports(self, ports: Collection[str]) -> None:
        name, branches = self.name, self.branches
        if not branches:
            raise GraphError(name, f"route {name!r} has no branches; name one, or use a filter")
        for branch in branches:
            if branch not in ports:
                raise GraphError(
                    name, f"branch {branch!r} of route {name!r} leads nowhere; let something stand after it"
                )
        unknown = [port for port in ports if port and port not in branches]
        if unknown:
            raise GraphError(name, f"route {name!r} has no branch {unknown[0]!r}; it has {', '.join(branches)}")

    @classmethod
    def meaning(cls, said: object) -> tuple[str, dict[str, object]]:
        return "routed", {"to": said or "the main line"}


def _nothing(_: object) -> None:
    return None


def _way(said: object) -> str | None:
    return branch_of_answer(said) if said is not None else None
