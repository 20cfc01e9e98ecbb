"""What every script does with its flags and its errors."""

import sys
from collections.abc import Callable
from typing import TypeVar

import tyro

T = TypeVar("T")


def cli(options: type[T], main: Callable[[T], int], description: str | None) -> int:
    """Parse the flags and run `main`; 2 and one message where a flag is wrong."""
    try:
        return main(tyro.cli(options, description=description))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
