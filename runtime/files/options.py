"""What files say of nodes, limits and retries, whatever else they are about."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Struct

from ..calls.place import Place
from ..graph.nodes.kinds import IN_FILES
from ..limits import Limit, Retry
from ..pipeline.call_options import WORKERS, CallOptions
from ..pipeline.flow import Flow
from ..verdicts.classify import Classifier

if TYPE_CHECKING:
    from ..verdicts.quotas import Reader

if TYPE_CHECKING:
    KindInFiles = str
else:
    KindInFiles = Literal[*IN_FILES]
Seconds = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]


class LimitOptions(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What any file says of a limit; see `Limit`."""

    rates: list[str] = []
    burst: Annotated[float, Meta(ge=1)] | None = None
    concurrency: Count | Literal["auto"] | None = None
    name: str | None = None
    cooldown: Seconds = 0.1
    max_hint: Seconds = 300.0
    outage_after: Count = 10
    outage_deadline: Seconds = 600.0
    spread: bool = False
    give_up_after: Annotated[float, Meta(ge=0)] | None = None

    def limit(
        self,
        cost: Callable[..., float] | None,
        key: Callable[..., Hashable] | None,
        headers: Reader | str | None = None,
    ) -> Limit:
        """The limit; how rows are weighed and keyed and headers are read, each kind of file says in its own way. Raises
        `ConfigError`."""
        return Limit(
            *self.rates,
            burst=self.burst,
            concurrency=self.concurrency,
            cost=cost,
            key=key,
            name=self.name,
            cooldown=self.cooldown,
            max_hint=self.max_hint,
            outage_after=self.outage_after,
            outage_deadline=self.outage_deadline,
            headers=headers,
            spread=self.spread,
            give_up_after=self.give_up_after,
        )


class RetryOptions(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What any file says of retries; see `Retry`."""

    attempts: Count = 14
    base: Seconds = 0.1
    cap: Seconds = 60.0
    refusals: Count = 100

    def retry(self, classify: Classifier | None = None) -> Retry:
        """The retry that these options describe."""
        return Retry(self.attempts, self.base, self.cap, self.refusals, classify)


class NodeOptions(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What any file says of a node; see the method of `Pipeline` that its `kind` names."""

    kind: KindInFiles = "map"
    branches: list[str] = []
    fork: str | None = None
    require: Literal["all", "any", "best"] | Count = "all"
    within: Seconds | Count | None = None
    on_missing: Literal["quarantine", "drop", "fail"] = "quarantine"
    late: bool = False
    count: Count | None = None
    max_bytes: Count | None = None
    workers: Count = WORKERS
    timeout: Seconds | None = None
    deadline: Seconds | None = None
    on_error: Literal["quarantine", "fail", "drop"] = "quarantine"
    on_unknown: Literal["retry", "quarantine"] = "retry"

    def add(
        self,
        flow: Flow[Any],
        name: str | None,
        function: Any,
        limit: Limit | None,
        retry: Retry | None,
        version: str | int | None = None,
        on: Place = "threads",
        memory: str | int | None = None,
    ) -> Flow[object]:
        """The flow with this node. `function`: what it calls, of a batch its key, of a join what merges. `version`: what
        that is to a journal. `on`, `memory`: where it is called. Raises `ConfigError`."""
        options: CallOptions = {
            "workers": self.workers,
            "limit": limit,
            "retry": retry,
            "timeout": self.timeout,
            "deadline": self.deadline,
            "on_error": self.on_error,
            "on_unknown": self.on_unknown,
            "version": version,
            "on": on,
            "memory": memory,
        }
        said = IN_FILES[self.kind]
        told: dict[str, object] = {key: getattr(self, key) for key in said.keys}
        if said.function is not None:
            told[said.function] = function
        if said.calls == "options":
            told["options"] = options
        elif said.calls == "inline" and (function is not None or said.needed):
            told |= options
        added: Flow[object] = getattr(flow, self.kind)(name=name, **told)
        return added
