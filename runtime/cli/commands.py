"""`headrace run`, `resume`, `runs`, `explain`, `check` and `graph`.

Exit status: 0 all rows ended well, 1 the run failed, 2 the command or file was wrong, 3 ended with rows in quarantine,
75 suspended until later, 130 interrupted.
"""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import click

from .scenarios import scenario, soak

if TYPE_CHECKING:
    from ..config import Job
    from ..journal.sqlite import JournalFile
    from ..report import RunReport

FAILED, WRONG, QUARANTINED, SUSPENDED, INTERRUPTED = 1, 2, 3, 75, 130

JOURNAL_PATH = click.Path(path_type=Path, dir_okay=False)
JOURNAL = click.argument("journal", type=JOURNAL_PATH)
SUSPEND_AFTER = click.option(
    "--suspend-after",
    type=click.FloatRange(0.0),
    metavar="SECONDS",
    help="End, with status 75, when only pending rows were left for so long; resume later.",
)
ACCEPT_CHANGES = click.option(
    "--accept-changes", is_flag=True, help="Go on although the source, a function or the graph changed."
)
FILE = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))


def _version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"headrace {version('headrace')}")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Say which it is.")
def headrace() -> None:
    """Move rows through slow, flaky, rate-limited calls: in order, at the rate the other side allows, and lose none."""


headrace.add_command(scenario)
headrace.add_command(soak)


@headrace.command()
@FILE
@click.option("--json", "as_json", is_flag=True, help="The report as JSON, on standard output.")
@click.option("--quiet", "-q", is_flag=True, help="No progress and no report; errors only.")
@click.option(
    "--log", type=click.Choice(["debug", "info", "warning"]), help="Log to standard error from this level on."
)
@click.option("--traceback", is_flag=True, help="Where an error came from, too.")
@click.option("--where", metavar="EXPRESSION", help="Only rows of which this is true, such as 'country == \"SE\"'.")
@click.option("--journal", type=JOURNAL_PATH, help="Go on where the run in this file was; begin there if it is new.")
@ACCEPT_CHANGES
@SUSPEND_AFTER
def run(
    file: Path,
    as_json: bool,
    quiet: bool,
    log: str | None,
    traceback: bool,
    where: str | None,
    journal: Path | None,
    accept_changes: bool,
    suspend_after: float | None,
) -> NoReturn:
    """Run the pipeline that FILE describes.

    The first Ctrl-C finishes what is under way, the second stops at once.
    """
    job = _read(file)
    if where is not None:
        _add_where(job, where)
    _run(job, file, journal, accept_changes, Shown(as_json, quiet, log, traceback), suspend_after)


class Shown(NamedTuple):
    """What of a run is shown."""

    as_json: bool
    quiet: bool
    log: str | None
    traceback: bool


def _run(
    job: Job, file: Path, journal: Path | None, accept_changes: bool, shown: Shown, suspend_after: float | None = None
) -> NoReturn:
    as_json, quiet, log, traceback = shown
    from ..errors import ConfigError, RunFailed
    from ..progress import watch
    from ..signals import draining

    if log is not None:
        _log(log)
    with draining() as signals:
        try:
            started = job.pipeline.start(
                max_quarantined=job.max_quarantined,
                drain_timeout=job.drain_timeout,
                journal=journal,
                accept_changes=accept_changes,
                suspend_after=suspend_after,
                origin=file,
            )
            signals.govern(started)
            report = started.wait() if quiet else watch(started)
        except ConfigError as error:
            # Of the journal; what the file says was checked before.
            click.echo(str(error), err=True)
            sys.exit(WRONG)
        except RunFailed as failed:
            _show(failed.report, as_json, quiet)
            if traceback:
                import traceback as lines

                lines.print_exception(failed.__cause__ or failed)
            click.echo(f"headrace: {failed}", err=True)
            sys.exit(FAILED)
    _show(report, as_json, quiet)
    if report.state == "suspended":
        sys.exit(SUSPENDED)
    if signals or report.interrupted:
        sys.exit(INTERRUPTED)
    sys.exit(QUARANTINED if report.quarantined else 0)


@headrace.command()
@JOURNAL
@click.option("--run", "name", metavar="NAME", help="Which one, where there are several.")
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
    file = _look_into(journal)
    from ..journal.explain import runs

    found = [line for line in runs(file) if name in (None, line.name)]
    file.close()
    if not found:
        _wrong(f"{journal}: has no run{f' {name!r}' if name is not None else ''}")
    origin = found[-1].origin
    if origin is None:
        _wrong(f"{journal}: the run {found[-1].name!r} was begun by a program, not by a file; run that program again")
    _run(_read(Path(origin)), Path(origin), journal, accept_changes, shown, suspend_after)


@headrace.command()
@JOURNAL
@click.option("--row", "rows", type=int, multiple=True, help="Only this one, counted from 0; may be said again.")
@click.option("--error", metavar="CLASS", help="Only rows that an error of this type ended, such as TimeoutError.")
@click.option("--run", "name", metavar="NAME", help="Of which run, where there are several.")
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
    file = _look_into(journal, write=True)
    from ..errors import ConfigError
    from ..journal.again import try_again

    try:
        again = try_again(file, rows=rows, error=error, name=name)
    except ConfigError as mistake:
        _wrong(str(mistake))
    finally:
        file.close()
    if not quiet:
        click.echo(f"{len(again)} {'row' if len(again) == 1 else 'rows'} out of quarantine", err=True)
    _resume(journal, name, accept_changes, Shown(as_json, quiet, None, False))


@headrace.command("runs")
@JOURNAL
@click.option("--json", "as_json", is_flag=True, help="As JSON, on standard output.")
def list_runs(journal: Path, as_json: bool) -> None:
    """List the runs in JOURNAL."""
    file = _look_into(journal)
    import time

    import msgspec

    from ..journal.explain import runs

    found = runs(file)
    file.close()
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    for line in found:
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(line.began))
        outcomes = ", ".join(f"{n:,} {status}" for status, n in sorted(line.outcomes.items())) or "none"
        of = f" of {line.total:,}" if line.total is not None else ""
        lives = f"{line.lives} {'life' if line.lives == 1 else 'lives'}"
        click.echo(f"{line.name}  begun {began}  {lives}, {line.state}  {line.done:,}{of} rows done: {outcomes}")


@headrace.command()
@JOURNAL
@click.option("--row", type=int, required=True, help="Which one, counted from 0.")
@click.option("--run", "name", metavar="NAME", help="Of which run, where there are several.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, on standard output.")
def explain(journal: Path, row: int, name: str | None, as_json: bool) -> None:
    """Tell what happened to a row: each attempt, what it became, where it went."""
    file = _look_into(journal)
    import msgspec

    from ..errors import ConfigError
    from ..journal.explain import explain as explain_
    from ..journal.explain import story_text

    try:
        story = explain_(file, row, name)
    except ConfigError as error:
        _wrong(str(error))
    finally:
        file.close()
    click.echo(msgspec.json.encode(story).decode() if as_json else story_text(story))


@headrace.command()
@JOURNAL
@click.option("--run", "name", metavar="NAME", help="Which one, where there are several.")
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="A file, not standard output.")
def export(journal: Path, name: str | None, output: Path | None) -> None:
    """All that JOURNAL has of a run, as JSON Lines, each line chained to the one before it.

    With a key in HEADRACE_AUDIT_KEY, the chain is signed (HMAC-SHA-256).
    """
    file = _look_into(journal)
    from ..errors import ConfigError
    from ..journal.audit import export as export_

    try:
        with output.open("wb") if output is not None else nullcontext(sys.stdout.buffer) as out:
            for line in export_(file, name, _audit_key()):
                out.write(line)
    except ConfigError as error:
        _wrong(str(error))
    except OSError as error:
        _wrong(f"{output or 'standard output'}: cannot be written: {error.strerror}")
    finally:
        file.close()


@headrace.command()
@FILE
def verify(file: Path) -> None:
    """Say whether FILE is an export as it was written, whole and unchanged."""
    from ..errors import ConfigError
    from ..journal.audit import Broken
    from ..journal.audit import verify as verify_

    try:
        with file.open("rb") as lines:
            n = verify_(lines, _audit_key())
    except Broken as broken:
        click.echo(f"{file}: {broken}", err=True)
        sys.exit(FAILED)
    except ConfigError as error:
        _wrong(f"{file}: {error}")
    except OSError as error:
        _wrong(f"{file}: cannot be read: {error.strerror}")
    click.echo(f"{file}: {n:,} records, as they were written")


@headrace.command()
@JOURNAL
@click.option("--older-than", type=click.FloatRange(0.0), required=True, metavar="DAYS", help="Answers of so long ago.")
@click.option(
    "--outcome", type=click.Choice(["delivered", "dropped", "quarantined"]), help="Only of rows that ended so."
)
@click.option("--run", "name", metavar="NAME", help="Of which run, where there are several.")
def prune(journal: Path, older_than: float, outcome: str | None, name: str | None) -> None:
    """Drop the answers of rows that are done, and keep the account."""
    file = _look_into(journal, write=True)
    import time

    from ..errors import ConfigError
    from ..journal.audit import prune as prune_

    try:
        n = prune_(file, before=time.time() - older_than * 86_400.0, outcome=outcome, name=name)
    except ConfigError as error:
        _wrong(str(error))
    finally:
        file.close()
    click.echo(f"{journal}: {n:,} answers dropped")


def _audit_key() -> bytes | None:
    import os

    from ..journal.audit import KEY

    return key.encode() if (key := os.environ.get(KEY)) else None


def _look_into(journal: Path, write: bool = False) -> JournalFile:
    from ..errors import ConfigError
    from ..journal.sqlite import JournalFile

    try:
        return JournalFile(str(journal), new=False, write=write)
    except ConfigError as error:
        _wrong(str(error))


def _wrong(what: str) -> NoReturn:
    click.echo(what, err=True)
    sys.exit(WRONG)


@headrace.command()
@FILE
def check(file: Path) -> None:
    """Say what is wrong with FILE, all of it, or show its graph; run nothing."""
    plan = _read(file).plan()
    from ..drawing import line, tree

    click.echo(f"{file}: {line(plan) or tree(plan)}")


@headrace.command()
@FILE
@click.option(
    "--format",
    "form",
    type=click.Choice(["mermaid", "dot", "svg"]),
    default="mermaid",
    show_default=True,
    help="Mermaid's or Graphviz's language, or a picture.",
)
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="A file, not standard output.")
def graph(file: Path, form: str, output: Path | None) -> None:
    """Draw the graph that FILE describes."""
    plan = _read(file).plan()
    from .. import drawing
    from ..errors import ConfigError

    try:
        drawn = {"mermaid": drawing.mermaid, "dot": drawing.dot, "svg": drawing.svg}[form](plan)
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(WRONG)
    if output is None:
        click.echo(drawn)
        return
    try:
        output.write_text(drawn + "\n", encoding="utf-8")
    except OSError as error:
        click.echo(f"{output}: cannot be written: {error.strerror}", err=True)
        sys.exit(WRONG)


def _add_where(job: Job, where: str) -> None:
    from ..errors import ConfigError

    try:
        job.pipeline.where(where)
        job.plan()
    except ConfigError as error:
        click.echo(f"--where: {error}", err=True)
        sys.exit(WRONG)


def _read(file: Path) -> Job:
    from ..config import read
    from ..errors import ConfigError

    try:
        return read(file)
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(WRONG)


def _show(report: RunReport, as_json: bool, quiet: bool) -> None:
    if as_json:
        click.echo(json.dumps(report.to_dict()))
    elif not quiet:
        # Standard output may be where the rows go.
        click.echo(str(report), err=True)


def _log(level: str) -> None:
    from loguru import logger

    logger.remove()
    logger.add(sys.stderr, level=level.upper(), backtrace=False, diagnose=False)
    logger.enable("headrace")
