"""Each key of a job file changes what is built (L92); what the options then do is in test_options."""

from __future__ import annotations

import contextlib
import sqlite3
import types
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.runtime import ConfigError
from headrace.runtime.files import ends
from headrace.runtime.files import pipeline_file as config

CODE = """
def ask(row): return row
def say(row): return ""
def weigh(row): return 1.0
def tell(row): return 2.0
def judge(error): return None
def merge(row, parts): return parts
def rows(): return [1]
class Theirs:
    name = "theirs"
    def __init__(self, n=1): self.n = n
    def open(self): pass
    def read(self, n): return [], True, 0
    def write(self, items): pass
    def close(self, complete=True): pass
def write(row): pass
class Row(dict): pass
import msgspec
class Person(msgspec.Struct):
    id: int
"""

MAP = """
[source]
type = "csv"
path = "in.csv"
[[stage]]
call = "their_code:ask"
{here}
[sink]
type = "jsonl"
path = "o.jsonl"
"""
FORK = """
[source]
type = "csv"
path = "in.csv"
[[stage]]
kind = "fork"
name = "fork"
branches = ["a", "b"]
[[stage]]
after = "fork.a"
call = "their_code:ask"
name = "a"
[[stage]]
after = "fork.b"
call = "their_code:ask"
name = "b"
[[stage]]
after = ["a", "b"]
kind = "join"
name = "join"
fork = "fork"
{here}
[[sink]]
type = "jsonl"
path = "o.jsonl"
"""
WAYS = """
[source]
type = "csv"
path = "in.csv"
[[stage]]
kind = "route"
name = "way"
call = "their_code:say"
branches = ["a", "b"]
"""
AFTER = (
    WAYS
    + """
[[stage]]
call = "their_code:ask"
{here}
[[sink]]
type = "jsonl"
path = "a.jsonl"
after = "ask"
"""
)
AFTER_SINK = (
    WAYS
    + """
[[sink]]
type = "jsonl"
path = "a.jsonl"
{here}
"""
)
BRANCHES = (
    WAYS.replace('branches = ["a", "b"]', "{here}")
    + """
[[sink]]
type = "jsonl"
path = "a.jsonl"
after = "way.a"
[[sink]]
type = "jsonl"
path = "b.jsonl"
after = "way.b"
"""
)
BATCH = MAP.replace('call = "their_code:ask"', 'kind = "batch"')
SOURCE = '[source]\n{here}\n[sink]\ntype = "jsonl"\npath = "o.jsonl"\n'
CSV = SOURCE.replace("{here}", 'type = "csv"\npath = "in.csv"\n{here}')
SINK = '[source]\ntype = "csv"\npath = "in.csv"\n[sink]\n{here}\n'
CSV_FILE = 'type = "csv"\npath = "o"\n{here}'
CSV_SINK = SINK.replace("{here}", CSV_FILE)
QUARANTINE = MAP.replace("{here}", "") + "[quarantine]\n{here}\n"
TABLE = 'type = "sqlite"\npath = "t.db"\ntable = "t"\n'
TOP = "{here}\n" + MAP.replace("{here}", "")
LIMIT = MAP.replace("{here}", "[stage.limit]\n{here}")
RETRY = MAP.replace("{here}", "[stage.retry]\n{here}")
JOURNAL = MAP.replace("{here}", "") + "[journal]\n{here}\n"

SQL = 'type = "sql"\nurl = "sqlite:///one.db"\ntable = "t"'
FROM_SQL = SQL
THEIRS = 'type = "theirs"\n'
PARQUET = 'type = "parquet"\npath = "o.parquet"\n'

Case = tuple[str, str, str]
"""A file, what stands there otherwise, and what says the key."""


def _keys_of_a_sink(text: str, column: str) -> dict[str, Case]:
    """Of a sink and of a quarantine alike. `column`: one that its rows have."""
    lines, csv = 'type = "jsonl"\npath = "o"', text.replace("{here}", CSV_FILE)
    return {
        "type": (text, lines, 'type = "csv"\npath = "o"'),
        "path": (text, lines, 'type = "jsonl"\npath = "p"'),
        "table": (text, TABLE, TABLE.replace('"t"', '"u"')),
        "url": (text, SQL, SQL.replace("one.db", "two.db")),
        "options": (text, THEIRS, THEIRS + "options = { n = 2 }\n"),
        "schema": (text, PARQUET, PARQUET + 'schema = "their_code:Person"'),
        "compression": (text, PARQUET, PARQUET + 'compression = "gzip"'),
        "call": (text, lines, 'type = "python"\ncall = "their_code:write"'),
        "delimiter": (csv, "", 'delimiter = ";"'),
        "columns": (csv, "", f'columns = ["{column}"]'),
        "key": (text, TABLE, TABLE + f'key = "{column}"'),
        "if_exists": (text, TABLE, TABLE + 'if_exists = "replace"'),
    }


CASES: dict[type, dict[str, Case]] = {
    config.File: {
        "name": (TOP, "", 'name = "other"'),
        "window": (TOP, "", "window = 77"),
        "ordered": (TOP, "", "ordered = false"),
        "max_quarantined": (TOP, "", "max_quarantined = 7"),
        "drain_timeout": (TOP, "", "drain_timeout = 7.0"),
        "source": (SOURCE, 'type = "csv"\npath = "in.csv"', 'type = "csv"\npath = "other.csv"'),
        "stage": (TOP, "", '[[stage]]\ncall = "their_code:ask"\nname = "more"'),
        "sink": (SINK, 'type = "jsonl"\npath = "o.jsonl"', 'type = "jsonl"\npath = "p.jsonl"'),
        "quarantine": (TOP, "", '[quarantine]\ntype = "jsonl"\npath = "q.jsonl"'),
        "journal": (TOP, "", '[journal]\npath = "run.db"'),
    },
    ends.SourceTable: {
        "type": (CSV.replace('type = "csv"', ""), 'type = "csv"', 'type = "jsonl"'),
        "path": (SOURCE, 'type = "csv"\npath = "in.csv"', 'type = "csv"\npath = "other.csv"'),
        "url": (SOURCE, FROM_SQL, FROM_SQL.replace("one.db", "two.db")),
        "options": (SOURCE, THEIRS, THEIRS + "options = { n = 2 }"),
        "query": (SOURCE, FROM_SQL, FROM_SQL.replace('table = "t"', 'query = "SELECT * FROM t"')),
        "table": (SOURCE, FROM_SQL, FROM_SQL.replace('"t"', '"u"')),
        "cursor": (SOURCE, FROM_SQL, FROM_SQL + '\ncursor = "name"'),
        "key": (SOURCE, FROM_SQL, FROM_SQL + '\nkey = "name"'),
        "page": (SOURCE, FROM_SQL, FROM_SQL + "\npage = 7"),
        "call": (SOURCE, 'type = "csv"\npath = "in.csv"', 'type = "python"\ncall = "their_code:rows"'),
        "rows": (CSV, "", 'rows = "their_code:Person"'),
        "delimiter": (CSV.replace("in.csv", "one.csv"), "", 'delimiter = ";"'),
        "encoding": (CSV, "", 'encoding = "cp1252"'),
    },
    config.StageTable: {
        "kind": (MAP, "", 'kind = "tap"'),
        "branches": (BRANCHES, 'branches = ["a", "b"]', 'branches = ["b", "a"]'),
        "fork": (FORK.replace('fork = "fork"\n', ""), "", 'fork = "fork"'),
        "require": (FORK, "", "require = 1"),
        "within": (FORK, "", "within = 7.0"),
        "on_missing": (FORK, "", 'on_missing = "drop"'),
        "late": (FORK, "", "late = true"),
        "count": (BATCH, "count = 10", "count = 11"),
        "max_bytes": (BATCH, "count = 10", "count = 10\nmax_bytes = 77"),
        "workers": (MAP, "", "workers = 3"),
        "timeout": (MAP, "", "timeout = 3.0"),
        "deadline": (MAP, "", "deadline = 3.0"),
        "on_error": (MAP, "", 'on_error = "drop"'),
        "on_unknown": (MAP, "", 'on_unknown = "quarantine"'),
        "on": (MAP, "", 'on = "processes"'),
        "memory": (MAP, 'on = "processes"', 'on = "processes"\nmemory = "2GB"'),
        "call": (MAP.replace('call = "their_code:ask"', ""), 'call = "their_code:ask"', 'call = "their_code:say"'),
        "by": (MAP.replace('call = "their_code:ask"', 'kind = "filter"'), 'by = "true"', 'by = "false"'),
        "name": (MAP, "", 'name = "other"'),
        "after": (AFTER, 'after = ["way.a", "way.b"]', 'after = ["way", "way.a", "way.b"]'),
        "limit": (MAP, "", 'limit = "7/s"'),
        "retry": (MAP, "", "retry = 7"),
        "version": (MAP, "", 'version = "2"'),
    },
    config.LimitTable: {
        "rates": (LIMIT, "", 'rates = ["7/s"]'),
        "burst": (LIMIT, 'rates = ["7/s"]', 'rates = ["7/s"]\nburst = 3'),
        "concurrency": (LIMIT, "", "concurrency = 3"),
        "name": (LIMIT, "", 'name = "theirs"'),
        "cooldown": (LIMIT, "", "cooldown = 3.0"),
        "max_hint": (LIMIT, "", "max_hint = 3.0"),
        "outage_after": (LIMIT, "", "outage_after = 3"),
        "outage_deadline": (LIMIT, "", "outage_deadline = 3.0"),
        "spread": (LIMIT, "", "spread = true"),
        "give_up_after": (LIMIT, "", "give_up_after = 3.0"),
        "cost": (
            LIMIT,
            'rates = ["7 tokens/s"]\ncost = "their_code:weigh"',
            'rates = ["7 tokens/s"]\ncost = "their_code:tell"',
        ),
        "key": (LIMIT, "", 'key = "their_code:ask"'),
        "headers": (LIMIT, "", 'headers = "openai"'),
    },
    config.RetryTable: {
        "attempts": (RETRY, "", "attempts = 7"),
        "base": (RETRY, "", "base = 0.7"),
        "cap": (RETRY, "", "cap = 7.0"),
        "refusals": (RETRY, "", "refusals = 7"),
        "classify": (RETRY, "", 'classify = "their_code:judge"'),
    },
    ends.SinkTable: {
        **_keys_of_a_sink(SINK, "id"),
        "name": (CSV_SINK, "", 'name = "other"'),
        "after": (AFTER_SINK, 'after = ["way.a", "way.b"]', 'after = ["way", "way.a", "way.b"]'),
        "ordered": (CSV_SINK, "", "ordered = false"),
        "on_error": (CSV_SINK, "", 'on_error = "drain"'),
    },
    ends.QuarantineTable: _keys_of_a_sink(QUARANTINE, "seq"),
    config.JournalTable: {
        "path": (JOURNAL, "", 'path = "run.db"'),
        "sync": (JOURNAL, "", 'sync = "row"'),
        "within": (JOURNAL, "", "within = 7.0"),
        "payloads": (JOURNAL, "", 'payloads = "never"'),
        "redact": (JOURNAL, "", 'redact = ["id"]'),
    },
}
TRIED = [(table, key) for table, cases in CASES.items() for key in cases]


@pytest.mark.parametrize("table", list(CASES), ids=lambda table: table.__name__)
def test_every_key_of_a_table_is_tried_L92(table: type) -> None:
    assert set(CASES[table]) == {field.name for field in msgspec.structs.fields(table)}


@pytest.mark.parametrize(("table", "key"), TRIED, ids=lambda part: getattr(part, "__name__", part))
def test_a_key_of_a_job_file_changes_what_is_built_L92(
    table: type, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "their_code.py").write_text(CODE)
    (info := tmp_path / "theirs-1.0.dist-info").mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    ends = "".join(f"[headrace.{end}]\ntheirs = their_code:Theirs\n" for end in ("sources", "sinks"))
    (info / "entry_points.txt").write_text(ends)
    for name in ("in.csv", "other.csv"):
        (tmp_path / name).write_text("id,name\n1,ann\n")
    (tmp_path / "one.csv").write_text("id\n1\n")
    for name in ("one.db", "two.db"):
        with contextlib.closing(sqlite3.connect(tmp_path / name)) as db, db:
            for each in ("t", "u"):
                db.execute(f"CREATE TABLE {each} (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
    text, without, with_it = CASES[table][key]
    built = [_built(_filled(text, here), tmp_path / "job.toml") for here in (without, with_it)]
    assert built[0] != built[1], f"{key} does nothing"
    assert built[0] == _built(_filled(text, without), tmp_path / "job.toml"), "and nothing else does"


def _filled(text: str, here: str) -> str:
    text = text.replace("{here}", here)
    # Of one sink or of several.
    return text.replace("\n[sink]", "\n[[sink]]") if "[[sink]]" in text else text


def _built(text: str, path: Path) -> Any:
    path.write_text(text)
    try:
        job = config.read(path)
    except ConfigError as error:
        # Of a key that is needed there, or needs another: what is told is its effect.
        told = str(error)
        assert "no fork stands right before it" in told or "let a sink stand after 'join.late'" in told, told
        return told
    return _described([job, job.plan(), job.pipeline._draft.source], [])


def _described(value: Any, within: list[Any]) -> Any:
    """What an object is made of, down to plain values."""
    if value is None or isinstance(value, str | int | float | bytes | Path | type):
        return value
    if isinstance(value, types.FunctionType | types.MethodType | types.BuiltinFunctionType):
        return value.__qualname__
    if any(value is each for each in within) or len(within) > 12:
        return type(value).__name__
    inside = [*within, value]
    if isinstance(value, dict):
        return {str(key): _described(each, inside) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_described(each, inside) for each in value]
    if isinstance(value, msgspec.Struct):
        fields = {name: getattr(value, name) for name in value.__struct_fields__}
    else:
        slots = (name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ()))
        fields = {
            **{name: getattr(value, name, None) for name in slots if name != "__weakref__"},
            **getattr(value, "__dict__", {}),
        }
    return [type(value).__name__, {name: _described(each, inside) for name, each in fields.items()}]
