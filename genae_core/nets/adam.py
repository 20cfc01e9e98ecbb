"""Adam without torch's compiler, whose import takes seconds of every process that trains."""

from typing import Any

import torch


def _plain(method: Any) -> Any:
    """The method without its wrapper, which imports torch's compiler when it is called."""
    return method.__wrapped__


class Adam(torch.optim.Adam):
    """torch's Adam, as it is without `torch.compile`: the same updates, to the bit.

    torch wraps these methods so that a compiled program may contain them. genae compiles none.
    """

    add_param_group = _plain(torch.optim.Optimizer.add_param_group)
    zero_grad = _plain(torch.optim.Optimizer.zero_grad)
    state_dict = _plain(torch.optim.Optimizer.state_dict)
    load_state_dict = _plain(torch.optim.Optimizer.load_state_dict)
    step = torch.no_grad()(_plain(torch.optim.Adam.step))
