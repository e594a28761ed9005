"""The tables of a journal (`tables.py`) as SQLite has them. Each row but the file's own salt ends with its checksum,
`seal`."""

from __future__ import annotations

APPLICATION = 0x48647263
"""What the file says that it is ("Hdrc"); see `PRAGMA application_id`."""
VERSION = 4
"""Of the tables and of the values in them; see `PRAGMA user_version`."""
FIRST = 2
"""The oldest version that can be read."""
LATER = {"learned": 3, "spent": 3, "noted": 4}
"""Tables that came with a later version. A journal of one before lacks them, and gets all of them when there is something to
write in one."""

SCHEMA = """
CREATE TABLE about (id INTEGER PRIMARY KEY, salt INTEGER NOT NULL);
CREATE TABLE run (id INTEGER PRIMARY KEY, key TEXT NOT NULL, name TEXT NOT NULL, began REAL NOT NULL,
    fingerprint TEXT NOT NULL, origin TEXT, folder TEXT, home TEXT, seal INTEGER NOT NULL);
CREATE TABLE progress (run INTEGER PRIMARY KEY, mark INTEGER NOT NULL, reach INTEGER NOT NULL, total INTEGER,
    tally BLOB NOT NULL, seal INTEGER NOT NULL);
CREATE TABLE life (run INTEGER NOT NULL, n INTEGER NOT NULL, began REAL NOT NULL, ended REAL, state TEXT,
    seal INTEGER NOT NULL, PRIMARY KEY (run, n)) WITHOUT ROWID;
CREATE TABLE name (id INTEGER PRIMARY KEY, name TEXT NOT NULL, seal INTEGER NOT NULL);
CREATE TABLE answer (run INTEGER NOT NULL, row INTEGER NOT NULL, node INTEGER NOT NULL, path BLOB NOT NULL,
    attempts INTEGER NOT NULL, at REAL NOT NULL, took REAL NOT NULL, value BLOB, whole INTEGER NOT NULL,
    seal INTEGER NOT NULL, PRIMARY KEY (run, row, node, path)) WITHOUT ROWID;
CREATE TABLE ended (run INTEGER NOT NULL, row INTEGER NOT NULL, node INTEGER NOT NULL, path BLOB NOT NULL,
    attempts INTEGER NOT NULL, at REAL NOT NULL, status TEXT NOT NULL, error TEXT, message TEXT,
    seal INTEGER NOT NULL, PRIMARY KEY (run, row, node, path)) WITHOUT ROWID;
CREATE TABLE fault (run INTEGER NOT NULL, row INTEGER NOT NULL, node INTEGER NOT NULL, path BLOB NOT NULL,
    at REAL NOT NULL, took REAL NOT NULL, kind TEXT NOT NULL, error TEXT NOT NULL, message TEXT, retry_after REAL,
    seal INTEGER NOT NULL);
CREATE TABLE parked (run INTEGER NOT NULL, row INTEGER NOT NULL, node INTEGER NOT NULL, path BLOB NOT NULL,
    due REAL NOT NULL, state BLOB NOT NULL, seal INTEGER NOT NULL, PRIMARY KEY (run, row, node, path)) WITHOUT ROWID;
CREATE TABLE cooldown (run INTEGER NOT NULL, node INTEGER NOT NULL, at REAL NOT NULL, until REAL NOT NULL,
    closure TEXT NOT NULL, seal INTEGER NOT NULL);
CREATE TABLE batch (run INTEGER NOT NULL, node INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    members BLOB NOT NULL, seal INTEGER NOT NULL);
CREATE TABLE word (run INTEGER NOT NULL, row INTEGER NOT NULL, node INTEGER NOT NULL, path BLOB NOT NULL,
    parts BLOB NOT NULL, seal INTEGER NOT NULL, PRIMARY KEY (run, row, node, path)) WITHOUT ROWID;
CREATE TABLE written (run INTEGER NOT NULL, sink INTEGER NOT NULL, status TEXT NOT NULL, first INTEGER NOT NULL,
    last INTEGER NOT NULL, ids BLOB, place BLOB, at REAL NOT NULL, seal INTEGER NOT NULL);
CREATE TABLE settled (run INTEGER NOT NULL, status TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    n INTEGER NOT NULL, bits BLOB, seal INTEGER NOT NULL);
CREATE TABLE read (run INTEGER NOT NULL, row INTEGER NOT NULL, place BLOB, seal INTEGER NOT NULL);
CREATE TABLE given (run INTEGER NOT NULL, first INTEGER NOT NULL, digests BLOB NOT NULL, seal INTEGER NOT NULL);
CREATE TABLE learned (run INTEGER NOT NULL, name INTEGER NOT NULL, shared INTEGER NOT NULL, at REAL NOT NULL,
    stated TEXT NOT NULL, priors BLOB NOT NULL, seal INTEGER NOT NULL, PRIMARY KEY (run, name, shared)) WITHOUT ROWID;
CREATE TABLE spent (run INTEGER NOT NULL, life INTEGER NOT NULL, node INTEGER NOT NULL, amounts BLOB NOT NULL,
    seal INTEGER NOT NULL, PRIMARY KEY (run, life, node)) WITHOUT ROWID;
CREATE TABLE noted (run INTEGER NOT NULL, node INTEGER NOT NULL, turn INTEGER NOT NULL, first INTEGER NOT NULL,
    last INTEGER NOT NULL, ids BLOB, words BLOB NOT NULL, reach INTEGER NOT NULL,
    seal INTEGER NOT NULL, PRIMARY KEY (run, node, turn)) WITHOUT ROWID;
"""
"""There is no index beside the tables themselves: one whose bit was flipped would hide rows that are there (L64). What is
looked for in the tables that have none is a row for each commit, not for each row of the source."""

STATEMENTS = frozenset(statement.strip() for statement in SCHEMA.split(";") if statement.strip())
"""As SQLite remembers them."""


def added_since(version: int) -> frozenset[str]:
    """The statements that make the tables which a journal of this version lacks."""
    return frozenset(each for each in STATEMENTS if LATER.get(each.split()[2], 0) > version)


def _marks() -> dict[str, str]:
    found = {}
    for statement in STATEMENTS:
        table, columns = statement.removeprefix("CREATE TABLE ").split(" (", 1)
        found[table] = ",".join("?" * len(columns.partition(", PRIMARY KEY (")[0].split(",")))
    return found


MARKS = _marks()
"""Of each table, what stands for the values of a row in a statement."""
