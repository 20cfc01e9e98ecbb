"""Networks that several processes compute together: each computes some rows, and all get all rows.

Outside of the networks, all processes have the same tensors and compute the same. Inside of a
network, a process has only its rows of the batch, and there every gradient is the number of
processes times the process's part of it. So the mean over the processes of a weight's gradient is
the gradient of the whole batch, wherever the weight is used.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

from genae_core.nets.peers import ALONE, Peers, Rows, join_rows, split_rows
from genae_core.nets.shared_layers import OverAllRows

Layers = Callable[[Tensor], Tensor]
_PEERS: ContextVar[Peers] = ContextVar("peers", default=ALONE)


@contextmanager
def sharing(peers: Peers) -> Iterator[None]:
    """Let these processes compute every network together while a `with` block runs.

    All of them must call the same networks in the same order with the same inputs.
    """
    token = _PEERS.set(peers)
    try:
        yield
    finally:
        _PEERS.reset(token)


def compute_rows(layers: Layers, x: Tensor) -> Tensor:
    """layers(x), of which each process that shares the networks computes its rows.

    Args:
        layers: Layers that treat each row alone, except for batch normalisation, which has the
            statistics of all rows, and dropout, whose masks are drawn for all rows.
        x: The input, whose first dimension counts the rows, unless it has one dimension only.

    Returns:
        The output of all rows, on every process.
    """
    peers = _PEERS.get()
    if peers.size == 1:
        return layers(x)
    if x.ndim == 1:
        return compute_rows(layers, x[None])[0]
    rows = Rows(len(x), peers)
    with sharing(ALONE), OverAllRows(rows):  # A network inside of this one has its rows already.
        y = layers(split_rows(x, rows))
    return join_rows(y, rows)
