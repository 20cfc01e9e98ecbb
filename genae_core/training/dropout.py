"""Dropout masks from the random stream of a training."""

from contextlib import AbstractContextManager, nullcontext

from torch import nn

from genae_core.distributions.rng import Draw


def masks_from(draw: Draw, has_dropout: bool) -> AbstractContextManager[None]:
    """A context in which torch's dropout layers draw their masks from `draw`.

    The layers can only draw from torch's global random state, which the context sets.

    Args:
        draw: The random stream.
        has_dropout: Whether the model has such layers; without them, nothing is drawn. The caller
            finds this out once, because the search takes as long as a small layer.
    """
    return draw.as_global() if has_dropout else nullcontext()


def has_dropout(model: nn.Module) -> bool:
    """Whether the model has dropout layers of torch with a rate above 0."""
    layers = (m for m in model.modules() if isinstance(m, nn.modules.dropout._DropoutNd))
    return any(layer.p > 0 for layer in layers)
