"""The training of a small network on codes, which ends when held-out codes no longer gain.

Shapes: N codes, B batch, D latent dimension.
"""

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from genae_core.distributions.rng import Draw

BATCH = 500
LEARNING_RATE = 1e-3  # of Adam; it falls to 0 along a cosine
PATIENCE = 5  # epochs without a gain on held-out codes, after which the training ends


def train_on_codes(
    net: nn.Module,
    loss: Callable[[Tensor], Tensor],
    codes: Tensor,
    held_out: Tensor,
    epochs: int,
    draw: Draw,
) -> None:
    """Train a network, and leave it with the weights that are best on held-out codes.

    Args:
        net: The network; afterwards its parameters need no gradient.
        loss: The mean loss of codes [B, D], a scalar.
        codes: The codes that the loss is minimised on, [N, D].
        held_out: The codes that decide when the training ends.
        epochs: The most passes over the codes.
        draw: The source of randomness.
    """
    optimizer = torch.optim.Adam(net.parameters(), LEARNING_RATE)
    steps = epochs * math.ceil(len(codes) / BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best, best_loss, waited = copy.deepcopy(net.state_dict()), math.inf, 0
    for _ in range(epochs):
        for rows in torch.split(draw.permutation(len(codes)), BATCH):
            with torch.enable_grad():
                value = loss(codes[rows])
                optimizer.zero_grad()
                value.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            score = float(loss(held_out))
        waited += 1
        if score < best_loss:
            best, best_loss, waited = copy.deepcopy(net.state_dict()), score, 0
        if waited >= PATIENCE:
            break
    net.load_state_dict(best)
    net.requires_grad_(False)
