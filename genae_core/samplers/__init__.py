"""Markov chains over a model: the samplers, their configs and the loop over their steps."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
