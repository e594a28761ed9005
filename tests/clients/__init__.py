"""The verdicts of Headrace against the real packages (L66): `make clients` installs and runs them.

`failures` says what can go wrong and which verdict is right. `misbehaving` and `protocols` have the servers that make it go
wrong. The clients stand in `http_clients`, `database_clients` and `grpc_clients`. `services` starts a real PostgreSQL and a
real Redis where they are installed. Nothing is sent to any other machine: all servers listen on 127.0.0.1, and the name that
cannot be resolved ends in `.invalid`.
"""
