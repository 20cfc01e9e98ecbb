"""Where the real datasets lie, if anywhere."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def real_data() -> Callable[[str], str]:
    """The data root that has the named dataset's folder; skips the test where there is none.

    Set by GENAE_TEST_DATA, else ../shared/data beside the repository.
    """
    default = Path(__file__).parents[2].parent / "shared" / "data"
    root = Path(os.environ.get("GENAE_TEST_DATA", default))

    def find(name: str) -> str:
        if not (root / name).is_dir():
            pytest.skip(f"no real {name} data at {root / name} (set GENAE_TEST_DATA)")
        return str(root)

    return find
