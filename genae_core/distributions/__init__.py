"""Distributions over latents and images, and the random draws that they are sampled with."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
