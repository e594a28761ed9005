"""Every client meets every failure that it can meet, for real, and its exception has the right verdict (L66, L71)."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest

from headrace.runtime.verdicts.classify import Verdict, classify

from . import database_clients, grpc_clients, http_clients, misbehaving, protocols, services
from .failures import DATABASE, HINT_S, HINTED, NETWORK, STATUS, Target, does_not_happen, right
from .matrix import CELLS

CLIENTS: dict[str, Callable[[Target], Any]] = {
    **http_clients.CLIENTS,
    **grpc_clients.CLIENTS,
    **database_clients.POSTGRES,
    "pymysql": database_clients.by_pymysql,
    "redis": database_clients.by_redis,
    "pymongo": database_clients.by_pymongo,
    **database_clients.FILES,
}
TALKS = {
    "reset": misbehaving.reset,
    "no answer": misbehaving.hang_up,
    "dropped in mid-answer": misbehaving.drop,
    "time-out": misbehaving.sleep,
    "plain for TLS": misbehaving.plain,
    "TLS cut": misbehaving.hang_up,
}
OVER_TLS = ("certificate", "plain for TLS", "TLS cut")


@pytest.fixture(scope="session")
def postgres() -> Iterator[int | None]:
    with services.postgres() as port:
        yield port


@pytest.fixture(scope="session")
def redis() -> Iterator[int | None]:
    with services.redis() as port:
        yield port


@pytest.fixture(scope="session")
def untrusted() -> ssl.SSLContext:
    """The certificate of a TLS server that nobody trusts."""
    trustme = import_module("trustme")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with another authority than the one that signed the untrusted certificate."""
    trustme = import_module("trustme")
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    return str(path)


@contextlib.contextmanager
def network(client: str, failure: str, untrusted: ssl.SSLContext, authority: str) -> Iterator[Target]:
    """Where a failure of the network waits for a client."""
    own = protocol_of(client, failure, untrusted)
    if own is not None:
        with misbehaving.tcp(own) as port:
            yield Target(failure, "127.0.0.1", port, tls=failure in OVER_TLS, extra=authority)
        return
    if failure == "unknown name":
        yield Target(failure, "nowhere.invalid", 80)
    elif failure == "refused":
        with misbehaving.nobody() as port:
            yield Target(failure, "127.0.0.1", port)
    elif failure == "certificate":
        with misbehaving.http(200, {}, {}, untrusted) as port:
            yield Target(failure, "127.0.0.1", port, tls=True)
    else:
        with misbehaving.tcp(TALKS[failure]) as port:
            yield Target(failure, "127.0.0.1", port, tls=failure in OVER_TLS)


def protocol_of(client: str, failure: str, untrusted: ssl.SSLContext) -> misbehaving.Talk | None:
    """The protocols of databases begin in the clear, and their answers are not those of HTTP."""
    if failure == "certificate" and client in database_clients.POSTGRES:
        return protocols.postgres_over(untrusted)
    if failure == "certificate" and client == "pymysql":
        return protocols.mysql_over(untrusted)
    if failure == "plain for TLS" and client in database_clients.POSTGRES:
        return protocols.postgres_without_tls
    if failure == "dropped in mid-answer" and client == "redis":
        return protocols.redis_cut_off
    return None


@contextlib.contextmanager
def status(client: str, failure: str) -> Iterator[Target]:
    """A service that answers with a status."""
    hinted = failure in HINTED
    if client in grpc_clients.CLIENTS:
        with grpc_clients.server(grpc_clients.STATUS[failure], HINT_S if hinted else None) as port:
            yield Target(failure, "127.0.0.1", port)
        return
    headers = misbehaving.hint() if hinted else {}
    if failure == "no credit":
        code, body = http_clients.NO_CREDIT.get(client, (429, http_clients.OPENAI))
    else:
        code, body = int(failure.split()[0]), {"error": {"message": "No."}}
    with misbehaving.http(code, headers, body) as port:
        yield Target(failure, "127.0.0.1", port)


@contextlib.contextmanager
def database(client: str, failure: str, postgres: int | None, redis: int | None) -> Iterator[Target | None]:
    """A database that fails. None: it is not installed."""
    if client in database_clients.FILES:
        yield Target(failure, "", 0)
    elif client == "pymysql":
        number, state, at_login = database_clients.MYSQL[failure]
        with misbehaving.tcp(protocols.mysql(number, state, at_login=at_login)) as port:
            yield Target(failure, "127.0.0.1", port)
    elif client == "pymongo":
        with misbehaving.tcp(protocols.mongo(*database_clients.MONGO[failure])) as port:
            yield Target(failure, "127.0.0.1", port)
    else:
        running = redis if client == "redis" else postgres
        if running is None:
            yield None
            return
        with holding_a_lock(postgres) if failure == "locked" and client != "redis" else contextlib.nullcontext():
            yield Target(failure, "127.0.0.1", running, extra=True)


@contextlib.contextmanager
def holding_a_lock(port: int | None) -> Iterator[None]:
    psycopg = import_module("psycopg")
    with psycopg.connect(
        host="127.0.0.1", port=port, user="tester", password=services.PASSWORD, dbname="postgres", autocommit=True
    ) as connection:
        connection.execute("SELECT pg_advisory_lock(7)")
        yield


def word_of(verdict: Verdict) -> str:
    return "exhausted" if getattr(verdict, "exhausted", False) else str(verdict.kind.value)


def check(client: str, failure: str, target: Target) -> None:
    cell = (client, failure)
    CELLS[cell] = "?!"
    with pytest.raises(Exception) as caught:  # noqa: PT011 (whatever the client raises)
        CLIENTS[client](target)
    verdict = classify(caught.value)
    word = word_of(verdict)
    letter = "X" if word == "exhausted" else word[0].upper()
    well = word == right(client, failure) and (failure not in HINTED or verdict.retry_after_s == HINT_S)
    CELLS[cell] = letter if well else f"{letter}!"
    assert well, f"{right(client, failure)} would be right, and not {verdict}: {told(caught.value)}"


def told(error: BaseException | None) -> str:
    """The exception and what it was raised from, for whoever has to mend the table."""
    lines: list[str] = []
    while error is not None and len(lines) < 8:
        lines.append(f"{type(error).__module__}.{type(error).__name__}({error!s:.100}) {vars(error)!s:.200}")
        error = error.__cause__ or error.__context__
    return "\n  from ".join(lines)


def of(failures: dict[str, str], *clients: str) -> list[Any]:
    return [
        pytest.param(client, failure, id=f"{client}-{failure}")
        for client in clients
        for failure in failures
        if not does_not_happen(client, failure)
    ]


@pytest.mark.parametrize(("client", "failure"), of(NETWORK, *CLIENTS))
def test_failures_of_the_network_L66(client: str, failure: str, untrusted: ssl.SSLContext, authority: str) -> None:
    with network(client, failure, untrusted, authority) as target:
        check(client, failure, target)


@pytest.mark.parametrize(("client", "failure"), of(STATUS, *http_clients.CLIENTS, *grpc_clients.CLIENTS))
def test_answers_of_a_service_L71(client: str, failure: str) -> None:
    with status(client, failure) as target:
        check(client, failure, target)


@pytest.mark.parametrize(
    ("client", "failure"),
    of(DATABASE, *database_clients.POSTGRES, "pymysql", "redis", "pymongo", *database_clients.FILES),
)
def test_answers_of_a_database_L66(client: str, failure: str, postgres: int | None, redis: int | None) -> None:
    with database(client, failure, postgres, redis) as target:
        if target is None:
            CELLS[client, failure] = "-"
            pytest.skip("the server is not installed")
        check(client, failure, target)
