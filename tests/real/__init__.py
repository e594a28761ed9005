"""Real servers, in real time: `make servers`.

Everything else in `tests/` is held against a model of the outside. Here Headrace meets what that model stands for: the
limits of nginx, an application under uvicorn, gunicorn, celery and multiprocessing, which fork. Each server is a child of
the test that needs it, on a port of the loopback, in a folder of its own, and ends with it. What is not installed is
skipped, with one line that says what to install; with HEADRACE_REQUIRE_SERVERS=1 it fails instead.
"""
