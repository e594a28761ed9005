"""`python -m headrace.runtime.cli`."""

from . import main

main()
