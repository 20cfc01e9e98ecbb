"""Printing for people, which cannot fail whatever the terminal, the disk or the pipe does."""

import contextlib
import os
import sys


def say(text: str, error: bool = False) -> None:
    """Print a text at once. Characters that the stream's encoding lacks are escaped.

    If the text cannot be written, because the disk is full or nobody reads the pipe, nothing
    happens: what is printed is never worth more than what the program does next.

    Args:
        text: The text.
        error: Whether to print on the standard error stream.
    """
    stream = sys.stderr if error else sys.stdout
    try:
        try:
            print(text, file=stream, flush=True)
        except UnicodeEncodeError as failure:
            escaped = text.encode(failure.encoding, "backslashreplace")
            print(escaped.decode(failure.encoding), file=stream, flush=True)
    except (OSError, ValueError):  # a closed stream raises ValueError
        pass


def flush_output() -> None:
    """Flush the standard streams at the end of a program.

    What cannot be written is dropped. Python would otherwise try again when it exits, and end with
    an exit code of its own.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
