"""A trial of two processes under Ray: its result, and what becomes of it if one of them ends."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from contracts import scripts
from ray import tune

from genae_core.sweep.driver import _check_cells
from genae_core.sweep.options import LaunchOptions
from genae_core.sweep.plan import Plan
from genae_core.sweep.tune import _reserve
from genae_core.testing import tiny

PROGRAM = """
import dataclasses, time
from pathlib import Path
from types import SimpleNamespace
import psutil, ray, torch
import torch.distributed as dist
from contracts.sweeps import make_sweep
from ray.util import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

import genae_core as genae
from genae_core.experiment.experiment import resolve
from genae_core.experiment.trial import run_trial
from genae_core.models.vae import VAE, VAEConfig
from genae_core.sweep import ray_cluster
from genae_core.sweep.trial_processes import Assistants
from genae_core.testing import tiny


@genae.register("lab.failing")
@dataclasses.dataclass(frozen=True, kw_only=True)
class FailingConfig(VAEConfig):
    def build(self, shape):
        return Failing(self, shape)


class Failing(VAE):
    def stages(self):
        def fail(model, batch, draw):
            if dist.is_initialized() and dist.get_rank() == 1:
                raise ValueError("the second process fails")
            return phase.loss(model, batch, draw)

        (stage,) = super().stages()
        (phase,) = stage.phases
        return (stage._replace(phases=(phase._replace(loss=fail),)),)


def kill_assistant(*_):
    for process in psutil.Process().parent().children():
        if "_Assistant" in process.cmdline()[0]:
            process.kill()


class Trial:
    def run(self, processes, experiment, on_epoch=lambda *_: None):
        torch.set_num_threads(1)
        sweep = make_sweep(*arguments, processes=processes)
        assistants = Assistants(sweep)
        begun = time.monotonic()
        try:
            with assistants.training(experiment, torch.device("cpu")):
                result = run_trial(experiment, splits, classifier, on_epoch=on_epoch)
            return result.chains[0].fcd_val
        except BaseException as error:
            return f"{type(error).__name__}: {error}, {time.monotonic() - begun < 100}"
        finally:
            assistants.end()


splits = tiny.splits()
classifier = tiny.classifier(splits)
experiment = resolve(tiny.experiment(), splits)
failing = dataclasses.replace(experiment, model=FailingConfig(latent_dim=2))
arguments = (SimpleNamespace(uri="", experiment_id=""), Path("."), {}, "", {})
ray_cluster.connect(None, 2)
part = {"CPU": 1, "GPU": 0}
place = PlacementGroupSchedulingStrategy(placement_group([part, part]), 0)
trial = ray.remote(num_cpus=1, scheduling_strategy=place)(Trial).remote()
for call in (
    trial.run.remote(1, experiment),
    trial.run.remote(2, experiment),
    trial.run.remote(2, experiment, kill_assistant),
    trial.run.remote(2, failing),
):
    print("result:", ray.get(call))
ray_cluster.disconnect()
"""


@pytest.mark.slow
def test_a_process_that_ends_ends_its_trial(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    tests = str(Path(__file__).parents[1])
    done = scripts.run(str(path), variables={**os.environ, "PYTHONPATH": tests}, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = [line for line in done.stdout.splitlines() if line.startswith("result: ")]
    alone, shared, killed, failed = (line.removeprefix("result: ") for line in results)
    assert len(json.loads(alone)) == 3
    assert json.loads(shared) == pytest.approx(json.loads(alone), rel=1e-4)
    # Tune runs a trial again whose worker has ended so, from its last snapshot.
    assert killed == "Preempted: , True"
    assert failed == (
        "RuntimeError: another process of the trial has failed: "
        "ValueError: the second process fails, True"
    )


def test_each_process_of_a_trial_has_its_part_of_the_resources_of_one_node() -> None:
    plain = LaunchOptions(cpus_per_trial=2)
    assert _reserve(plain) == {"cpu": 2, "gpu": 0}
    gpus = _reserve(LaunchOptions(gpus_per_trial=4.0, accelerator_type="A100"))
    part = {"CPU": 0.25, "GPU": 1.0}
    assert isinstance(gpus, tune.PlacementGroupFactory)
    assert gpus.bundles == [{**part, "accelerator_type:A100": 0.001}, part, part, part]
    assert gpus.strategy == "STRICT_PACK"


def test_the_processes_of_a_trial_are_its_gpus_or_as_many_as_asked_for() -> None:
    assert LaunchOptions().processes == LaunchOptions(gpus_per_trial="auto").processes == 1
    assert LaunchOptions(gpus_per_trial=0.25).processes == 1
    gpus = LaunchOptions(gpus_per_trial=2.0, cpus_per_trial=6)
    assert (gpus.processes, gpus.threads) == (2, 3)
    assert LaunchOptions(cpus_per_trial=4, processes_per_trial=4).threads == 1


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"processes_per_trial": 0}, "processes_per_trial must be a whole number >= 1"),
        (
            {"processes_per_trial": 2, "gpus_per_trial": 4.0},
            "with GPUs a trial has a process for each: leave it out",
        ),
        ({"processes_per_trial": 2}, "--cpus-per-trial must be a multiple of the 2 processes"),
        (
            {"gpus_per_trial": 2.0, "cpus_per_trial": 3},
            "--cpus-per-trial must be a multiple of the 2 processes",
        ),
        ({"gpus_per_trial": 2.0, "memory_per_trial": 4.0}, "--memory-per-trial limits one"),
        ({"gpus_per_trial": 2.0, "seeds_together": "yes"}, "leave out --seeds-together"),
    ],
)
def test_flags_that_do_not_fit_several_processes_are_refused(
    flags: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        LaunchOptions(**flags)


def test_a_sweep_whose_batches_do_not_divide_is_refused() -> None:
    cells = {"{}": tiny.experiment()}
    plan = Plan([{}], cells, lambda: None, 1)  # type: ignore[arg-type, return-value]
    _check_cells(plan, 4)
    with pytest.raises(ValueError, match="must be a multiple of the 3 processes.* take 18, or"):
        _check_cells(plan, 3)
