"""Data-parallel trainings: several processes share each batch, usually on a GPU each.

Every process has the whole model and the same random streams, and computes its rows of each batch
in the networks (`nets/sharing.py`). Everything else, such as the losses, it computes for the whole
batch. So every family trains as on one device with the same batch, except for rounding.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from genae_core.config import require
from genae_core.distributions.rng import Draw
from genae_core.models.base import Batch, Examples
from genae_core.nets.peers import ALONE, Peers

Value = TypeVar("Value")

# After this time, a process that waits for another one raises an error. The others wait while the
# first one saves a snapshot or evaluates the model.
TIMEOUT = timedelta(minutes=30)
# The variables of torch's two libraries that name the network interface of the processes.
INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
_PEERS: ContextVar[Peers] = ContextVar("peers of the training", default=ALONE)


@contextmanager
def data_parallel() -> Iterator[None]:
    """Share each training that begins in a `with` block among processes.

    These are the processes of torch.distributed's default group. All of them call `fit` with the
    same model and config. The first one has the images, the snapshots and the callbacks; what the
    others pass is not used. Except for rounding, the result is that of one process.

    Raises:
        ValueError: torch.distributed is not initialised.
    """
    require(
        dist.is_initialized(),
        "data_parallel shares a training among the processes of torch.distributed: call "
        "torch.distributed.init_process_group first",
    )
    token = _PEERS.set(Peers(dist.get_rank(), dist.get_world_size()))
    try:
        yield
    finally:
        _PEERS.reset(token)


@contextmanager
def process_group(file: Path, peers: Peers, device: torch.device) -> Iterator[None]:
    """Join a group of processes of one machine, which share the trainings in a `with` block.

    Args:
        file: A file that does not exist yet, in a folder that only this user can open. Each group
            needs another one.
        peers: The number of this process, and of all processes.
        device: The device of this process.
    """
    for name in INTERFACES:
        os.environ.setdefault(name, _loopback())
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=dist.FileStore(str(file), peers.size),  # type: ignore[attr-defined]
        rank=peers.rank,
        world_size=peers.size,
        timeout=TIMEOUT,
    )
    try:
        with data_parallel():
            yield
    finally:
        dist.destroy_process_group()


def _loopback() -> str:
    """The name of the network interface that only programs of this machine reach."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(address.address == "127.0.0.1" for address in addresses):
            return str(name)
    raise OSError("this machine has no loopback interface")


def current_peers() -> Peers:
    """The processes that share a training which begins now."""
    return _PEERS.get()


def check_divides(batch_size: int, processes: int) -> None:
    """Raise ValueError unless each process gets the same number of the batch's images."""
    require(
        batch_size % processes == 0,
        f"batch_size must be a multiple of the {processes} processes that share a training; take "
        f"{max(1, batch_size // processes) * processes}, or another number of processes",
        batch_size=batch_size,
    )


def share(peers: Peers, value: Value) -> Value:
    """The value of the first process, on every process."""
    if peers.size == 1:
        return value
    holder = [value if peers.rank == 0 else None]
    dist.broadcast_object_list(holder)
    shared: Value = holder[0]  # type: ignore[assignment]
    return shared


def average_gradients(peers: Peers, parameters: Sequence[Tensor]) -> None:
    """Replace the gradients by their means over the processes, which are the same bits on each."""
    if peers.size == 1:
        return
    gradients = [weight.grad for weight in parameters if weight.grad is not None]
    mean = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(mean)
    mean /= peers.size
    sizes = [gradient.numel() for gradient in gradients]
    for gradient, piece in zip(gradients, torch.split(mean, sizes), strict=True):
        gradient.copy_(piece.view_as(gradient))


def _have_none(index: NDArray[np.int64]) -> Batch:
    raise AssertionError("the first process has the examples")


NO_EXAMPLES = Examples(0, _have_none)  # what the other processes of a training pass to `fit`


def share_examples(peers: Peers, examples: Examples, device: torch.device) -> Examples:
    """The examples of the first process, which sends each batch to the others.

    Args:
        peers: The processes, all of which must ask for the same orders and batches.
        examples: The examples; only those of the first process are used.
        device: The device of the batches.
    """
    if peers.size == 1:
        return examples
    is_first = peers.rank == 0
    form = [(t.shape[1:], t.dtype) for t in examples.batch(np.arange(1))] if is_first else []
    count, form = share(peers, (examples.count, form))

    def batch(index: NDArray[np.int64]) -> Batch:
        if is_first:
            sent = Batch(*(tensor.contiguous() for tensor in examples.batch(index)))
        else:
            empty = (torch.empty((len(index), *s), dtype=t, device=device) for s, t in form)
            sent = Batch(*empty)
        for tensor in sent:
            dist.broadcast(tensor, 0)
        return sent

    def order(draw: Draw) -> NDArray[np.int64]:
        draws = examples.order if is_first else None
        indices = draws(draw) if draws else draw.permutation(count).cpu().numpy()
        # An order of one's own may draw in another way.
        draw.generator.set_state(share(peers, draw.generator.get_state()))
        return indices

    return Examples(count, batch, order)
