"""The types of rows along edges, as far as contracts and annotations say."""

from __future__ import annotations

from ...errors import ConfigError, GraphError
from ...rows.expressions import Expression


class Batched:
    """Lists of rows of one type."""

    def __init__(self, of: object) -> None:
        self.of = of


def check_expression(name: str, expression: Expression, came: object, wanted: tuple[str, ...] = ()) -> None:
    """Raises `GraphError` where the expression cannot be said of such rows, or gives none of the `wanted` types."""
    if came is None or isinstance(came, Batched):
        return
    try:
        expression.check(came, wanted)
    except ConfigError as error:
        raise GraphError(name, f"{name!r}: {error}") from None


def record(annotated: object) -> object:
    """Of annotations, those that say what fields there are, or at least which class it is."""
    return annotated if isinstance(annotated, type) and annotated is not object else None
