"""Datasets: their files, how images are decoded, and the shards that trials read."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
