"""Networks without values: the shapes of a real build, and neither memory nor torch's compiler."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from genae_core import config
from genae_core.nets.unfilled import unfilled

STORED = Path(__file__).resolve().parents[1] / "stored" / "configs.json"
EXPERIMENTS: dict[str, Any] = json.loads(STORED.read_text())["experiments"]

PROGRAM = """
import json, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name == "torch._dynamo":
            raise ImportError("torch's compiler is imported")

sys.meta_path.insert(0, Blocker())
from genae_core import config
from genae_core.testing import tiny
for stored in json.load(open(sys.argv[1]))["experiments"].values():
    config.from_json(json.dumps(stored["config"])).count_weights()
tiny.run()
"""


@pytest.mark.slow
def test_the_compiler_is_not_imported_to_make_an_experiment_nor_to_run_one() -> None:
    """Of every family, prior and network: it takes more than a second in each process."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(STORED)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_weights_have_the_shapes_of_a_real_build(name: str) -> None:
    experiment: Any = config.from_json(json.dumps(EXPERIMENTS[name]["config"]))
    real = experiment.model.build(experiment.data.shape)
    before = torch.get_rng_state()
    with unfilled():
        built = experiment.model.build(experiment.data.shape)
    assert torch.equal(torch.get_rng_state(), before)
    expected = {key: value.shape for key, value in real.named_parameters()}
    assert {key: value.shape for key, value in built.named_parameters()} == expected
    count = sum(value.numel() for value in real.parameters())
    assert experiment.count_weights() == count


def test_weights_take_no_memory_and_other_tensors_have_values() -> None:
    with unfilled():
        layer = nn.Linear(10**7, 10**7)  # 400 TB
        nn.init.normal_(layer.weight, 0.0, 0.02)
        norm = nn.BatchNorm1d(2 * 10**9)
        values = 2 * torch.arange(3) / 3
    assert norm.running_mean is not None and norm.running_mean.is_meta
    assert layer.weight.is_meta and layer.weight.requires_grad
    assert values.tolist() == pytest.approx([0, 2 / 3, 4 / 3])
    assert not nn.Linear(2, 2).weight.is_meta
