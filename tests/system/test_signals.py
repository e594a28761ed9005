"""Real signals to real processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

SCRIPT = """
import itertools, signal, sys, threading, time
from headrace.runtime import Pipeline

# A shell may have started us with SIGINT ignored, as it does in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)

def call(x):
    print("call", x, flush=True)
    {body}
    return x

try:
    Pipeline().source(itertools.count()).map(call, workers=2).run()
except (KeyboardInterrupt, SystemExit) as ended:
    report = ended.report
print(report.state.value, report.delivered + report.interrupted == report.rows, flush=True)
"""


def started(body: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", SCRIPT.format(body=body)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_drains_L34(number: signal.Signals) -> None:
    with started("time.sleep(0.001)") as process:
        process.send_signal(number)
        assert process.stdout is not None
        assert process.stdout.read().splitlines()[-1] == "drained True"
        assert process.wait(10) == 0


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)])
def test_a_script_that_does_not_look_for_signals_does_not_go_on_with_a_part_of_the_rows(
    number: signal.Signals, status: int
) -> None:
    script = (
        "import itertools, os, signal, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from headrace.runtime import Pipeline\n"
        f"def call(x):\n    if x == 5: os.kill(os.getpid(), {int(number)})\n    return x\n"
        "report = Pipeline('job').source(itertools.count()).map(call, workers=1).run()\n"
        "print('publishes', report.delivered)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (status, "")
    if number == signal.SIGINT:
        assert "KeyboardInterrupt: job: drained after " in done.stderr


def test_the_second_signal_aborts_whatever_a_call_does_L34() -> None:
    with started("threading.Event().wait()") as process:
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        assert process.stdout is not None
        assert process.stdout.read().splitlines()[-1] == "aborted True"
        assert process.wait(10) == 0
        assert time.monotonic() - began < 6.0


def test_an_application_that_handles_signals_keeps_its_handlers() -> None:
    script = (
        "import signal, os\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from headrace.runtime import Pipeline\n"
        "got = []\nsignal.signal(signal.SIGTERM, lambda n, f: got.append(n))\n"
        "def call(x):\n    if x == 5: os.kill(os.getpid(), signal.SIGTERM)\n    return x\n"
        "report = Pipeline().source(range(100)).map(call).run()\n"
        "print(report.state.value, len(got), signal.getsignal(signal.SIGINT) is signal.default_int_handler)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20)
    assert (done.stdout, done.stderr) == ("completed 1 True\n", "")


def test_elsewhere_than_in_the_main_thread_a_run_needs_no_signals() -> None:
    script = (
        "import threading\nfrom headrace.runtime import Pipeline\n"
        "t = threading.Thread(target=lambda: print(Pipeline().source(range(9)).map(abs).run().delivered))\n"
        "t.start(); t.join()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20)
    assert (done.stdout, done.stderr) == ("9\n", "")


def test_the_second_ctrl_c_ends_a_with_block_of_an_executor_whatever_its_calls_do_L34() -> None:
    script = (
        "import signal, threading\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from headrace.runtime import Executor\n"
        "def hang(x):\n    print('call', flush=True)\n    threading.Event().wait()\n"
        "with Executor(1) as executor:\n    executor.execute_batch(hang, range(3))\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None, "calls under way have some seconds to end"
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        assert process.wait(20) == -signal.SIGINT
        assert time.monotonic() - began < 3.0
