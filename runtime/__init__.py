"""Headrace: moves rows through slow, flaky, rate-limited calls, in order, and loses none.

What is named here is public. A name is imported when it is first used (PEP 562), so that `headrace --version` and
programs that import this package without running anything pay for nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from loguru import logger

if TYPE_CHECKING:
    from . import sinks, sources
    from .call import CallInfo, current_call
    from .classify import Verdict
    from .connectors.port import (
        DurableSink,
        InterruptibleSource,
        PlacedSource,
        ReadResult,
        SinkConnector,
        SourceConnector,
    )
    from .errors import (
        ConfigError,
        HeadraceError,
        Pending,
        RateLimited,
        RunAborted,
        RunFailed,
        TransientError,
        UnwritableRows,
    )
    from .executor import Executor
    from .flow import Flow
    from .journal.options import Journal
    from .limits import Limit, Quota, Refill, Retry
    from .pipeline import Pipeline
    from .report import Outcome, RunReport
    from .run import Run
    from .stream import Stream

__all__ = [
    "CallInfo",
    "ConfigError",
    "DurableSink",
    "Executor",
    "Flow",
    "HeadraceError",
    "InterruptibleSource",
    "Journal",
    "Limit",
    "Outcome",
    "Pending",
    "Pipeline",
    "PlacedSource",
    "Quota",
    "RateLimited",
    "ReadResult",
    "Refill",
    "Retry",
    "Run",
    "RunAborted",
    "RunFailed",
    "RunReport",
    "SinkConnector",
    "SourceConnector",
    "Stream",
    "TransientError",
    "UnwritableRows",
    "Verdict",
    "current_call",
    "sinks",
    "sources",
]

_HOME = {
    "CallInfo": "call",
    "ConfigError": "errors",
    "DurableSink": "connectors.port",
    "Executor": "executor",
    "Flow": "flow",
    "HeadraceError": "errors",
    "Journal": "journal.options",
    "Limit": "limits",
    "Outcome": "report",
    "Pending": "errors",
    "InterruptibleSource": "connectors.port",
    "Pipeline": "pipeline",
    "PlacedSource": "connectors.port",
    "RateLimited": "errors",
    "Quota": "limits",
    "ReadResult": "connectors.port",
    "Refill": "limits",
    "Retry": "limits",
    "Run": "run",
    "RunAborted": "errors",
    "RunFailed": "errors",
    "RunReport": "report",
    "SinkConnector": "connectors.port",
    "SourceConnector": "connectors.port",
    "Stream": "stream",
    "TransientError": "errors",
    "UnwritableRows": "errors",
    "Verdict": "classify",
    "current_call": "call",
}

# A library is silent unless its user says otherwise: `logger.enable("headrace")`.
logger.disable("headrace")


def __getattr__(name: str) -> Any:
    if name in ("sinks", "sources"):
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
