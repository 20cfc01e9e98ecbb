"""Records what reaches the disk, and checks the rules that make it survive a power cut."""

import os
import stat
from pathlib import Path
from threading import get_ident
from typing import Any

import pytest

from genae_core.sweep.worker import PROGRESS


class DiskRules:
    """Watches os.fsync, os.rename, os.replace, os.unlink and os.rmdir of this process.

    The rules: when a file or folder gets its final name, everything in it has been synced since it
    was last changed; and before anything is deleted, the folder of each new name has been synced.
    Names that begin with a dot are scratch, and the progress of a running trial is never read
    again.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.synced: dict[tuple[int, int], int] = {}  # the time of change at the last sync
        # Folders with a new name that is not on the disk yet, and the thread that gave it. What
        # one thread deletes has nothing to do with what another one writes.
        self.pending: set[tuple[int, str]] = set()
        self.published: list[str] = []
        self.broken: list[str] = []
        self.real = {name: getattr(os, name) for name in ("fsync", "unlink", "rmdir")}
        patch.setattr(os, "fsync", self._fsync)
        for name in ("rename", "replace"):
            patch.setattr(os, name, self._renaming(getattr(os, name)))
        for name in ("unlink", "rmdir"):
            patch.setattr(os, name, self._deleting(self.real[name]))

    def is_synced(self, path: Path) -> bool:
        """Whether a file or folder, with everything in it, is on the disk as it is now."""
        about = path.stat()
        here = self.synced.get((about.st_dev, about.st_ino)) == about.st_mtime_ns
        inside = path.iterdir() if stat.S_ISDIR(about.st_mode) else ()
        return here and all(self.is_synced(child) for child in inside)

    def _fsync(self, handle: int) -> None:
        self.real["fsync"](handle)
        about = os.fstat(handle)
        self.synced[about.st_dev, about.st_ino] = about.st_mtime_ns
        self.pending.discard((get_ident(), os.readlink(f"/proc/self/fd/{handle}")))

    def _renaming(self, real: Any) -> Any:
        def rename(source: Any, target: Any, **options: Any) -> None:
            final = Path(target)
            if not final.name.startswith(".") and final.parent.name != PROGRESS:
                if not self.is_synced(Path(source)):
                    self.broken.append(f"{target} was not synced before it had its name")
                self.pending.add((get_ident(), str(final.parent.resolve())))
                self.published.append(str(final))
            real(source, target, **options)

        return rename

    def _deleting(self, real: Any) -> Any:
        def delete(path: Any, **options: Any) -> None:
            if mine := sorted(place for thread, place in self.pending if thread == get_ident()):
                self.broken.append(f"{path} was deleted before {mine} were synced")
            real(path, **options)

        return delete
