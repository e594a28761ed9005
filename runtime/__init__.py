"""Headrace: moves rows through slow, flaky, rate-limited calls, in order, and loses none.

What is named here is public. A name is imported when it is first used (PEP 562), so that `headrace --version` and
programs that import this package without running anything pay for nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from loguru import logger

if TYPE_CHECKING:
    from headrace.actors.protocol import State, Status

    from . import sinks, sources
    from .calls.current import CallInfo, current_call
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
    from .executor.executor import Executor
    from .journal.options import Journal
    from .limits import Limit, Quota, Refill, Retry
    from .pipeline.flow import Flow
    from .pipeline.pipeline import Pipeline
    from .run.outcome import Outcome
    from .run.report import RunReport
    from .run.run import Run
    from .run.stream import Stream
    from .telemetry.observer import Observer
    from .telemetry.opentelemetry import OpenTelemetryObserver
    from .telemetry.prometheus import PrometheusObserver
    from .verdicts.classify import Verdict

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
    "Observer",
    "OpenTelemetryObserver",
    "Outcome",
    "Pending",
    "Pipeline",
    "PlacedSource",
    "PrometheusObserver",
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
    "State",
    "Status",
    "Stream",
    "TransientError",
    "UnwritableRows",
    "Verdict",
    "current_call",
    "sinks",
    "sources",
]

_HOME = {
    "CallInfo": "calls.current",
    "ConfigError": "errors",
    "DurableSink": "connectors.port",
    "Executor": "executor.executor",
    "Flow": "pipeline.flow",
    "HeadraceError": "errors",
    "Journal": "journal.options",
    "Limit": "limits",
    "Outcome": "run.outcome",
    "Pending": "errors",
    "InterruptibleSource": "connectors.port",
    "Pipeline": "pipeline.pipeline",
    "PlacedSource": "connectors.port",
    "RateLimited": "errors",
    "Quota": "limits",
    "Observer": "telemetry.observer",
    "OpenTelemetryObserver": "telemetry.opentelemetry",
    "PrometheusObserver": "telemetry.prometheus",
    "ReadResult": "connectors.port",
    "Refill": "limits",
    "Retry": "limits",
    "Run": "run.run",
    "RunAborted": "errors",
    "RunFailed": "errors",
    "RunReport": "run.report",
    "SinkConnector": "connectors.port",
    "SourceConnector": "connectors.port",
    "State": "run.report",
    "Status": "run.outcome",
    "Stream": "run.stream",
    "TransientError": "errors",
    "UnwritableRows": "errors",
    "Verdict": "verdicts.classify",
    "current_call": "calls.current",
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
