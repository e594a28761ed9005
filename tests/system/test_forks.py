"""A child process that was forked has none of its parent's threads: what it uses begins anew, or says whose it is (L70).

Each test runs a script of its own, since a process with threads is forked in it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

PRELUDE = """
import os, signal, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from headrace.runtime import Executor, Limit, Pipeline, RunAborted
def ask(x): return x + 1
def in_child(work):
    "What `work` gives or raises in a child, as text."
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        signal.alarm(30)
        try: told = repr(work())
        except BaseException as error: told = f"{type(error).__name__}: {error}"
        os.write(writer, told.encode())
        os._exit(0)
    os.close(writer)
    told = os.read(reader, 4096).decode()
    os.waitpid(pid, 0)
    return told
"""


def output_of(script: str) -> list[str]:
    command = [sys.executable, "-c", PRELUDE + textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("used", [True, False])
def test_an_executor_made_before_the_fork_works_in_the_child_and_in_the_parent_L70(used: bool) -> None:
    told = output_of(
        f"""
        plain, named = Executor(2), Executor(2, limit=Limit("1000/s", name="shared"))
        if {used}: plain.submit(ask, 1).result(); named.submit(ask, 1).result()
        for executor in (plain, named):
            print(in_child(lambda: executor.submit(ask, 5).result(timeout=10)))
            print(in_child(lambda: [o.value for o in executor.execute_batch(ask, range(3), timeout=10)]))
            print(in_child(lambda: executor.shutdown()))
            print(executor.submit(ask, 7).result(timeout=10))
            print(in_child(lambda: Executor(2, limit=Limit("1000/s", name="shared")).submit(ask, 8).result(timeout=10)))
        """
    )
    assert told == ["6", "[1, 2, 3]", "None", "8", "9"] * 2


def test_a_limit_that_was_changed_before_the_fork_holds_in_the_child_L70() -> None:
    assert output_of(
        """
        executor = Executor(1)
        executor.set_limit("20/s")
        def took():
            began = time.monotonic()
            executor.execute_batch(ask, range(11))
            return time.monotonic() - began > 0.4
        print(in_child(took))
        """
    ) == ["True"]


def test_an_executor_that_was_shut_down_before_the_fork_stays_so_L70() -> None:
    (told,) = output_of(
        """
        executor = Executor(1)
        executor.shutdown()
        print(in_child(lambda: executor.submit(ask, 1)))
        """
    )
    assert told == "RuntimeError: cannot schedule new futures after shutdown"


def test_who_waits_in_the_child_for_the_parents_calls_is_told_at_once_L70() -> None:
    told = output_of(
        """
        leave, called_back = threading.Event(), []
        executor = Executor(1)
        future = executor.submit(leave.wait)
        future.add_done_callback(called_back.append)
        run = Pipeline("job").source(range(3)).map(lambda row: leave.wait(), workers=1).sink(lambda _: None).start()
        def in_block():
            with run:
                sys.exit(3)
        print(in_child(future.result))
        print(in_child(lambda: (future.exception() is not None, called_back)))
        for work in (run.wait, run.wait_ended, run.stats, in_block):
            print(in_child(work))
        leave.set()
        print(future.result(), run.wait().delivered, len(called_back))
        """
    )
    assert told[0].startswith("RunAborted: this call belongs to process ")
    assert told[1] == "(True, [])", "callbacks are the parent's"
    assert all(line.startswith("RunAborted: the run 'job' belongs to process ") for line in told[2:5]), told
    assert told[5:] == ["SystemExit: 3", "True 3 1"]


def test_a_child_that_a_call_forks_can_be_ended_by_signals_L70() -> None:
    told = output_of(
        """
        import multiprocessing
        def forks(row):
            child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(40,))
            child.start()
            child.terminate()
            child.join(20)
            return child.exitcode
        got = []
        print(Pipeline().source([1]).map(forks).sink(got.append).run().delivered, got)
        """
    )
    assert told == ["1 [-15]"]


def test_a_pool_of_forked_processes_may_use_the_executor_of_its_parent_L70() -> None:
    told = output_of(
        """
        import multiprocessing
        executor = Executor(2, retry=3)
        executor.submit(ask, 0).result()
        def work(x): return executor.submit(ask, x).result(timeout=20)
        with multiprocessing.get_context("fork").Pool(2) as pool:
            print(pool.map(work, range(6)))
        """
    )
    assert told == ["[1, 2, 3, 4, 5, 6]"]


def test_a_child_ends_by_itself_L70() -> None:
    told = output_of(
        """
        executor = Executor(2)
        executor.submit(ask, 1).result()
        pid = os.fork()
        if not pid:
            signal.alarm(30)
            sys.exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """
    )
    assert told == ["7"]


def test_a_stream_of_the_parents_is_its_own_and_one_that_has_not_begun_begins_in_the_child_L70() -> None:
    told = output_of(
        """
        begun, new = (Pipeline().source(range(50)).map(ask).stream() for _ in range(2))
        next(begun)
        print(in_child(lambda: next(begun)))
        print(in_child(lambda: len([*new])))
        print(in_child(begun.close))
        print(len([*begun]), len([*new]))
        """
    )
    assert told[0].startswith("RunAborted: this stream belongs to process ")
    assert told[1:] == ["50", "None", "49 50"]


def test_a_child_cannot_change_a_run_of_the_parents_and_is_told_L70() -> None:
    told = output_of(
        """
        run = Pipeline().source(range(50)).map(ask, limit="1000/s").sink(lambda row: None).start()
        for change in (run.drain, run.abort, lambda: run.set_limit("1/s")):
            print(in_child(change)[:52])
        print(run.wait().delivered)
        """
    )
    assert told[3:] == ["50"]
    assert all(line.startswith("RunAborted: the run 'pipeline' belongs to process") for line in told[:3])
