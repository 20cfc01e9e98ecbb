"""What is measured of a trained model and its chains: curves, diagnostics, sample grids."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
