"""The table of classes: what clients raise that carries no code, known by name and by the module that it comes from.

`httpx.ReadError` is a class ReadError of the module httpx or of one below it, or a class that derives from it. Of the
classes that an exception derives from, the nearest that stands here counts. Nothing is imported.
"""

from __future__ import annotations

from .databases import FAMILIES
from .row import Row, Word, names

CLASS = "class"

SMTP_LATER = Row(
    CLASS,
    ("smtplib.SMTPResponseException of 400 to 499",),
    Word.TRANSIENT,
    "Such answers mean: try again (RFC 5321, 4.2.1).",
)
REFUSED_BY_NAME = Row(
    CLASS,
    ("headrace.runtime.errors.RateLimited",),
    Word.REFUSED,
    "The function says itself that it was refused. What it was raised from can add only the time to come again.",
)

CLASSES = (
    REFUSED_BY_NAME,
    Row(
        CLASS,
        ("headrace.runtime.errors.TransientError",),
        Word.TRANSIENT,
        "The function says itself that it may work again.",
    ),
    # --- the standard library ---
    Row(
        CLASS,
        (
            "builtins.ConnectionError",
            "builtins.TimeoutError",
            "builtins.BlockingIOError",
            "builtins.InterruptedError",
            "subprocess.TimeoutExpired",
        ),
        Word.TRANSIENT,
        "The connection broke, or it took too long. asyncio's and concurrent.futures' TimeoutError are the same class.",
        True,
    ),
    Row(
        CLASS,
        ("http.client.RemoteDisconnected", "http.client.IncompleteRead", "http.client.BadStatusLine"),
        Word.TRANSIENT,
        "The answer was cut off, or did not begin.",
        True,
    ),
    Row(CLASS, ("urllib.error.ContentTooShortError",), Word.TRANSIENT, "The answer was cut off.", True),
    Row(CLASS, ("asyncio.IncompleteReadError",), Word.TRANSIENT, "The stream ended in the middle of a message.", True),
    Row(
        CLASS,
        ("smtplib.SMTPServerDisconnected", "imaplib.abort"),
        Word.TRANSIENT,
        "The server ended the connection.",
        True,
    ),
    Row(CLASS, ("ftplib.error_temp",), Word.TRANSIENT, "Answers from 400 to 499 mean: try again (RFC 959, 4.2.1)."),
    SMTP_LATER,
    Row(
        CLASS,
        ("smtplib.SMTPAuthenticationError",),
        Word.EXHAUSTED,
        "The password is not accepted, and all calls use it.",
    ),
    # --- clients of HTTP ---
    Row(
        CLASS,
        names(
            "httpx.UnsupportedProtocol httpx2.UnsupportedProtocol httpx.LocalProtocolError",
            "httpx2.LocalProtocolError httpcore.UnsupportedProtocol httpcore2.UnsupportedProtocol",
            "httpcore.LocalProtocolError httpcore2.LocalProtocolError requests.InvalidURL",
            "requests.InvalidSchema requests.MissingSchema niquests.InvalidURL niquests.InvalidSchema",
            "niquests.MissingSchema aiohttp.InvalidURL aiohttp.NonHttpUrlClientError",
            "urllib3.LocationValueError urllib3_future.LocationValueError",
        ),
        Word.PERMANENT,
        "The request itself cannot be sent: a wrong URL, a header that is not allowed.",
    ),
    Row(
        CLASS,
        (
            "ssl.SSLCertVerificationError",
            "aiohttp.ClientConnectorCertificateError",
            "aiohttp.ServerFingerprintMismatch",
        ),
        Word.PERMANENT,
        "The other side's certificate is not accepted. It stays so until somebody changes it.",
    ),
    Row(
        CLASS,
        names(
            "httpx.TransportError httpx2.TransportError httpcore.NetworkError httpcore2.NetworkError",
            "httpcore.TimeoutException httpcore2.TimeoutException httpcore.ProtocolError",
            "httpcore2.ProtocolError httpcore.ProxyError httpcore2.ProxyError httpcore.ConnectionNotAvailable",
        ),
        Word.TRANSIENT,
        "httpx, httpcore: the base classes of what goes wrong between the two sides.",
        True,
    ),
    Row(
        CLASS,
        names(
            "requests.ConnectionError requests.Timeout requests.ChunkedEncodingError requests.RetryError",
            "niquests.ConnectionError niquests.Timeout niquests.ChunkedEncodingError niquests.RetryError",
            "niquests.MultiplexingError",
        ),
        Word.TRANSIENT,
        "requests, niquests: the base classes of what goes wrong between the two sides.",
        True,
    ),
    Row(
        CLASS,
        tuple(
            f"{module}.{name}"
            for module in ("urllib3", "urllib3_future", "botocore.vendored.requests.packages.urllib3")
            for name in (
                "MaxRetryError",
                "ProtocolError",
                "TimeoutError",
                "NewConnectionError",
                "ProxyError",
                "ResponseError",
                "EmptyPoolError",
                "FullPoolError",
                "SSLError",
                "IncompleteRead",
            )
        ),
        Word.TRANSIENT,
        "urllib3: what goes wrong between the two sides.",
        True,
    ),
    Row(
        CLASS,
        names(
            "aiohttp.ClientConnectionError aiohttp.ServerDisconnectedError aiohttp.ClientPayloadError",
            "aiohttp.BadHttpMessage",
        ),
        Word.TRANSIENT,
        "aiohttp: no connection, or an answer that was cut off or damaged.",
        True,
    ),
    Row(
        CLASS,
        names(
            "websockets.ConnectionClosed websockets.InvalidMessage",
            "websocket.WebSocketConnectionClosedException websocket.WebSocketTimeoutException",
        ),
        Word.TRANSIENT,
        "WebSockets: the connection ended.",
        True,
    ),
    Row(CLASS, ("dns.resolver.NoNameservers", "dns.exception.Timeout"), Word.TRANSIENT, "dnspython: no answer.", True),
    # --- clients of services ---
    Row(
        CLASS,
        names(
            "openai.APIConnectionError anthropic.APIConnectionError stripe.APIConnectionError",
            "litellm.APIConnectionError litellm.Timeout groq.APIConnectionError mistralai.NoResponseError",
            "replicate.APIConnectionError google.auth.exceptions.TransportError",
            "google.api_core.exceptions.RetryError",
        ),
        Word.TRANSIENT,
        "The client of a service could not reach it.",
        True,
    ),
    Row(
        CLASS,
        ("stripe.CardError",),
        Word.PERMANENT,
        "A card was declined. The row's own matter, though the status is 402.",
    ),
    Row(
        CLASS,
        ("stripe.RateLimitError", "openai.RateLimitError", "anthropic.RateLimitError"),
        Word.REFUSED,
        "Too fast.",
        True,
    ),
    Row(CLASS, ("litellm.BudgetExceededError",), Word.EXHAUSTED, "The budget that was given to litellm is used up."),
    Row(
        CLASS,
        names(
            "google.auth.exceptions.DefaultCredentialsError google.auth.exceptions.RefreshError",
            "stripe.AuthenticationError azure.core.exceptions.ClientAuthenticationError",
        ),
        Word.EXHAUSTED,
        "There are no credentials, or they are not accepted, and all calls use them.",
        True,
    ),
    Row(
        CLASS,
        (
            "azure.core.exceptions.ServiceRequestError",
            "azure.core.exceptions.ServiceResponseError",
            "azure.core.exceptions.IncompleteReadError",
        ),
        Word.TRANSIENT,
        "azure.core: the request did not go out, or no whole answer came.",
        True,
    ),
    Row(
        CLASS,
        names(
            "botocore.exceptions.NoCredentialsError botocore.exceptions.PartialCredentialsError",
            "botocore.exceptions.CredentialRetrievalError botocore.exceptions.TokenRetrievalError",
            "botocore.exceptions.SSOError botocore.exceptions.NoAuthTokenError",
        ),
        Word.EXHAUSTED,
        "boto: there are no credentials, and all calls need them.",
    ),
    Row(
        CLASS,
        names(
            "botocore.exceptions.HTTPClientError botocore.exceptions.ConnectionError",
            "botocore.exceptions.IncompleteReadError botocore.exceptions.EndpointConnectionError",
        ),
        Word.TRANSIENT,
        "boto: no connection, or an answer that was cut off.",
        True,
    ),
    Row(
        CLASS,
        names(
            "geopy.exc.GeocoderRateLimited telegram.error.RetryAfter telethon.errors.FloodWaitError",
            "telethon.errors.FloodError discord.RateLimited github.RateLimitExceededException",
            "prawcore.TooManyRequests",
        ),
        Word.REFUSED,
        "The client of a service has a class of its own for: too fast.",
    ),
    Row(
        CLASS,
        names(
            "geopy.exc.GeocoderQuotaExceeded geopy.exc.GeocoderAuthenticationFailure",
            "telegram.error.InvalidToken telethon.errors.AuthKeyError geopy.exc.GeocoderInsufficientPrivileges",
            "discord.LoginFailure",
        ),
        Word.EXHAUSTED,
        "The client of a service has a class of its own for: no quota left, or a wrong key.",
    ),
    Row(
        CLASS,
        ("telegram.error.BadRequest",),
        Word.PERMANENT,
        "telegram: the request is wrong, though it is a NetworkError.",
    ),
    Row(
        CLASS,
        names(
            "geopy.exc.GeocoderTimedOut geopy.exc.GeocoderUnavailable telegram.error.NetworkError",
            "telegram.error.TimedOut telethon.errors.ServerError telethon.errors.TimedOutError",
            "discord.ConnectionClosed elastic_transport.ConnectionError elastic_transport.ConnectionTimeout",
            "opensearchpy.ConnectionError elasticsearch.ConnectionError prawcore.RequestException",
            "nats.errors.TimeoutError nats.errors.ConnectionClosedError nats.errors.NoServersError",
            "pika.exceptions.AMQPConnectionError amqp.exceptions.RecoverableConnectionError",
            "kombu.OperationalError neo4j.exceptions.ServiceUnavailable neo4j.exceptions.SessionExpired",
            "neo4j.exceptions.TransientError",
        ),
        Word.TRANSIENT,
        "The client of a service could not reach it, or the service is in trouble.",
        True,
    ),
    # --- databases ---
    Row(
        CLASS,
        names(
            "redis.AuthenticationError redis.AuthorizationError valkey.AuthenticationError",
            "valkey.AuthorizationError neo4j.exceptions.AuthError cassandra.AuthenticationFailed",
        ),
        Word.EXHAUSTED,
        "The password is not accepted, and all calls use it.",
    ),
    Row(
        CLASS,
        tuple(
            f"{module}.{name}"
            for module in ("redis", "valkey")
            for name in (
                "ConnectionError",
                "TimeoutError",
                "TryAgainError",
                "ClusterDownError",
                "MasterDownError",
                "ReadOnlyError",
                "AskError",
                "MovedError",
                "OutOfMemoryError",
            )
        ),
        Word.TRANSIENT,
        "Redis: no connection, or the server starts, changes its role or is full.",
        True,
    ),
    Row(
        CLASS,
        ("pymongo.errors.ConnectionFailure", "pymongo.errors.WaitQueueTimeoutError", "pymongo.errors.AutoReconnect"),
        Word.TRANSIENT,
        "MongoDB: no connection, or no primary.",
        True,
    ),
    Row(
        CLASS,
        ("pymongo.errors.ConfigurationError",),
        Word.PERMANENT,
        "MongoDB: the client was told something that cannot be.",
    ),
    Row(
        CLASS,
        tuple(f"{module}.OperationalError" for module in FAMILIES),
        Word.TRANSIENT,
        "A driver's error of operation (PEP 249) with no code of its own: there is no connection.",
        True,
    ),
    Row(
        CLASS,
        names(
            "pymysql.InterfaceError MySQLdb.InterfaceError sqlalchemy.TimeoutError",
            "sqlalchemy.DisconnectionError psycopg_pool.PoolTimeout asyncpg.ConnectionDoesNotExistError",
            "asyncpg.CannotConnectNowError asyncpg.ConnectionFailureError cassandra.OperationTimedOut",
            "cassandra.NoHostAvailable cassandra.Unavailable cassandra.ReadTimeout cassandra.WriteTimeout",
            "clickhouse_driver.NetworkError clickhouse_driver.SocketTimeoutError",
        ),
        Word.TRANSIENT,
        "A database: the connection is gone, or none came free in time.",
        True,
    ),
)

_BY_NAME: dict[str, list[tuple[str, Row]]] = {}
for _row in CLASSES:
    for _value in _row.values:
        _module, _, _name = _value.rpartition(".")
        _BY_NAME.setdefault(_name, []).append((_module, _row))


def row_of_class(kind: type) -> tuple[Row, str] | None:
    """The row of the nearest class that `kind` is or derives from, and that class's name. None if none stands here."""
    for cls in kind.__mro__:
        for module, row in _BY_NAME.get(cls.__name__, ()):
            if cls.__module__ == module or cls.__module__.startswith(f"{module}."):
                return row, f"{module}.{cls.__name__}"
    return None
