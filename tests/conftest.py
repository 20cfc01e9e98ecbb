"""What every test shares: one thread, plain asserts in the contracts, and an order."""

import pytest
import torch

pytest.register_assert_rewrite("genae_core.testing")
torch.set_num_threads(1)  # the tensors are tiny: more threads only wait for one another


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The studies first: they take longest, and two workers should end together."""
    items.sort(key=lambda item: "sweeps" not in item.path.parts)
