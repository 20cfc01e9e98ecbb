"""The training loop, its states on disk, and several seeds trained as one model."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
