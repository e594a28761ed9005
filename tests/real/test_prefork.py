"""Servers that fork: gunicorn with --preload, celery's prefork pool (L70). What was made before the fork works after it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from .processes import ROOT, ended


class Gunicorn(NamedTuple):
    """Its master, and where it listens."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def get(self, path: str) -> tuple[int, int]:
        """Which worker answered, and what."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.url + path, timeout=30) as response:
            pid, answer = response.read().split()
        return int(pid), int(answer)


@pytest.fixture
def gunicorn(tmp_path: Path) -> Iterator[Gunicorn]:
    """Two workers, forked from a master that has used the executor."""
    log = tmp_path / "gunicorn.log"
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listening, log.open("wb") as out:
        bind = ["--bind", f"fd://{listening.fileno()}", "--worker-tmp-dir", str(tmp_path)]
        options = ["--preload", "--workers", "2", "--threads", "4", "--graceful-timeout", "10"]
        command = [sys.executable, "-m", "gunicorn", "tests.real.preloaded:app", *options, *bind]
        # It keeps a socket of its own in the folder of its user.
        environment = {**os.environ, "HOME": str(tmp_path)}
        inherited = [listening.fileno()]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, pass_fds=inherited, stdout=out, stderr=out)
        port = listening.getsockname()[1]
    with ended(process, 20.0):
        yield Gunicorn(process, f"http://127.0.0.1:{port}", log)


def test_workers_of_gunicorn_use_the_executor_of_their_preloaded_master_L70(gunicorn: Gunicorn) -> None:
    pids: set[int] = set()
    with ThreadPoolExecutor(8) as pool:
        for path, right in (("/thread", 6), ("/loop", 6), ("/batch", 15), ("/pipeline", 6)):
            for pid, answer in pool.map(gunicorn.get, [f"{path}?x=5"] * 12):
                assert answer == right, path
                pids.add(pid)
    assert gunicorn.process.pid not in pids
    # One of them is killed: the master, whose executor was used long ago, forks another.
    killed = pids.pop()
    os.kill(killed, signal.SIGKILL)
    again = {gunicorn.get("/loop?x=1")[0] for _ in range(20)}
    assert killed not in again


def test_calls_under_way_when_gunicorn_is_asked_to_end_are_answered_L70(gunicorn: Gunicorn) -> None:
    gunicorn.get("/thread?x=1")
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(gunicorn.get, f"/slow?x={x}") for x in range(4)]
        time.sleep(0.4)
        began = time.monotonic()
        gunicorn.process.send_signal(signal.SIGTERM)
        assert [call.result()[1] for call in calls] == [1, 2, 3, 4]
        assert gunicorn.process.wait(20) == 0, gunicorn.log.read_text()
    assert time.monotonic() - began < 10.0, "the workers were killed after graceful-timeout"
    assert "Traceback" not in gunicorn.log.read_text()


class Celery(NamedTuple):
    """Its worker, and the application to send tasks by."""

    process: subprocess.Popen[bytes]
    app: Any
    log: Path

    def ask(self, task: str, x: int) -> Any:
        return self.app.send_task(task, [x])


@pytest.fixture
def celery(redis_port: int, tmp_path: Path) -> Iterator[Celery]:
    """Two processes, each of which is replaced after six tasks."""
    broker = f"redis://127.0.0.1:{redis_port}/0"
    log = tmp_path / "celery.log"
    options = ["--pool", "prefork", "--concurrency", "2", "--max-tasks-per-child", "6"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING"]
    command = [sys.executable, "-m", "celery", "-A", "tests.real.tasks", "worker", *options, *quiet]
    with log.open("wb") as out:
        environment = {**os.environ, "BROKER": broker, "C_FORCE_ROOT": "1"}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out)
    with ended(process, 20.0):
        app = import_module("celery").Celery("client", broker=broker, backend=broker)
        yield Celery(process, app, log)
        app.close()


def test_tasks_of_celery_use_the_executor_that_was_made_before_the_fork_L70(celery: Celery) -> None:
    asked = [celery.ask("by_executor", x) for x in range(20)] + [celery.ask("by_pipeline", 10) for _ in range(10)]
    told = [task.get(timeout=40) for task in asked]
    assert [answers for _, *answers in told[:20]] == [[x + 1, x + 1] for x in range(20)]
    assert [answers for _, answers in told[20:]] == [list(range(1, 11))] * 10
    pids = {pid for pid, *_ in told}
    assert celery.process.pid not in pids
    assert len(pids) >= 4, "processes are replaced, and those that come later are forked, too"


def test_a_task_under_way_when_celery_is_asked_to_end_is_answered_L70(celery: Celery) -> None:
    celery.ask("by_executor", 1).get(timeout=40)
    task = celery.ask("slowly", 7)
    time.sleep(0.4)
    began = time.monotonic()
    celery.process.send_signal(signal.SIGTERM)
    assert task.get(timeout=20) == 8
    assert celery.process.wait(20) == 0, celery.log.read_text()
    assert time.monotonic() - began < 12.0
    assert "Traceback" not in celery.log.read_text()
