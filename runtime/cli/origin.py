"""Where the job of a journal is, and whether its code may be run without asking.

A journal names the job file that began its run, and with it code. It is found again relative to the journal, so that
both may have moved, or else where it was. It is run at once where it is plainly the caller's own: the journal and the
job file belong to the caller, nobody else may write to the job file, and it is in the journal's folder, in one above or
below it, or both are below the folder that the command runs in. Otherwise the caller is told what would run, and asked
on a terminal, or must say `--trust`.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from .output import say, wrong

if TYPE_CHECKING:
    from ..journal.records import RunRow

_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


class Origin(NamedTuple):
    """The file that describes a run, and the folder that its paths are relative to."""

    file: Path
    folder: Path


def origin_of(run: RunRow, journal: str, trust: bool) -> Origin:
    """Where they are; or the end of the command, where they are not, or where the caller does not want them to be run."""
    from ..journal.stores import shown_of

    shown = shown_of(journal)
    if run.origin is None:
        wrong(f"{shown}: the run {run.name!r} was begun by a program, not by a file; run that program again")
    found = _moved(run, journal) or _as_it_was(run.origin, run.folder)
    if found is None:
        wrong(
            f"{shown}: the run {run.name!r} was begun with {run.origin}, which is not there; "
            f"go on with `headrace run JOB.toml --journal {shown}`"
        )
    if not trust:
        _ask(found.file, journal)
    return found


def _moved(run: RunRow, journal: str) -> Origin | None:
    """Found from the journal, which may have moved with them."""
    from ..journal.stores import file_of

    path = file_of(journal)
    if run.origin is None or run.home is None or path is None:
        return None
    home = os.path.dirname(os.path.realpath(path))
    folder = run.folder or os.path.dirname(run.origin)
    return _as_it_was(
        *(os.path.normpath(os.path.join(home, os.path.relpath(each, run.home))) for each in (run.origin, folder))
    )


def _as_it_was(file: str, folder: str | None) -> Origin | None:
    if not os.path.isfile(file):
        return None
    return Origin(Path(file), Path(folder if folder is not None and os.path.isdir(folder) else os.path.dirname(file)))


def _ask(file: Path, journal: str) -> None:
    from ..journal.stores import shown_of

    doubts = doubts_about(file, journal)
    if not doubts:
        return
    told = f"{shown_of(journal)}: going on runs the code that {file} names ({_calls(file)}), {' and '.join(doubts)}"
    if sys.stdin is not None and sys.stdin.isatty() and sys.stderr is not None and sys.stderr.isatty():
        say(told, err=True)
        if click.confirm("Run it?", err=True):
            return
        wrong("nothing was run")
    wrong(f"{told}; nothing was run. If you trust it, say --trust")


def doubts_about(file: Path, journal: str) -> list[str]:
    """Why a job file may not be the caller's own; nothing where it plainly is."""
    from ..journal.stores import file_of

    doubts = []
    me, told, path = os.geteuid(), os.stat(file), file_of(journal)
    if told.st_uid != me:
        doubts.append(f"which belongs to the user {told.st_uid}, not to you")
    elif stat.S_IMODE(told.st_mode) & stat.S_IWOTH:
        doubts.append("which anybody may write to")
    if path is None:
        doubts.append("the journal is in no file, so nobody can say whose it is")
        return doubts
    kept = os.stat(path)
    if kept.st_uid != me:
        doubts.append(f"the journal belongs to the user {kept.st_uid}, not to you")
    of, here = os.path.realpath(file.parent), os.path.realpath(".")
    home = os.path.dirname(os.path.realpath(path))
    if not (_below(of, home) or _below(home, of) or (_below(of, here) and _below(home, here))):
        doubts.append("which is in another place than the journal")
    return doubts


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(os.path.join(folder, ""))


def _calls(file: Path) -> str:
    """The functions that a job file names."""
    try:
        found = sorted(set(_targets(tomllib.loads(file.read_text("utf-8-sig")))))
    except (OSError, ValueError):
        return "it cannot be read"
    return ", ".join(found) or "none"


def _targets(table: object) -> list[str]:
    if isinstance(table, dict):
        return [each for value in table.values() for each in _targets(value)]
    if isinstance(table, list):
        return [each for value in table for each in _targets(value)]
    return [table] if isinstance(table, str) and _TARGET.fullmatch(table) else []
