"""How identities and sets of rows are written down, as msgpack and as bits, and back. Values are in `values.py`."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.actors.errors import InternalError
from headrace.actors.rows.identity import Bundle, Id, Ids
from headrace.actors.rows.rowset import bits_of

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder()


def encode_id(of: Id) -> bytes:
    """An identity, the same bytes whenever it is the same; empty for a plain row."""
    return b"" if type(of) is int else _encoder.encode(_outline(of))


def decode_id(row: int, path: bytes) -> Id:
    """The identity again. `row`: the row it is of, or of a batch the first."""
    return row if not path else _inline(_decoder.decode(path))


def encode_ids(ids: list[Id]) -> bytes:
    """Encode several identities of rows."""
    return _encoder.encode([_outline(of) for of in ids])


def decode_ids(data: bytes) -> list[Id]:
    """Decode what `encode_ids` has encoded."""
    return [_inline(of) for of in _decoder.decode(data)]


def _outline(of: Id) -> object:
    if type(of) is int:
        return of
    if isinstance(of, Bundle):
        return {"b": [_outline(member) for member in of.members]}
    if not isinstance(of, tuple):
        raise InternalError("an identity that is no number is a path")
    return [_outline(of[0]), *of[1:]]


def _inline(of: Any) -> Id:
    if isinstance(of, int):
        return of
    if isinstance(of, dict):
        members = tuple(map(_inline, of["b"]))
        plain = all(type(member) is int for member in members)
        return Bundle(members, bits_of(members)[1] if plain else 0)
    return (_inline(of[0]), *of[1:])


def decode_span(first: int, last: int, ids: bytes | None) -> Ids:
    """Those between two rows: the ones that are named, or all."""
    return decode_ids(ids) if ids is not None else range(first, last + 1)


def encode_bits(bits: int) -> bytes | None:
    """The bits of rows, from the first to the last of them; None where they are all."""
    length = bits.bit_length()
    return None if bits.bit_count() == length else bits.to_bytes((length + 7) // 8, "little")


def decode_bits(first: int, last: int, packed: bytes | None) -> int:
    """Decode what `encode_bits` has encoded."""
    return int.from_bytes(packed, "little") if packed is not None else (1 << (last - first + 1)) - 1
