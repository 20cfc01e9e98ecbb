"""How long the trials of a search have run, over all its launches.

Under `--resume auto` a batch system may launch a search many times. Its minutes are then those of
all launches together, or it would never end.
"""

import time
from pathlib import Path

from genae_core.config.messages import print_warning
from genae_core.data import sealed

FILE = "spent.json"  # in the sweep's folder
WRITE_S = 10.0  # a killed driver loses at most these seconds


class SpentTime:
    """Counts the seconds from now on, and those of earlier launches.

    Args:
        folder: The sweep's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.before = spent_seconds(folder)
        self.began = self.written = time.monotonic()

    def tick(self, at_once: bool = False) -> None:
        """Write the seconds to the folder, if WRITE_S have passed or `at_once`."""
        now = time.monotonic()
        if at_once or now - self.written >= WRITE_S:
            self.written = now
            sealed.write(self.folder / FILE, {"seconds": self.before + now - self.began})


def spent_seconds(folder: Path) -> float:
    """The seconds that the trials of earlier launches ran; 0, with a warning, if their file is
    damaged."""
    try:
        return float(sealed.read(folder / FILE)["seconds"])
    except FileNotFoundError:
        return 0.0
    except (ValueError, KeyError, TypeError) as error:
        print_warning(f"the minutes of the search are counted anew: {error}")
        return 0.0
