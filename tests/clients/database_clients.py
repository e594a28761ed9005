"""Clients of databases. Each function makes one call to a `Target` and lets its exception out."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import ssl
import tempfile
from collections.abc import Callable
from importlib import import_module
from typing import Any

from .failures import TIMEOUT_S, Target
from .services import PASSWORD

SQL = {
    "shut down": "SELECT pg_terminate_backend(pg_backend_pid())",
    "deadlock": "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40P01'; END $$",
    "constraint": "CREATE TEMP TABLE t (k int PRIMARY KEY); INSERT INTO t VALUES (1), (1)",
    "no table": "SELECT * FROM there_is_no_such_table",
    "locked": "SET lock_timeout = '100ms'; SELECT pg_advisory_lock(7)",
}
"""What provokes each failure in PostgreSQL. Somebody else holds the lock 7."""


def _password_of(target: Target) -> str:
    return "wrong" if target.failure == "password" else PASSWORD


def by_psycopg(target: Target) -> None:
    psycopg = import_module("psycopg")
    kept = contextlib.ExitStack()
    with kept:
        for _ in range(20 if target.failure == "too many" else 1):
            connection = psycopg.connect(
                host=target.host,
                port=target.port,
                user="tester",
                password=_password_of(target),
                dbname="postgres",
                connect_timeout=2,
                sslmode="verify-full" if target.tls else "disable",
                sslrootcert=target.extra if target.tls else "",
                gssencmode="disable",
                autocommit=True,
            )
            kept.callback(connection.close)
        connection.execute(SQL[target.failure])


def by_asyncpg(target: Target) -> None:
    asyncpg = import_module("asyncpg")

    async def call() -> None:
        kept: list[Any] = []
        try:
            for _ in range(20 if target.failure == "too many" else 1):
                connection = await asyncpg.connect(
                    host=target.host,
                    port=target.port,
                    user="tester",
                    password=_password_of(target),
                    database="postgres",
                    timeout=TIMEOUT_S if target.failure == "time-out" else 10,
                    ssl=ssl.create_default_context() if target.tls else False,
                )
                kept.append(connection)
            await connection.execute(SQL[target.failure])
        finally:
            for connection in kept:
                with contextlib.suppress(Exception):
                    await connection.close(timeout=2)

    asyncio.run(call())


def by_sqlalchemy(target: Target) -> None:
    sqlalchemy = import_module("sqlalchemy")
    url = sqlalchemy.URL.create(
        "postgresql+psycopg", "tester", _password_of(target), target.host, target.port, "postgres"
    )
    arguments = {"connect_timeout": 2, "sslmode": "verify-full" if target.tls else "disable", "gssencmode": "disable"}
    arguments["sslrootcert"] = target.extra if target.tls else ""
    engine = sqlalchemy.create_engine(url, connect_args=arguments, poolclass=sqlalchemy.NullPool)
    with contextlib.ExitStack() as kept:
        for _ in range(20 if target.failure == "too many" else 1):
            connection = kept.enter_context(engine.connect())
        for statement in SQL[target.failure].split("; ") if "DO $$" not in SQL[target.failure] else [SQL["deadlock"]]:
            connection.execute(sqlalchemy.text(statement))


def by_pymysql(target: Target) -> None:
    pymysql = import_module("pymysql")
    options = {"connect_timeout": TIMEOUT_S, "read_timeout": TIMEOUT_S}
    with pymysql.connect(
        host=target.host,
        port=target.port,
        user="u",
        password="p",
        ssl=ssl.create_default_context() if target.tls else None,
        **options,
    ) as connection:
        connection.cursor().execute("SELECT 1")


def by_redis(target: Target) -> None:
    redis = import_module("redis")
    kept: list[Any] = []
    try:
        for _ in range(20 if target.failure == "too many" else 1):
            client = redis.Redis(
                host=target.host,
                port=target.port,
                password=_password_of(target) if target.extra else None,
                socket_timeout=TIMEOUT_S,
                socket_connect_timeout=TIMEOUT_S,
                retry=None,
                ssl=target.tls,
                single_connection_client=True,
            )
            kept.append(client)
            client.get("k")
        if target.failure == "constraint":
            client.set("k", "x")
            client.lpush("k", "y")
        elif target.failure == "shut down":
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no")
            client.get("k")
    finally:
        for client in kept:
            client.close()


def by_pymongo(target: Target) -> None:
    pymongo = import_module("pymongo")
    ms = int(TIMEOUT_S * 1000)
    with pymongo.MongoClient(
        target.host,
        target.port,
        serverSelectionTimeoutMS=ms,
        connectTimeoutMS=ms,
        socketTimeoutMS=ms,
        retryReads=False,
        tls=target.tls,
        directConnection=True,
    ) as client:
        client.db.command("find", "t")


def by_sqlite(target: Target) -> None:
    with tempfile.TemporaryDirectory() as folder:
        other = sqlite3.connect(f"{folder}/a.db", isolation_level=None)
        connection = sqlite3.connect(f"{folder}/a.db", timeout=0.05)
        with contextlib.closing(other), contextlib.closing(connection):
            other.execute("CREATE TABLE t (k INTEGER PRIMARY KEY)")
            other.execute("INSERT INTO t VALUES (1)")
            match target.failure:
                case "locked":
                    other.execute("BEGIN EXCLUSIVE")
                    connection.execute("INSERT INTO t VALUES (2)")
                case "constraint":
                    connection.execute("INSERT INTO t VALUES (1)")
                case "no table":
                    connection.execute("SELECT * FROM there_is_no_such_table")


def by_sqlalchemy_sqlite(target: Target) -> None:
    sqlalchemy = import_module("sqlalchemy")
    with tempfile.TemporaryDirectory() as folder:
        engine = sqlalchemy.create_engine(f"sqlite:///{folder}/a.db", connect_args={"timeout": 0.05})
        other = sqlite3.connect(f"{folder}/a.db", isolation_level=None)
        with contextlib.closing(other), engine.connect() as connection:
            other.execute("CREATE TABLE t (k INTEGER PRIMARY KEY)")
            other.execute("INSERT INTO t VALUES (1)")
            if target.failure == "locked":
                other.execute("BEGIN EXCLUSIVE")
            table = "there_is_no_such_table" if target.failure == "no table" else "t"
            connection.execute(sqlalchemy.text(f"INSERT INTO {table} VALUES (1)"))


POSTGRES: dict[str, Callable[[Target], None]] = {
    "psycopg": by_psycopg,
    "asyncpg": by_asyncpg,
    "sqlalchemy": by_sqlalchemy,
}
FILES: dict[str, Callable[[Target], None]] = {"sqlite3": by_sqlite, "sqlalchemy sqlite": by_sqlalchemy_sqlite}
MYSQL: dict[str, tuple[int, str, bool]] = {
    "locked": (1205, "HY000", False),
    "deadlock": (1213, "40001", False),
    "shut down": (1053, "08S01", False),
    "too many": (1040, "08004", True),
    "constraint": (1062, "23000", False),
    "no table": (1146, "42S02", False),
    "password": (1045, "28000", True),
}
"""The number, the SQLSTATE, and whether the login is answered so."""
MONGO: dict[str, tuple[int, str]] = {
    "locked": (112, "WriteConflict"),
    "shut down": (91, "ShutdownInProgress"),
    "too many": (16500, "RequestRateTooLarge"),
    "constraint": (11000, "DuplicateKey"),
    "no table": (26, "NamespaceNotFound"),
    "password": (18, "AuthenticationFailed"),
}
