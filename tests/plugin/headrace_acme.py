"""A source and a sink of a shop, as a package of somebody brings them."""

from __future__ import annotations

import os
from typing import Any

from headrace import DurableSink, PlacedSource, ReadResult


class Orders(PlacedSource):
    """So many orders of a shop. `url`: such as `acme://shop?n=3`."""

    def __init__(self, shop: str = "", n: int = 3, url: str | None = None) -> None:
        if url is not None:
            shop, _, said = url.removeprefix("acme://").partition("?n=")
            n = int(said or n)
        if n < 0:
            raise ValueError(f"n={n}: no shop has so few orders")
        self.name = f"orders of {shop}"
        self._shop, self._n, self._at = shop, n, 0

    def fingerprint(self) -> dict[str, object]:
        return {"shop": self._shop, "n": self._n}

    def open(self) -> None:
        self.resume(None)

    def resume(self, place: int | None) -> None:
        self._at = place or 0

    def tell(self) -> int:
        return self._at

    def read(self, n: int) -> ReadResult:
        last = min(self._at + n, self._n)
        rows: list[Any] = [{"shop": self._shop, "order": i} for i in range(self._at, last)]
        self._at = last
        return ReadResult(rows, ended=last == self._n)


class Ledger(DurableSink):
    """A file with a line a row. `path`: of the file."""

    name = "ledger"

    def __init__(self, path: str) -> None:
        self._path = path

    def open(self) -> None:
        self.resume(None)

    def resume(self, place: int | None) -> None:
        self._file = open(self._path, "ab")  # noqa: SIM115 - closed by `close`
        self._file.truncate(place or 0)

    def write(self, items: list[Any]) -> None:
        self._file.writelines(f"{item}\n".encode() for item in items)

    def tell(self) -> int:
        self._file.flush()
        return self._file.tell()

    def sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self, complete: bool) -> None:
        self._file.close()


def classify(error: BaseException) -> str | None:
    """What the errors of the shop mean."""
    return "refused" if type(error).__name__ == "ShopIsFull" else None
