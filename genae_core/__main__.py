"""`python -m genae_core` is the command `genae`."""

import sys

if __name__ == "__main__":
    from genae_core.commands.entry import main

    sys.exit(main())
