"""Who is who in a run: the addresses of its actors."""

from __future__ import annotations

import msgspec

from ..graph.topology import Graph
from ..hosts.port import Address


class Roster(msgspec.Struct):
    """The addresses of the actors of one run. `keeper`: of the one that writes the journal."""

    graph: Graph
    conductor: Address
    ledger: Address
    source: Address
    nodes: dict[str, Address]
    """By name: stages, forks, joins, batches, sinks."""
    stages: dict[str, Address]
    """Those of them that call functions."""
    reorders: dict[str, Address]
    """By the node whose rows come in order."""
    governors: dict[str, Address]
    """By stage; stages may share one."""
    taker: Address | None
    """Where the whole run's results are handed over, if they are; see `SinkPlan.whole`."""
    quarantine: Address | None
    writers: list[Address]
    journal: Address | None = None
    keeper: Address | None = None
