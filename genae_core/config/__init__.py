"""Configs: how they are checked, named and kept on disk; and where genae keeps what it makes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
