"""The table of families, how each dataset is trained by default, and what the studies share."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
