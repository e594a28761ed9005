"""A real nginx in front of the upstream: each way in which it can be told to limit is a location of its own.

A limit is counted by `$arg_job`, so that jobs that run at the same time have one each.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

from .processes import ended, free_port, waited_for

RATE = 100
"""Calls a second that nginx lets in."""
FAST = 300
"""The same where its clock of milliseconds shows: a call each three and a third."""
AT_ONCE = 10

LOCATIONS = {
    "burst": "limit_req zone=rate burst=20 nodelay; limit_req_status 429;",
    "no_burst": "limit_req zone=rate; limit_req_status 429;",
    "no_burst_fast": "limit_req zone=fast; limit_req_status 429;",
    "queue": "limit_req zone=rate burst=20; limit_req_status 429;",
    "queue_and_hint": "limit_req zone=rate burst=20 delay=10; limit_req_status 429; error_page 429 @hinted;",
    "burst_and_hint": "limit_req zone=rate burst=20 nodelay; limit_req_status 429; error_page 429 @hinted;",
    "as_shipped": "limit_req zone=rate burst=20 nodelay;",
    "at_once": f"limit_conn inside {AT_ONCE}; limit_conn_status 429;",
    "at_once_as_shipped": f"limit_conn inside {AT_ONCE};",
}
"""As shipped, nginx refuses with 503."""

CONFIGURATION = """
daemon off;
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
{user}
events {{ worker_connections 4096; }}
http {{
    access_log off;
    {temporary}
    keepalive_requests 1000000;
    upstream behind {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000; }}
    limit_req_zone $arg_job zone=rate:1m rate={rate}r/s;
    limit_req_zone $arg_job zone=fast:1m rate={fast}r/s;
    limit_conn_zone $arg_job zone=inside:1m;
    limit_req_log_level info;
    limit_conn_log_level info;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location @hinted {{ add_header Retry-After 1 always; return 429; }}
        {locations}
    }}
}}
"""


def installed() -> str | None:
    """Where nginx is; /usr/sbin is not on everybody's path."""
    return shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))


@contextlib.contextmanager
def running(program: str, upstream: int) -> Iterator[int]:
    """Its port."""
    with tempfile.TemporaryDirectory(prefix="nginx-") as folder:
        port = free_port()
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        text = CONFIGURATION.format(
            folder=folder,
            user="user root;" if os.geteuid() == 0 else "",
            temporary=" ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds),
            upstream=upstream,
            rate=RATE,
            fast=FAST,
            port=port,
            locations="\n".join(
                f"location /{name} {{ {how} rewrite ^ /ask break; proxy_pass http://behind; }}"
                for name, how in LOCATIONS.items()
            ),
        )
        path = os.path.join(folder, "nginx.conf")
        with open(path, "w") as file:
            file.write(text)
        command = [program, "-p", folder, "-c", path, "-e", f"{folder}/error.log"]
        with ended(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)) as process:
            waited_for(port, process)
            yield port
