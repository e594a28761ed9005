"""The text of the file that `headrace scenario new` writes."""

from __future__ import annotations

TEMPLATE = """\
# A scenario: what runs, what the outside is like, what goes wrong, and what must come of it.
#   headrace scenario run THIS_FILE --seeds 100     a hundred interleavings, in virtual time
#   headrace scenario run THIS_FILE --real          threads, real time, a real HTTP service on loopback
# Every invariant is checked besides; what is not named under [expect] is not looked at.
# All tables and keys are explained in the README of headrace/scenarios.

shows = "A service that is refused, slow and out for a while: every row is delivered, in order."
lessons = []

[source]
rows = 200                  # 0, 1, 2, ...; -1: without end
# every = 0.1               # seconds between rows
# bad = [3]                 # rows that cannot be read
# fails_at = [50]           # reading fails before this row, once

[[stage]]
name = "ask"
on = "threads"              # or "loop": coroutines
workers = 8
# limit = "50/s"            # nothing stated: found out
retry = 5
timeout = 2.0
# [[stage.quirk]]           # what your own code does to some rows
# does = "raise"            # or interrupt, exit, nonsense, mutate, writes, block, slow
# rows = [7]

[[service]]
latency = { uniform = [0.02, 0.2] }        # or a number, lognormal = [median, sigma], pareto = [least, alpha]
quota = [{ kind = "bucket", per_s = 100, burst = 10 }]   # or fixed, sliding, concurrency
retry_after = "none"        # or seconds, date, zero, negative, absurd, huge, nan, unreadable
outage = [{ at = 1.0, lasts = 1.0, by = "503" }]         # or 429, reset, silence
# brown_out = [{ at = 3.0, lasts = 60.0, share = 0.5 }]    # so much of the calls fails
# exhausted = [{ at = 9.0, lasts = 3600.0, hint = true }]  # no credit, a quota that is used up; without lasts: for good
trouble = [{ with = 500, share = 0.02 }]                 # or reset, silence, late, nonsense, refusal; rows, every, first

[sink]
row = 0.0                   # seconds that a row takes

# [[fault]]
# what = "kill"             # or hold, pause, drain, abort, double, limit, stats
# actor = "worker"          # or source, reorder, sink, ledger, governor-ask, the stage's name
# when = "Call"             # the name of a message, or: at = 1.5 (seconds)
# nth = 20
# after = 0.01

[expect]
state = "completed"
delivered = 200
calls_per_row = [1.0, 1.6]
"""
