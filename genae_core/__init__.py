"""genae_core: generative autoencoders and the encode/decode Markov chain that samples them.

The public names are those of `__init__.pyi`, here and in each package; a name is imported when it
is first used. Everything but `sweep`, `tracking`, `report` and `recipes` works without Ray, Optuna
and MLflow.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
