"""gRPC: a real client, and a real server that ends every call with one status."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

from .failures import TIMEOUT_S, Target

STATUS = {
    "401": "UNAUTHENTICATED",
    "403": "PERMISSION_DENIED",
    "404": "NOT_FOUND",
    "408": "DEADLINE_EXCEEDED",
    "422": "INVALID_ARGUMENT",
    "429": "RESOURCE_EXHAUSTED",
    "429 come back": "RESOURCE_EXHAUSTED",
    "500": "INTERNAL",
    "502": "UNKNOWN",
    "503": "UNAVAILABLE",
    "503 come back": "UNAVAILABLE",
    "504": "DEADLINE_EXCEEDED",
    "529": "ABORTED",
}
"""The status of gRPC that stands for the status of HTTP (google.rpc.Code)."""


def _channel(module: Any, target: Target) -> Any:
    grpc = import_module("grpc")
    address = f"{target.host}:{target.port}"
    options = [("grpc.enable_retries", 0)]
    if target.tls:
        return module.secure_channel(address, grpc.ssl_channel_credentials(), options)
    return module.insecure_channel(address, options)


def by_grpc(target: Target) -> None:
    grpc = import_module("grpc")
    with _channel(grpc, target) as channel:
        channel.unary_unary("/s/m")(b"", timeout=TIMEOUT_S if target.failure == "time-out" else 5)


def by_grpc_aio(target: Target) -> None:
    async def call() -> None:
        async with _channel(import_module("grpc.aio"), target) as channel:
            await channel.unary_unary("/s/m")(b"", timeout=TIMEOUT_S if target.failure == "time-out" else 5)

    asyncio.run(call())


def by_google_grpc(target: Target) -> None:
    """As the generated clients of Google do over gRPC."""
    grpc, helpers = import_module("grpc"), import_module("google.api_core.grpc_helpers")
    with _channel(grpc, target) as channel:
        call = helpers.wrap_errors(channel.unary_unary("/s/m"))
        call(b"", timeout=TIMEOUT_S if target.failure == "time-out" else 5)


@contextlib.contextmanager
def server(status: str, hint_s: float | None) -> Iterator[int]:
    """A server that ends every call with this status, and tells the time to come again in a RetryInfo. Its port."""
    grpc: Any = import_module("grpc")
    handler: Any = grpc.GenericRpcHandler

    def end(request: bytes, context: Any) -> bytes:
        if hint_s is not None:
            context.abort_with_status(_status_with_retry_info(status, hint_s))
        context.abort(grpc.StatusCode[status], "No.")
        raise AssertionError("abort raises")

    class Handler(handler):  # type: ignore[misc]
        def service(self, details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(end)

    with ThreadPoolExecutor(2) as pool:
        running = grpc.server(pool, (Handler(),))
        port: int = running.add_insecure_port("127.0.0.1:0")
        running.start()
        try:
            yield port
        finally:
            running.stop(None).wait()


def _status_with_retry_info(status: str, hint_s: float) -> Any:
    rpc_status = import_module("grpc_status.rpc_status")
    details, codes = import_module("google.rpc.error_details_pb2"), import_module("google.rpc.code_pb2")
    status_type = import_module("google.rpc.status_pb2").Status
    packed = import_module("google.protobuf.any_pb2").Any()
    info = details.RetryInfo()
    info.retry_delay.FromTimedelta(import_module("datetime").timedelta(seconds=hint_s))
    packed.Pack(info)
    return rpc_status.to_status(status_type(code=codes.Code.Value(status), message="No.", details=[packed]))


CLIENTS = {"grpc": by_grpc, "grpc aio": by_grpc_aio, "google grpc": by_google_grpc}
