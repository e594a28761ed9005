"""Where the packages of `make servers` are not installed, nothing here is collected; the tables come at the end."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator

import pytest

from . import nginx, processes
from .tables import TABLES

INSTALLED = all(importlib.util.find_spec(name) for name in ("aiohttp", "celery", "gunicorn", "uvicorn"))
collect_ignore_glob = [] if INSTALLED else ["test_*.py"]
REQUIRED = os.environ.get("HEADRACE_REQUIRE_SERVERS") == "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == processes.ROOT / "tests" / "real":
            item.add_marker(pytest.mark.servers)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for title, lines in TABLES.items():
        terminalreporter.section(title)
        for line in lines:
            terminalreporter.write_line(line)


def missing(program: str, package: str, what: str) -> None:
    """Skips; where the servers are required, fails."""
    words = f"{program} is not installed (Debian: apt-get install {package}): {what} not tried"
    if REQUIRED:
        pytest.fail(f"HEADRACE_REQUIRE_SERVERS=1, and {words}", pytrace=False)
    pytest.skip(words)


@pytest.fixture(scope="session")
def upstream() -> Iterator[int]:
    """The port of the service that counts."""
    with processes.upstream() as port:
        yield port


@pytest.fixture(scope="session")
def nginx_port(upstream: int) -> Iterator[int]:
    """Of an nginx in front of it."""
    program = nginx.installed()
    if program is None:
        missing("nginx", "nginx", "its limits are")
        return
    with nginx.running(program, upstream) as port:
        yield port


@pytest.fixture(scope="session")
def redis_port() -> Iterator[int]:
    """Of a Redis, for celery."""
    program = shutil.which("redis-server")
    if program is None:
        missing("redis-server", "redis-server", "celery is")
        return
    with processes.redis(program) as port:
        yield port
