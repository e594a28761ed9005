"""For auditors: all that a journal has of a run as JSON Lines, each line chained to the one before it, signed where there is
a key; and payloads dropped, with the account kept.

A line is `{"record": ..., "chain": ...}`: the chain is SHA-256 over the chain of the line before and the bytes of the record
as they stand there, or, with a key, HMAC-SHA-256 (RFC 2104). The first record says of what run this is, the last one how
many records there are and what they add up to, so that neither a changed line nor one that is missing, at the end
either, goes unseen. Without a key, that holds against accidents only: whoever changes an export can chain it anew.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain as chain_of
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from headrace.actors.rows.identity import show
from headrace.runtime.errors import ConfigError, HeadraceError

from . import parquet
from .explain import account_of, run_named
from .mistakes import Damaged
from .port import Bound
from .records import HeldRecords, Records
from .values.codec import decode_bits, decode_id, decode_ids
from .values.learned import view_priors
from .values.view import view

KEY = "HEADRACE_AUDIT_KEY"
"""The variable of the environment that has the key."""
SIGNED, CHAINED = "hmac-sha256", "sha256"
_KINDS = {
    "answer": "answer",
    "fault": "fault",
    "ended": "ended",
    "batch": "batch",
    "word": "join",
    "written": "written",
}
_KINDS |= {"settled": "settled", "learned": "learned", "spent": "spent"}
"""What the rows of each table are called in an export."""
_encode = msgspec.json.Encoder(enc_hook=str).encode
T = TypeVar("T")


class Broken(HeadraceError):
    """An export is not what was written. `line`: where."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line}: {what}")
        self.line = line


def export(journal: Records, name: str | None = None, key: bytes | None = None) -> Iterator[bytes]:
    """The lines of a run: the latest one, unless it is named. The last one tells the account: how many records there
    are of each kind, how many rows the run has, and how they ended. Raises `ConfigError`; `Damaged` where something is
    not what was written, before the last line."""
    run = run_named(journal, name)
    journal.check_tally(run.id)
    total, account = journal.progress_of(run.id).total, dict(sorted(account_of(journal, run.id).items()))
    signed = SIGNED if key is not None else CHAINED
    head = {"type": "run", "version": 2, "name": run.name, "key": run.key, "began": run.began, "chain": signed}
    head |= {"total": total, "fingerprint": msgspec.Raw(run.fingerprint.encode())}
    chain, counts = b"", Counter[str]()
    for record in chain_of([head], _records(journal, run.id)):
        data = _encode(record)
        chain = _link(chain, data, key)
        counts[record["type"]] += 1
        yield _line(data, chain)
    _check_counts(journal, run.id, counts)
    end = {"type": "end", "records": counts.total(), "counts": dict(counts), "rows": total, "outcomes": account}
    data = _encode(end)
    yield _line(data, _link(chain, data, key))


def _check_counts(journal: Records, run: int, counts: Counter[str]) -> None:
    """Raises `Damaged` where another number of rows was found than the journal says that it has."""
    tally = journal.progress_of(run).tally
    for table, kind in _KINDS.items():
        n, _ = tally.get(table, (0, 0))
        if counts[kind] != n:
            raise Damaged(f"{counts[kind]:,} rows of its table {table!r} were found, and {n:,} were written")


def _line(data: bytes, chain: bytes) -> bytes:
    return b'{"record":' + data + b',"chain":"' + chain.hex().encode() + b'"}\n'


def _link(chain: bytes, data: bytes, key: bytes | None) -> bytes:
    return hmac.digest(key, chain + data, "sha256") if key is not None else hashlib.sha256(chain + data).digest()


def _records(journal: Records, run: int) -> Iterator[dict[str, Any]]:
    """Everything, table by table, in the order of rows or of time."""
    name_of = journal.name_of

    def read(table: str) -> Iterator[tuple[Any, ...]]:
        for _, *columns in journal.read(table, run):
            yield tuple(columns)

    def of(row: int, path: bytes) -> str:
        return show(decode_id(row, path))

    for life in journal.lives_of(run):
        yield {"type": "life", **msgspec.structs.asdict(life)}
    for row, node, path, attempts, at, took, value, whole in read("answer"):
        told = {"type": "answer", "row": row, "of": of(row, path), "stage": name_of(node), "attempts": attempts}
        yield {**told, "at": at, "took_s": took, **_payload(value, whole)}
    for row, node, path, at, took, kind, error, message, hint in read("fault"):
        told = {"type": "fault", "row": row, "of": of(row, path), "stage": name_of(node), "at": at, "took_s": took}
        yield {**told, "kind": kind, "error": error, "message": message, "retry_after_s": hint}
    for row, node, path, attempts, at, status, error, message in read("ended"):
        told = {"type": "ended", "row": row, "of": of(row, path), "node": name_of(node), "attempts": attempts}
        yield {**told, "at": at, "status": status, "error": error, "message": message}
    for node, _, _, members in read("batch"):
        yield {"type": "batch", "node": name_of(node), "of": show(decode_ids(members)[0])}
    for row, node, path, parts in read("word"):
        yield {"type": "join", "of": of(row, path), "node": name_of(node), "parts": msgspec.msgpack.decode(parts)}
    for sink, status, first, last, ids, place, at in read("written"):
        told = {"type": "written", "sink": name_of(sink), "status": status, "first": first, "last": last, "at": at}
        told["of"] = [show(one) for one in decode_ids(ids)] if ids is not None else None
        yield {**told, "place": msgspec.msgpack.decode(place) if place is not None else None}
    for status, first, last, n, bits in read("settled"):
        told = {"type": "settled", "status": status, "first": first, "last": last, "n": n}
        yield {**told, "rows": bits.hex() if bits is not None else None}
    for name, shared, at, stated, priors in read("learned"):
        told = {"type": "learned", "limit": name_of(name), "shared": bool(shared), "at": at, "stated": stated}
        yield {**told, "priors": view_priors(priors)}
    for life, node, amounts in read("spent"):
        yield {"type": "spent", "life": life, "stage": name_of(node), "amounts": msgspec.msgpack.decode(amounts)}


def _payload(value: bytes | None, whole: int) -> dict[str, Any]:
    """`kept`: whether it is the answer as it was."""
    told = {} if value is None else {"value": view(value)}
    return told if whole else {**told, "kept": False}


class _Head(msgspec.Struct):
    type: str
    chain: str | None = None
    records: int | None = None
    counts: dict[str, int] | None = None
    rows: int | None = None
    outcomes: dict[str, int] | None = None


class _Settled(msgspec.Struct):
    type: str
    status: str
    n: int


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


class Verified(msgspec.Struct, frozen=True):
    """What could be established of an export. `records`: there are so many, with the end, and they add up to the
    account that it tells. `signed`: the chain was made with the key that was given; where it is not, whoever changed
    the export could have chained it anew."""

    records: int
    signed: bool
    rows: int | None
    outcomes: dict[str, int]


def verify(lines: Iterable[bytes], key: bytes | None = None) -> int:
    """How many records an export has. Raises as `examine` does."""
    return examine(lines, key).records


def examine(lines: Iterable[bytes], key: bytes | None = None) -> Verified:
    """What an export is. Raises `Broken` where it is not what was written, `ConfigError` where the key is missing or
    there was none."""
    chain, n, end = b"", 0, None
    counts, account = Counter[str](), Counter[str]()
    for n, line in enumerate(lines, 1):
        data, link = _parts_of(n, line)
        kind = _type_of(n, data)
        if end is not None:
            raise Broken(n, "comes after the end")
        if n == 1:
            _check_head(data, kind, key)
        chain = _link(chain, data, key)
        if not hmac.compare_digest(chain.hex(), link):
            raise Broken(n, "was changed, or one before it is missing, or the key is another one")
        if kind == "end":
            end = _decoded(n, data, _Head)
            _check_end(n, end, counts, account)
        else:
            counts[kind] += 1
        if kind == "settled":
            settled = _decoded(n, data, _Settled)
            account[settled.status] += settled.n
    if end is None:
        raise Broken(n + 1, "is missing: the end of the export")
    return Verified(n, key is not None, end.rows, end.outcomes or {})


def _parts_of(n: int, line: bytes) -> tuple[bytes, str]:
    """The record and the link of the chain of a line that is exactly as an export writes it: a line that says something
    twice, or otherwise, is none (L64)."""
    try:
        told = _line_of(line)
    except msgspec.MsgspecError as error:
        raise Broken(n, f"is no line of an export: {error}") from None
    data = bytes(told.record)
    if line != b'{"record":' + data + b',"chain":"' + told.chain.encode() + b'"}\n':
        raise Broken(n, "is not written as an export writes it")
    return data, told.chain


_line_of = msgspec.json.Decoder(_Line).decode


def _type_of(n: int, data: bytes) -> str:
    """The type that a record begins with."""
    match = _TYPE.match(data)
    if match is None:
        raise Broken(n, "is a record that does not begin with its type")
    return match[1].decode()


_TYPE = re.compile(rb'\{"type":"([a-z]+)"')


def _decoded(n: int, data: bytes, kind: type[T]) -> T:
    try:
        found = msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise Broken(n, f"is no record of an export: {error}") from None
    return found


def _check_head(data: bytes, kind: str, key: bytes | None) -> None:
    head = _decoded(1, data, _Head)
    if kind != "run":
        raise Broken(1, "is not the beginning of an export")
    if (head.chain == SIGNED) != (key is not None):
        needs = f"is signed: give its key in {KEY}" if key is None else f"is not signed, and {KEY} has a key"
        raise ConfigError(f"the export {needs}")


def _check_end(n: int, end: _Head, counts: Counter[str], account: Counter[str]) -> None:
    """Whether an export holds what its last record says."""
    if end.records != n - 1 or end.counts != dict(counts):
        raise Broken(
            n, f"says that there are {end.records} records, {end.counts}, and there are {n - 1}, {dict(counts)}"
        )
    told = end.outcomes or {}
    if told != {status: many for status, many in account.items() if many}:
        raise Broken(n, f"says that rows ended as {told}, and the records say {dict(account)}")


def prune(journal: HeldRecords, *, before: float, outcome: str | None = None, name: str | None = None) -> int:
    """Drop the answers of rows that are done, and of all rows before them, where they are older than `before` (seconds since
    1970) and, if that is said, ended with `outcome`; the account stays. How many. Raises `ConfigError`."""
    run = run_named(journal, name).id
    journal.check_tally(run)
    progress = journal.progress_of(run)
    # What batches tie to a row that is not done may be needed again.
    last = progress.mark - progress.reach
    dropped = 0
    with journal.store.transaction():
        for begin, end in _spans(journal, run, last, outcome):
            dropped += journal.forget_answers(progress, begin, end, before)
        journal.save_progress(progress)
    if dropped:
        journal.store.compact()
    return dropped


def _spans(journal: Records, run: int, limit: int, outcome: str | None) -> list[tuple[int, int]]:
    """Rows before `limit` that are done, with this outcome where one is given, as (first, last)."""
    found = []
    for _, status, first, last, n, bits in journal.read("settled", run, Bound("first", "<", limit)):
        if n < 0 or outcome not in (None, status):
            continue
        if bits is None:
            found.append((first, min(last, limit - 1)))
            continue
        whole = decode_bits(first, last, bits)
        found += [(first + at, first + at) for at in range(min(last + 1, limit) - first) if whole >> at & 1]
    return found
