"""The standard library's own tests for thread pools, run on `Executor`."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("stdlib_executor_tests.py")

NOT_FOR_US = {
    "test_saturation": "looks into `_work_queue`",
    "test_idle_thread_reuse": "looks into `_idle_semaphore`",
    "test_threads_terminate": "counts threads before `submit` has returned; ours are hired by the stage, a moment later",
    "test_thread_names_default": "expects threads that are called ThreadPoolExecutor",
    "test_cancel_futures": "expects a call to have begun when `submit` returns; ours may all be cancelled before",
    "test_initializer": "looks into `_broken` and for a log of the standard library's; see test_executor.py",
}


def has_tests() -> bool:
    try:
        return importlib.util.find_spec("test.test_concurrent_futures") is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.stdlib
@pytest.mark.timeout(150)
@pytest.mark.skipif(not has_tests(), reason="this Python was installed without its tests")
def test_an_executor_passes_the_standard_librarys_tests_for_thread_pools() -> None:
    command = [sys.executable, str(SCRIPT), *NOT_FOR_US]
    done = subprocess.run(command, capture_output=True, text=True, timeout=140)
    assert done.stdout, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert not result["bad"], result["bad"]
    assert result["run"] >= 25
