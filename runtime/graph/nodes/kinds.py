"""All kinds of nodes: a new one has its entry in a file of this room, and its line here."""

from __future__ import annotations

from .batch import BatchPlan
from .calls import FilterPlan, FlatMapPlan, MapPlan, MergePlan, RoutePlan, StagePlan, TapPlan
from .dedupe import DedupePlan
from .fork import ForkPlan
from .join import JoinPlan
from .node import FileKeys, NodePlan
from .sink import SinkPlan
from .unbatch import UnbatchPlan

CALLING: dict[str, type[StagePlan]] = {
    entry.kind: entry for entry in (MapPlan, FlatMapPlan, FilterPlan, TapPlan, RoutePlan, MergePlan)
}
"""Those that call a function."""
KINDS: dict[str, type[NodePlan]] = {
    **CALLING,
    **{entry.kind: entry for entry in (ForkPlan, JoinPlan, BatchPlan, UnbatchPlan, DedupePlan, SinkPlan)},
}
IN_FILES: dict[str, FileKeys] = {kind: keys for kind, entry in KINDS.items() if (keys := entry.in_files()) is not None}
"""Those that files name by `kind`."""
