"""What an exception means for its call: a table, and the code that looks an exception up in it.

The rows stand by kind of evidence in `statuses`, `codes`, `network`, `databases` and `classes`; `evidence` reads what
one exception says, `judge` looks through those inside it, `hints` finds when to come again, `plugins` asks installed
packages. What the headers of an answer tell of quotas is read by `quotas`, in the dialects of `dialects`.
"""
