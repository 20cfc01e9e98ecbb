"""Distributions over latent codes and images, and the random streams that they draw from."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
