"""The storage of results: journals on disk, their delivery, and the MLflow store."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
