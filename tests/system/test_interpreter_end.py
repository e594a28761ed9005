"""What is started and not waited for when the interpreter ends is neither cut off nor silent: each script here is a process
of its own, which ends while calls are under way."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

import pytest

END_S = 50.0
"""Only a hang takes so long."""

HEAD = """
import asyncio, os, signal, sys, threading, time
from headrace.runtime import Executor, Pipeline
from headrace.runtime.process import at_exit
# Whoever runs the tests in the background may have SIGINT ignored, and that is inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)
begun, ended = [], []
def call(row):
    begun.append(row); time.sleep(0.01); ended.append(row); return row
def hang(row):
    begun.append(row); time.sleep(3600)
async def ahang(row):
    begun.append(row); await asyncio.sleep(3600)
def wait_for(what):
    while not what: time.sleep(0.001)
import atexit
# The last word, after all else.
atexit.register(lambda: print(len(begun) - len(ended), "cut off,", len(ended), "made", flush=True))
"""


def ended(script: str) -> tuple[int, str, list[str]]:
    """The exit status, standard output, and the lines on standard error."""
    done = subprocess.run(
        [sys.executable, "-c", HEAD + textwrap.dedent(script)], capture_output=True, text=True, timeout=END_S
    )
    return done.returncode, done.stdout.strip(), done.stderr.splitlines()


def test_a_run_that_nobody_waits_for_is_drained_and_that_is_said() -> None:
    status, out, err = ended("""
        run = Pipeline("geocode").source(range(100_000)).map(call, workers=4).sink(lambda row: None).start()
        wait_for(ended)
    """)
    assert (status, len(err)) == (0, 1), err
    assert err[0].startswith(
        "headrace: nobody has waited for the run of geocode when the interpreter ended, so it was drained"
    )
    assert out.startswith("0 cut off"), out


def test_one_whose_call_hangs_is_aborted_in_time_and_that_is_said() -> None:
    status, out, err = ended("""
        run = Pipeline("geocode").source(range(9)).map(hang, workers=1).sink(lambda row: None).start(drain_timeout=0.1)
        wait_for(begun)
    """)
    assert (status, len(err)) == (0, 1), err
    assert "0 of " in err[0]
    assert "not drained within 0.1 s" in err[0]
    assert out == "1 cut off, 0 made"


def test_many_that_hang_have_one_bound_together_L34() -> None:
    _, out, err = ended("""
        at_exit.LEAVE_S, at_exit.QUIET_S = 1.0, 0.1
        for _ in range(12):
            Pipeline().source(range(9)).map(hang, workers=1).sink(lambda row: None).start()
        while len(begun) < 12: time.sleep(0.001)
        began = time.monotonic()
        atexit.register(lambda: print(time.monotonic() - began < 8.0, flush=True))
    """)
    assert out.splitlines()[0] == "True", "twelve times a second and more"
    assert len(err) == 12


def test_many_executors_that_hang_have_one_bound_together_L34() -> None:
    _, out, err = ended("""
        at_exit.STILL_S, at_exit.QUIET_S = 1.0, 0.1
        executors = [Executor(1) for _ in range(8)]
        for executor in executors: executor.submit(hang, 1)
        while len(begun) < 8: time.sleep(0.001)
        began = time.monotonic()
        atexit.register(lambda: print(time.monotonic() - began < 6.0, flush=True))
    """)
    assert out.splitlines()[0] == "True", "eight times a second and more"
    assert len(err) == 16


def test_a_run_that_was_waited_for_says_nothing() -> None:
    assert ended("""
        run = Pipeline().source(range(9)).map(call, workers=4).sink(lambda row: None).start()
        run.wait()
        Pipeline().source(range(9)).map(call, workers=4).sink(lambda row: None).run()
        asyncio.run(Pipeline().source(range(9)).map(call, workers=4).sink(lambda row: None).run_async())
    """) == (0, "0 cut off, 27 made", [])


def test_a_run_that_failed_and_that_nobody_waits_for_says_so() -> None:
    status, _, err = ended("""
        def rows():
            yield 1
            raise OSError("the disk is gone")
        run = Pipeline("geocode").source(rows()).map(call).sink(lambda row: None).start()
        while not run.done: time.sleep(0.001)
    """)
    assert (status, len(err)) == (0, 1), err
    assert "the run of geocode failed, and nobody has waited for it" in err[0]
    assert "the disk is gone" in err[0]


@pytest.mark.parametrize("way", ["s = iter(stream); next(s)", "s = aiter(stream); asyncio.run(first(s))"])
def test_a_stream_that_is_left_there_is_left_as_by_break(way: str) -> None:
    status, out, err = ended(f"""
        stream = Pipeline().source(range(100_000)).map(call, workers=4).stream()
        async def first(s): await anext(s)
        {way}
    """)
    assert (status, err) == (0, [])
    assert out.startswith("0 cut off"), out


def test_a_run_on_a_loop_that_has_ended_says_so() -> None:
    status, _, err = ended("""
        async def main():
            run = Pipeline("geocode").source(range(9)).map(ahang).sink(lambda row: None).start(loop="caller")
            while not begun: await asyncio.sleep(0)
            return run
        run = asyncio.run(main())
    """)
    assert (status, len(err)) == (0, 1), err
    assert "geocode" in err[0]
    assert "the caller's event loop" in err[0]
    assert "has ended" in err[0]


def test_an_executor_on_a_loop_that_was_closed_keeps_nobody_waiting() -> None:
    status, _, err = ended("""
        loop = asyncio.new_event_loop()
        async def main():
            executor = Executor(2, loop="caller")
            executor.submit(ahang, 1)
            while not begun: await asyncio.sleep(0)
            return executor
        executor = loop.run_until_complete(main())
        loop.close()
    """)
    assert (status, err) == (0, [])


def test_an_executor_that_nobody_has_closed_makes_its_calls() -> None:
    assert ended("""
        executor = Executor(2)
        for row in range(20): executor.submit(call, row)
    """) == (0, "0 cut off, 20 made", [])


def test_where_that_takes_long_it_is_said_and_a_call_that_hangs_is_given_up_with_a_bound() -> None:
    status, out, err = ended("""
        at_exit.QUIET_S, at_exit.STILL_S = 0.05, 3.0
        executor = Executor(2, "geocode")
        futures = [executor.submit(call, row) for row in range(10)] + [executor.submit(hang, 1)]
        futures[-1].add_done_callback(lambda f: print(type(f.exception()).__name__, flush=True))
        wait_for(begun)
    """)
    assert status == 0
    assert out.splitlines() == ["RunAborted", "1 cut off, 10 made"]
    assert [line.split(" (")[0] for line in err] == [
        "headrace: the interpreter ends when geocode has made its calls",
        "headrace: geocode is aborted at the interpreter's end: no call has ended for 3 s",
    ]


INTERRUPTED = """
def interrupt_once_begun():
    wait_for(begun)
    time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt_once_begun, daemon=True).start()
at_exit.LEAVE_S = at_exit.QUIET_S = 0.2
import headrace.runtime.executor.executor
headrace.runtime.executor.executor.LEAVE_S = 0.2
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(
    "waits",
    [
        "Executor(1).submit(hang, 1).result()",
        "with Executor(1) as ex: ex.execute_batch(hang, range(8))",
        "with Executor(1) as ex: ex.submit(hang, 1).result()",
        "ex = Executor(1); [ex.submit(call, 1)]; ex.execute_batch(hang, range(8))",
        "asyncio.run(Pipeline().source(range(9)).map(hang).sink(lambda row: None).run_async(drain_timeout=0.2))",
        "[*Pipeline().source(range(9)).map(hang).stream(drain_timeout=0.2)]",
    ],
)
def test_one_ctrl_c_ends_a_script_whose_calls_hang_L34(waits: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HEAD + INTERRUPTED + waits], capture_output=True, text=True, timeout=END_S
    )
    assert "KeyboardInterrupt" in done.stderr
    assert done.returncode in (-signal.SIGINT, 128 + signal.SIGINT)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_cuts_short_what_the_interpreter_waits_for() -> None:
    status, out, err = ended("""
        at_exit.QUIET_S = 0.05
        executor = Executor(1, "geocode")
        executor.submit(hang, 1)
        wait_for(begun)
        say = at_exit.say
        def say_and_interrupt(line):
            say(line)
            os.kill(os.getpid(), signal.SIGINT)
        at_exit.say = say_and_interrupt
    """)
    assert [line.split(" (")[0] for line in err] == ["headrace: the interpreter ends when geocode has made its calls"]
    assert out == "1 cut off, 0 made"
    assert status == 0


def test_standard_error_that_is_gone_keeps_nobody_L91() -> None:
    status, out, _ = ended("""
        run = Pipeline().source(range(100_000)).map(call, workers=4).sink(lambda row: None).start()
        wait_for(ended)
        sys.stderr.close()
    """)
    assert out.startswith("0 cut off"), out
    assert status == 0
