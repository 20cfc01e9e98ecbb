"""The optimisers: the same updates as torch's own, without torch's compiler."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LinearLR

from genae_core.nets.uncompiled import Adam, RMSprop

PROGRAM = """
import sys
import pytest
import torch
from genae_core.nets.uncompiled import Adam, RMSprop
value = torch.nn.Parameter(torch.ones(2))
for optimizer in (Adam([value], fused=True), RMSprop([value], foreach=True)):
    before = value.detach().clone()
    value.sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    optimizer.load_state_dict(optimizer.state_dict())
    assert value[0] < before[0]
assert "torch._dynamo" not in sys.modules
"""


def trained(
    kind: type[torch.optim.Optimizer], settings: dict[str, Any]
) -> tuple[Tensor, dict[str, Tensor]]:
    """The values and the moments after 20 steps, with a saved state between them."""
    value = nn.Parameter(torch.linspace(-2, 2, 30).reshape(3, 10))
    optimizer: Any = kind([value], lr=0.1, **settings)  # type: ignore[call-arg]
    schedule = LinearLR(optimizer, 1.0, 0.0, 40)
    for step in range(20):
        if step == 10:
            optimizer.load_state_dict(optimizer.state_dict())
        optimizer.zero_grad()
        value.pow(4).sum().backward()
        optimizer.step()
        schedule.step()
    return value.detach(), optimizer.state_dict()["state"][0]


@pytest.mark.parametrize(
    ("kind", "torchs", "settings", "moments"),
    [
        (
            Adam,
            torch.optim.Adam,
            {"betas": (0.5, 0.9), "fused": True},
            {"exp_avg", "exp_avg_sq"},
        ),
        (RMSprop, torch.optim.RMSprop, {"alpha": 0.9, "foreach": True}, {"square_avg"}),
    ],
)
def test_the_updates_are_those_of_torch(
    kind: Any, torchs: Any, settings: dict[str, Any], moments: set[str]
) -> None:
    (ours, our_state), (theirs, their_state) = trained(kind, settings), trained(torchs, settings)
    assert torch.equal(ours, theirs)
    assert our_state.keys() == their_state.keys() == {"step", *moments}
    assert all(torch.equal(our_state[name], their_state[name]) for name in our_state)


def test_a_step_leaves_gradients_on_for_what_follows() -> None:
    value = nn.Parameter(torch.ones(2))
    optimizer = Adam([value], fused=True)
    value.sum().backward()
    optimizer.step()
    assert torch.is_grad_enabled() and value.requires_grad


@pytest.mark.slow
def test_it_does_not_import_the_compiler() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
