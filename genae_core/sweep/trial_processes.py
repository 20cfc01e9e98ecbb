"""The processes of a trial that share its trainings: actors of Ray in the trial's placement group.

The first one is the process of the trial itself. It has the images and the snapshots, and runs the
chains. The others are on the same node, and have no other purpose than the trainings.
"""

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from genae_core.config.registry import adopt
from genae_core.experiment.experiment import Experiment
from genae_core.experiment.trial import prepare_assistance
from genae_core.nets.peers import Peers
from genae_core.sweep import ray_cluster
from genae_core.sweep.process_watch import Watch, is_of_the_group, raise_cause
from genae_core.sweep.runs import Sweep
from genae_core.training.processes import process_group


def device_of(gpus: float) -> torch.device:
    """The trial's device. Raises RuntimeError if the trial needs a GPU and torch sees none."""
    if gpus > 0 and not torch.cuda.is_available():
        raise RuntimeError(
            "the trial needs a GPU, but torch sees none: install a CUDA build of it"
        )
    return torch.device("cuda" if gpus > 0 else "cpu")


class _Assistant:
    """A process that shares the trainings of a trial, beside the process of the trial."""

    def __init__(self) -> None:
        # If the node must end, the trial's process saves a snapshot first, and needs this one
        # until the end of the step. Ray ends this one after the trial's process.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def prepare(self, experiment: Experiment, sweep: Sweep) -> None:
        """Build the model of a training, so that an error shows before another process waits."""
        adopt(sweep.user_classes)
        torch.set_num_threads(sweep.threads)
        self.device = device_of(sweep.gpus)
        self.take_part = prepare_assistance(experiment, self.device)

    def assist(self, file: Path, peers: Peers) -> None:
        """Take part in the training."""
        with process_group(file, peers, self.device):
            self.take_part()


class Assistants:
    """The other processes of a trial. They start with its first training.

    Args:
        sweep: What all trials share.
    """

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self.actors: list[Any] = []

    @contextmanager
    def training(self, experiment: Experiment, device: torch.device) -> Iterator[None]:
        """Share the training of the experiment that the `with` block runs.

        Raises:
            Preempted: Another process has died, so the trial must be run again.
            RuntimeError: Another process has raised an error.
        """
        size = self.sweep.processes
        if size == 1 or experiment.training is None:
            yield
            return
        ray = ray_cluster.import_ray()
        if not self.actors:
            self.actors = [_start(rank) for rank in range(1, size)]
        sweep = ray.put(self.sweep)
        try:
            ray.get([actor.prepare.remote(experiment, sweep) for actor in self.actors])
        except Exception as error:
            raise_cause(error)
        with tempfile.TemporaryDirectory(prefix="genae-") as folder:
            file = Path(folder) / "group"
            calls = [
                actor.assist.remote(file, Peers(rank, size))
                for rank, actor in enumerate(self.actors, 1)
            ]
            with Watch(calls, self.end) as watch:
                try:
                    with process_group(file, Peers(0, size), device):
                        yield
                except RuntimeError as error:
                    if is_of_the_group(error) and (cause := watch.find_cause()) is not None:
                        raise_cause(cause)
                    raise

    def end(self) -> None:
        """End the processes."""
        for actor in self.actors:
            ray_cluster.import_ray().kill(actor)
        self.actors = []


def _start(rank: int) -> Any:
    """Start a process in its part of the trial's resources."""
    ray = ray_cluster.import_ray()
    from ray.util import get_current_placement_group  # noqa: PLC0415
    from ray.util.scheduling_strategies import (  # noqa: PLC0415
        PlacementGroupSchedulingStrategy,
    )

    group = get_current_placement_group()
    assert group is not None
    part = group.bundle_specs[rank]
    place = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank)
    actor = ray.remote(
        num_cpus=part.get("CPU", 0), num_gpus=part.get("GPU", 0), scheduling_strategy=place
    )(_Assistant)
    return actor.remote()
