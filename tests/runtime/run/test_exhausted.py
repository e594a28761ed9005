"""An account that is exhausted, as users meet it (L71): what the run, its report, its log and its next life say."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from headrace.runtime import Executor, Flow, Limit, Pipeline, Retry, RunFailed
from headrace.runtime.errors import AccountShut, ConfigError
from headrace.runtime.files.options import LimitOptions
from headrace.runtime.files.pipeline_file import read
from headrace.scenarios.testing import simulate

from ..verdicts.shapes import http

HOUR = 3600.0


def no_credit() -> BaseException:
    return http(429, {"error": {"code": "insufficient_quota", "message": "You exceeded your quota."}})


class Account:
    """A function of a provider whose account takes `before` calls, then none until `opens_s`."""

    def __init__(self, before: int, opens_s: float = float("inf"), hint: bool = False) -> None:
        self.before, self.opens_s, self.hint = before, opens_s, hint
        self.answered = self.calls = 0
        self.began: float | None = None

    def __call__(self, row: int) -> int:
        self.began = time.monotonic() if self.began is None else self.began
        self.calls += 1
        time.sleep(0.1)
        now = time.monotonic() - self.began
        if self.answered < self.before or now >= self.opens_s:
            self.answered += 1
            return row
        if self.hint:
            raise http(429, {"error": {"code": "insufficient_quota"}}, Retry_After=f"{self.opens_s - now:.0f}")
        raise no_credit()


@pytest.mark.parametrize("workers", [1, 8, 64])
def test_a_wrong_key_ends_the_run_after_a_handful_of_calls_L71(workers: int) -> None:
    def ask(row: int) -> int:
        calls.append(row)
        time.sleep(0.1)
        raise http(401)

    calls: list[int] = []
    ended = simulate(Pipeline().source(range(2000)).map(ask, workers=workers).sink(lambda row: None))
    (shut,) = ended.errors
    assert isinstance(shut, AccountShut)
    assert (ended.state.value, ended.report.quarantined, ended.report.failed) == ("failed", 0, 0)
    assert ended.elapsed_s == pytest.approx(30.0, abs=2.0)
    assert len(calls) <= min(workers, 10) + 8
    assert shut.rows_left == ended.report.interrupted


@pytest.mark.parametrize("hint", [False, True])
def test_a_daily_quota_that_is_used_up_goes_on_tomorrow_L71(hint: bool) -> None:
    out: list[int] = []
    account = Account(50, 23 * HOUR, hint)
    pipeline = Pipeline().source(range(200)).map(account, workers=16, retry=1).sink(out.append)
    report = simulate(pipeline).report
    assert (report.delivered, out) == (200, list(range(200)))
    assert account.calls <= (225 if hint else 400)
    assert report.elapsed_s == pytest.approx(23 * HOUR, abs=620.0)


def test_the_error_says_since_when_why_how_much_is_left_and_what_to_do_L71() -> None:
    limit = Limit(name="llm", give_up_after=2 * HOUR)
    ended = simulate(Pipeline().source(range(200)).map(Account(50), workers=4, limit=limit).sink(lambda row: None))
    (shut,) = ended.errors
    assert str(shut) == (
        "limit 'llm': the other side has taken no call of this account for 2.0 h: insufficient_quota: You exceeded your "
        f"quota. {ended.report.interrupted} rows that were read wait, and none of them has failed. Once it takes calls "
        "again, run it again; Limit(give_up_after=...) says how long to wait for that."
    )


def test_one_row_that_is_turned_away_alone_is_its_own_matter() -> None:
    def ask(row: int) -> int:
        time.sleep(0.05)
        if row == 70:
            raise http(401)
        return row

    report = simulate(Pipeline().source(range(200)).map(ask, workers=4).sink(lambda row: None)).report
    assert (report.state.value, report.delivered, report.quarantined) == ("completed", 199, 1)


@pytest.fixture
def logged() -> Iterator[list[str]]:
    lines: list[str] = []
    handler = logger.add(lambda message: lines.append(message.record["message"]), level="INFO")
    logger.enable("headrace")
    try:
        yield lines
    finally:
        logger.disable("headrace")
        logger.remove(handler)


def test_a_run_goes_on_from_its_journal_with_every_row_that_waited_L71(tmp_path: Path, logged: list[str]) -> None:
    out: list[int] = []
    paid: list[int] = []
    answered: list[int] = []

    def ask(row: int) -> int:
        if not paid and len(answered) >= 20:
            raise no_credit()
        answered.append(row)
        return row

    def pipeline() -> Flow[Any]:
        return (
            Pipeline("job")
            .source(range(100))
            .map(ask, workers=2, limit=Limit(give_up_after=0), retry=1)
            .sink(out.append)
        )

    journal = tmp_path / "job.db"
    with pytest.raises(RunFailed, match=f"run it again with the journal {journal}") as failed:
        pipeline().run(journal=journal)
    report = failed.value.report
    assert (report.quarantined, report.failed, report.interrupted > 0) == (0, 0, True)
    assert any("the other side has taken no call of this account" in note for note in report.notes)
    assert "turned away" in str(report)
    told = [line for line in logged if "takes no call of this account for long" in line]
    assert len(told) == 1
    assert "insufficient_quota: You exceeded your quota;" in told[0]
    paid.append(1)
    report = pipeline().run(journal=journal, accept_changes=True)
    assert (report.state.value, report.delivered, report.quarantined) == ("completed", 100, 0)
    assert sorted(answered) == list(range(100)), "no answer was paid for twice"


def test_an_executor_without_a_retry_hands_the_error_to_its_caller_at_once() -> None:
    def ask(row: int) -> int:
        raise no_credit()

    with Executor(max_workers=2) as executor, pytest.raises(Exception, match="You exceeded your quota") as raised:
        executor.submit(ask, 1).result(timeout=30)
    assert type(raised.value).__name__ == type(no_credit()).__name__


def test_an_executor_with_a_retry_gives_up_its_callers_and_can_still_be_used() -> None:
    paid: list[int] = []

    def ask(row: int) -> int:
        if not paid:
            raise no_credit()
        return row

    with Executor(max_workers=2, retry=Retry(3), limit=Limit(give_up_after=0)) as executor:
        outcomes = executor.execute_batch(ask, range(5))
        assert {type(outcome.error) for outcome in outcomes} == {AccountShut}
        assert executor.stats().stages[0].calls.turned_away <= 5
        with pytest.raises(AccountShut, match="You exceeded your quota"):
            executor.submit(ask, 6).result(timeout=30)


def test_the_option_stands_in_files_too_L45(tmp_path: Path) -> None:
    text = """
name = "job"
[source]
type = "jsonl"
path = "INPUT"
[[stage]]
name = "ask"
call = "json:dumps"
limit = { rates = ["5/s"], give_up_after = 7200 }
[sink]
type = "jsonl"
path = "out.jsonl"
"""
    (tmp_path / "in.jsonl").write_text("{}\n")
    path = tmp_path / "job.toml"
    path.write_text(text.replace("INPUT", str(tmp_path / "in.jsonl")))
    job: Any = read(path)
    (stage,) = job.pipeline.plan().stages
    assert stage.limit.terms.give_up_after_s == 7200.0


@pytest.mark.parametrize("bad", [-1, float("nan"), "1 h"])
def test_a_patience_that_cannot_be_is_told(bad: Any) -> None:
    with pytest.raises(ConfigError, match="give_up_after"):
        Limit(give_up_after=bad)


def test_files_and_python_have_the_same_defaults() -> None:
    assert LimitOptions().limit(None, None).terms == Limit().terms
