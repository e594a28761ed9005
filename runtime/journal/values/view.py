"""Values of a journal for people: what they say, as plain data that JSON can tell, without their types."""

from __future__ import annotations

import msgspec

from .typed import READERS, TUPLE


def view(data: bytes) -> object:
    """A value as plain data that JSON can tell: what it says, without the types. It asks for none of its classes."""
    return _viewer.decode(data)


def _seen(code: int, data: memoryview) -> object:
    body = bytes(data)
    match code:
        case 1 | 2 | 3:
            items = _viewer.decode(body)
            return items if code == TUPLE else sorted(items, key=repr)
        case 4:
            return str(int(body, 16))
        case 5:
            return body.decode("utf-8", "backslashreplace")
        case 14:
            pairs = _viewer.decode(body)
            keys = [key if isinstance(key, str) else str(key) for key, _ in pairs]
            return dict(zip(keys, (v for _, v in pairs), strict=True)) if len(set(keys)) == len(keys) else pairs
        case 15:
            _, qualname, member, number = _viewer.decode(body)
            return f"{qualname}.{member}" if member is not None else number
        case 16:
            return _viewer.decode(body)[2]
        case 6 | 8:
            text, zone, _, _ = _viewer.decode(body)
            return text if zone is None else f"{text} {zone}"
        case 13:
            return body
        case _:
            return str(READERS[code](_viewer.decode, body))


_viewer = msgspec.msgpack.Decoder(ext_hook=_seen)
