"""The command line of every script: its flags and its errors."""

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import tyro

T = TypeVar("T")


def cli(options: type[T], main: Callable[[T], int], description: str | None) -> int:
    """Parse the flags and run `main`.

    Args:
        options: The dataclass of the flags.
        main: The script; it returns its exit status.
        description: The help text above the flags.

    Returns:
        The exit status of `main`. It is 2 after a ValueError, an OSError or an error of the
        MLflow store; the error's message is then printed without passwords.
    """
    try:
        return main(tyro.cli(options, description=description))
    except Exception as error:
        # The module is loaded only in scripts that use MLflow.
        tracking: Any = sys.modules.get("genae_core.tracking.mlflow_store")
        expected = (ValueError, OSError, *([tracking.StoreError] if tracking else []))
        if not isinstance(error, expected):
            raise
        print(f"error: {tracking.redact(str(error)) if tracking else error}", file=sys.stderr)
        return 2
