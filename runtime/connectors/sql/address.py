"""The address of a database: a URL, of which only what is no secret is ever shown; and the connection that it leads to.

SQLAlchemy and the driver are imported when an address is read. Where one of them is missing, the message names the extra.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...errors import ConfigError
from ...text import visible
from ..json_values import encode

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Connection, Engine

CONNECT_S = 10
"""So long a server may take to answer."""
_DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
_EXTRAS = {"psycopg": "postgres", "pymysql": "mysql"}
"""The driver that a URL means where it names none, and the extra that brings it."""
_SECRET = re.compile(r"pass|pwd|secret|token|key|credential", re.IGNORECASE)


class Address:
    """Where a database is. `shown`: its URL without user, password and options; `dialect`: such as "postgresql".

    >>> Address("postgresql://ada:secret@db.example:5433/shop?sslmode=require").shown
    'postgresql://db.example:5433/shop'
    """

    def __init__(self, url: str) -> None:
        """Raises `ConfigError`, which does not show what may be secret."""
        sa = _sqlalchemy()
        if not isinstance(url, str):
            raise ConfigError(f"url={type(url).__name__}: a URL is text, such as 'postgresql://host/database'")
        try:
            parsed = sa.engine.make_url(url)
        except Exception:
            # The message may show the whole URL.
            raise ConfigError(
                "url: is no URL of a database; one is like 'postgresql://user:password@host:5432/database', with special"
                " characters of a password written as %40 and the like"
            ) from None
        if "+" not in parsed.drivername:
            parsed = parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))
        self.dialect: str = parsed.get_backend_name()
        self._url: URL = parsed
        self.shown = _shown(parsed)
        self._secrets = _secrets_of(parsed)

    @property
    def path(self) -> str | None:
        """The file of an SQLite database; None for a server, and for one in memory."""
        database = self._url.database
        if self.dialect != "sqlite" or not database or database == ":memory:" or database.startswith("file:"):
            return None
        return os.fspath(database)

    @property
    def identity(self) -> str:
        """What it is known by in a journal."""
        return os.path.abspath(self.path) if self.path is not None else self.shown

    def check_file(self) -> None:
        """Raise `ConfigError` for an SQLite database that is not there: to connect would make an empty one."""
        if self.path is not None and not os.path.isfile(self.path):
            raise ConfigError(f"{self.path}: no such file")

    def engine(self) -> Engine:
        """An engine that pools nothing. Raises `ConfigError`."""
        args: dict[str, object] = {}
        driver = self._url.drivername.partition("+")[2]
        if driver in ("psycopg", "pymysql") and "connect_timeout" not in self._url.query:
            args["connect_timeout"] = CONNECT_S
        if driver == "psycopg" and "application_name" not in self._url.query:
            args["application_name"] = "headrace"
        try:
            # Parameters are what rows hold.
            return self._made(args, json_serializer=_json)
        except TypeError:
            # Not every dialect has an option for it.
            return self._made(args)
        except ModuleNotFoundError as error:
            raise ConfigError(self._driver_missing(error.name or driver)) from None
        except Exception as error:
            raise ConfigError(f"{self.shown}: {self.clean(_of_plugin(error))}") from None

    def _made(self, args: dict[str, object], **options: object) -> Engine:
        import sqlalchemy as sa

        return sa.create_engine(
            self._url, poolclass=sa.pool.NullPool, hide_parameters=True, connect_args=args, **options
        )

    def connect(self, engine: Engine) -> Connection:
        """A connection. Raises `ConfigError` where the server cannot be reached or does not let us in."""
        try:
            return engine.connect()
        except Exception as error:
            raise ConfigError(f"{self.shown}: {self.clean(_refused(error))}") from None

    def clean(self, text: str) -> str:
        """A text of the driver, without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return visible(text)

    def _driver_missing(self, module: str) -> str:
        extra = _EXTRAS.get(module.lower())
        how = f"pip install 'headrace[{extra}]'" if extra else f"pip install {module}"
        return f"{self.shown}: needs the driver {module!r}, which is not installed: {how}"


def split(url: str, names: frozenset[str]) -> tuple[str, dict[str, str]]:
    """A URL without these of its options, and they.

    >>> split("postgresql://host/db?table=orders&sslmode=require", frozenset({"table"}))
    ('postgresql://host/db?sslmode=require', {'table': 'orders'})
    """
    from urllib.parse import parse_qsl, urlencode

    if not isinstance(url, str):
        return url, {}
    head, mark, query = url.partition("?")
    if not mark:
        return url, {}
    pairs = parse_qsl(query, keep_blank_values=True)
    rest = urlencode([(name, value) for name, value in pairs if name not in names])
    return head + (f"?{rest}" if rest else ""), {name: value for name, value in pairs if name in names}


def is_database(url: str) -> bool:
    """Whether a text is the URL of a database, as far as its scheme shows."""
    scheme = url.partition("://")[0].partition("+")[0]
    return scheme in (*_DRIVERS, "sqlite", "mssql", "oracle", "duckdb", "cockroachdb", "snowflake", "redshift") and (
        "://" in url
    )


def _sqlalchemy() -> Any:
    try:
        import sqlalchemy
    except ImportError:
        raise ConfigError("databases need the extra 'sql': pip install 'headrace[sql]'") from None
    return sqlalchemy


def _json(value: object) -> str:
    data, fault = encode(value)
    if fault is not None:
        raise ValueError(fault)
    return data.decode()


def _shown(url: URL) -> str:
    host = url.host or ""
    if ":" in host:
        host = f"[{host}]"
    port = f":{url.port}" if url.port else ""
    database = f"/{url.database}" if url.database else ""
    return visible(f"{url.get_backend_name()}://{host}{port}{database}")


def _secrets_of(url: URL) -> tuple[str, ...]:
    found = [str(url.password)] if url.password else []
    query: Mapping[str, Any] = url.query
    for name, value in query.items():
        if _SECRET.search(name):
            found += [value] if isinstance(value, str) else list(value)
    return tuple(each for each in found if len(each) > 2)


def _refused(error: Exception) -> str:
    """Why a connection did not come about, in words."""
    import sqlalchemy as sa

    if isinstance(error, ModuleNotFoundError):
        return f"needs the module {error.name!r}, which is not installed"
    text = str(getattr(error, "orig", None) or error).strip()
    if isinstance(error, sa.exc.DBAPIError) and error.orig is not None and len(error.orig.args) == 2:
        text = str(error.orig.args[1])
    lines = [line for line in text.splitlines() if line.strip()]
    return "cannot be connected to: " + "; ".join(line.strip() for line in lines[:3])


def _of_plugin(error: Exception) -> str:
    import sqlalchemy as sa

    if isinstance(error, sa.exc.NoSuchModuleError):
        return "no driver is installed for such a database; SQLAlchemy's list of dialects names the package"
    return f"cannot be used as a database: {type(error).__name__}"
