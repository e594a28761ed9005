"""PostgreSQL and MariaDB as children, each in a temporary folder, on loopback, where Debian's packages are installed."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .processes import ended, free_port, waited_for

PASSWORD = "right&strange"
QUOTED = "right%26strange"
"""As it stands in a URL."""


def postgres_program() -> str | None:
    """Where `initdb` is; `postgres` is beside it."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return shutil.which("initdb", path=os.pathsep.join([*map(str, folders), os.environ.get("PATH", "")]))


def mariadb_program() -> str | None:
    """Where `mariadbd` is."""
    return shutil.which("mariadbd", path=os.pathsep.join(["/usr/sbin", os.environ.get("PATH", "")]))


def _user(name: str) -> str:
    """Neither server runs as root."""
    return name if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


@contextlib.contextmanager
def postgres(initdb: str) -> Iterator[str]:
    """The URL of a database of a PostgreSQL that asks for a password."""
    user = _user("postgres")
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as folder:
        shutil.chown(folder, user)
        secret = Path(folder, "password")
        secret.write_text(PASSWORD)
        shutil.chown(secret, user)
        options = ["-U", "tester", "-A", "scram-sha-256", "--pwfile", str(secret), "--no-sync", "-E", "UTF8"]
        subprocess.run(
            [initdb, "-D", f"{folder}/data", *options], check=True, capture_output=True, user=user, cwd=folder
        )
        port = free_port()
        settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": folder, "fsync": "off"}
        flags = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(Path(initdb).with_name("postgres")), "-D", f"{folder}/data", *flags]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with ended(subprocess.Popen(command, user=user, cwd=folder, **quiet)) as process:  # type: ignore[call-overload]
            waited_for(port, process)
            yield f"postgresql://tester:{QUOTED}@127.0.0.1:{port}/postgres"


@contextlib.contextmanager
def mariadb(program: str) -> Iterator[str]:
    """The URL of a database of a MariaDB that asks for a password."""
    user = _user("mysql")
    with tempfile.TemporaryDirectory(prefix="maria-", ignore_cleanup_errors=True) as folder:
        shutil.chown(folder, user)
        install = shutil.which("mariadb-install-db") or "mariadb-install-db"
        data = [f"--datadir={folder}/data", f"--user={user}"]
        made = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run([install, "--no-defaults", *data, *made], check=True, capture_output=True, cwd=folder)
        begin = Path(folder, "begin.sql")
        user_made = f"CREATE USER 'tester'@'%' IDENTIFIED BY '{PASSWORD}'"
        begin.write_text(f"CREATE DATABASE work;\n{user_made};\nGRANT ALL ON work.* TO 'tester'@'%';\n")
        shutil.chown(begin, user)
        port = free_port()
        where = [f"--port={port}", "--bind-address=127.0.0.1", f"--socket={folder}/sock", f"--init-file={begin}"]
        fast = ["--innodb-flush-log-at-trx-commit=0", "--skip-name-resolve"]
        command = [program, "--no-defaults", *data, *where, *fast]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with ended(subprocess.Popen(command, cwd=folder, **quiet)) as process:  # type: ignore[call-overload]
            waited_for(port, process)
            yield f"mysql://tester:{QUOTED}@127.0.0.1:{port}/work"
