"""The layers that look at all rows of a batch, for processes that have some rows each."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from genae_core.nets.peers import Rows, sum_parts

DROPOUTS = (
    F.dropout,
    F.dropout1d,
    F.dropout2d,
    F.dropout3d,
    F.alpha_dropout,
    F.feature_alpha_dropout,
)


class OverAllRows(TorchFunctionMode):
    """Computes batch normalisation and dropout as if this process had all rows."""

    def __init__(self, rows: Rows) -> None:
        super().__init__()
        self.rows = rows

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.batch_norm:
            return _BatchNorm(*args, **kwargs).over(self.rows)
        if func in DROPOUTS:
            return _dropout(self.rows, func, *args, **kwargs)
        return func(*args, **kwargs)


def _dropout(rows: Rows, dropout: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Dropout with the masks that it would draw for all rows."""
    around = [0, 0] * (x.ndim - 1) + [rows.own.start, rows.total - rows.own.stop]
    dropped: Tensor = dropout(F.pad(x, around), *args, **kwargs)[rows.own]
    return dropped


class _BatchNorm(NamedTuple):
    """The arguments of `F.batch_norm`."""

    input: Tensor
    running_mean: Tensor | None
    running_var: Tensor | None
    weight: Tensor | None = None
    bias: Tensor | None = None
    training: bool = False
    momentum: float = 0.1
    eps: float = 1e-5

    def over(self, rows: Rows) -> Tensor:
        """The layer's output with the mean and the variance of all rows."""
        if not self.training:
            return F.batch_norm(*self)
        x = self.input.to(torch.promote_types(self.input.dtype, torch.float32))
        mean, var = _moments(x, rows)
        if self.running_mean is not None and self.running_var is not None:
            count = rows.total * math.prod(x.shape[2:])
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(var * (count / (count - 1)), self.momentum)
        of_channels = [1, -1, *[1] * (x.ndim - 2)]
        y = (x - mean.view(of_channels)) * (var + self.eps).rsqrt().view(of_channels)
        if self.weight is not None:
            y = y * self.weight.view(of_channels)
        if self.bias is not None:
            y = y + self.bias.view(of_channels)
        return y.to(self.input.dtype)


def _moments(x: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """The mean and the variance of each channel over all rows, [C] each.

    var = sum_r w_r (var_r + (mean_r - mean)^2), where w_r is the share of process r in the rows,
    and mean_r and var_r are its moments (Chan et al. 1983, eq. 2.1).
    """
    over = [0, *range(2, x.ndim)]
    count = max(1, x.numel() // x.shape[1])
    own_mean = x.sum(over) / count
    centred = x - own_mean.view([1, -1, *[1] * (x.ndim - 2)])
    own = torch.stack([own_mean, centred.square().sum(over) / count])
    before, after = rows.peers.rank, rows.peers.size - rows.peers.rank - 1
    means, variances = sum_parts(F.pad(own[None], [0, 0, 0, 0, before, after])).unbind(1)
    share = torch.tensor(rows.counts, device=x.device)[:, None] / rows.total
    mean = (share * means).sum(0)
    return mean, (share * (variances + (means - mean).square())).sum(0)
