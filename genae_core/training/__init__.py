"""The training loop, its checkpoints and snapshots, and the training of several seeds at once."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
