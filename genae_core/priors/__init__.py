"""Prior distributions of the latent codes, and those that are fitted to codes after a training."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
