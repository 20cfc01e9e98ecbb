"""What a process of tests starts once and uses to its end."""

from contextlib import ExitStack

UNTIL_THE_END = ExitStack()  # tests/conftest.py closes it when the last test has ended
