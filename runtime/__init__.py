"""Headrace: moves rows through slow, flaky, rate-limited calls, in order, and loses none.

What is named here is public.
"""

from loguru import logger

from . import sinks, sources
from .call import CallInfo, current_call
from .classify import Verdict
from .errors import (
    ConfigError,
    HeadraceError,
    RateLimited,
    RunAborted,
    RunFailed,
    TransientError,
)
from .executor import Executor
from .limits import Limit, Retry
from .pipeline import Pipeline
from .report import Outcome, RunReport
from .run import Run

__all__ = [
    "CallInfo",
    "ConfigError",
    "Executor",
    "HeadraceError",
    "Limit",
    "Outcome",
    "Pipeline",
    "RateLimited",
    "Retry",
    "Run",
    "RunAborted",
    "RunFailed",
    "RunReport",
    "TransientError",
    "Verdict",
    "current_call",
    "sinks",
    "sources",
]

# A library is silent unless its user says otherwise: `logger.enable("headrace")`.
logger.disable("headrace")
