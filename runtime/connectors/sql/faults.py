"""What a database says is wrong: a row, or everything. In words that hold nothing of what rows hold."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ...text import kind_of
from .address import Address

if TYPE_CHECKING:
    from sqlalchemy.exc import DBAPIError

_ROW_STATES = re.compile(r"22|23|44|42804|42846|21000|P0|54000|54001|0A000")
"""SQLSTATEs of PostgreSQL that blame a row: data, constraints, a type, a check option, what a trigger raises, too large."""
_ROW_CODES = {1048, 1062, 1169, 1216, 1217, 1264, 1265, 1292, 1364, 1366, 1367, 1406, 1451, 1452, 1525, 1644, 1690}
_ROW_CODES |= {3140, 3819, 4025}
"""Errors of MySQL and MariaDB that do."""
_WAITED = {"55P03", "57014"}
_QUOTED = re.compile(r""":?\s*["'].*["']""", re.DOTALL)
"""What messages show of values."""


def is_rows_fault(error: BaseException) -> bool:
    """Whether a statement failed because of what a row holds, so that other rows may be written."""
    import sqlalchemy as sa

    if isinstance(error, sa.exc.DBAPIError):
        if error.connection_invalidated:
            return False
        state, code = _state_of(error.orig), _code_of(error.orig)
        if state is not None:
            return _ROW_STATES.match(state) is not None
        if code is not None:
            return code in _ROW_CODES
        return isinstance(error, sa.exc.DataError | sa.exc.IntegrityError | sa.exc.ProgrammingError)
    if isinstance(error, sa.exc.StatementError):
        # A value that could not be bound.
        return True
    if _state_of(error) is not None:
        return _ROW_STATES.match(str(_state_of(error))) is not None
    return isinstance(error, ValueError | TypeError | OverflowError | ArithmeticError) or _is_drivers_data_error(error)


def told_of_row(error: BaseException, address: Address) -> str:
    """What is wrong with a row, as the database says it, without the values that it shows."""
    import sqlalchemy as sa

    if isinstance(error, sa.exc.StatementError) and error.orig is not None:
        error = error.orig
    diag: Any = getattr(error, "diag", None)
    if diag is not None and diag.message_primary:
        text = _QUOTED.sub("", str(diag.message_primary)) if str(diag.sqlstate)[:2] == "22" else diag.message_primary
        where = f" (column {diag.column_name!r})" if diag.column_name and diag.column_name not in text else ""
        return address.clean(f"{text}{where}")
    if _code_of(error) is not None and len(error.args) == 2:
        text = re.sub(r"entry '.*' for", "entry for", str(error.args[1]), flags=re.DOTALL)
        return address.clean(re.sub(r": '.*' for", " for", text, flags=re.DOTALL))
    if isinstance(error, UnicodeError):
        return "a text that has no form in the encoding of the database"
    return address.clean(f"{kind_of(error)}: {_QUOTED.sub('', str(error).splitlines()[0] if str(error) else '')}")


def told(error: BaseException, address: Address) -> str:
    """What went wrong, of the database as a whole."""
    import sqlalchemy as sa

    if isinstance(error, sa.exc.StatementError) and error.orig is not None:
        error = error.orig
    diag: Any = getattr(error, "diag", None)
    text = diag.message_primary if diag is not None and diag.message_primary else None
    if text is None:
        text = str(error.args[1]) if _code_of(error) is not None and len(error.args) == 2 else str(error)
    lines = [line.strip() for line in str(text).splitlines() if line.strip()]
    return address.clean("; ".join(lines[:3]) or kind_of(error))


def failure(error: BaseException, name: str, address: Address) -> Exception:
    """An error of the database that ends the run, as it is told."""
    import sqlalchemy as sa

    orig = error.orig if isinstance(error, sa.exc.StatementError) else error
    if _state_of(orig) in _WAITED or _code_of(orig) == 1205:
        return TimeoutError(f"{name}: another program has held a lock on what is to be written for too long")
    return OSError(f"{name}: {told(error, address)}")


def is_gone(error: BaseException) -> bool:
    """Whether it is the connection that is lost, so that another one may do."""
    import sqlalchemy as sa

    return isinstance(error, sa.exc.DBAPIError) and (
        bool(error.connection_invalidated) or isinstance(error, sa.exc.InterfaceError) or _state_class(error) == "57"
    )


def database_errors() -> tuple[type[BaseException], ...]:
    """What SQLAlchemy and the drivers raise."""
    import sqlalchemy as sa

    found: tuple[type[BaseException], ...] = (sa.exc.SQLAlchemyError,)
    try:
        import psycopg
    except ImportError:
        return found
    return (*found, psycopg.Error)


def _state_class(error: DBAPIError) -> str:
    return (_state_of(error.orig) or "")[:2]


def _state_of(error: object) -> str | None:
    state = getattr(error, "sqlstate", None)
    return state if isinstance(state, str) else None


def _code_of(error: object) -> int | None:
    args: tuple[object, ...] = getattr(error, "args", ())
    code = args[0] if len(args) == 2 else None
    return code if isinstance(code, int) else None


def _is_drivers_data_error(error: BaseException) -> bool:
    return kind_of(error) in ("DataError", "NotSupportedError", "ProgrammingError")
