"""The users' own classifiers: `Retry(classify=)`, and those that installed packages bring."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.actors.protocol import Kind
from headrace.actors.text import remarks_of
from headrace.runtime import Limit, Pipeline, Retry, RunFailed, Verdict
from headrace.runtime.errors import AccountShut
from headrace.runtime.verdicts.classify import classify, fault_of
from headrace.runtime.verdicts.plugins import classifiers

from .shapes import http


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path into which a test puts a package that brings classifiers."""
    monkeypatch.syspath_prepend(str(tmp_path))
    classifiers.forget()
    yield tmp_path
    classifiers.forget()


def install(folder: Path, module: str, code: str, *entries: str) -> None:
    (folder / f"{module}.py").write_text(code)
    about = folder / f"{module}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[headrace.classifiers]\n" + "\n".join(entries) + "\n")


def test_an_installed_package_is_asked_after_the_user_and_before_the_table(installed: Path) -> None:
    code = "def classify(error):\n    return 'refused' if isinstance(error, KeyError) else None\n"
    install(installed, "acme_classifier", code, "acme = acme_classifier:classify")
    assert classify(KeyError("x")) == Verdict(Kind.REFUSED)
    assert classify(KeyError("x"), lambda error: "transient") == Verdict(Kind.TRANSIENT)
    assert classify(KeyError("x"), lambda error: None) == Verdict(Kind.REFUSED)
    assert classify(http(404)) == Verdict(Kind.PERMANENT)


def test_a_classifier_that_cannot_be_loaded_is_told_once_and_left_out(installed: Path) -> None:
    install(installed, "broken_classifier", "raise RuntimeError('no licence')\n", "broken = broken_classifier:classify")
    with pytest.warns(
        RuntimeWarning, match=r"'broken' \(broken_classifier:classify\) cannot be loaded: RuntimeError: no"
    ):
        assert classify(http(429)) == Verdict(Kind.REFUSED)
    assert classify(http(429)) == Verdict(Kind.REFUSED)


def test_a_classifier_that_raises_is_told_once_and_left_out(installed: Path) -> None:
    code = "def classify(error):\n    return error.status\n"
    install(installed, "raising_classifier", code, "raising = raising_classifier:classify")
    with pytest.warns(RuntimeWarning, match=r"'raising' .* raised AttributeError: .*It is left out from now on"):
        assert classify(KeyError()) == Verdict(Kind.PERMANENT)
    assert classify(KeyError()) == Verdict(Kind.PERMANENT)


def test_a_machine_without_descriptors_finds_them_later_L66(installed: Path) -> None:
    code = "def classify(error):\n    return 'refused' if isinstance(error, KeyError) else None\n"
    install(installed, "late_classifier", code, "late = late_classifier:classify")
    script = """
import errno, os, resource
from headrace.runtime.verdicts.classify import classify
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
held = []
try:
    while True:
        held.append(os.open(os.devnull, os.O_RDONLY))
except OSError as error:
    first = [classify(error).kind.value, classify(KeyError()).kind.value]
for descriptor in held:
    os.close(descriptor)
print(*first, classify(KeyError()).kind.value, classify(OSError(errno.EMFILE, "x")).kind.value)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), os.environ.get("PYTHONPATH", "")])}
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert ran.stdout.split() == ["transient", "transient", "refused", "transient"]


def test_what_is_no_callable_is_told(installed: Path) -> None:
    install(installed, "odd_classifier", "classify = 7\n", "odd = odd_classifier:classify")
    with pytest.warns(RuntimeWarning, match=r"'odd' .* is a int and cannot be called"):
        assert classify(KeyError()) == Verdict(Kind.PERMANENT)


def test_a_word_that_is_none_is_told() -> None:
    with pytest.raises(
        ValueError, match=r"A classifier returned 'retry'; it must return a Verdict, one of transient, perm"
    ):
        classify(KeyError(), lambda error: "retry")


def test_the_users_word_exhausted_L71() -> None:
    verdict = classify(KeyError("no credit"), lambda error: "exhausted")
    assert (verdict.kind, verdict.exhausted, verdict.words) == (Kind.EXHAUSTED, True, "'no credit'")


def test_an_exhausted_account_is_told_in_a_remark_on_the_error_once_L71() -> None:
    error = http(429, {"error": {"code": "insufficient_quota", "message": "You exceeded your quota."}})
    for seq in range(3):
        fault = fault_of(seq, error)
        assert (fault.kind, fault.error) == (Kind.EXHAUSTED, error)
        assert fault.words == "insufficient_quota: You exceeded your quota."
    said = "the other side takes no call of this account for long: insufficient_quota: You exceeded your quota."
    assert remarks_of(error) == [said]


def test_an_exhausted_account_with_a_time_to_come_again_waits_for_it_L71() -> None:
    error = http(403, {"error": {"errors": [{"reason": "dailyLimitExceeded"}]}}, Retry_After="3600")
    fault = fault_of(0, error)
    assert (fault.kind, fault.retry_after_s) == (Kind.EXHAUSTED, 3600.0)
    assert remarks_of(error)[0].endswith("; it says to come again after 3600 s")


def test_an_exhausted_account_is_that_whatever_hint_comes_with_it_L71() -> None:
    # OpenAI and Google send with it the hint that they send with every refusal.
    error = http(429, {"error": {"code": "insufficient_quota"}}, retry_after_ms="700")
    assert classify(error)[:3] == (Kind.EXHAUSTED, 0.7, True)


@pytest.mark.parametrize("said", [Kind.EXHAUSTED, Verdict(Kind.EXHAUSTED), Verdict(Kind.PERMANENT, exhausted=True)])
def test_the_users_verdict_exhausted_in_each_form_L71(said: Verdict | Kind) -> None:
    fault = fault_of(0, KeyError("no credit \x1b[2J"), lambda error: said)
    assert (fault.kind, fault.words) == (Kind.EXHAUSTED, "'no credit \\x1b[2J'")


def test_the_words_of_a_provider_are_bounded_and_harmless_L71_L81() -> None:
    fault = fault_of(0, http(402, {"error": {"message": "\x1b[31mNo credit." + "x" * 10_000}}))
    assert fault.words is not None
    assert len(fault.words) <= 500
    assert fault.words.isprintable()


def test_an_account_that_is_used_up_ends_the_run_by_name_and_fails_no_row_L71() -> None:
    calls = []

    def ask(row: int) -> int:
        calls.append(row)
        raise http(429, {"error": {"code": "insufficient_quota", "message": "No credit."}})

    quarantined: list[dict[str, object]] = []
    pipeline = Pipeline().source(range(300)).map(ask, limit=Limit(give_up_after=0)).sink(print)
    with pytest.raises(RunFailed, match=r"takes? no call|taken no call of this account .*No credit") as failed:
        pipeline.quarantine(quarantined.append).run()
    assert isinstance(failed.value.__cause__, AccountShut)
    assert failed.value.__cause__.words == "insufficient_quota: No credit."
    assert quarantined == []
    assert failed.value.report.interrupted == failed.value.__cause__.rows_left
    assert len(calls) <= 30


def test_an_outage_of_a_client_that_nobody_knows_burns_no_attempt_as_a_mistake_L66() -> None:
    calls = []

    def ask(row: int) -> int:
        calls.append(row)
        if len(calls) < 3:
            wrapped = OSError("connection failed")
            wrapped.__cause__ = ConnectionRefusedError(111, "refused")
            raise wrapped
        return row

    out: list[int] = []
    report = Pipeline().source([1]).map(ask, workers=1, retry=Retry(5, base=0.001)).sink(out.append).run()
    assert (report.delivered, out, len(calls)) == (1, [1], 3)
