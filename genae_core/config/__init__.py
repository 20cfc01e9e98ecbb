"""Configs: how they are checked, named and stored, and the folder of genae's files."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
