"""What the commands share: options, how a job is read and run, how it is told what came of it.

Exit status: 0 all rows ended well, 1 the run failed, 2 the command or file was wrong, 3 ended with rows in quarantine,
75 suspended until later, 130 interrupted, 141 whoever read standard output has gone away.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, NoReturn

import click

from .output import say, say_json, wrong

if TYPE_CHECKING:
    from ..connectors.file_identity import FileUse
    from ..errors import RunFailed
    from ..files.pipeline_file import Job
    from ..journal.options import Journal
    from ..journal.requeue import Again
    from ..run.report import RunReport

FAILED, QUARANTINED, SUSPENDED, INTERRUPTED, READER_GONE = 1, 3, 75, 130, 141


class JournalName(click.Path):
    """The name of a journal: a path, or what its store calls it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from ..errors import ConfigError
        from ..journal.stores import file_of

        try:
            is_path = file_of(value) == value
        except ConfigError as error:
            self.fail(str(error), param, ctx)
        return super().convert(value, param, ctx) if is_path else value


JOURNAL_NAME = JournalName(path_type=str, dir_okay=False)
JOURNAL = click.argument("journal", type=JOURNAL_NAME)
SUSPEND_AFTER = click.option(
    "--suspend-after",
    type=click.FloatRange(0.0),
    metavar="SECONDS",
    help="End, with status 75, when only pending rows were left for so long; resume later.",
)
ACCEPT_CHANGES = click.option(
    "--accept-changes", is_flag=True, help="Go on although the source, a function or the graph changed; say how."
)
FILE = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))


class Shown(NamedTuple):
    """What of a run is shown."""

    as_json: bool
    quiet: bool
    log: str | None
    traceback: bool


def run_job(
    job: Job,
    file: Path,
    journal: str | None,
    accept_changes: bool,
    shown: Shown,
    suspend_after: float | None = None,
    again: Again | None = None,
) -> NoReturn:
    """Run a job to its end. `journal`: where, whatever the file says of that. `again`: rows in quarantine to try again."""
    from ..errors import ConfigError, RunFailed
    from ..run.progress import progress_of
    from ..run.signals import draining

    if shown.log is not None:
        _log(shown.log)
    elif not shown.quiet:
        _log_journal()
    if shown.as_json and any(getattr(sink.connector, "path", None) == "-" for sink in job.plan().sinks):
        wrong(
            "--json: a sink writes rows to standard output, and the report would stand among them; give the sink a file"
        )
    options = _journal_of(job, journal)
    with draining() as signals:
        try:
            started = job.pipeline.start(
                max_quarantined=job.max_quarantined,
                drain_timeout=job.drain_timeout,
                journal=options,
                accept_changes=accept_changes,
                suspend_after=suspend_after,
                origin=file,
                again=again,
                progress=False if shown.quiet else progress_of("Ctrl-C again stops"),
            )
            signals.govern(started)
            report = started.wait()
        except ConfigError as error:
            # Of the journal; what the file says was checked before.
            wrong(str(error))
        except RunFailed as failed:
            _end_failed(failed, shown)
    _show(report, shown.as_json, shown.quiet)
    if report.state == "suspended":
        sys.exit(SUSPENDED)
    if signals or report.interrupted:
        sys.exit(INTERRUPTED)
    sys.exit(QUARANTINED if report.quarantined else 0)


def _journal_of(job: Job, name: str | None) -> Journal | None:
    """How the journal is kept; None where there is none. `name`: of another one than the file says."""
    import msgspec

    from ..journal.options import Journal

    if name is not None:
        return msgspec.structs.replace(job.journal or Journal(), path=name)
    # What a file says without a path is about the journal of a run that has one.
    return job.journal if job.journal is not None and job.journal.path is not None else None


def _end_failed(failed: RunFailed, shown: Shown) -> NoReturn:
    from ..connectors.stream_output import ReaderGone
    from ..text import traceback_of

    if isinstance(failed.__cause__, ReaderGone):
        _leave_quietly()
    _show(failed.report, shown.as_json, shown.quiet)
    if shown.traceback:
        say(traceback_of(failed.__cause__ or failed), err=True, nl=False)
    say(f"headrace: {failed}", err=True)
    sys.exit(FAILED)


def _leave_quietly() -> NoReturn:
    """Whoever read standard output has had enough: end as other commands do that a broken pipe stops."""
    # Nor is anything left to be written there when the interpreter ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(READER_GONE)


def own_output(path: Path) -> FileUse:
    """What a command writes, to be held against what else is used."""
    from ..connectors.file_identity import FileUse

    return FileUse(str(path), "write", user="the command")


REPLACE = click.option("--replace", is_flag=True, help="Replace FILE, whatever it is.")


def check_new(output: Path, command: str, replace: bool) -> None:
    """What a command writes is lost to nobody: the end, where a file is there that no earlier `command` wrote (L79)."""
    from ..connectors.file_mark import mark_of

    if replace or not output.is_file() or not output.stat().st_size:
        return
    if mark_of(str(output)).get("run") != command:
        wrong(
            f"{output}: exists already, and is not what an earlier `{command}` wrote; say --replace, or name another file"
        )


def mark_as_made(file: IO[Any], command: str) -> None:
    """So that the next `command` may replace it."""
    from ..connectors.file_mark import set_mark
    from ..connectors.port import RunInfo

    file.flush()
    set_mark(file.fileno(), RunInfo(pipeline="", run=command))


def read_job(file: Path) -> Job:
    """The job that a file describes, or the end."""
    from ..errors import ConfigError
    from ..files.pipeline_file import read

    try:
        return read(file)
    except ConfigError as error:
        wrong(str(error))


def _show(report: RunReport, as_json: bool, quiet: bool) -> None:
    if as_json:
        say_json(json.dumps(report.to_dict()))
    elif not quiet:
        # Standard output may be where the rows go.
        say(str(report), err=True)


def _log_journal() -> None:
    """What people must know of the journal before a run goes on with it: that its work is another one, or cannot be
    known."""
    from loguru import logger

    logger.remove()
    logger.add(
        lambda message: say(f"headrace: {message}".rstrip(), err=True),
        level="WARNING",
        format="{message}",
        colorize=False,
    )
    logger.enable("headrace.runtime.journal")


def _log(level: str) -> None:
    from loguru import logger

    logger.remove()
    logger.add(lambda message: say(message.rstrip(), err=True), level=level.upper(), backtrace=False, diagnose=False)
    logger.enable("headrace")
