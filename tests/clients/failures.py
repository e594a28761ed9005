"""What can go wrong, and which verdict is right: one for each failure, and the exceptions by name with their reasons."""

from __future__ import annotations

from typing import Any, NamedTuple

T, P, R, X = "transient", "permanent", "refused", "exhausted"

HINT_S = 7.0
"""What the servers say where they name a time to come again."""
TIMEOUT_S = 0.5

NETWORK = {
    "refused": T,
    "reset": T,
    "no answer": T,
    "dropped in mid-answer": T,
    "time-out": T,
    "unknown name": T,
    "certificate": P,
    "plain for TLS": P,
    "TLS cut": T,
}
STATUS = {
    "401": X,
    "402": X,
    "403": P,
    "404": P,
    "408": T,
    "422": P,
    "425": T,
    "429": R,
    "429 come back": R,
    "500": T,
    "502": T,
    "503": T,
    "503 come back": R,
    "504": T,
    "529": T,
    "403 come back": R,
    "no credit": X,
}
DATABASE = {
    "locked": T,
    "deadlock": T,
    "shut down": T,
    "too many": R,
    "constraint": P,
    "no table": P,
    "password": X,
}
RIGHT = NETWORK | STATUS | DATABASE
HINTED = ("429 come back", "503 come back", "403 come back")


class Target(NamedTuple):
    """Where a client is sent. `extra`: what a database's client needs beyond the address."""

    failure: str
    host: str
    port: int
    tls: bool = False
    extra: Any = None

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"


OTHERWISE: dict[tuple[str, str], tuple[str, str]] = {}
"""Client and failure: the verdict that is right there all the same, and why."""


def _otherwise(clients: str, failures: str, word: str, why: str) -> None:
    for client in clients.split("|"):
        for failure in failures.split(", "):
            OTHERWISE[client, failure] = (word, why)


_otherwise(
    "urllib|aiohttp",
    "no credit",
    R,
    "The exception has no body in memory, so the code is not to be had. The gate stays closed instead.",
)
_otherwise("stripe", "402", P, "Stripe answers 402 to a card that was declined, which is the row's own matter.")

_otherwise(
    "grpc|grpc aio|google grpc",
    "certificate, plain for TLS",
    T,
    "gRPC says UNAVAILABLE of every handshake that fails; only a text tells why.",
)
_otherwise(
    "psycopg|sqlalchemy",
    "certificate, plain for TLS, too many, password",
    T,
    "libpq gives no SQLSTATE for a connection that fails; only a text tells why.",
)
_otherwise("asyncpg", "plain for TLS", T, "asyncpg raises a plain ConnectionError; only a text tells why.")
_otherwise(
    "pymongo",
    "certificate, plain for TLS",
    T,
    "The driver tries again until its time-out and then raises that; only a text tells why.",
)
_otherwise("redis", "too many", T, "redis-py raises its ConnectionError for it; only a text tells why.")

NEVER: dict[str, tuple[str, str]] = {
    "urllib3": (", ".join(STATUS), "urllib3 raises for no status."),
    "urllib3 Retry": (
        ", ".join(failure for failure in STATUS if failure != "500"),
        "It is told to raise for the status 500 alone.",
    ),
    "pymysql": ("plain for TLS", "PyMySQL goes on without TLS."),
    "http.client": (", ".join(STATUS), "http.client raises for no status."),
    "grpc": ("402, 425, 403 come back, no credit", "gRPC has no such status."),
    "grpc aio": ("402, 425, 403 come back, no credit", "gRPC has no such status."),
    "google grpc": ("402, 425, 403 come back, no credit", "gRPC has no such status."),
    "pymongo": ("deadlock", "MongoDB has write conflicts instead."),
    "redis": ("deadlock, locked, no table", "Redis has neither locks nor tables."),
    "sqlalchemy sqlite": (
        ", ".join((*NETWORK, "shut down", "too many", "password", "deadlock")),
        "There is no server.",
    ),
    "boto3 s3": ("no credit", "The other client of boto3 is tried with it."),
    "sqlite3": (", ".join((*NETWORK, "shut down", "too many", "password", "deadlock")), "There is no server."),
}
"""Client: the failures that it does not have, and why."""


def does_not_happen(client: str, failure: str) -> bool:
    """Whether the client cannot meet the failure."""
    return client in NEVER and failure in NEVER[client][0].split(", ")


def right(client: str, failure: str) -> str:
    """The verdict that is right for this client and failure."""
    return OTHERWISE.get((client, failure), (RIGHT[failure], ""))[0]
