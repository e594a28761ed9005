"""L81: nothing that comes from a row, an error, a name or a path reaches a terminal raw, by whatever way it comes there.

A hostile text is fed through every way into the output for people; what comes out has no character that a terminal obeys or
that nobody can see, but for line feeds.
"""

from __future__ import annotations

import io
import json
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from loguru import logger

from headrace.actors.text import message_of, told, visible
from headrace.runtime import ConfigError, Executor, Pipeline, RunFailed
from headrace.runtime.cli.commands import headrace
from headrace.runtime.run.progress import progress_of
from headrace.runtime.text import traceback_of, visible_json

ESCAPES = "\x1b[2J\x1b]0;gone\x07\x9b31m\x7f\x08\r\x85\u202egnp.exe\u2066\u200b\u2028forged\nline"
HOSTILE = f"{ESCAPES}\x00\udce4"
"""With what no file's name can hold, and no TOML."""
LONG = HOSTILE + "x" * 10_000_000
HANGS_S = 30.0


def harmless(text: str) -> None:
    """Asserts that nothing in it is obeyed or unseen."""
    assert text.encode("utf-8") is not None
    raw = {char for char in text if not (char == "\n" or char.isprintable())}
    assert not raw, f"{raw} in {text[:2000]!r}"


class Evil(Exception):
    pass


Evil.__name__ = ESCAPES


class Strange(Exception):
    def __str__(self) -> str:
        return HOSTILE


ERRORS: list[Callable[[], BaseException]] = [
    lambda: ValueError(HOSTILE),
    lambda: KeyError(HOSTILE),
    lambda: Evil("x"),
    Strange,
    lambda: OSError(2, HOSTILE, HOSTILE),
    lambda: ExceptionGroup(HOSTILE, [ValueError(HOSTILE)]),
    lambda: ValueError(LONG),
]


def _raise(error: BaseException) -> Any:
    raise error


# --- the functions that all of it goes through ---


@settings(deadline=None)
@given(st.text(alphabet=st.characters(codec=None)) | st.sampled_from([HOSTILE, ESCAPES, "\ud83d", ""]))
def test_any_text_is_made_visible_and_stays_one_line_L81(text: str) -> None:
    shown = visible(text)
    harmless(shown)
    assert "\n" not in shown
    harmless(visible(text, multiline=True))
    for error in (ValueError(text), ExceptionGroup("g" + text, [ValueError(text)])):
        harmless(told(error))
        assert "\n" not in told(error)
        assert message_of(error).encode("utf-8") is not None
        harmless(traceback_of(error))


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.text()))
def test_json_that_is_made_visible_says_the_same_L81(row: dict[str, str]) -> None:
    shown = visible_json(json.dumps(row, ensure_ascii=False))
    harmless(shown)
    assert json.loads(shown) == row


# --- the face to programs ---


@pytest.mark.parametrize("make", ERRORS)
def test_what_a_run_says_of_an_error_can_be_shown_L81(make: Callable[[], BaseException]) -> None:
    pipeline = Pipeline("job").source([1]).map(lambda row: _raise(make()), on_error="fail", name="ask")
    with pytest.raises(RunFailed) as failed:
        pipeline.sink(lambda row: None).start().wait(HANGS_S)
    harmless(str(failed.value))
    assert "\n" not in str(failed.value)
    assert len(str(failed.value)) < 5000
    harmless(str(failed.value.report))


class Closes:
    name = HOSTILE

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def open(self) -> None:
        return

    def write(self, items: list[Any]) -> None:
        return

    def close(self, complete: bool) -> None:
        raise self._error


@pytest.mark.parametrize("make", ERRORS)
def test_reports_and_progress_can_be_shown_L81(make: Callable[[], BaseException]) -> None:
    shown = io.StringIO()
    flow = Pipeline("job").source([HOSTILE]).map(lambda row: row).sink(Closes(make()))
    report = flow.run(progress=progress_of(stream=shown))
    assert report.notes
    harmless(str(report))
    harmless(shown.getvalue())
    for note in report.notes:
        assert note.encode("utf-8") is not None


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []
    logger.enable("headrace")
    sink = logger.add(
        lambda line: lines.append(str(line)), level=0, backtrace=False, diagnose=False, format="{message}"
    )
    yield lines
    logger.remove(sink)
    logger.disable("headrace")


@pytest.mark.parametrize("make", ERRORS)
def test_logs_can_be_shown_L81(make: Callable[[], BaseException], log: list[str]) -> None:
    run = (
        Pipeline("job").source([HOSTILE, 2]).map(lambda row: _raise(make()), name="ask").sink(lambda row: None).start()
    )
    run.add_done_callback(lambda report: _raise(make()))
    run.wait(HANGS_S)
    failing = Pipeline("job").source([1]).sink(lambda row: _raise(make())).start()
    failing.wait_ended(HANGS_S)
    with Executor(1, initializer=lambda: _raise(make())) as executor:
        assert executor.submit(str, 1).exception(HANGS_S) is not None
    assert any("quarantined" in line for line in log)
    assert any("is broken" in line for line in log)
    for line in log:
        harmless(line.removesuffix("\n"))


def test_messages_of_wrong_options_can_be_shown_L81(tmp_path: Path) -> None:
    name = ESCAPES
    wrong: list[Callable[[], Any]] = [
        lambda: Pipeline(name),
        lambda: Pipeline().source([1]).map(str, name=name),
        lambda: Pipeline().source([1]).after(name),
        lambda: Pipeline().source([1]).filter(name),
        lambda: Pipeline().source(name),
        lambda: Pipeline().source([1]).map(str, limit=name),
        lambda: Pipeline().source([1]).sink(print).start(journal=tmp_path / "no" / "folder" / name.replace("/", "")),
    ]
    for build in wrong:
        with pytest.raises(ConfigError) as error:
            build()
        harmless(str(error.value))


# --- the command ---


class Command:
    """Runs the command in this process, and asserts that nothing that it prints is obeyed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *args: str, status: int | None = None) -> str:
        result = CliRunner().invoke(headrace, list(args), catch_exceptions=True)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        if status is not None:
            assert result.exit_code == status, result.output
        shown = result.output_bytes.decode("utf-8")
        harmless(shown)
        return shown

    def file(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return str(path)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    monkeypatch.chdir(tmp_path)
    yield Command(tmp_path)
    # A run with `--log` takes over where logs go.
    logger.disable("headrace")


@pytest.fixture
def job(command: Command) -> str:
    command.file("in.csv", f'name,"col{ESCAPES.replace(chr(10), "").replace(chr(13), "")}"\nlund,1\noslo,2\n')
    command.file(
        "hostile_calls.py",
        f"""
        TEXT = {HOSTILE!r}
        class Evil(Exception): pass
        Evil.__name__ = {ESCAPES!r}
        def fails(row): raise ValueError(TEXT)
        def evil(row): raise Evil(TEXT)
        def answers(row): return {{"text": TEXT[:-1], TEXT[:-1]: row}}
        """,
    )
    return command.file(
        "job.toml",
        """
        name = "job"
        [source]
        type = "csv"
        path = "in.csv"
        [[stage]]
        name = "ask"
        call = "hostile_calls:CALL"
        [sink]
        type = "jsonl"
        path = "out.jsonl"
        [quarantine]
        type = "jsonl"
        path = "bad.jsonl"
        """,
    )


def _of(job: str, call: str, more: str = "") -> str:
    text = Path(job).read_text(encoding="utf-8").replace("hostile_calls:CALL", f"hostile_calls:{call}")
    other = Path(job).with_name(f"{call}{bool(more)}.toml")
    other.write_text(text.replace('name = "ask"', f'name = "ask"\n{more}'), encoding="utf-8")
    return str(other)


@pytest.mark.parametrize("call", ["fails", "evil"])
def test_commands_about_rows_and_errors_print_nothing_raw_L81(command: Command, job: str, call: str) -> None:
    file = _of(job, call)
    command("check", file, status=0)
    command("graph", file, status=0)
    command("run", file, "--journal", "run.db", status=3)
    command("runs", "run.db", status=0)
    command("runs", "run.db", "--json", status=0)
    assert "quarantined" in command("explain", "run.db", "--row", "0", status=0)
    json.loads(command("explain", "run.db", "--row", "0", "--json", status=0))
    command("retry", "run.db", "--error", HOSTILE)
    command("explain", "run.db", "--row", "0", "--run", HOSTILE, status=2)
    assert Path("bad.jsonl").read_bytes().decode("utf-8")


@pytest.mark.parametrize("call", ["fails", "evil"])
def test_a_failed_run_and_its_traceback_print_nothing_raw_L81(command: Command, job: str, call: str) -> None:
    shown = command("run", _of(job, call, 'on_error = "fail"'), "--traceback", "--log", "debug", status=1)
    assert "Traceback (most recent call last)" in shown
    assert "row 0 in 'ask'" in shown or "row 1 in 'ask'" in shown


def test_answers_print_nothing_raw_L81(command: Command, job: str) -> None:
    file = _of(job, "answers")
    command("run", file, "--journal", "run.db", "--json")
    command("explain", "run.db", "--row", "0", status=0)
    command("explain", "run.db", "--row", "0", "--json", status=0)
    command("export", "run.db", "--output", f"out{ESCAPES}".replace("/", ""), status=0)
    command("verify", f"out{ESCAPES}".replace("/", ""), status=0)


@pytest.mark.parametrize(
    "args",
    [
        ["run", f"no{ESCAPES}\udce4.toml"],
        ["check", f"no{ESCAPES}\udce4.toml"],
        ["runs", f"no{ESCAPES}\udce4.db"],
        ["resume", f"no{ESCAPES}\udce4.db"],
        ["verify", f"no{ESCAPES}\udce4.jsonl"],
        ["scenario", "run", f"no{ESCAPES}\udce4"],
        ["scenario", "show", f"no{ESCAPES}\udce4"],
        ["run", f"--{ESCAPES}", "x"],
        [ESCAPES],
        ["explain", "x.db", "--row", ESCAPES],
        ["prune", "x.db", "--older-than", ESCAPES],
        ["run", "x.toml", "--log", ESCAPES],
        ["soak", "a_week", "--for", ESCAPES],
    ],
)
def test_arguments_are_printed_visibly_L81(command: Command, args: list[str]) -> None:
    assert command(*args, status=2)


@pytest.mark.parametrize(
    "wrong",
    [
        "name = {text}",
        "{text} = 1",
        "[source]\ntype = {text}",
        "[source]\ntype = 'csv'\npath = {text}\n[sink]\ntype = 'jsonl'\npath = 'out'",
        "[source]\ntype = 'csv'\npath = 'in.csv'\n{text} = 1",
        "[source]\ntype = 'csv'\npath = 'in.csv'\n[[stage]]\ncall = {text}",
        "[source]\ntype = 'csv'\npath = 'in.csv'\n[[stage]]\nname = {text}\ncall = 'os:getcwd'",
        "[source]\ntype = 'csv'\npath = 'in.csv'\n[[stage]]\nafter = [{text}]\ncall = 'os:getcwd'",
        "[source]\ntype = 'csv'\npath = 'in.csv'\n[[stage]]\ncall = 'os:getcwd'\nlimit = {text}",
    ],
)
def test_what_a_file_says_wrongly_is_printed_visibly_L81(command: Command, wrong: str) -> None:
    quoted = '"' + "".join(f"\\u{ord(char):04x}" for char in ESCAPES) + '"'
    command.file("in.csv", "a\n1\n")
    file = command.file("wrong.toml", wrong.replace("{text}", quoted))
    command("check", file, status=2)
    command("run", file, status=2)


def test_where_is_printed_visibly_L81(command: Command, job: str) -> None:
    assert command("run", _of(job, "answers"), "--where", ESCAPES, status=2)


def test_a_file_and_columns_with_hostile_names_are_printed_visibly_L81(command: Command, job: str) -> None:
    name = ESCAPES.replace("/", "")
    Path(name).write_bytes(Path("in.csv").read_bytes())
    text = Path(_of(job, "fails")).read_text(encoding="utf-8")
    quoted = "".join(f"\\u{ord(char):04x}" for char in name)
    file = command.file("named.toml", text.replace('path = "in.csv"', f'path = "{quoted}"'))
    command("check", file, status=0)
    command("graph", file, status=0)
    command("graph", file, "--format", "dot", status=0)
    command("run", file, "--journal", "run.db", status=3)
    command("explain", "run.db", "--row", "0", status=0)
    Path(name).write_text("other\n")
    assert command("resume", "run.db")


@pytest.mark.parametrize(
    "code",
    [
        "raise ValueError(TEXT)",
        "raise SystemExit(0)",
        "class CALL:\n    def __init__(self): raise SystemExit(TEXT)",
        "def __getattr__(name): raise LookupError(TEXT)",
    ],
)
def test_a_module_that_cannot_be_used_is_told_L72(command: Command, job: str, code: str, request: Any) -> None:
    module = f"unusable_{abs(hash(request.node.name))}"
    command.file(f"{module}.py", f"TEXT = {HOSTILE!r}\n{code}\n")
    text = Path(job).read_text(encoding="utf-8").replace("hostile_calls:CALL", f"{module}:CALL")
    shown = command("check", command.file("unusable.toml", text), status=2)
    assert "call: " in shown
    assert " raised " in shown
