"""The one message that a user reads about an error, and the exit status that goes with it."""

import contextlib
import logging
import os
import traceback
from collections.abc import Iterator
from typing import Any

from genae_core.config.console import say
from genae_core.config.redaction import redact

DEBUG = "GENAE_DEBUG"  # the environment variable that shows tracebacks, as --debug does
# What a user can set right: a wrong flag, a missing file, a store or a cluster that does not
# answer. The packages behind which a library stands turn its errors into these.
EXPECTED = (ValueError, OSError)


def print_error(error: BaseException) -> int:
    """Print one message about an error, without passwords and without a traceback.

    With --debug or GENAE_DEBUG=1 the traceback follows.

    Args:
        error: The error that ends the program.

    Returns:
        The exit status: 2 for an error that the user can set right, 130 after Ctrl-C, and 1 for an
        error that nobody foresaw.
    """
    if isinstance(error, KeyboardInterrupt):
        message, status = "interrupted", 130
    elif isinstance(error, EXPECTED):
        message, status = f"error: {_text(error)}", 2
    elif isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("genae"):
        name = error.name or str(error)
        message = f"error: the package {name} is not installed: pip install 'genae[sweep]'"
        status = 2
    elif isinstance(error, MemoryError):
        message, status = f"error: there is not enough memory: {_text(error)}", 1
    else:
        message, status = _report(error), 1
    say(redact(message), error=True)
    if shows_tracebacks():
        lines = traceback.format_exception(error)
        say(redact("".join(lines)).rstrip(), error=True)
    return status


def shows_tracebacks() -> bool:
    """Return whether the user asked for tracebacks."""
    return os.environ.get(DEBUG, "") not in ("", "0")


@contextlib.contextmanager
def short_logs() -> Iterator[None]:
    """During the block, what a library logs about an exception ends with its reason in one line.

    With --debug or GENAE_DEBUG=1 the traceback follows, as without the block.
    """
    make_record = logging.getLogRecordFactory()

    def make_short(*args: Any, **names: Any) -> logging.LogRecord:
        record = make_record(*args, **names)
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not shows_tracebacks():
            message = f"{_one_line(record.getMessage())} {reason_of(error)}"
            record.msg, record.args, record.exc_info = message, (), None
        return record

    logging.setLogRecordFactory(make_short)
    try:
        yield
    finally:
        logging.setLogRecordFactory(make_record)


def _text(error: BaseException) -> str:
    """The message of an error, or the name of its class if it has no message."""
    return str(error).strip() or type(error).__name__


def _one_line(text: str) -> str:
    """The text in one line and without passwords."""
    return " ".join(redact(text).split())


def reason_of(error: BaseException) -> str:
    """The class of an error and the beginning of its message."""
    words = _one_line(str(error))[:500]  # cut last, since the cut may take away an "@"
    return type(error).__name__ + (f": {words}" if words else "")


def _report(error: BaseException) -> str:
    """The message about an error that nobody foresaw, in one line of whole sentences."""
    return (
        f"error: genae met an error that it did not expect: {reason_of(error)}. Please report it "
        f"to the maintainers, with the traceback that --debug or {DEBUG}=1 shows."
    )
