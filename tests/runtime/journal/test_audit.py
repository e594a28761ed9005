"""Exports for the audit, and payloads that are dropped."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from tests.runtime.journal.conftest import versioned

from headrace.runtime import Pipeline, RunFailed
from headrace.runtime.errors import ConfigError
from headrace.runtime.journal import audit, parquet
from headrace.runtime.journal.audit import Broken, examine, export, prune, verify
from headrace.runtime.journal.stores import hold, look_into


def work(row: int) -> dict[str, int]:
    if row == 13:
        raise ValueError("unlucky")
    return {"n": row}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "run.db"
    pipeline = Pipeline("job").source(range(40)).map(work, retry=1).batch(10).unbatch()
    pipeline.run(journal=path)
    return path


def lines_of(path: Path, key: bytes | None = None) -> list[bytes]:
    file = look_into(str(path))
    try:
        return list(export(file, None, key))
    finally:
        file.close()


def test_an_export_tells_all_and_is_whole(path: Path) -> None:
    lines = lines_of(path)
    records: list[Any] = [json.loads(line)["record"] for line in lines]
    assert verify(lines) == len(lines)
    assert (records[0]["type"], records[0]["name"], records[0]["total"]) == ("run", "job", 40)
    assert (records[-1]["type"], records[-1]["records"], records[-1]["rows"]) == ("end", len(lines) - 1, 40)
    assert records[-1]["outcomes"] == {"delivered": 39, "quarantined": 1}
    answers = {record["row"]: record["value"] for record in records if record["type"] == "answer"}
    assert answers == {n: {"n": n} for n in range(40) if n != 13}
    (fault,) = [record for record in records if record["type"] == "fault"]
    assert (fault["row"], fault["error"], fault["message"]) == (13, "ValueError", "unlucky")
    assert len([record for record in records if record["type"] == "batch"]) == 4


def forged(lines: list[bytes], old: bytes, new: bytes) -> list[bytes]:
    """The export with something changed, and chained anew, as anybody can who has no key."""
    chain, out = b"", []
    for line in lines:
        data = line[len(b'{"record":') : line.rindex(b',"chain":')].replace(old, new)
        chain = hashlib.sha256(chain + data).digest()
        out.append(b'{"record":' + data + b',"chain":"' + chain.hex().encode() + b'"}\n')
    return out


def test_what_an_export_says_of_itself_must_add_up_L64(path: Path) -> None:
    lines = lines_of(path)
    found = examine(lines)
    assert (found.records, found.signed, found.rows) == (len(lines), False, 40)
    assert found.outcomes == {"delivered": 39, "quarantined": 1}
    assert examine(lines_of(path, b"k"), b"k").signed
    # What is not signed and was chained anew cannot be told, but for its sums.
    assert not examine(forged(lines, b'"value":{"n":5}', b'"value":{"n":6}')).signed
    for old, new in (
        (b'"outcomes":{"delivered":39', b'"outcomes":{"delivered":38'),
        (b'"type":"fault"', b'"type":"fauna"'),
        (b'"status":"quarantined","first":13', b'"status":"dropped","first":13'),
    ):
        assert any(old in line for line in lines), old
        with pytest.raises(Broken, match="says that"):
            examine(forged(lines, old, new))


def test_a_line_that_says_something_twice_or_otherwise_is_none_L64(path: Path) -> None:
    lines = lines_of(path, b"k")
    one = lines[5]
    for what in (
        b'{"record":{"type":"answer","row":0,"value":"FALSE"},' + one[1:],
        one.replace(b'","chain"', b'" , "chain"').replace(b'},"chain"', b'} ,"chain"'),
        one.rstrip(b"\n"),
        one.rstrip(b"\n") + b" \n",
        one.replace(b"\n", b"\r\n"),
        b" " + one,
        one.replace(b'"chain":"', b'"chain":"\\u0030'),
        one[:-3] + one[-3:-2].upper().replace(b"0", b"\\u0030") + one[-2:],
    ):
        if what != one:
            with pytest.raises(Broken):
                examine([*lines[:5], what, *lines[6:]], b"k")


@pytest.mark.parametrize("key", [None, b"secret"])
def test_whatever_is_done_to_it_is_seen(path: Path, key: bytes | None) -> None:
    lines = lines_of(path, key)
    assert verify(lines, key) == len(lines)
    at = len(lines) // 2
    for what, changed in {
        "a changed record": [*lines[:at], lines[at].replace(b"1", b"2", 1), *lines[at + 1 :]],
        "a record that is missing": [*lines[:at], *lines[at + 1 :]],
        "two that changed places": [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]],
        "the end that is missing": lines[:-1],
        "more after the end": [*lines, lines[-1]],
        "half a line": [*lines[:-1], lines[-1][:20]],
        "nothing": [],
        "the beginning that is missing": lines[1:],
    }.items():
        try:
            verify(changed, key)
        except Broken:
            continue
        pytest.fail(f"{what} was not seen")


def test_a_signature_needs_its_key(path: Path) -> None:
    signed, plain = lines_of(path, b"secret"), lines_of(path)
    with pytest.raises(Broken, match=r"line 1: was changed, or .* the key is another one"):
        verify(signed, b"other")
    with pytest.raises(ConfigError, match="is signed: give its key in HEADRACE_AUDIT_KEY"):
        verify(signed)
    with pytest.raises(ConfigError, match="is not signed"):
        verify(plain, b"secret")


def test_answers_are_dropped_and_the_account_stays(path: Path) -> None:
    file = hold(str(path))
    assert prune(file, before=time.time() - 3600) == 0
    assert prune(file, before=time.time() + 1, outcome="quarantined") == 0
    size = path.stat().st_size
    # The last batches may be needed again, as far as the journal knows.
    assert 0 < prune(file, before=time.time() + 1, outcome="delivered") <= 39
    file.close()
    assert path.stat().st_size <= size
    records: list[Any] = [json.loads(line)["record"] for line in lines_of(path)]
    assert any(record.get("kept") is False for record in records)
    again = Pipeline("job").source(range(40)).map(work, retry=1).batch(10).unbatch().run(journal=path)
    assert (again.delivered, again.quarantined, again.calls) == (39, 1, 0)


def test_what_is_not_done_is_not_dropped(tmp_path: Path) -> None:
    path, stop = tmp_path / "run.db", [True]
    calls: list[int] = []

    def count(row: int) -> int:
        calls.append(row)
        return row

    def later(row: int) -> int:
        if row == 20 and stop[0]:
            raise ValueError("not yet")
        return row

    def run() -> Any:
        pipeline = (
            Pipeline("job")
            .source(range(40))
            .map(versioned(count))
            .map(versioned(later), workers=1, retry=1, on_error="fail")
        )
        return pipeline.run(journal=path)

    with pytest.raises(RunFailed):
        run()
    file = hold(str(path))
    prune(file, before=time.time() + 1)
    file.close()
    stop[0] = False
    assert run().delivered == 40
    assert sorted(calls) == list(range(40)), "nothing was paid twice"


@pytest.mark.parametrize("key", [None, b"secret"])
def test_as_parquet_it_says_the_same_and_whatever_is_done_to_it_is_seen(path: Path, key: bytes | None) -> None:
    lines, out = lines_of(path, key), path.with_suffix(".parquet")
    parquet.write(out, lines)
    assert list(audit.lines_of(out)) == lines
    assert verify(audit.lines_of(out), key) == len(lines)
    table = pq.read_table(out)
    answers = table.filter(pc.equal(table["type"], "answer"))
    assert [json.loads(value) for value in answers["value"].to_pylist()] == [{"n": n} for n in range(40) if n != 13]
    assert set(answers["where"].to_pylist()) == {"work"}
    for name, value in (("value", '{"n":4}'), ("record", lines[9].split(b',"chain"')[0][10:].decode()), ("row", 99)):
        columns = table.to_pydict()
        columns[name][5] = value
        pq.write_table(pa.table(columns, schema=table.schema), out)
        with pytest.raises(Broken):
            verify(audit.lines_of(out), key)
    pq.write_table(table.slice(0, table.num_rows - 1), out)
    with pytest.raises(Broken, match="the end of the export"):
        verify(audit.lines_of(out), key)
    pq.write_table(pa.table({"a": [1]}), out)
    with pytest.raises(ConfigError, match="is no export of a journal"):
        verify(audit.lines_of(out), key)


def test_without_its_extra_one_line_names_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match="needs the extra"):
        parquet.write(path.with_suffix(".parquet"), lines_of(path))


def test_what_batches_tie_to_a_row_that_is_not_done_is_not_dropped(tmp_path: Path) -> None:
    """A batch is to be the same in the next life, so the answers of all its rows are kept, also of those that are done."""
    path, stop, calls = tmp_path / "run.db", [True], list[int]()

    def count(row: int) -> int:
        calls.append(row)
        return row

    def later(row: int) -> int:
        if row == 33 and stop:
            raise ValueError("not yet")
        return row

    def run() -> Any:
        # A small window: row 33 is read only when rows long before it are settled.
        pipeline = Pipeline("job", window=16).source(range(40)).map(versioned(count)).batch(8).unbatch()
        return pipeline.map(versioned(later), name="later", workers=1, retry=1, on_error="fail").run(journal=path)

    with pytest.raises(RunFailed):
        run()
    file = hold(str(path))
    dropped = prune(file, before=time.time() + 1)
    kept = {row for _, row, _, _, _, _, _, _, whole in file.read("answer", 1) if whole}
    file.close()
    assert dropped > 0
    assert set(range(32, 40)) <= kept, "the whole batch of the row that is not done"
    stop.clear()
    assert run().delivered == 40
    assert sorted(calls) == list(range(40)), "nothing was paid twice"


def test_an_export_can_be_read_by_nobody_else_also_where_there_was_a_file(path: Path) -> None:
    from click.testing import CliRunner

    from headrace.runtime.cli.commands import headrace

    old = os.umask(0o022)
    try:
        for form in ("jsonl", "parquet"):
            out = path.with_suffix(f".{form}")
            for _ in range(2):
                ended = CliRunner().invoke(
                    headrace, ["export", str(path), "--format", form, "-o", str(out), "--replace"]
                )
                assert ended.exit_code == 0, ended.output
                assert stat.S_IMODE(out.stat().st_mode) == 0o600
                out.chmod(0o644)
                out.write_bytes(out.read_bytes() + b"more of an older export" * 1000)
            told = CliRunner().invoke(headrace, ["export", str(path), "--format", form, "-o", str(out), "--replace"])
            assert told.exit_code == 0
            said = CliRunner().invoke(headrace, ["verify", str(out)]).output
            assert " records, as they were written; rows that ended of 40: 39 delivered, 1 quarantined" in said
            assert "not signed: whoever changed it could have chained it anew" in said
    finally:
        os.umask(old)
