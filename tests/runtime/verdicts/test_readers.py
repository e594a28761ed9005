"""Which dialect of headers is read: by name, in code and in job files, and those that installed packages bring."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.runtime import ConfigError, Limit
from headrace.runtime.files import pipeline_file
from headrace.runtime.verdicts.plugins import readers
from headrace.runtime.verdicts.quotas import quotas_of, reader_named
from headrace.scenarios.testing import simulate

HEADERS = {
    "openai": {"x-ratelimit-remaining-tokens": "7", "x-ratelimit-reset-tokens": "6m0s"},
    "anthropic": {"anthropic-ratelimit-requests-remaining": "7", "anthropic-ratelimit-requests-reset": "30"},
    "github": {"x-ratelimit-remaining": "7", "x-ratelimit-reset": "30"},
    "ietf": {"RateLimit": '"burst";r=7;t=2'},
}
ALL = {name: value for headers in HEADERS.values() for name, value in headers.items()}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path into which a test puts a package that brings readers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    readers.forget()
    yield tmp_path
    readers.forget()


def install(folder: Path, module: str, code: str, *entries: str) -> None:
    (folder / f"{module}.py").write_text("from headrace.runtime import Quota\n" + code)
    about = folder / f"{module}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[headrace.headers]\n" + "\n".join(entries) + "\n")


ACME = """
def quotas(headers):
    left = headers.get("x-acme-left")
    return None if left is None else [Quota("calls", float(left), 10.0)]
"""


@pytest.mark.parametrize("name", list(HEADERS))
def test_a_dialect_that_is_named_is_read_and_no_other(name: str, installed: Path) -> None:
    named = Limit(headers=name).headers
    assert named is not None
    (alone,) = quotas_of(HEADERS[name])
    assert quotas_of(ALL, named) == (alone,)
    others = {key: value for key, value in ALL.items() if key not in HEADERS[name]}
    assert quotas_of(others, named) == ()
    assert len(quotas_of(ALL)) == 4, "without a name, all of them are"


def test_the_fields_of_the_drafts_before_are_the_ietf_s_too() -> None:
    earlier = {"RateLimit-Remaining": "20", "RateLimit-Reset": "30"}
    assert quotas_of(earlier, reader_named("ietf")) == quotas_of(earlier)
    assert quotas_of({"x-rate-limit-remaining": "20", "x-rate-limit-reset": "30"}, reader_named("github"))


def test_a_name_that_is_none_is_told_with_those_that_are(installed: Path) -> None:
    install(installed, "acme_reader", ACME, "acme = acme_reader:quotas")
    what = r"no dialect of headers is called 'opnai'; known are openai, .*, ietf, acme; did you mean 'openai'\?"
    with pytest.raises(ConfigError, match=what):
        Limit(headers="opnai")


def test_an_installed_reader_is_asked_after_the_user_s_and_before_the_table(installed: Path) -> None:
    install(installed, "acme_reader", ACME, "acme = acme_reader:quotas")
    told = {"x-acme-left": "5", **HEADERS["github"]}
    assert [quota.remaining for quota in quotas_of(told)] == [5.0]
    assert [quota.remaining for quota in quotas_of(told, lambda headers: None)] == [5.0]
    assert quotas_of(told, lambda headers: []) == ()
    assert [quota.remaining for quota in quotas_of(HEADERS["github"])] == [7.0], "it is not in its dialect"
    assert [quota.remaining for quota in quotas_of(told, reader_named("acme"))] == [5.0]
    assert quotas_of(HEADERS["github"], reader_named("acme")) == (), "named, it alone is asked"


@pytest.mark.parametrize(
    ("code", "what"),
    [
        (
            "def quotas(headers):\n    return headers['x-acme']\n",
            "'acme' .* raised KeyError: .*It is left out from now",
        ),
        (
            "def quotas(headers):\n    return [7]\n",
            "'acme' .* raised TypeError: headers=: a int where a Quota was expected",
        ),
        ("raise RuntimeError('no licence')\n", r"'acme' \(.*:quotas\) cannot be loaded: RuntimeError: no licence"),
        ("quotas = 7\n", "'acme' .* is a int and cannot be called"),
    ],
)
def test_one_that_does_not_work_is_told_once_and_left_out(code: str, what: str, installed: Path) -> None:
    module = f"acme_reader_{abs(hash(code))}"
    install(installed, module, code, f"acme = {module}:quotas")
    with pytest.warns(RuntimeWarning, match=f"The reader of headers {what}"):
        assert [quota.remaining for quota in quotas_of(HEADERS["github"])] == [7.0]
    assert [quota.remaining for quota in quotas_of(HEADERS["github"])] == [7.0]
    with pytest.raises(ConfigError, match="no dialect of headers is called 'acme'"):
        reader_named("acme")


# --- in job files -----------------------------------------------------------------------------------------------------

JOB = """
[source]
type = "jsonl"
path = "in.jsonl"
[[stage]]
call = "their_api:ask"
workers = 1
{limit}
[sink]
type = "jsonl"
path = "out.jsonl"
"""
API = """
import time
from headrace.runtime import Quota, current_call

def ask(row):
    time.sleep(0.01)
    # What it says of its requests is wrong, and its tokens are another's.
    current_call().headers({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "50", "x-left": "100"})
    return row

def left(headers):
    return [Quota("calls", float(headers["x-left"]), 10.0)]
"""


def job(folder: Path, headers: str | None) -> pipeline_file.Job:
    (folder / "their_api.py").write_text(API)
    (folder / "in.jsonl").write_text("1\n2\n3\n")
    limit = f'[stage.limit]\nheaders = "{headers}"' if headers is not None else ""
    (folder / "job.toml").write_text(JOB.replace("{limit}", limit))
    return pipeline_file.read(folder / "job.toml")


@pytest.mark.parametrize(
    ("headers", "waits"), [(None, True), ("github", True), ("openai", False), ("their_api:left", False)]
)
def test_a_job_file_says_which_dialect_is_heeded(headers: str | None, waits: bool, installed: Path) -> None:
    report = simulate(job(installed, headers).pipeline).report
    assert report.delivered == 3
    assert (report.elapsed_s > 50.0) is waits


def test_a_job_file_names_what_an_installed_package_brings(installed: Path) -> None:
    install(installed, "acme_reader", ACME, "acme = acme_reader:quotas")
    assert simulate(job(installed, "acme").pipeline).elapsed_s < 1.0


@pytest.mark.parametrize(
    ("headers", "what"),
    [
        ("opnai", r"job.toml:9: stage\[0\].limit.headers: no dialect of headers is called 'opnai'; known are openai, "),
        ("their_api:lft", r"job.toml:9: stage\[0\].limit.headers: 'their_api' has no 'lft'; did you mean 'left'"),
        ("their_api:Quota.x:y", r"stage\[0\].limit.headers: "),
        ("", r"stage\[0\].limit.headers: "),
    ],
)
def test_what_a_job_file_says_wrongly_of_headers_is_told_at_its_line(headers: str, what: str, installed: Path) -> None:
    with pytest.raises(ConfigError, match=what):
        job(installed, headers)
