"""Divergences between two distributions, estimated from samples or by a critic."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
