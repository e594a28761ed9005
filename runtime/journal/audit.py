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
from pathlib import Path
from typing import Any

import msgspec

from headrace.actors.identity import show
from headrace.runtime.errors import ConfigError, HeadraceError

from . import parquet
from .codec import decode_bits, decode_id, decode_ids
from .explain import run_named
from .file import JournalFile

KEY = "HEADRACE_AUDIT_KEY"
"""The variable of the environment that has the key."""
_encode = msgspec.json.Encoder(enc_hook=str).encode


class Broken(HeadraceError):
    """An export is not what was written. `line`: where."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line}: {what}")
        self.line = line


def export(file: JournalFile, name: str | None = None, key: bytes | None = None) -> Iterator[bytes]:
    """The lines of a run: the latest one, unless it is named. Raises `ConfigError`."""
    run = run_named(file, name)
    signed = "hmac-sha256" if key is not None else "sha256"
    head = {"type": "run", "version": 1, "name": run.name, "key": run.key, "began": run.began, "chain": signed}
    head |= {"total": file.progress_of(run.id).total, "fingerprint": msgspec.Raw(run.fingerprint.encode())}
    chain, n = b"", 0
    for record in chain_of([head], _records(file, run.id)):
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
    name_of = file.name_of

    def read(table: str, order: str = "rowid") -> Iterator[tuple[Any, ...]]:
        for _, *columns in file.read(table, "run = ?", (run,), order):
            yield tuple(columns)

    def of(row: int, path: bytes) -> str:
        return show(decode_id(row, path))

    lives = "SELECT n, began, ended, state FROM life WHERE run = ? ORDER BY n"
    for n, began, ended, state in file.db.execute(lives, (run,)):
        yield {"type": "life", "n": n, "began": began, "ended": ended, "state": state}
    for row, node, path, attempts, at, took, value, whole in read("answer", "row, node, path"):
        told = {"type": "answer", "row": row, "of": of(row, path), "stage": name_of(node), "attempts": attempts}
        yield {**told, "at": at, "took_s": took, **_payload(value, whole)}
    for row, node, path, at, took, kind, error, message, hint in read("fault"):
        told = {"type": "fault", "row": row, "of": of(row, path), "stage": name_of(node), "at": at, "took_s": took}
        yield {**told, "kind": kind, "error": error, "message": message, "retry_after_s": hint}
    for row, node, path, attempts, at, status, error, message in read("ended", "row, node, path"):
        told = {"type": "ended", "row": row, "of": of(row, path), "node": name_of(node), "attempts": attempts}
        yield {**told, "at": at, "status": status, "error": error, "message": message}
    for node, _, _, members in read("batch"):
        yield {"type": "batch", "node": name_of(node), "of": show(decode_ids(members)[0])}
    for row, node, path, parts in read("word", "row, node"):
        yield {"type": "join", "of": of(row, path), "node": name_of(node), "parts": msgspec.msgpack.decode(parts)}
    for sink, status, first, last, ids, place, at in read("written"):
        told = {"type": "written", "sink": name_of(sink), "status": status, "first": first, "last": last, "at": at}
        told["of"] = [show(one) for one in decode_ids(ids)] if ids is not None else None
        yield {**told, "place": msgspec.msgpack.decode(place) if place is not None else None}
    for status, first, last, n, bits in read("settled"):
        told = {"type": "settled", "status": status, "first": first, "last": last, "n": n}
        yield {**told, "rows": bits.hex() if bits is not None else None}


def _payload(value: bytes | None, whole: int) -> dict[str, Any]:
    """`kept`: whether it is the answer as it was."""
    told = {} if value is None else {"value": msgspec.msgpack.decode(value)}
    return told if whole else {**told, "kept": False}


class _Head(msgspec.Struct):
    type: str
    chain: str | None = None
    records: int | None = None


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    record: msgspec.Raw
    chain: str


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of an export, in either format. Raises `Broken`, `ConfigError`, `OSError`."""
    with path.open("rb") as file:
        if file.read(len(parquet.MAGIC)) != parquet.MAGIC:
            file.seek(0)
            yield from file
            return
    for n, (line, same) in enumerate(parquet.read(path), 1):
        if not same:
            raise Broken(n, "has columns that say otherwise than its record")
        yield line


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
    run = run_named(file, name).id
    progress = file.progress_of(run)
    # What batches tie to a row that is not done may be needed again.
    last = progress.mark - progress.reach
    rows = "SELECT first, last, bits FROM settled WHERE run = ? AND first < ? AND status = coalesce(?, status)"
    dropped = 0
    with file.db as db:
        db.execute("BEGIN IMMEDIATE")
        for begin, end in _spans(db, rows, (run, last, outcome), last):
            dropped += file.forget_answers(run, begin, end, before)
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
