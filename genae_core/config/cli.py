"""What every script does with its flags and its errors."""

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import tyro

T = TypeVar("T")


def cli(options: type[T], main: Callable[[T], int], description: str | None) -> int:
    """Parse the flags and run `main`; 2 and one message, without a password, where a flag is wrong
    or what it names does not answer."""
    try:
        return main(tyro.cli(options, description=description))
    except Exception as error:
        # Loaded where MLflow is in use.
        tracking: Any = sys.modules.get("genae_core.tracking.mlflow_store")
        known = (ValueError, OSError, *([tracking.StoreError] if tracking else []))
        if not isinstance(error, known):
            raise
        print(f"error: {tracking.redact(str(error)) if tracking else error}", file=sys.stderr)
        return 2
