"""Adam: the same updates as torch's own, without torch's compiler."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LinearLR

from genae_core.nets.adam import Adam

PROGRAM = """
import sys
import pytest
import torch
from genae_core.nets.adam import Adam
value = torch.nn.Parameter(torch.ones(2))
adam = Adam([value], fused=True)
value.sum().backward()
adam.step()
adam.zero_grad()
adam.load_state_dict(adam.state_dict())
assert value[0] < 1 and "torch._dynamo" not in sys.modules
"""


def trained(kind: type[torch.optim.Adam]) -> tuple[Tensor, dict[str, Tensor]]:
    """The values and the moments after 20 steps, with a saved state between them."""
    value = nn.Parameter(torch.linspace(-2, 2, 30).reshape(3, 10))
    adam = kind([value], lr=0.1, betas=(0.5, 0.9), fused=True)
    schedule = LinearLR(adam, 1.0, 0.0, 40)
    for step in range(20):
        if step == 10:
            adam.load_state_dict(adam.state_dict())
        adam.zero_grad()
        value.pow(4).sum().backward()
        adam.step()
        schedule.step()
    return value.detach(), adam.state_dict()["state"][0]


def test_the_updates_are_those_of_torch() -> None:
    (ours, our_state), (theirs, their_state) = trained(Adam), trained(torch.optim.Adam)
    assert torch.equal(ours, theirs)
    assert our_state.keys() == their_state.keys() == {"step", "exp_avg", "exp_avg_sq"}
    assert all(torch.equal(our_state[name], their_state[name]) for name in our_state)


def test_a_step_leaves_gradients_on_for_what_follows() -> None:
    value = nn.Parameter(torch.ones(2))
    adam = Adam([value], fused=True)
    value.sum().backward()
    adam.step()
    assert torch.is_grad_enabled() and value.requires_grad


@pytest.mark.slow
def test_it_does_not_import_the_compiler() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
