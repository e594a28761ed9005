"""Which stages of a run have worker processes, and the actors that open and close these."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from headrace.actors import protocol
from headrace.actors.actor import Ref

from ..graph.nodes.calls import StagePlan
from ..graph.plan import Plan
from ..hosts.port import Actors, Address

if TYPE_CHECKING:
    from ..calls.processes.pool import Pool

NewPool = Callable[[StagePlan, Callable[[BaseException], object]], "Pool | None"]
"""Makes the pool of a stage; None where the host has no processes. It is given who is told of what no further process can
mend."""


def pools_of(plan: Plan, actors: Actors, new: NewPool, conductor: Address) -> tuple[dict[str, Pool], list[Address]]:
    """The pools by stage, and where the actors are that open and close them. Raises `ConfigError`."""
    pools: dict[str, Pool] = {}
    hosted: list[Address] = []
    for stage in plan.stages:
        if stage.on != "processes":
            continue
        at = actors.address(f"processes-{stage.name}")
        pool = new(stage, partial(_tell, conductor, at))
        if pool is not None:
            # Most runs have none.
            from .processes import Processes

            pools[stage.name] = pool
            actors.host(at, Processes(pool), conductor)
            hosted.append(at)
    return pools, hosted


def _tell(conductor: Address, of: Ref, error: BaseException) -> None:
    conductor.put(protocol.Failing(of, error))
