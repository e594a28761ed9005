"""Runs the standard library's own tests for thread pools with `headrace.runtime.Executor` in the place of
`ThreadPoolExecutor`, and prints what came of each, as JSON. Not collected by pytest: see `test_stdlib_executor.py`."""

from __future__ import annotations

import concurrent.futures
import importlib
import json
import sys
import unittest
from typing import Any

from headrace.runtime import Executor

MODULES = ("test_thread_pool", "test_shutdown", "test_wait", "test_as_completed", "test_init")
IN_A_PROCESS = "import concurrent.futures, headrace.runtime; concurrent.futures.Tested = headrace.runtime.Executor\n"


def tested_modules() -> list[Any]:
    """As a package since Python 3.12, one file before; `ImportError` where Python was installed without its tests."""
    try:
        return [importlib.import_module(f"test.test_concurrent_futures.{name}") for name in MODULES]
    except ModuleNotFoundError as error:
        if error.name not in ("test.test_concurrent_futures", f"test.test_concurrent_futures.{MODULES[0]}"):
            raise
        return [importlib.import_module("test.test_concurrent_futures")]


def main(skipped: list[str]) -> None:
    modules = tested_modules()
    concurrent.futures.ThreadPoolExecutor = Executor  # type: ignore[misc,assignment]
    Executor.__name__ = "Tested"
    suite = unittest.TestSuite()
    for module in modules:
        mixin = module.ThreadPoolMixin if hasattr(module, "ThreadPoolMixin") else None
        if mixin is not None:
            mixin.executor_type = Executor
        if hasattr(module, "assert_python_ok"):
            run = module.assert_python_ok
            module.assert_python_ok = lambda option, code, run=run: run(
                option, IN_A_PROCESS + code.replace("ThreadPoolExecutor", "Tested")
            )
        for name, case in vars(module).items():
            if name.startswith("ThreadPool") and isinstance(case, type) and issubclass(case, unittest.TestCase):
                tests: Any = unittest.defaultTestLoader.loadTestsFromTestCase(case)
                for test in tests:
                    if test.id().split(".")[-1] not in skipped:
                        suite.addTest(test)
    sys.stdout = sys.stderr  # the tests print durations
    result = unittest.TextTestRunner(stream=sys.stderr, verbosity=2).run(suite)
    bad = {test.id(): text for test, text in (*result.failures, *result.errors)}
    sys.stdout = sys.__stdout__
    print(json.dumps({"run": result.testsRun, "skipped": len(result.skipped), "bad": bad}))


if __name__ == "__main__":
    main(sys.argv[1:])
