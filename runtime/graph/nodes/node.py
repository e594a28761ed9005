"""What an entry says of its kind of node. There is one entry a kind, in a file of this room, and `kinds.py` lists them.

An entry is a struct with what the user said of one node. All other files ask it instead of telling the kinds apart: the
graph for its ports and for what rows are made of behind it, the type check for what it takes and gives, the drawing for its
label, job files for its keys, the journal for what it does and whether it has state, the wiring for its actor. The type
checker names whatever a new entry forgot, where it is made.

A kind with state tells the journal of it by `Noted`, which comes back in the next life (`Recovered.noted`). A kind that says
that it has `state` and whose actor does not note it is refused where there is a journal; see `NodePlan.state`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Hashable, Mapping
from contextvars import Context
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

import msgspec

from headrace.actors.actor import Actor, Ref
from headrace.actors.edges.outputs import Outputs
from headrace.actors.joins.terms import JoinTerms
from headrace.actors.journaling.recovered import Recovered
from headrace.actors.journaling.stage_record import StageRecord

from ...errors import GraphError
from ...hosts.loop_home import LoopHome

if TYPE_CHECKING:
    from ...calls.processes.pool import Pool

Shape = tuple[str, ...]
"""What rows at a place are made of: the splits, forks and batches that they are under, outermost first."""
MIXED = "?"
"""Under different ones, by the way that they came."""
ROWS_OF_SOURCE = "rows of the source"
Moves = Literal["stage", "flat_map", "fork", "join", "batch", "unbatch", "sink"]
"""How identities go through a node: one for one ("stage"), or as in the kind of that name."""
State = Literal["none", "noted", "lost"]
"""Whether a node has state from one row to the next: "noted" in the journal, or "lost" with the process."""


class Picture(NamedTuple):
    """How a node is drawn: what stands around its label in Mermaid, and its shape in Graphviz."""

    mermaid: tuple[str, str]
    dot: str


class FileKeys(NamedTuple):
    """What files say of a kind. `keys`: those besides `kind`, `name` and `after`; each is a field of `NodeOptions`, and a
    parameter of the method of `Flow`. `function`: the parameter for what is named by `call`, or said by the expression `by`;
    None where there is none. `needed`: there must be one. `expression`: it may be one. `calls`: the node calls it, with the
    options of `map`, each "inline" or all as one parameter `options`."""

    keys: tuple[str, ...] = ()
    function: str | None = None
    needed: bool = True
    expression: bool = False
    calls: Literal["inline", "options"] | None = None


class Surroundings(Protocol):
    """What calls need of the host. `id`: of the run, as its calls' keys begin. `context`: of whoever started it."""

    id: str
    context: Context

    def monotonic(self) -> float:
        """Seconds, by the clock that the actors go by."""

    def loop(self) -> LoopHome:
        """The loop of this run's coroutines, made when it is first asked for."""


class Wiring(Protocol):
    """What an entry is given to make its actor with: who is told by whom, in one run."""

    conductor: Ref
    account: Ref
    """Who is told of outcomes: the ledger, or the journal in front of it."""
    journal: Ref | None
    past: Recovered
    around: Surroundings
    suspends: bool
    """The run may be suspended."""

    def inputs(self, name: str) -> int:
        """How many tell the node that no more rows come."""

    def outputs(self, name: str, *, late: bool = False) -> Outputs:
        """The ways out of a node; with `late`, those of the parts that come too late to a join."""

    def outputs_of_sink(self, name: str) -> Outputs:
        """How rows end in a sink that cannot hold them."""

    def before(self, name: str) -> Ref | None:
        """Who is told how many rows the node can take; None where nobody is."""

    def join_of(self, fork: str) -> Ref | None:
        """The join that closes a fork."""

    def join_terms(self, join: str) -> JoinTerms:
        """What a join must know of its fork."""

    def governor(self, stage: str) -> Ref:
        """Who gives a stage its permits."""

    def record(self, stage: str) -> StageRecord | None:
        """A stage's share of the journal, if there is one."""

    def writer(self, sink: str) -> Ref:
        """Who writes for a sink."""

    def processes(self, stage: str) -> Pool | None:
        """The processes that call a stage's function; None where it is called in this one."""

    def apart(self, function: Callable[[object], object] | None) -> Callable[[object], Any] | None:
        """The function, in a context of its own at each call."""

    def heard(self, actor: Actor, role: str, name: str) -> Actor:
        """The actor, listened to by the observers of the run."""


class NodePlan(msgspec.Struct, frozen=True):
    """One node of a pipeline, as the user wrote it down. An entry overrides what is abstract here, and of the rest what is
    not so for its kind."""

    name: str
    kind: ClassVar[str]
    """As the method of `Flow` is called, and as files, pictures and journals say."""

    # --- in files ---

    @classmethod
    @abstractmethod
    def in_files(cls) -> FileKeys | None:
        """What files say of it; None where it has no `kind` there."""

    # --- in the graph ---

    @abstractmethod
    def check_ports(self, ports: Collection[str]) -> None:
        """Raises `GraphError` where edges leave it by these ports, and cannot, or one is missing."""

    @abstractmethod
    def shape_after(self, shape: Shape, port: str) -> Shape:
        """What rows are made of behind it, which are of this shape before it."""

    @property
    @abstractmethod
    def moves(self) -> Moves:
        """How identities go through it."""

    @property
    @abstractmethod
    def in_order(self) -> bool:
        """Its rows must come in the order of the source, so a reorder buffer stands in front of it."""

    @property
    def holds(self) -> bool:
        """Its actor keeps rows until there are enough of them; it is told by `FlushUpTo` when to let them go."""
        return False

    @property
    def window_rows(self) -> int:
        """So many rows at least should be under way."""
        return 0

    def check_window(self, window: int | None) -> None:
        """Raises `ConfigError` where a window that the user stated is too small."""

    # --- types ---

    @abstractmethod
    def check_takes(self, came: object) -> None:
        """Raises `GraphError` where it cannot take rows of this type, or `Batched`; None: nobody knows."""

    @abstractmethod
    def gives(self, came: object, port: str) -> object:
        """The type of the rows behind it."""

    # --- for people ---

    @property
    @abstractmethod
    def label(self) -> str:
        """What it is, in a few words."""

    @property
    @abstractmethod
    def picture(self) -> Picture:
        """How the node is drawn."""

    @classmethod
    def meaning(cls, said: Any) -> tuple[str, dict[str, object]]:
        """What became of a row by what was answered of it, as the journal has it; and details. For `explain`."""
        return "answered", {}

    # --- in the journal ---

    @abstractmethod
    def said(self) -> dict[str, object]:
        """What was said of it, in plain words, by which it is known again; besides its functions."""

    @abstractmethod
    def functions(self) -> Mapping[str, Callable[..., object] | None]:
        """Those that it calls, by what they are for, by which it is known again."""

    @property
    @abstractmethod
    def state(self) -> State:
        """Whether it has any from one row to the next. What is "lost" would be wrong after a resume, without a word, so a
        run with such a node is refused a journal."""

    # --- what carries it ---

    @property
    @abstractmethod
    def never_waits(self) -> bool:
        """Its actor calls nobody's code: it only orders, gathers and counts."""

    @abstractmethod
    def actor(self, wiring: Wiring) -> Actor:
        """The actor of this node in one run."""

    # --- for entries ---

    def check_no_branches(self, ports: Collection[str]) -> None:
        """Raises `GraphError` where it has an edge besides the main line."""
        unknown = [port for port in ports if port]
        if unknown:
            raise GraphError(
                self.name, f"{self.name!r} has no branch {unknown[0]!r}; only forks and routes have branches"
            )

    def called(self, what: str) -> str:
        """Its name, with what it is where the name does not say so."""
        return self.name if self.name.startswith(what) else f"{what} {self.name}"


Key = Callable[[object], Hashable]
