"""What several processes may need first at the same time is made by one of them, alone."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

PATIENCE_S = 2.0  # the wait for another process of which nothing is said


@contextlib.contextmanager
def make_alone(path: Path) -> Iterator[None]:
    """Let one process at a time make a file or a folder; the others wait.

    The block has to look whether `path` is there by now, make it under a name that begins with
    ".NAME.partial-" in the same folder, and rename it. What killed processes have left under such
    names is deleted. The system frees the lock of a killed process.

    Args:
        path: The file or the folder that is made.

    Raises:
        OSError: The disk fails, or its permissions do not allow the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=PATIENCE_S)
    except Timeout:
        print(f"waiting for another process, which makes {path} ...", flush=True)
        lock.acquire()
    try:
        for partial in list(path.parent.iterdir()):
            if partial.name.startswith(f".{path.name}.partial-"):
                _delete(partial)
        yield
    finally:
        lock.release()


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
