"""Rows in quarantine are to be tried again, once what was wrong is mended."""

from __future__ import annotations

from collections.abc import Collection

from headrace.actors.identity import rows_of
from headrace.actors.protocol import Status
from headrace.runtime.errors import ConfigError

from .codec import decode_id
from .explain import run_named, settled_as
from .file import JournalFile, sealed


def try_again(
    file: JournalFile, *, rows: Collection[int] = (), error: str | None = None, name: str | None = None
) -> list[int]:
    """Forget how these rows ended, so that the next life of the run does them again; which ones. What else is known of them
    stays: calls that were answered are not made again.

    `rows`: only these; `error`: only where an error of this type ended them; `name`: of which run. Raises `ConfigError`
    where one of these, or none at all, is in quarantine.
    """
    db = file.db
    found = run_named(file, name)
    run, name = found.id, found.name
    wanted, again = set(rows), set[int]()
    select = "SELECT row, node, path, error FROM ended WHERE run = ? AND status = ? AND error = coalesce(?, error)"
    with db:
        db.execute("BEGIN IMMEDIATE")
        for row, node, path, _ in db.execute(select, (run, Status.QUARANTINED.value, error)).fetchall():
            these = set(rows_of(decode_id(row, path)))
            if wanted and wanted.isdisjoint(these):
                continue
            key = (run, row, node, path)
            db.execute("DELETE FROM ended WHERE run = ? AND row = ? AND node = ? AND path = ?", key)
            again |= these
        for row in sorted(again):
            # A join whose word was that something was missing says it anew.
            db.execute("DELETE FROM word WHERE run = ? AND row = ?", (run, row))
            status = settled_as(db, run, row)
            if status is not None:
                db.execute("INSERT INTO settled VALUES (?,?,?,?,?,?,?)", sealed((run, status, row, row, -1, None)))
        missing = sorted(wanted - again)
        if missing or not again:
            # Within the transaction, which so leaves nothing behind.
            which = f"row {missing[0]} is not" if missing else "no row is"
            by = f" by {error}" if error is not None else ""
            raise ConfigError(f"{file.path}: {which} in quarantine{by}, in the run {name!r}")
        progress = file.progress_of(run)
        progress.mark = min(progress.mark, *again)
        file.save_progress(progress)
    return sorted(again)
