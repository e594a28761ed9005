"""The tests run where the clients are installed, and the matrix is printed at the end."""

from __future__ import annotations

import importlib.util

import pytest

INSTALLED = all(
    importlib.util.find_spec(name) for name in ("requests", "aiohttp", "openai", "grpc", "trustme", "pymongo")
)
collect_ignore = [] if INSTALLED else ["test_matrix.py"]


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if INSTALLED:
        from . import matrix

        terminalreporter.section("verdicts")
        terminalreporter.write_line(matrix.as_text())
