"""Optimisers without torch's compiler, whose import takes seconds of every process that trains.

torch wraps the methods of its optimisers so that a compiled program may contain them. genae
compiles none.
"""

from typing import Any

import torch


def _plain(method: Any) -> Any:
    """The method without its wrapper, which imports torch's compiler when it is called."""
    return method.__wrapped__


class Uncompiled(torch.optim.Optimizer):
    """The methods that torch's optimisers share, as they are without `torch.compile`."""

    add_param_group = _plain(torch.optim.Optimizer.add_param_group)
    zero_grad = _plain(torch.optim.Optimizer.zero_grad)
    state_dict = _plain(torch.optim.Optimizer.state_dict)
    load_state_dict = _plain(torch.optim.Optimizer.load_state_dict)


class Adam(Uncompiled, torch.optim.Adam):
    """torch's Adam: the same updates, to the bit."""

    step = torch.no_grad()(_plain(torch.optim.Adam.step))


class RMSprop(Uncompiled, torch.optim.RMSprop):
    """torch's RMSprop: the same updates, to the bit."""

    step = torch.no_grad()(_plain(torch.optim.RMSprop.step))
