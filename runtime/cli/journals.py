"""`headrace resume`, `retry`, `runs`, `explain`, `export`, `verify` and `prune`: what is done with a journal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from .jobs import ACCEPT_CHANGES, FAILED, FILE, JOURNAL, SUSPEND_AFTER, Shown, read_job, run_job
from .output import TEXT, say, say_json, wrong

if TYPE_CHECKING:
    from ..journal.file import JournalFile


@click.command()
@JOURNAL
@click.option("--run", "name", type=TEXT, metavar="NAME", help="Which one, where there are several.")
@ACCEPT_CHANGES
@SUSPEND_AFTER
@click.option("--json", "as_json", is_flag=True, help="The report as JSON, on standard output.")
@click.option("--quiet", "-q", is_flag=True, help="No progress and no report; errors only.")
def resume(
    journal: Path, name: str | None, accept_changes: bool, suspend_after: float | None, as_json: bool, quiet: bool
) -> NoReturn:
    """Go on with the run in JOURNAL where it was, however it ended."""
    _resume(journal, name, accept_changes, Shown(as_json, quiet, None, False), suspend_after)


def _resume(
    journal: Path, name: str | None, accept_changes: bool, shown: Shown, suspend_after: float | None = None
) -> NoReturn:
    from ..journal.explain import run_named

    with _looking_into(journal) as file:
        found = run_named(file, name)
    origin = found.origin
    if origin is None:
        wrong(f"{journal}: the run {found.name!r} was begun by a program, not by a file; run that program again")
    run_job(read_job(Path(origin)), Path(origin), journal, accept_changes, shown, suspend_after)


@click.command()
@JOURNAL
@click.option("--row", "rows", type=int, multiple=True, help="Only this one, counted from 0; may be said again.")
@click.option(
    "--error", type=TEXT, metavar="CLASS", help="Only rows that an error of this type ended, such as TimeoutError."
)
@click.option("--run", "name", type=TEXT, metavar="NAME", help="Of which run, where there are several.")
@ACCEPT_CHANGES
@click.option("--json", "as_json", is_flag=True, help="The report as JSON, on standard output.")
@click.option("--quiet", "-q", is_flag=True, help="No progress and no report; errors only.")
def retry(
    journal: Path,
    rows: tuple[int, ...],
    error: str | None,
    name: str | None,
    accept_changes: bool,
    as_json: bool,
    quiet: bool,
) -> NoReturn:
    """Try rows in quarantine again, once what was wrong is mended, and go on with the run.

    What succeeds comes at the end of the outputs; the file of the quarantine keeps its old records.
    """
    from ..journal.again import try_again

    with _looking_into(journal, write=True) as file:
        again = try_again(file, rows=rows, error=error, name=name)
    if not quiet:
        say(f"{len(again)} {'row' if len(again) == 1 else 'rows'} out of quarantine", err=True)
    _resume(journal, name, accept_changes, Shown(as_json, quiet, None, False))


@click.command("runs")
@JOURNAL
@click.option("--json", "as_json", is_flag=True, help="As JSON, on standard output.")
def list_runs(journal: Path, as_json: bool) -> None:
    """List the runs in JOURNAL."""
    import time

    import msgspec

    from ..journal.explain import runs

    with _looking_into(journal) as file:
        found = runs(file)
    if as_json:
        say_json(msgspec.json.encode(found).decode())
        return
    for line in found:
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(line.began))
        outcomes = ", ".join(f"{n:,} {status}" for status, n in sorted(line.outcomes.items())) or "none"
        of = f" of {line.total:,}" if line.total is not None else ""
        lives = f"{line.lives} {'life' if line.lives == 1 else 'lives'}"
        say(f"{line.name}  begun {began}  {lives}, {line.state}  {line.done:,}{of} rows done: {outcomes}")


@click.command()
@JOURNAL
@click.option("--row", type=int, required=True, help="Which one, counted from 0.")
@click.option("--run", "name", type=TEXT, metavar="NAME", help="Of which run, where there are several.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, on standard output.")
def explain(journal: Path, row: int, name: str | None, as_json: bool) -> None:
    """Tell what happened to a row: each attempt, what it became, where it went."""
    import msgspec

    from ..journal.explain import explain as explain_
    from ..journal.explain import story_text

    with _looking_into(journal) as file:
        story = explain_(file, row, name)
    if as_json:
        say_json(msgspec.json.encode(story).decode())
    else:
        say(story_text(story))


@click.command()
@JOURNAL
@click.option("--run", "name", type=TEXT, metavar="NAME", help="Which one, where there are several.")
@click.option("--format", "form", type=click.Choice(["jsonl", "parquet"]), default="jsonl", show_default=True)
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="A file, not standard output.")
def export(journal: Path, name: str | None, form: str, output: Path | None) -> None:
    """All that JOURNAL has of a run, record by record, each chained to the one before it.

    With a key in HEADRACE_AUDIT_KEY, the chain is signed (HMAC-SHA-256).
    """
    from ..journal import parquet
    from ..journal.audit import export as export_

    if form == "parquet" and output is None:
        wrong("--format parquet needs --output FILE: it is not written to standard output")
    with _looking_into(journal) as file:
        lines = export_(file, name, _audit_key())
        try:
            if form == "parquet" and output is not None:
                parquet.write(output, lines)
                return
            if output is None and sys.stdout.isatty():
                for line in lines:
                    say_json(line.decode().removesuffix("\n"))
                return
            with output.open("wb") if output is not None else nullcontext(sys.stdout.buffer) as out:
                out.writelines(lines)
        except OSError as error:
            wrong(f"{output or 'standard output'}: cannot be written: {error.strerror or error}")


@click.command()
@FILE
def verify(file: Path) -> None:
    """Say whether FILE is an export as it was written, whole and unchanged."""
    from ..errors import ConfigError
    from ..journal.audit import Broken, lines_of
    from ..journal.audit import verify as verify_

    try:
        n = verify_(lines_of(file), _audit_key())
    except Broken as broken:
        say(f"{file}: {broken}", err=True)
        sys.exit(FAILED)
    except ConfigError as error:
        wrong(f"{file}: {error}")
    except OSError as error:
        wrong(f"{file}: cannot be read: {error.strerror}")
    say(f"{file}: {n:,} records, as they were written")


@click.command()
@JOURNAL
@click.option("--older-than", type=click.FloatRange(0.0), required=True, metavar="DAYS", help="Answers of so long ago.")
@click.option(
    "--outcome", type=click.Choice(["delivered", "dropped", "quarantined"]), help="Only of rows that ended so."
)
@click.option("--run", "name", type=TEXT, metavar="NAME", help="Of which run, where there are several.")
def prune(journal: Path, older_than: float, outcome: str | None, name: str | None) -> None:
    """Drop the answers of rows that are done, and keep the account."""
    import time

    from ..journal.audit import prune as prune_
    from ..quantities import DAYS, option

    with _looking_into(journal, write=True) as file:
        days = option("prune", "--older-than", older_than, DAYS)
        n = prune_(file, before=time.time() - days * 86_400.0, outcome=outcome, name=name)
    say(f"{journal}: {n:,} answers dropped")


def _audit_key() -> bytes | None:
    import os

    from ..journal.audit import KEY

    return key.encode() if (key := os.environ.get(KEY)) else None


@contextmanager
def _looking_into(journal: Path, write: bool = False) -> Iterator[JournalFile]:
    """A journal; what is wrong with it or with what is asked of it is told, and ends the command."""
    from ..errors import ConfigError
    from ..journal.file import JournalFile, in_words

    try:
        file = JournalFile(str(journal), new=False, write=write)
        try:
            with in_words(file.path):
                yield file
        finally:
            file.close()
    except ConfigError as mistake:
        wrong(str(mistake))


COMMANDS = (resume, retry, list_runs, explain, export, verify, prune)
