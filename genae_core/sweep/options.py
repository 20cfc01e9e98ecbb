"""The flags that say where and how wide a sweep runs."""

import os
from dataclasses import dataclass
from typing import Literal

from genae_core import config
from genae_core.experiment.precision import Precision


@dataclass(frozen=True, kw_only=True)
class ShardOptions:
    """How the images get from their files to the trials."""

    shards: str | None = None
    """Folder or URI of shards that jobs/prepare_data.py made (default: prepare what is missing,
    in GENAE_HOME)."""
    max_rejected: float = 0.001
    """Share of the files that may be unusable images."""
    memory_budget: float | None = None
    """GiB of training images that a node may hold; a larger set is streamed (default: half of
    Ray's object store, or of the memory where there is no Ray)."""

    @property
    def budget_bytes(self) -> int | None:
        return None if self.memory_budget is None else int(self.memory_budget * 2**30)

    def __post_init__(self) -> None:
        config.require_finite(0, max_rejected=self.max_rejected)
        config.require(
            self.max_rejected <= 1, "--max-rejected must be <= 1", max_rejected=self.max_rejected
        )
        if self.memory_budget is not None:
            config.require_finite(0, memory_budget=self.memory_budget)


@dataclass(frozen=True, kw_only=True)
class LaunchOptions(ShardOptions):
    """Where and how wide a sweep runs."""

    seeds: tuple[int, ...] = (0,)
    """Seeds of the training; each cell is trained once with each."""
    trials_in_parallel: int | None = None
    """Trials at a time (default: as many as the CPUs and GPUs hold)."""
    cpus_per_trial: int = 1
    """CPUs of a trial, and so its threads."""
    gpus_per_trial: float | Literal["auto"] = 0.0
    """GPUs of a trial; a fraction such as 0.25 puts several trials on one GPU, "auto" measures the
    largest model once and puts as many on one as fit."""
    precision: Precision = "auto"
    """How the models compute; bf16: matrix products and convolutions in bfloat16, all else in
    fp32. "auto" tries a few steps of the largest model each way, also with the values of a pixel
    together (channels last), and leaves plain fp32 only for what is clearly faster."""
    cuda_graphs: bool = True
    """On a GPU, try to record the steps of trainings and of chains once and to launch each as one,
    and do so where a training of the largest model is clearly faster so and comes to the same."""
    seeds_together: Literal["auto", "yes", "no"] = "auto"
    """Train the --seeds of a cell as one stacked model, each as it would be alone but for
    rounding. "auto" tries a few steps of the largest model both ways, and leaves one after the
    other only for what is clearly faster, as it can be on a GPU that one model does not fill."""
    memory_per_trial: float | None = None
    """GiB of memory of a trial: as many run at a time as a node's memory holds, and one that
    takes more fails alone (default: no limit)."""
    asha: bool = False
    """Stop trials that are behind the others at the same epoch (ASHA). For searches: a stopped
    cell has no curve, so leave it off where cells are compared."""
    tracking_uri: str | None = None
    """MLflow store: sqlite:///PATH or http://HOST:PORT (default: mlflow.db in GENAE_HOME)."""
    storage: str | None = None
    """Folder of the sweep's own files (default: sweeps/ in GENAE_HOME), or a URI such as
    s3://BUCKET/sweeps to which what a resume needs is also copied."""
    shared_storage: bool = False
    """Say that --storage and an SQLite --tracking-uri are seen by every node, as over NFS."""
    name: str | None = None
    """Name of the sweep (default: study, UTC time, suffix). One that exists is refused."""
    resume: bool = False
    """Continue the sweep called --name: what has finished is not run again."""
    checkpoint_seconds: float = 60.0
    """Between two states of a training, from which it goes on after whatever cut it off."""
    max_retries: int = 3
    """Of a trial whose worker or node died. One that fails by itself is not run again."""
    max_hours: float | None = None
    """Hours after which no trial is started and those that run stop, to be resumed (default: no
    limit)."""
    max_trials: int | None = None
    """A study of more trials is refused, a search ends after so many (default: no limit)."""
    max_nodes: int | None = None
    """Nodes of a growing cluster that the trials fill at a time (default: no limit)."""
    price_per_node_hour: float | None = None
    """Of one node, in your currency: what the sweep will cost is printed before it begins."""
    ray_address: str | None = None
    """Cluster to join, e.g. auto (default: RAY_ADDRESS, else a Ray for this sweep alone)."""
    print: bool = False
    """Show the trials that would run, and stop."""

    @property
    def trial_resources(self) -> dict[str, float]:
        """What Ray sets aside for a trial; memory in bytes."""
        memory = {"memory": self.memory_per_trial * 2**30} if self.memory_per_trial else {}
        return {"cpu": self.cpus_per_trial, "gpu": self.gpus, **memory}

    @property
    def joins(self) -> bool:
        """Whether the sweep runs on a cluster that was there before, and may grow."""
        return bool(self.ray_address or os.environ.get("RAY_ADDRESS"))

    @property
    def gpus(self) -> float:
        """GPUs of a trial; while "auto" is not measured, one."""
        return 1.0 if self.gpus_per_trial == "auto" else self.gpus_per_trial

    def __post_init__(self) -> None:
        super().__post_init__()
        config.require(len(self.seeds) > 0, "--seeds must name at least one", seeds=self.seeds)
        config.require(
            len(set(self.seeds)) == len(self.seeds), "--seeds must differ", seeds=self.seeds
        )
        config.require_positive_int(cpus_per_trial=self.cpus_per_trial)
        if self.gpus_per_trial != "auto":
            config.require_finite(0, gpus_per_trial=self.gpus_per_trial)
        for name in ("memory_per_trial", "max_hours", "price_per_node_hour"):
            if (value := getattr(self, name)) is not None:
                config.require_finite(0, **{name: value})
                flag = f"--{name.replace('_', '-')}"
                config.require(value > 0, f"{flag} must be > 0", **{name: value})
        config.require_finite(0, checkpoint_seconds=self.checkpoint_seconds)
        config.require_int(max_retries=self.max_retries)
        config.require(
            self.max_retries >= 0, "--max-retries must be >= 0", max_retries=self.max_retries
        )
        for name in ("trials_in_parallel", "max_trials", "max_nodes"):
            if (value := getattr(self, name)) is not None:
                config.require_positive_int(**{name: value})
        config.require(
            not self.resume or self.name is not None,
            "--resume continues a sweep: give its --name",
            name=self.name,
        )
        if self.name is not None:
            plain = self.name.translate(str.maketrans("", "", "-_.")).isalnum()
            config.require(
                plain and self.name[0].isalnum(),
                "--name takes letters, digits, '.', '_' and '-'",
                name=self.name,
            )
