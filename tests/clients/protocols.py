"""Just enough of the protocols of databases to fail in them.

The servers of MySQL and MongoDB are large, or not to be had from Debian, so that their clients are answered from here.
"""

from __future__ import annotations

import socket
import ssl
import struct
from importlib import import_module
from typing import Any

from .misbehaving import Talk

_GREETING = (
    b"\x0a5.7.0\x00" + struct.pack("<I", 1) + b"12345678\x00" + struct.pack("<H", 0xF7FF) + b"\x21" + struct.pack("<H", 2)
    + struct.pack("<H", 0x0008) + b"\x15" + b"\x00" * 10 + b"123456789012\x00mysql_native_password\x00"
)  # fmt: skip
_GREETING_WITH_TLS = _GREETING.replace(struct.pack("<H", 0xF7FF), struct.pack("<H", 0xFFFF))
_OK = b"\x00\x00\x00\x02\x00\x00\x00"


def mysql(number: int, state: str, *, at_login: bool = False) -> Talk:
    """A server of MySQL that answers with this error: to the login, or to the first SELECT."""
    error = b"\xff" + struct.pack("<H", number) + b"#" + state.encode() + b"No."

    def talk(connection: socket.socket) -> None:
        _send(connection, 0, _GREETING)
        _packet(connection)
        _send(connection, 2, error if at_login else _OK)
        while True:
            asked = _packet(connection)
            if not asked:
                return
            _send(connection, 1, error if b"SELECT" in asked else _OK)

    return talk


def mysql_over(context: ssl.SSLContext) -> Talk:
    """A server of MySQL that goes over to TLS when the client asks."""

    def talk(connection: socket.socket) -> None:
        _send(connection, 0, _GREETING_WITH_TLS)
        _packet(connection)
        context.wrap_socket(connection, server_side=True).close()

    return talk


def postgres_over(context: ssl.SSLContext) -> Talk:
    """A server of PostgreSQL that goes over to TLS when the client asks."""

    def talk(connection: socket.socket) -> None:
        connection.recv(8)
        connection.sendall(b"S")
        context.wrap_socket(connection, server_side=True).close()

    return talk


def postgres_without_tls(connection: socket.socket) -> None:
    """A server of PostgreSQL that has no TLS."""
    connection.recv(8)
    connection.sendall(b"N")
    connection.recv(65536)


def redis_cut_off(connection: socket.socket) -> None:
    """A server of Redis whose answer is cut off."""
    connection.recv(65536)
    connection.sendall(b"$1000\r\n{")


def _send(connection: socket.socket, sequence: int, payload: bytes) -> None:
    connection.sendall(struct.pack("<I", len(payload))[:3] + bytes([sequence]) + payload)


def _packet(connection: socket.socket) -> bytes:
    head = _exactly(connection, 4)
    return _exactly(connection, int.from_bytes(head[:3], "little")) if head else b""


def mongo(code: int, name: str) -> Talk:
    """A server of MongoDB that says hello and answers everything else with this error."""
    hello = {"ok": 1, "isWritablePrimary": True, "minWireVersion": 0, "maxWireVersion": 21, "helloOk": True}
    hello |= {"maxBsonObjectSize": 16777216, "maxMessageSizeBytes": 48000000, "maxWriteBatchSize": 100000}
    error = {"ok": 0, "code": code, "codeName": name, "errmsg": "No."}

    def talk(connection: socket.socket) -> None:
        bson: Any = import_module("bson")
        while True:
            head = _exactly(connection, 16)
            if not head:
                return
            length, request, _, operation = struct.unpack("<iiii", head)
            body = _exactly(connection, length - 16)
            greets = any(word in body for word in (b"hello", b"ismaster", b"isMaster"))
            answer = bson.encode(hello if greets else error)
            if operation == 2004:
                reply = struct.pack("<iqii", 8, 0, 0, 1) + answer
                kind = 1
            else:
                reply = struct.pack("<IB", 0, 0) + answer
                kind = 2013
            connection.sendall(struct.pack("<iiii", 16 + len(reply), 0, request, kind) + reply)

    return talk


def _exactly(connection: socket.socket, wanted: int) -> bytes:
    held = b""
    while len(held) < wanted:
        more = connection.recv(wanted - len(held))
        if not more:
            return b""
        held += more
    return held
