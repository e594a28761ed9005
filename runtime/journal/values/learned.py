"""What was found out of a limit, as a journal keeps it: for each key a prior, with the time until which it is closed.

Keys of limits are somebody's values: those are kept that are plain and short, so that they come back as they were.
"""

from __future__ import annotations

import msgspec

from headrace.actors.protocol import Key, Prior

STALE_S = 86_400.0
"""What was found out longer ago says nothing: quotas have been changed meanwhile, and finding out takes seconds."""
KEY_MAX = 256
"""A key takes so many bytes at most."""


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    """`key`: a list stands for a tuple. `until`: seconds since 1970."""

    key: object
    rate: float | None
    sure: bool
    in_flight: int | None
    chance: float | None
    until: float | None


_encoder = msgspec.msgpack.Encoder()
_decode = msgspec.msgpack.Decoder(list[_Kept]).decode


def encode_priors(priors: dict[Key, Prior], clock: float, *, keys: bool) -> bytes:
    """`clock`: what the host's clock lacks to seconds since 1970. `keys`: those of limits by key, too."""
    return _encoder.encode(
        [
            _Kept(key, prior.rate, prior.sure, prior.in_flight, prior.chance, _moved(prior.until_s, clock))
            for key, prior in priors.items()
            if key is None or (keys and _is_kept(key))
        ]
    )


def decode_priors(data: bytes, clock: float) -> dict[Key, Prior]:
    """As they were told; times are the host's again."""
    return {
        _key_of(kept.key): Prior(kept.rate, kept.sure, kept.in_flight, kept.chance, _moved(kept.until, -clock))
        for kept in _decode(data)
    }


def view_priors(data: bytes) -> list[dict[str, object]]:
    """For people: of each key, what there is."""
    found = []
    for kept in _decode(data):
        told = {name: value for name in kept.__struct_fields__ if (value := getattr(kept, name)) is not None}
        if kept.rate is None:
            del told["sure"]
        found.append(told)
    return found


def _moved(at: float | None, by: float) -> float | None:
    return at + by if at is not None else None


def _is_kept(key: Key) -> bool:
    try:
        return _is_plain(key) and len(_encoder.encode(key)) <= KEY_MAX
    except (OverflowError, ValueError):
        # More than 64 bits, or a lone surrogate.
        return False


def _is_plain(key: object) -> bool:
    if type(key) is tuple:
        return all(map(_is_plain, key))
    return key is None or type(key) in (str, int, float, bool, bytes)


def _key_of(kept: object) -> Key:
    return tuple(map(_key_of, kept)) if isinstance(kept, list) else kept
