"""What genae says to a person outside of a result."""

import sys


def print_warning(text: str) -> None:
    """Print a warning on the standard error stream."""
    print(f"warning: {text}", file=sys.stderr, flush=True)
