"""The explorer page: one HTML file that shows how a sweep's samples change with the MCMC step."""

import lazy_loader

MAX_MB = 25.0  # of a page, because mail servers refuse larger files

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
