"""The table of databases: SQLSTATE (PostgreSQL, ODBC), the numbers of MySQL and SQLite, the codes of MongoDB.

Drivers keep them in fields of their own. A driver's error that has none of them says mostly that there is no
connection; it is known by its class.
"""

from __future__ import annotations

from collections.abc import Mapping

from .reading import attribute
from .row import Finding, Row, Word, by_value

SQLSTATE = "SQLSTATE"
SQLSTATES = (
    Row(SQLSTATE, ("08",), Word.TRANSIENT, "Class 08, connection exception (SQL:2016; PostgreSQL, appendix A)."),
    Row(SQLSTATE, ("40",), Word.TRANSIENT, "Class 40, transaction rollback: a serialization failure or a deadlock."),
    Row(SQLSTATE, ("40002",), Word.PERMANENT, "A constraint that was checked at the commit does not hold."),
    Row(SQLSTATE, ("53300", "53400"), Word.REFUSED, "Too many connections, or another limit of the configuration."),
    Row(
        SQLSTATE,
        ("53",),
        Word.TRANSIENT,
        "Class 53, insufficient resources: no memory, a full disk.",
    ),
    Row(SQLSTATE, ("55P03", "55006"), Word.TRANSIENT, "Somebody else holds the lock or uses the object."),
    Row(
        SQLSTATE,
        ("57P01", "57P02", "57P03", "57P05"),
        Word.TRANSIENT,
        "The server shuts down, starts, or cut an idle session.",
    ),
    Row(SQLSTATE, ("57014", "25P03"), Word.TRANSIENT, "The server cut a statement or transaction that took too long."),
    Row(SQLSTATE, ("58",), Word.TRANSIENT, "Class 58, an error of the system under the server."),
    Row(SQLSTATE, ("28",), Word.EXHAUSTED, "Class 28, the password or role is not accepted, and all calls use it."),
    Row(SQLSTATE, ("HYT00", "HYT01"), Word.TRANSIENT, "ODBC: a time-out."),
)
INVALIDATED = Row(
    SQLSTATE, ("connection_invalidated",), Word.TRANSIENT, "sqlalchemy found that the connection is gone."
)
OTHER_SQLSTATE = Row(SQLSTATE, ("another class",), Word.PERMANENT, "The statement or its values are wrong.")

MYSQL = "number of MySQL"
MYSQL_NUMBERS = (
    Row(
        MYSQL,
        (2002, 2003, 2004, 2005, 2006, 2013, 2055, 1927, 4031),
        Word.TRANSIENT,
        "The client cannot reach the server, or the connection was cut. What it met stands inside.",
        True,
    ),
    Row(MYSQL, (1040, 1203, 1129, 1226), Word.REFUSED, "Too many connections, or the user's limit for this hour."),
    Row(MYSQL, (1053, 1077, 1079, 1080, 1152, 1158, 1159, 1160, 1161, 1184), Word.TRANSIENT, "The server shuts down."),
    Row(MYSQL, (1205, 1213, 3572), Word.TRANSIENT, "A deadlock, or a lock that another transaction holds."),
    Row(MYSQL, (1317, 3024, 1969), Word.TRANSIENT, "The server cut a statement that took too long."),
    Row(MYSQL, (1037, 1038, 1041, 1135), Word.TRANSIENT, "The server has no memory or thread left for it."),
    Row(
        MYSQL,
        (1045, 1698, 1820, 1862, 3118),
        Word.EXHAUSTED,
        "The password or account is not accepted, and all calls use it.",
    ),
)
MYSQL_TLS = 2026
"""The TLS handshake failed. The exception inside says how."""
OTHER_MYSQL = Row(MYSQL, ("another number",), Word.PERMANENT, "The statement or its values are wrong.")

SQLITE = "result code of SQLite"
SQLITE_CODES = (
    Row(SQLITE, (5, 6), Word.TRANSIENT, "SQLITE_BUSY, SQLITE_LOCKED: another connection writes."),
    Row(SQLITE, (7, 9, 15), Word.TRANSIENT, "SQLITE_NOMEM, SQLITE_INTERRUPT, SQLITE_PROTOCOL (a race for a lock)."),
)
OTHER_SQLITE = Row(SQLITE, ("another code",), Word.PERMANENT, "The statement, its values or the file is wrong.")

MONGO = "code or label of MongoDB"
MONGO_CODES = (
    Row(
        MONGO,
        (
            6,
            7,
            89,
            91,
            134,
            189,
            234,
            262,
            9001,
            10107,
            11600,
            11602,
            13435,
            13436,
            133,
            43,
            50,
            112,
            "TransientTransactionError",
            "RetryableWriteError",
        ),
        Word.TRANSIENT,
        "The retryable errors of the drivers' specification: unreachable, no primary, shutting down, late, a conflict.",
    ),
    Row(MONGO, (16500, 462), Word.REFUSED, "Too many requests (Azure Cosmos DB; the server's own limit)."),
    Row(MONGO, (18, 8000), Word.EXHAUSTED, "The password is not accepted, or Atlas shuts the account."),
)
OTHER_MONGO = Row(MONGO, ("another code",), Word.PERMANENT, "The operation or its values are wrong.")

_BY_SQLSTATE = by_value(SQLSTATES)
_BY_MYSQL = by_value(MYSQL_NUMBERS)
_BY_SQLITE = by_value(SQLITE_CODES)
_BY_MONGO = by_value(MONGO_CODES)

FAMILIES: Mapping[str, str] = {
    "psycopg": "sql", "psycopg2": "sql", "psycopg_pool": "sql", "asyncpg": "sql", "pg8000": "odbc", "pyodbc": "odbc",
    "aiopg": "sql", "snowflake": "sql", "vertica_python": "sql", "sqlalchemy": "sql",
    "pymysql": "mysql", "MySQLdb": "mysql", "aiomysql": "mysql", "asyncmy": "mysql", "mysql": "mysql", "mariadb": "mysql",
    "sqlite3": "sqlite", "apsw": "sqlite", "aiosqlite": "sqlite",
    "pymongo": "mongo", "motor": "mongo",
    "redis": "none", "valkey": "none", "clickhouse_driver": "none", "cassandra": "none", "oracledb": "none",
}  # fmt: skip
"""The drivers by the first part of their module, and how their errors are read. Their numbers are no statuses of HTTP."""


def database_finding(family: str, error: BaseException) -> Finding | None:
    """What a driver's error says in a field of its own. None if it says nothing there."""
    match family:
        case "sql":
            return _by_sqlstate(error, attribute(error, "sqlstate") or attribute(error, "pgcode"))
        case "odbc":
            # pyodbc puts it first among the arguments, and pg8000 into a dictionary there, under "C".
            first = _first_argument(error)
            return _by_sqlstate(error, first.get("C") if type(first) is dict else first)
        case "mysql":
            return _by_mysql_number(error)
        case "sqlite":
            code = attribute(error, "sqlite_errorcode")
            if type(code) is not int:
                return None
            return Finding(_BY_SQLITE.get(code & 0xFF, OTHER_SQLITE), code)
        case "mongo":
            return _by_mongo(error)
    return None


def _by_sqlstate(error: BaseException, state: object) -> Finding | None:
    if attribute(error, "connection_invalidated") is True:
        return Finding(INVALIDATED, True)
    if type(state) is not str or len(state) != 5 or not (state.isalnum() and state.isascii()):
        return None
    return Finding(_BY_SQLSTATE.get(state) or _BY_SQLSTATE.get(state[:2]) or OTHER_SQLSTATE, state)


def _by_mysql_number(error: BaseException) -> Finding | None:
    number = attribute(error, "errno")
    if type(number) is not int:
        number = _first_argument(error)
    if type(number) is not int or number <= 0 or number == MYSQL_TLS:
        return None
    return Finding(_BY_MYSQL.get(number, OTHER_MYSQL), number)


def _by_mongo(error: BaseException) -> Finding | None:
    labels = attribute(error, "_error_labels")
    if type(labels) is set:
        for label in labels:
            if label in _BY_MONGO:
                return Finding(_BY_MONGO[label], label)
    code = attribute(error, "code")
    return Finding(_BY_MONGO.get(code, OTHER_MONGO), code) if type(code) is int else None


def _first_argument(error: BaseException) -> object:
    args = error.args
    return args[0] if type(args) is tuple and args else None
