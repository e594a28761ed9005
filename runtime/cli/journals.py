"""`headrace resume`, `retry`, `runs`, `explain`, `export`, `verify` and `prune`: what is done with a journal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, NoReturn, TypeVar

import click

from .jobs import (
    ACCEPT_CHANGES,
    FAILED,
    FILE,
    JOURNAL,
    REPLACE,
    SUSPEND_AFTER,
    Shown,
    check_new,
    mark_as_made,
    own_output,
    read_job,
    run_job,
)
from .origin import origin_of
from .output import TEXT, say, say_json, wrong

if TYPE_CHECKING:
    from ..journal.records import HeldRecords, Records, RunRow
    from ..journal.requeue import Again

R = TypeVar("R", bound="Records")

TRUST = click.option(
    "--trust", is_flag=True, help="Run the code that JOURNAL names, though its job file is somewhere else or another's."
)


@click.command()
@JOURNAL
@click.option("--run", "name", type=TEXT, metavar="NAME", help="Which one, where there are several.")
@ACCEPT_CHANGES
@TRUST
@SUSPEND_AFTER
@click.option("--json", "as_json", is_flag=True, help="The report as JSON, on standard output.")
@click.option("--quiet", "-q", is_flag=True, help="No progress and no report; errors only.")
def resume(
    journal: str,
    name: str | None,
    accept_changes: bool,
    trust: bool,
    suspend_after: float | None,
    as_json: bool,
    quiet: bool,
) -> NoReturn:
    """Go on with the run in JOURNAL where it was, however it ended.

    Its job file is looked for from JOURNAL on, for both may have moved. Paths in it are those of the folder that the run was
    begun in.
    """
    from ..journal.explain import run_named

    with _looking_into(journal) as records:
        found = run_named(records, name)
    _go_on(found, journal, accept_changes, trust, Shown(as_json, quiet, None, False), suspend_after)


def _go_on(
    run: RunRow,
    journal: str,
    accept_changes: bool,
    trust: bool,
    shown: Shown,
    suspend_after: float | None = None,
    again: Again | None = None,
) -> NoReturn:
    import os

    from ..journal.stores import name_of, shown_of

    origin, journal = origin_of(run, journal, trust), name_of(journal)
    if not origin.folder.samefile("."):
        if not shown.quiet:
            say(f"in {origin.folder}:", err=True)
        os.chdir(origin.folder)
    job = read_job(origin.file)
    if job.pipeline.name != run.name:
        wrong(
            f"{origin.file}: describes {job.pipeline.name!r} now, and the run in {shown_of(journal)} is {run.name!r}; "
            f"say name = {run.name!r} in it, or begin a new journal"
        )
    run_job(job, origin.file, journal, accept_changes, shown, suspend_after, again)


@click.command()
@JOURNAL
@click.option("--row", "rows", type=int, multiple=True, help="Only this one, counted from 0; may be said again.")
@click.option(
    "--error", type=TEXT, metavar="CLASS", help="Only rows that an error of this type ended, such as TimeoutError."
)
@click.option("--run", "name", type=TEXT, metavar="NAME", help="Of which run, where there are several.")
@ACCEPT_CHANGES
@TRUST
@click.option("--json", "as_json", is_flag=True, help="The report as JSON, on standard output.")
@click.option("--quiet", "-q", is_flag=True, help="No progress and no report; errors only.")
def retry(
    journal: str,
    rows: tuple[int, ...],
    error: str | None,
    name: str | None,
    accept_changes: bool,
    trust: bool,
    as_json: bool,
    quiet: bool,
) -> NoReturn:
    """Try rows in quarantine again, once what was wrong is mended, and go on with the run.

    Functions may be other ones than they were; that the source or the graph is another one needs --accept-changes.
    Nothing is marked before all that the run works with is open. What succeeds comes at the end of the outputs; the
    file of the quarantine keeps its old records.
    """
    from ..journal.explain import run_named
    from ..journal.requeue import Again, look

    again = Again(frozenset(rows), error)
    with _looking_into(journal) as records:
        run = run_named(records, name)
        records.check_tally(run.id)
        found = look(records, run.id, again)
    if not quiet:
        told = f"{len(found.rows):,} {'row' if len(found.rows) == 1 else 'rows'} out of quarantine to be tried again"
        others = ", ".join(f"{n:,} by {kind}" for kind, n in sorted(found.others.items()))
        say(f"{told}; not asked for, and left there: {others}" if others else told, err=True)
    _go_on(run, journal, accept_changes, trust, Shown(as_json, quiet, None, False), None, again)


@click.command("runs")
@JOURNAL
@click.option("--json", "as_json", is_flag=True, help="As JSON, on standard output.")
def list_runs(journal: str, as_json: bool) -> None:
    """List the runs in JOURNAL."""
    import time

    import msgspec

    from ..journal.explain import runs

    with _looking_into(journal) as records:
        found = runs(records)
    if as_json:
        say_json(msgspec.json.encode(found).decode())
        return
    for line in found:
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(line.began))
        outcomes = ", ".join(f"{n:,} {status}" for status, n in sorted(line.outcomes.items())) or "none"
        of = f" of {line.total:,}" if line.total is not None else ""
        lives = f"{line.lives} {'life' if line.lives == 1 else 'lives'}"
        say(f"{line.name}  begun {began}  {lives}, {line.state}  {line.done:,}{of} rows done: {outcomes}")


EXPLAINED = 5
"""Rows that are told of at once, where more than one is meant."""


@click.command()
@JOURNAL
@click.option("--row", type=int, help="Which one, counted from 0.")
@click.option(
    "--where", type=TEXT, metavar="EXPRESSION", help="Rows of which this is true in their file, such as 'id == \"42\"'."
)
@click.option(
    "--error", type=TEXT, metavar="CLASS", help="Rows that an error of this type ended, such as TimeoutError."
)
@click.option("--run", "name", type=TEXT, metavar="NAME", help="Of which run, where there are several.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, on standard output; a list for --where and --error.")
def explain(
    journal: str, row: int | None, where: str | None, error: str | None, name: str | None, as_json: bool
) -> None:
    """Tell what happened to a row: each attempt, what it waited for, what it became, where it went.

    Rows are named by --row, --where or --error. Of several, the first five are told of. --where reads the file of the source
    again, where values are text in CSV and what they are in JSON Lines.
    """
    import msgspec

    from ..journal.explain import explain as explain_
    from ..journal.explain import rows_by_error, rows_where
    from ..journal.story_text import story_text

    if sum(said is not None for said in (row, where, error)) != 1:
        wrong("explain: say which row: one of --row, --where and --error")
    with _looking_into(journal) as records:
        if where is not None:
            from ..rows.expressions import Expression

            rows = rows_where(records, Expression(where), EXPLAINED, name)
        elif error is not None:
            rows = rows_by_error(records, error, name)
        else:
            rows = [row if row is not None else 0]
        stories = [explain_(records, number, name) for number in rows[:EXPLAINED]]
    if as_json:
        say_json(msgspec.json.encode(stories[0] if row is not None else stories).decode())
        return
    say("\n".join(map(story_text, stories)))
    if len(rows) > EXPLAINED:
        others = ", ".join(map(str, rows[EXPLAINED : 3 * EXPLAINED]))
        more = ", ..." if len(rows) > 3 * EXPLAINED else ""
        say(f"and {len(rows) - EXPLAINED:,} other rows: {others}{more}")


@click.command()
@JOURNAL
@click.option("--run", "name", type=TEXT, metavar="NAME", help="Which one, where there are several.")
@click.option("--format", "form", type=click.Choice(["jsonl", "parquet"]), default="jsonl", show_default=True)
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="A file, not standard output.")
@REPLACE
def export(journal: str, name: str | None, form: str, output: Path | None, replace: bool) -> None:
    """All that JOURNAL has of a run, record by record, each chained to the one before it.

    With a key in HEADRACE_AUDIT_KEY, the chain is signed (HMAC-SHA-256). The last record tells how many there are and
    how the rows ended. As the journal, a file that is written can be read by nobody else.
    """
    from ..journal import parquet
    from ..journal.audit import export as export_

    if form == "parquet" and output is None:
        wrong("--format parquet needs --output FILE: it is not written to standard output")
    if output is not None:
        _check_output(output, journal)
        check_new(output, "headrace export", replace)
    with _looking_into(journal) as records:
        lines = export_(records, name, _audit_key())
        try:
            if output is None and sys.stdout.isatty():
                for line in lines:
                    say_json(line.decode().removesuffix("\n"))
                return
            with _private(output) if output is not None else nullcontext(sys.stdout.buffer) as out:
                if form == "parquet":
                    parquet.write(out, lines)
                else:
                    out.writelines(lines)
                out.flush()
                if output is not None:
                    mark_as_made(out, "headrace export")
        except OSError as error:
            wrong(f"{output or 'standard output'}: cannot be written: {error.strerror or error}")


def _check_output(output: Path, journal: str) -> None:
    """What a command writes is not the journal that it reads."""
    from ..connectors.file_identity import check_uses
    from ..errors import ConfigError
    from ..run.output_files import uses_of_a_run

    try:
        check_uses([*uses_of_a_run(journal, None), own_output(output)])
    except ConfigError as error:
        wrong(str(error))


@click.command()
@FILE
def verify(file: Path) -> None:
    """Say whether FILE is an export as it was written: whole, chained, and signed by the key in HEADRACE_AUDIT_KEY."""
    from ..errors import ConfigError
    from ..journal.audit import Broken, examine, lines_of

    try:
        found = examine(lines_of(file), _audit_key())
    except Broken as broken:
        say(f"{file}: {broken}", err=True)
        sys.exit(FAILED)
    except ConfigError as error:
        wrong(f"{file}: {error}")
    except OSError as error:
        wrong(f"{file}: cannot be read: {error.strerror}")
    ended = ", ".join(f"{n:,} {status}" for status, n in sorted(found.outcomes.items())) or "none"
    total = f" of {found.rows:,}" if found.rows is not None else ""
    say(f"{file}: {found.records:,} records, as they were written; rows that ended{total}: {ended}")
    say("  whole: the end is there, and the records add up to what it says")
    say("  chained: no record was changed, added, left out or moved without the chain being made anew")
    say(
        "  signed: the chain was made with the key that you gave"
        if found.signed
        else "  not signed: whoever changed it could have chained it anew; only an export with a key tells that"
    )


@click.command()
@JOURNAL
@click.option("--older-than", type=click.FloatRange(0.0), required=True, metavar="DAYS", help="Answers of so long ago.")
@click.option(
    "--outcome", type=click.Choice(["delivered", "dropped", "quarantined"]), help="Only of rows that ended so."
)
@click.option("--run", "name", type=TEXT, metavar="NAME", help="Of which run, where there are several.")
def prune(journal: str, older_than: float, outcome: str | None, name: str | None) -> None:
    """Drop the answers of rows that are done, and keep the account."""
    import time

    from ..journal.audit import prune as prune_
    from ..quantities import DAYS, option

    with _holding(journal) as records:
        days = option("prune", "--older-than", older_than, DAYS)
        n = prune_(records, before=time.time() - days * 86_400.0, outcome=outcome, name=name)
        say(f"{records.name}: {n:,} answers dropped")


@contextmanager
def _private(path: Path) -> Iterator[IO[bytes]]:
    """A file that is written, and that nobody else can read, also where there was one that others could."""
    import os
    import stat

    number = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    with open(number, "wb") as file:
        if stat.S_ISREG(os.fstat(number).st_mode):
            os.fchmod(number, 0o600)
            file.truncate(0)
        yield file


def _audit_key() -> bytes | None:
    import os

    from ..journal.audit import KEY

    return key.encode() if (key := os.environ.get(KEY)) else None


@contextmanager
def _looking_into(journal: str) -> Iterator[Records]:
    """A journal as it is; what is wrong with it or with what is asked of it is told, and ends the command."""
    from ..journal.stores import look_into

    with _opened(journal, look_into) as records:
        yield records


@contextmanager
def _holding(journal: str) -> Iterator[HeldRecords]:
    """As `_looking_into`, under its lock."""
    from ..journal.stores import hold

    with _opened(journal, lambda name: hold(name, new=False)) as records:
        yield records


@contextmanager
def _opened(journal: str, open_: Callable[[str], R]) -> Iterator[R]:
    from ..errors import ConfigError
    from ..journal.mistakes import in_words

    try:
        records = open_(journal)
        try:
            with in_words(records.name):
                yield records
        finally:
            records.close()
    except ConfigError as mistake:
        wrong(str(mistake))


COMMANDS = (resume, retry, list_runs, explain, export, verify, prune)
