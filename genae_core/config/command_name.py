"""The command `genae` as the user of this process can type it, for messages."""

import shlex
import shutil
import sys
from pathlib import Path

PROGRAM = "genae"


def command_line(*words: str) -> str:
    """A command line of genae.

    Args:
        words: The name of the command, and its flags.

    Returns:
        The line as a shell reads it. It begins with `genae` if the shell would find the one that
        belongs to this Python, and otherwise with this Python.
    """
    program = shutil.which(PROGRAM)
    if program is not None and Path(program).parent == Path(sys.executable).parent:
        return shlex.join([PROGRAM, *words])
    return shlex.join([sys.executable, "-m", "genae_core", *words])
