"""The table of what operating systems, resolvers, TLS and gRPC say in numbers and names of their own.

An `errno` that has no row, such as ENOENT or EACCES, decides nothing: it may belong to a file, and the exceptions
inside may say more. Where none does, the verdict is permanent.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

from .row import Row, Word, by_value, names


def _numbers(*names: str) -> tuple[int, ...]:
    """The numbers of these names on this system. Windows has them a second time, with WSA before the name."""
    both = (name for plain in names for name in (plain, f"WSA{plain}"))
    return tuple(dict.fromkeys(getattr(errno, name) for name in both if hasattr(errno, name)))


ERRNO = "errno"
ERRNOS = (
    Row(
        ERRNO,
        _numbers("ECONNREFUSED", "ECONNRESET", "ECONNABORTED", "EPIPE", "ESHUTDOWN", "ENOTCONN"),
        Word.TRANSIENT,
        "Nobody listens, or the connection was cut: the other side restarts or is overloaded (connect(2), send(2)).",
    ),
    Row(
        ERRNO,
        _numbers("ETIMEDOUT", "EAGAIN", "EWOULDBLOCK", "EINTR", "EINPROGRESS", "EALREADY"),
        Word.TRANSIENT,
        "It took too long, or was interrupted (connect(2), recv(2)).",
    ),
    Row(
        ERRNO,
        _numbers("EHOSTUNREACH", "EHOSTDOWN", "ENETUNREACH", "ENETDOWN", "ENETRESET", "ENONET"),
        Word.TRANSIENT,
        "There is no way to the other side for now: a network that is down, a route that changes (connect(2)).",
    ),
    Row(
        ERRNO,
        _numbers("EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EADDRNOTAVAIL", "EADDRINUSE"),
        Word.TRANSIENT,
        "This machine has no descriptor, buffer or port left, and gets them back when other calls end (socket(2), open(2)).",
    ),
)

RESOLVER = "resolver's code"
RESOLVER_NAMES = (
    Row(
        RESOLVER,
        ("EAI_AGAIN", "EAI_FAIL", "EAI_MEMORY", "EAI_SYSTEM"),
        Word.TRANSIENT,
        "The name server did not answer, or failed (RFC 3493, section 6.1).",
    ),
    Row(
        RESOLVER,
        ("EAI_NONAME", "EAI_NODATA"),
        Word.TRANSIENT,
        "The name is not known. macOS and Windows say so, too, whenever they are offline, and many resolvers do during an "
        "outage. A name that is really wrong costs its row a few tries; the other choice loses all rows in an outage.",
    ),
    Row(
        RESOLVER,
        ("EAI_BADFLAGS", "EAI_FAMILY", "EAI_SERVICE", "EAI_SOCKTYPE", "EAI_ADDRFAMILY"),
        Word.PERMANENT,
        "The question itself is wrong (RFC 3493, section 6.1).",
    ),
)
UNRESOLVED = Row(
    RESOLVER, ("another code",), Word.TRANSIENT, "Resolving a name failed for a reason that is not known.", True
)

TLS = "reason of OpenSSL"
TLS_REASONS = (
    Row(
        TLS,
        names(
            "CERTIFICATE_VERIFY_FAILED CERTIFICATE_UNKNOWN BAD_CERTIFICATE UNKNOWN_CA TLSV1_ALERT_UNKNOWN_CA",
            "SSLV3_ALERT_BAD_CERTIFICATE SSLV3_ALERT_CERTIFICATE_UNKNOWN SSLV3_ALERT_CERTIFICATE_EXPIRED",
            "SSLV3_ALERT_CERTIFICATE_REVOKED SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
            "TLSV13_ALERT_CERTIFICATE_REQUIRED TLSV1_ALERT_ACCESS_DENIED",
        ),
        Word.PERMANENT,
        "One side does not accept the other's certificate. It stays so until somebody changes one of them.",
    ),
    Row(
        TLS,
        names(
            "WRONG_VERSION_NUMBER HTTP_REQUEST HTTPS_PROXY_REQUEST UNSUPPORTED_PROTOCOL NO_PROTOCOLS_AVAILABLE",
            "NO_SHARED_CIPHER NO_CIPHERS_AVAILABLE SSLV3_ALERT_HANDSHAKE_FAILURE TLSV1_ALERT_PROTOCOL_VERSION",
            "TLSV1_ALERT_INSUFFICIENT_SECURITY TLSV1_UNRECOGNIZED_NAME DH_KEY_TOO_SMALL EE_KEY_TOO_SMALL",
            "CA_MD_TOO_WEAK UNSAFE_LEGACY_RENEGOTIATION_DISABLED UNKNOWN_PROTOCOL RECORD_LAYER_FAILURE",
        ),
        Word.PERMANENT,
        "The two sides do not speak the same protocol: a wrong port, another version of TLS, no cipher in common.",
    ),
)
TLS_BROKEN = Row(TLS, ("another reason",), Word.TRANSIENT, "The handshake or the stream was cut or damaged.", True)

GRPC = "status of gRPC"
GRPC_STATUSES = (
    Row(GRPC, ("RESOURCE_EXHAUSTED",), Word.REFUSED, "A quota or a limit (the page of gRPC on status codes)."),
    Row(GRPC, ("UNAUTHENTICATED",), Word.EXHAUSTED, "The credentials are missing or wrong, and all calls use them."),
    Row(
        GRPC,
        ("UNAVAILABLE", "DEADLINE_EXCEEDED"),
        Word.TRANSIENT,
        "The service cannot be reached, or was late: try again.",
    ),
    Row(GRPC, ("ABORTED", "CANCELLED"), Word.TRANSIENT, "A conflict, or a stream that the other side cut: try again."),
    Row(
        GRPC,
        ("INTERNAL", "UNKNOWN"),
        Word.TRANSIENT,
        "What gRPC makes of a broken stream or a status 500; it counts as a 500.",
    ),
    Row(
        GRPC,
        names(
            "INVALID_ARGUMENT NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED FAILED_PRECONDITION OUT_OF_RANGE",
            "UNIMPLEMENTED DATA_LOSS",
        ),
        Word.PERMANENT,
        "The request is wrong, or what it asks for is not there.",
    ),
)

_BY_ERRNO = by_value(ERRNOS)
_BY_TLS_REASON = by_value(TLS_REASONS)
_BY_GRPC = by_value(GRPC_STATUSES)
_BY_RESOLVER: dict[int, Row] = {}


def row_of_errno(number: int) -> Row | None:
    """The row of an `errno` of this system."""
    return _BY_ERRNO.get(number)


def row_of_resolver(number: int) -> Row:
    """The row of what `socket.gaierror` has for its `errno`, which is no errno but a code of getaddrinfo(3)."""
    if not _BY_RESOLVER:
        # Not when this module is imported: many runs never resolve a name that fails.
        import socket

        _BY_RESOLVER.update(_named(RESOLVER_NAMES, vars(socket)))
    return _BY_RESOLVER.get(number, UNRESOLVED)


def row_of_tls(reason: str | None) -> Row:
    """The row of an `ssl.SSLError` by its `reason`, which is a name of OpenSSL and no text."""
    return _BY_TLS_REASON.get(reason or "", TLS_BROKEN)


def row_of_grpc(name: str) -> Row | None:
    """The row of a `grpc.StatusCode` by its name."""
    return _BY_GRPC.get(name)


def _named(rows: Iterable[Row], numbers: dict[str, int]) -> dict[int, Row]:
    # On some systems two names have one number: the first row counts.
    index: dict[int, Row] = {}
    for row in rows:
        for name in row.values:
            if name in numbers:
                index.setdefault(numbers[name], row)
    return index
