"""How what a run knows is written down: identities and values as msgpack, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from headrace.actors.frontier import bits_of
from headrace.actors.identity import Bundle, Id, Ids
from headrace.runtime.errors import HeadraceError

from .options import Journal, redacted

CHECKED = 20
"""So many answers of each stage are read back as they are written, to see whether they come back as they were."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder()


class Unkept(HeadraceError):
    """A value would not come back from the journal as it was."""


def encode_id(of: Id) -> bytes:
    """An identity, the same bytes whenever it is the same; empty for a plain row."""
    return b"" if type(of) is int else _encoder.encode(_outline(of))


def decode_id(row: int, path: bytes) -> Id:
    """The identity again. `row`: the row it is of, or of a batch the first."""
    return row if not path else _inline(_decoder.decode(path))


def encode_ids(ids: list[Id]) -> bytes:
    """Several of them."""
    return _encoder.encode([_outline(of) for of in ids])


def decode_ids(data: bytes) -> list[Id]:
    """Several of them again."""
    return [_inline(of) for of in _decoder.decode(data)]


def _outline(of: Id) -> Any:
    if type(of) is int:
        return of
    if isinstance(of, Bundle):
        return {"b": [_outline(member) for member in of.members]}
    assert isinstance(of, tuple)
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
    """The bits again."""
    return int.from_bytes(packed, "little") if packed is not None else (1 << (last - first + 1)) - 1


class Partial(msgspec.Struct, frozen=True):
    """An answer that is not kept whole. `data`: what of it is."""

    data: bytes | None


class Values:
    """The values of one stage. `kind`: what its function says that it returns; None: nothing said, so plain data. `counts`:
    all that matters of an answer. `options`: what of other answers is not to be kept."""

    def __init__(
        self,
        stage: str,
        kind: Any = None,
        counts: Callable[[Any], Any] | None = None,
        options: Journal | None = None,
    ) -> None:
        self._stage = stage
        self._counts = counts
        self._never = options is not None and options.payloads == "never"
        self._redact = tuple(tuple(name.split(".")) for name in options.redact) if options is not None else ()
        try:
            self._decoder = msgspec.msgpack.Decoder(kind) if kind is not None else _decoder
        except TypeError:
            # What it says of its answers is for type checkers alone.
            self._decoder = _decoder
        self._left = CHECKED

    def encode(self, value: Any) -> bytes | Partial:
        """Raises `Unkept`."""
        if self._counts is not None:
            value = self._counts(value)
        try:
            data = _encoder.encode(value)
        except (TypeError, ValueError, RecursionError, OverflowError) as error:
            raise Unkept(
                f"stage {self._stage!r} answered with a {type(value).__name__}, which a journal cannot keep ({error}); "
                f"let it return plain data, a msgspec Struct or a dataclass"
            ) from None
        if self._left:
            self._left -= 1
            self._check(value, data)
        if self._counts is None and (self._never or self._redact):
            return self._partly(data)
        return data

    def _partly(self, data: bytes) -> bytes | Partial:
        if self._never:
            return Partial(None)
        rest, found = redacted(_decoder.decode(data), self._redact)
        return Partial(_encoder.encode(rest)) if found else data

    def decode(self, data: bytes) -> Any:
        """The value again."""
        return self._decoder.decode(data)

    def _check(self, value: Any, data: bytes) -> None:
        try:
            back = self._decoder.decode(data)
        except msgspec.MsgspecError as error:
            raise Unkept(f"stage {self._stage!r} answered with what is not the type that it says: {error}") from None
        if not _same(value, back):
            raise Unkept(
                f"stage {self._stage!r} answered with a {type(value).__name__} that would come back from the journal as "
                f"another value; say what the function returns (`-> {type(value).__name__}`), or let it return plain data"
            )


def _same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b or (a != a and b != b))
