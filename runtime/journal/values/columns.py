"""The values of one stage, as a journal has them: what of an answer is written down, and how it comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import get_args

import msgspec

from headrace.runtime.errors import HeadraceError
from headrace.runtime.text import kind_of

from ..options import Journal, redacted
from .typed import Types, Unfit, is_plain
from .view import view

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class Unkept(HeadraceError):
    """A row's value would not come back from the journal as it was, so the row cannot go on there.

    `stage`: whose answer it is. `field`: where in the answer it is, such as `people[3].born`; empty for the answer itself.
    `reason`: what is wrong with it, and what to do.
    """

    def __init__(self, stage: str, field: str, reason: str) -> None:
        where = f"field {field!r} of the answer of stage {stage!r}" if field else f"the answer of stage {stage!r}"
        super().__init__(f"{where} cannot be kept in the journal: it {reason}")
        self.stage = stage
        self.field = field
        self.reason = reason


class Partial(msgspec.Struct, frozen=True):
    """An answer that is not kept whole. `data`: what of it is."""

    data: bytes | None


class Values:
    """The values of one stage. `kind`: what its function says that it returns, for classes that cannot be found by a name.
    `counts`: makes of an answer all that matters of it. `options`: what of other answers is not to be kept."""

    def __init__(
        self,
        stage: str,
        kind: object = None,
        counts: Callable[[object], object] | None = None,
        options: Journal | None = None,
    ) -> None:
        self._stage = stage
        self._counts = counts
        redact = options.redact if options is not None and counts is None else ()
        self._never = options is not None and options.payloads == "never" and counts is None
        self._redact = tuple(tuple(name.split(".")) for name in redact)
        self._types = Types(_classes_in(kind))
        self._simple = counts is None and not self._never and not self._redact

    def encode(self, value: object) -> bytes | Partial:
        """A value as bytes; or what of it is to be kept. Raises `Unkept` for a value that would not come back as it was."""
        if self._simple and is_plain(value):
            try:
                return _encode(value)
            except (ValueError, OverflowError):
                # A lone surrogate, or an integer of more than 64 bits.
                pass
        if self._counts is not None:
            value = self._counts(value)
        try:
            data = self._types.encode(value)
        except Unfit as unfit:
            raise Unkept(self._stage, unfit.field, unfit.reason) from None
        except Exception as error:
            # A property, a `__getattr__` or an `__eq__` of somebody's class.
            reason = f"is a {kind_of(value)} that cannot be read: {kind_of(error)}"
            raise Unkept(self._stage, "", reason) from error
        return data if not (self._never or self._redact) else self._partly(data)

    def _partly(self, data: bytes) -> bytes | Partial:
        if self._never:
            return Partial(None)
        rest, found = redacted(view(data), self._redact)
        return Partial(_encode(rest)) if found else data

    def decode(self, data: bytes) -> object:
        """The value again. Raises `ConfigError` where a class that it needs is not there any more."""
        return self._types.decode(data)


def _classes_in(kind: object, seen: frozenset[object] = frozenset()) -> Iterator[type]:
    """The classes that an annotation speaks of, and those that their fields do."""
    if isinstance(kind, type) and kind not in seen and kind.__module__ != "builtins":
        yield kind
        try:
            fields = list(getattr(kind, "__annotations__", {}).values())
        except Exception:
            # Annotations that cannot be resolved say nothing.
            fields = []
        for each in fields:
            yield from _classes_in(each, seen | {kind})
    for each in get_args(kind):
        yield from _classes_in(each, seen)
