"""For auditors: all that a journal has of a run as JSON Lines, each line chained to the one before it, signed where there is
a key; and payloads dropped, with the account kept.

A line is `{"record": ..., "chain": ...}`: the chain is SHA-256 over the chain of the line before and the bytes of the record
as they stand there, or, with a key, HMAC-SHA-256 (RFC 2104). The first record says of what run this is, the last one how
many records there are, so that neither a changed line nor one that is missing, at the end either, goes unseen.
"""

from __future__ import annotations

import hashlib
import hmac
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import chain as chain_of
from typing import Any

import msgspec

from headrace.actors.identity import show
from headrace.runtime.errors import ConfigError

from .codec import decode_bits, decode_id, decode_ids
from .explain import run_named
from .sqlite import JournalFile

KEY = "HEADRACE_AUDIT_KEY"
"""The variable of the environment that has the key."""
_encode = msgspec.json.Encoder(enc_hook=str).encode


class Broken(Exception):
    """An export is not what was written. `line`: where."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line}: {what}")
        self.line = line


def export(file: JournalFile, name: str | None = None, key: bytes | None = None) -> Iterator[bytes]:
    """The lines of a run: the latest one, unless it is named. Raises `ConfigError`."""
    run, name = run_named(file, name)
    began, code, fingerprint, total = file.db.execute(
        "SELECT began, key, fingerprint, total FROM run WHERE id = ?", (run,)
    ).fetchone()
    signed = "hmac-sha256" if key is not None else "sha256"
    head = {"type": "run", "version": 1, "name": name, "key": code, "began": began, "total": total, "chain": signed}
    head["fingerprint"] = msgspec.Raw(fingerprint.encode())
    chain, n = b"", 0
    for record in chain_of([head], _records(file, run)):
        data = _encode(record)
        chain = _link(chain, data, key)
        n += 1
        yield _line(data, chain)
    data = _encode({"type": "end", "records": n})
    yield _line(data, _link(chain, data, key))


def _line(data: bytes, chain: bytes) -> bytes:
    return b'{"record":' + data + b',"chain":"' + chain.hex().encode() + b'"}\n'


def _link(chain: bytes, data: bytes, key: bytes | None) -> bytes:
    return hmac.digest(key, chain + data, "sha256") if key is not None else hashlib.sha256(chain + data).digest()


def _records(file: JournalFile, run: int) -> Iterator[dict[str, Any]]:
    """Everything, table by table, in the order of rows or of time."""
    execute, name_of = file.db.execute, file.name_of

    def of(row: int, path: bytes) -> str:
        return show(decode_id(row, path))

    for n, began, ended, state in execute("SELECT n, began, ended, state FROM life WHERE run = ? ORDER BY n", (run,)):
        yield {"type": "life", "n": n, "began": began, "ended": ended, "state": state}
    select = "SELECT row, path, node, attempts, at, took, value FROM answer WHERE run = ? ORDER BY row, node, path"
    for row, path, node, attempts, at, took, value in execute(select, (run,)):
        told = {"type": "answer", "row": row, "of": of(row, path), "stage": name_of(node), "attempts": attempts}
        yield {**told, "at": at, "took_s": took, **_payload(value)}
    select = (
        "SELECT row, path, node, at, took, kind, error, message, retry_after FROM fault WHERE run = ? ORDER BY rowid"
    )
    for row, path, node, at, took, kind, error, message, hint in execute(select, (run,)):
        told = {"type": "fault", "row": row, "of": of(row, path), "stage": name_of(node), "at": at, "took_s": took}
        yield {**told, "kind": kind, "error": error, "message": message, "retry_after_s": hint}
    select = (
        "SELECT row, path, node, attempts, at, status, error, message FROM ended WHERE run = ? ORDER BY row, node, path"
    )
    for row, path, node, attempts, at, status, error, message in execute(select, (run,)):
        told = {"type": "ended", "row": row, "of": of(row, path), "node": name_of(node), "attempts": attempts}
        yield {**told, "at": at, "status": status, "error": error, "message": message}
    for node, members in execute("SELECT node, members FROM batch WHERE run = ? ORDER BY rowid", (run,)):
        yield {"type": "batch", "node": name_of(node), "of": show(decode_ids(members)[0])}
    for row, path, node, parts in execute(
        "SELECT row, path, node, parts FROM word WHERE run = ? ORDER BY row, node", (run,)
    ):
        yield {"type": "join", "of": of(row, path), "node": name_of(node), "parts": msgspec.msgpack.decode(parts)}
    select = "SELECT sink, status, first, last, ids, place, at FROM written WHERE run = ? ORDER BY rowid"
    for sink, status, first, last, ids, place, at in execute(select, (run,)):
        told = {"type": "written", "sink": name_of(sink), "status": status, "first": first, "last": last, "at": at}
        told["of"] = [show(one) for one in decode_ids(ids)] if ids is not None else None
        yield {**told, "place": msgspec.msgpack.decode(place) if place is not None else None}
    for status, first, last, n, bits in execute(
        "SELECT status, first, last, n, bits FROM settled WHERE run = ? ORDER BY rowid", (run,)
    ):
        told = {"type": "settled", "status": status, "first": first, "last": last, "n": n}
        yield {**told, "rows": bits.hex() if bits is not None else None}


def _payload(value: bytes | None) -> dict[str, Any]:
    return {"value": msgspec.msgpack.decode(value)} if value is not None else {"pruned": True}


class _Head(msgspec.Struct):
    type: str
    chain: str | None = None
    records: int | None = None


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    record: msgspec.Raw
    chain: str


def verify(lines: Iterable[bytes], key: bytes | None = None) -> int:
    """How many records an export has. Raises `Broken` where it is not what was written, `ConfigError` where the key is
    missing or there was none."""
    chain, n, ended = b"", 0, False
    decode = msgspec.json.Decoder(_Line).decode
    for n, line in enumerate(lines, 1):
        try:
            told = decode(line)
            # Records of other types need not be looked into.
            data = bytes(told.record)
            looked_into = n == 1 or data.startswith(b'{"type":"end"')
            head = msgspec.json.decode(data, type=_Head) if looked_into else None
        except msgspec.MsgspecError as error:
            raise Broken(n, f"is no line of an export: {error}") from None
        if ended:
            raise Broken(n, "comes after the end")
        if n == 1:
            if head is None or head.type != "run":
                raise Broken(n, "is not the beginning of an export")
            if (head.chain == "hmac-sha256") != (key is not None):
                needs = f"is signed: give its key in {KEY}" if key is None else f"is not signed, and {KEY} has a key"
                raise ConfigError(f"the export {needs}")
        chain = _link(chain, data, key)
        if not hmac.compare_digest(chain.hex(), told.chain):
            raise Broken(n, "was changed, or one before it is missing, or the key is another one")
        if head is not None and head.type == "end":
            ended = True
            if head.records != n - 1:
                raise Broken(n, f"says that there are {head.records} records, and there are {n - 1}")
    if not ended:
        raise Broken(n + 1, "is missing: the end of the export")
    return n


def prune(file: JournalFile, *, before: float, outcome: str | None = None, name: str | None = None) -> int:
    """Drop the answers of rows that are done, and of all rows before them, where they are older than `before` (seconds since
    1970) and, if that is said, ended with `outcome`; the account stays. How many. Raises `ConfigError`."""
    run, _ = run_named(file, name)
    mark, reach = file.db.execute("SELECT mark, reach FROM run WHERE id = ?", (run,)).fetchone()
    # What batches tie to a row that is not done may be needed again.
    last = mark - reach
    rows = "SELECT first, last, bits FROM settled WHERE run = ? AND first < ? AND status = coalesce(?, status)"
    dropped = 0
    with file.db as db:
        db.execute("BEGIN IMMEDIATE")
        drop = "UPDATE answer SET value = NULL WHERE run = ? AND row >= ? AND row <= ? AND at < ? AND value NOT NULL"
        for begin, end in _spans(db, rows, (run, last, outcome), last):
            dropped += db.execute(drop, (run, begin, end, before)).rowcount
    if dropped:
        file.db.execute("VACUUM")
    return dropped


def _spans(db: sqlite3.Connection, select: str, about: tuple[Any, ...], limit: int) -> Iterator[tuple[int, int]]:
    for first, last, bits in db.execute(select, about).fetchall():
        if bits is None:
            yield first, min(last, limit - 1)
            continue
        whole = decode_bits(first, last, bits)
        for at in range(min(last + 1, limit) - first):
            if whole >> at & 1:
                yield first + at, first + at
