"""Contract suites that a family, prior, sampler or divergence of your own can subclass."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
