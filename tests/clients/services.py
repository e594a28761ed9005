"""A real PostgreSQL and a real Redis for one session of tests, where they are installed.

Debian's packages are postgresql and redis-server. Neither has to be running.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PASSWORD = "right"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port: int = held.getsockname()[1]
        return port


@contextlib.contextmanager
def postgres() -> Iterator[int | None]:
    """The port of a PostgreSQL that asks for a password, allows six connections, and trusts nobody. None: not installed."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    initdb = shutil.which("initdb", path=os.pathsep.join([*map(str, folders), os.environ.get("PATH", "")]))
    if initdb is None:
        yield None
        return
    # PostgreSQL does not run as root.
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as folder:
        shutil.chown(folder, user)
        secret = Path(folder, "password")
        secret.write_text(PASSWORD)
        shutil.chown(secret, user)
        data = f"{folder}/data"
        options = ["-U", "tester", "-A", "scram-sha-256", "--pwfile", str(secret), "--no-sync", "-E", "UTF8"]
        subprocess.run([initdb, "-D", data, *options], check=True, capture_output=True, user=user, cwd=folder)
        port = free_port()
        settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": folder}
        settings |= {"max_connections": 6, "superuser_reserved_connections": 0, "fsync": "off"}
        flags = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        process = subprocess.Popen(
            [str(Path(initdb).with_name("postgres")), "-D", data, *flags],
            user=user,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with _stopping(process):
            _wait_for(port)
            yield port


@contextlib.contextmanager
def redis() -> Iterator[int | None]:
    """The port of a Redis that asks for a password and allows five connections. None: not installed."""
    server = shutil.which("redis-server")
    if server is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        port = free_port()
        options = {
            "port": port,
            "bind": "127.0.0.1",
            "requirepass": PASSWORD,
            "maxclients": 5,
            "save": "",
            "dir": folder,
        }
        flags = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        process = subprocess.Popen([server, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with _stopping(process):
            _wait_for(port)
            yield port


@contextlib.contextmanager
def _stopping(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(port: int) -> None:
    until = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return
