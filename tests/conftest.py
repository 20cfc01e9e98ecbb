"""What every test shares: one thread, and plain asserts in the contracts."""

import pytest
import torch

pytest.register_assert_rewrite("contracts")
torch.set_num_threads(1)  # the tensors are tiny: more threads only wait for one another
