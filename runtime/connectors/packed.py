"""Files that are packed: unpacked while they are read, where their beginning and their name say the same.

gzip, bzip2 and xz are of the standard library; zstd needs the extra `zstd`, before Python 3.14.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from headrace.runtime.errors import ConfigError, HeadraceError, SourceChanged


class Bytes(Protocol):
    """Where bytes come from; see `Input`."""

    def read(self, n: int) -> bytes: ...

    def close(self) -> None: ...


class Packing(NamedTuple):
    """A way to pack files. `names`: how they are called; `magic`: how they begin."""

    name: str
    magic: bytes
    names: tuple[str, ...]
    opened: Callable[[Any], Any]


class _Zstd:
    """The bytes of a zstd file, of any number of frames."""

    def __init__(self, packed: Bytes) -> None:
        self._packed = packed
        self._new = _zstd()
        self._decoder: Any = None
        self._rest = self._plain = b""

    def read1(self, n: int) -> bytes:
        if not self._plain:
            self._plain = self._unpacked(n)
        data, self._plain = self._plain[:n], self._plain[n:]
        return data

    def _unpacked(self, n: int) -> bytes:
        while True:
            data, self._rest = self._rest or self._packed.read(n), b""
            if not data:
                if self._decoder is not None:
                    raise EOFError("it ends within a frame")
                return b""
            if self._decoder is None:
                self._decoder = self._new()
            try:
                plain: bytes = self._decoder.decompress(data)
            except Exception as error:
                raise EOFError(str(error)) from None
            if self._decoder.eof:
                self._rest, self._decoder = self._decoder.unused_data, None
            if plain:
                return plain

    def close(self) -> None:
        """Nothing of its own is open."""


def _zstd() -> Callable[[], Any]:
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        pass
    else:
        newer: Callable[[], object] = zstd.ZstdDecompressor
        return newer
    try:
        import zstandard
    except ImportError:
        raise ConfigError("zstd needs the extra 'zstd': pip install 'headrace[zstd]'") from None
    return lambda: zstandard.ZstdDecompressor().decompressobj()


def _bzip2(packed: Any) -> object:
    # What is not used is not imported (L46).
    import bz2

    return bz2.BZ2File(packed)


def _xz(packed: Any) -> Any:
    import lzma

    return lzma.LZMAFile(packed)


PACKINGS = (
    Packing("gzip", b"\x1f\x8b", (".gz", ".gzip"), lambda file: gzip.GzipFile(fileobj=file, mode="rb")),
    Packing("bzip2", b"BZh", (".bz2",), _bzip2),
    Packing("xz", b"\xfd7zXZ\x00", (".xz",), _xz),
    Packing("zstd", b"\x28\xb5\x2f\xfd", (".zst", ".zstd"), _Zstd),
)
PACKED_NAMES = tuple(name for packing in PACKINGS for name in packing.names)
"""How packed files are called."""


def packing_of(head: bytes, name: str) -> Packing | None:
    """How a file is packed, as its beginning and its name say."""
    lower = name.lower()
    return next((each for each in PACKINGS if head.startswith(each.magic) and lower.endswith(each.names)), None)


def unpacked_name(name: str) -> str:
    """A name without what says how the file is packed.

    >>> unpacked_name("in.csv.zst")
    'in.csv'
    """
    lower = name.lower()
    ending = next((each for each in PACKED_NAMES if lower.endswith(each)), "")
    return name[: len(name) - len(ending)]


class Unpacked:
    """The bytes that a packed file holds."""

    def __init__(self, name: str, packed: Bytes, packing: Packing) -> None:
        self._name = name
        self._packed = packed
        self._packing = packing
        self._file = packing.opened(packed)
        self._given = 0

    def read(self, n: int) -> bytes:
        try:
            data: bytes = self._file.read1(n)
        except HeadraceError:
            raise
        except Exception as error:
            # Each library has errors of its own; those of the system have a number.
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise SourceChanged(
                f"{self._name}: the {self._packing.name} file is damaged or cut short, after {self._given:,} bytes of what"
                f" it holds: {error}"
            ) from None
        self._given += len(data)
        return data

    def close(self) -> None:
        self._file.close()
        self._packed.close()
